"""Ids of spans that follow from those of frames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabric.wire.tracing import derived, maker, read_traceparent, traceparent

SPANS = st.binary(min_size=8, max_size=8).filter(any)
TRACES = st.binary(min_size=16, max_size=16).filter(any)
NAMES = st.text(min_size=1, max_size=40).filter(str.isprintable)


def test_an_example_for_other_languages():
    """As PROTOCOL.md has it."""
    assert derived(bytes.fromhex("00f067aa0ba902b7"), "judge").hex() == "fbbf8246b7185b37"


@given(SPANS, NAMES)
def test_an_id_is_one(span: bytes, name: str):
    """Eight bytes, not all zero, and always the same."""
    found = derived(span, name)
    assert len(found) == 8
    assert any(found)
    assert found == derived(bytes(span), str(name))


@given(SPANS, SPANS, NAMES, NAMES)
def test_another_message_or_another_worker_has_another_id(a: bytes, b: bytes, v: str, w: str):
    """So each piece of work has one of its own."""
    assert (derived(a, v) == derived(b, w)) == ((a, v) == (b, w))


@given(SPANS, st.lists(SPANS, max_size=4), NAMES)
def test_a_message_comes_from_what_its_producer_did_with_the_first_parent(
    span: bytes, parents: list[bytes], topic: str
):
    """From what its producer did with its first parent; without parents from the span with its own id."""
    expected = derived(parents[0], topic) if parents else span
    assert maker(span, b"".join(parents), topic) == expected


@given(TRACES, SPANS)
def test_a_traceparent_can_be_read_again(trace_id: bytes, span_id: bytes):
    """What we write is what W3C says."""
    assert read_traceparent(traceparent(trace_id, span_id)) == (trace_id, span_id)


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{30,34}-[0-9a-f]{14,18}-[0-9a-f]{2}", fullmatch=True))
def test_what_is_no_traceparent_is_none(text: str):
    """It is read, or it is nothing; it raises nothing."""
    found = read_traceparent(text)
    assert found is None or traceparent(*found)[3:52] == text.strip()[3:52]


def test_ids_of_zeros_are_no_ids():
    """W3C says so, and that the version ff is none."""
    assert read_traceparent(f"00-{'0' * 32}-00f067aa0ba902b7-01") is None
    assert read_traceparent(f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01") is None
    assert read_traceparent("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01") is None
    assert read_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x") is None
    assert read_traceparent("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x") is not None
