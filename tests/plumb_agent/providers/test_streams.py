"""Streams in any pieces, and cut off anywhere: a reply is whole, or there is none."""

from collections.abc import AsyncIterator
from itertools import pairwise

import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from llm_recordings import ANTHROPIC, OPENAI
from llm_requests import DIALECTS, asked, assembled

from plumb_agent.messages import Reply
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.dialect import EVENT_BYTES_MAX, REPLY_BYTES_MAX
from plumb_agent.providers.http import read_answer

RECORDED = [("anthropic", name) for name in ANTHROPIC] + [("openai", name) for name in OPENAI]
STREAMS = {"anthropic": ANTHROPIC, "openai": OPENAI}


class Pieces(httpx2.AsyncByteStream):
    """A body that comes in these pieces. ``endless``: the last one again and again."""

    def __init__(self, pieces: list[bytes], *, endless: bool = False) -> None:
        self._pieces = pieces
        self._endless = endless

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        while self._endless:
            await trio.lowlevel.checkpoint()
            yield self._pieces[-1]


def read(provider: str, pieces: list[bytes], *, kind: str = "text/event-stream", endless: bool = False) -> Reply:
    async def main() -> Reply:
        stream = Pieces(pieces, endless=endless)
        response = httpx2.Response(
            200, headers={"content-type": kind}, stream=stream, request=httpx2.Request("POST", "http://h")
        )
        return await read_answer(response, DIALECTS[provider], asked())

    return trio.run(main)


def outcome(provider: str, pieces: list[bytes]) -> Reply | str:
    try:
        return read(provider, pieces)
    except ProviderFailed as failure:
        return failure.code


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(at)]


@given(st.sampled_from(RECORDED), st.lists(st.integers(0, 10_000), max_size=30), st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_stream_is_the_same_in_any_pieces(recorded, places, newline):
    """Cut inside of a line or of a character, and whatever ends its lines."""
    provider, name = recorded
    data = STREAMS[provider][name]
    pieces = cut(data.replace(b"\n", newline.encode()), places)
    assert read(provider, pieces) == assembled(provider, data)


@given(st.sampled_from(RECORDED), st.integers(0, 10_000))
def test_a_stream_that_is_cut_off_anywhere_is_whole_or_no_reply(recorded, place):
    """What is missing of a reply is never left out in silence."""
    provider, name = recorded
    data = STREAMS[provider][name]
    found = outcome(provider, [data[: place % len(data)]])
    assert found in (assembled(provider, data), "stream_cut", "stream_empty")


@pytest.mark.parametrize(("provider", "name"), RECORDED)
def test_a_stream_that_is_cut_off_before_its_last_event_is_no_reply(provider, name):
    """With OpenAI the last event that counts is the usage."""
    data = STREAMS[provider][name]
    last = b"event: message_stop" if provider == "anthropic" else b'"choices": []'
    assert outcome(provider, [data[: data.rindex(last)]]) == "stream_cut"


def test_single_bytes_are_enough():
    """The worst of all cuttings."""
    for provider, name in RECORDED[:2] + RECORDED[-2:]:
        data = STREAMS[provider][name]
        assert read(provider, [bytes([byte]) for byte in data]) == assembled(provider, data)


@pytest.mark.parametrize("provider", DIALECTS)
def test_an_event_without_an_end_is_given_up(provider):
    """Its size has a bound, whether it is one line or many."""
    for piece in (b"x" * 65_536, b"data: x\n" * 8_192):
        with pytest.raises(ProviderFailed, match=f"an event has more than {EVENT_BYTES_MAX} bytes") as caught:
            read(provider, [b"data: ", piece], endless=True)
        assert caught.value.code == "stream_malformed"


ENDLESS = {
    "anthropic": (
        b'data: {"type":"message_start","message":{}}\n\n',
        b'data: {"type":"ping","padding":"%s"}\n\n' % (b"x" * 500_000),
    ),
    "openai": (b'data: {"choices":[]}\n\n', b'data: {"choices":[],"padding":"%s"}\n\n' % (b"x" * 500_000)),
}


@pytest.mark.parametrize("provider", DIALECTS)
def test_an_answer_without_an_end_is_given_up(provider):
    """All of its events have a bound, too; and so has an answer in one piece."""
    with pytest.raises(ProviderFailed, match=f"more than {REPLY_BYTES_MAX} bytes of events"):
        read(provider, list(ENDLESS[provider]), endless=True)
    with pytest.raises(ProviderFailed, match=f"more than {REPLY_BYTES_MAX} bytes of JSON"):
        read(provider, [b" " * (1 << 20)], kind="application/json", endless=True)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", ""])
def test_an_answer_of_another_type_is_named(kind):
    """A login page, for example: its beginning is shown."""
    with pytest.raises(ProviderFailed, match=r"instead of events or JSON: <html>") as caught:
        read("openai", [b"<html>"], kind=kind)
    assert (caught.value.code, caught.value.transient) == ("stream_malformed", True)


def test_any_number_of_comments_may_come():
    """They keep a connection alive, and are not kept."""
    data = ANTHROPIC["plain"]
    pings = [b": " + b"x" * 1000 + b"\n"] * (2 * EVENT_BYTES_MAX // 1000)
    assert read("anthropic", [*pings, data]) == assembled("anthropic", data)


def test_a_byte_order_mark_is_no_part_of_a_line():
    """Not at the beginning; the format says so."""
    data = b"\xef\xbb\xbf" + OPENAI["plain"]
    assert read("openai", [data[:2], data[2:]]) == assembled("openai", OPENAI["plain"])


def test_what_is_between_events_does_not_matter():
    """Comments, a field that nobody knows, a charset that the format does not have."""
    data = ANTHROPIC["unicode"].replace(b"\n\n", b"\n\n: ping\n\nunknown: 3\nid: 4\n\n")
    assert read("anthropic", [data], kind="text/event-stream; charset=latin-1") == assembled(
        "anthropic", ANTHROPIC["unicode"]
    )


def test_what_no_utf_8_is_is_replaced_as_the_format_says():
    """And does not end the stream."""
    data = ANTHROPIC["plain"].replace(b" true}", b" \xff}")
    assert read("anthropic", [data]).blocks[0].text == '{"ok": \ufffd}'
