"""What goes over tool_req and tool_resp, and what a declining worker says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ValueRejected
from fabric.wire.calls import ERROR_CHARS_MAX, Request, decline, failed, parse_request, reason_of, result

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.text() | st.integers(-(2**63), 2**63 - 1), st.text(), JSON_VALUES)
def test_a_call_and_its_response_carry_the_id_and_the_value(id_: str | int, name: str, value: object):
    """Whatever JSON the arguments and the result are."""
    request = parse_request(json.dumps({"id": id_, "name": name, "arguments": value}).encode())
    assert (json.loads(request.id), request.name, json.loads(request.arguments)) == (id_, name, value)
    assert json.loads(result(request.id, json.dumps(value).encode())) == {"id": id_, "content": value}
    assert json.loads(failed(request.id, name)) == {"id": id_, "error": name}


def test_arguments_may_be_left_out():
    """They are null then, which is what a tool without arguments takes; other keys are ignored."""
    assert parse_request(b'{"id":1,"name":"t","more":2}') == Request(b"1", "t", b"null")


@pytest.mark.parametrize("payload", [b"", b"1", b"{", b"[" * 2000, b'{"id":null,"name":"t"}', b'{"id":1,"name":2}'])
def test_anything_else_is_no_call(payload: bytes):
    """With what was expected."""
    with pytest.raises(ValueRejected, match=r'expected {"id": string or int, "name": string'):
        parse_request(payload)


@given(st.text(st.characters()), st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
def test_a_declining_worker_may_say_anything(error: str, code: str):
    """Half a surrogate pair, or a novel: it is told as far as JSON and the limit allow."""
    said = reason_of(decline(code, error))
    assert said == error[:ERROR_CHARS_MAX].encode(errors="replace").decode()
    assert json.loads(failed(b"1", error)) == {"id": 1, "error": said}


@pytest.mark.parametrize(
    ("payload", "reason"), [(b"no json", "no json"), (b'{"code":1}', '{"code":1}'), (b"\xff", "\ufffd")]
)
def test_a_decline_that_is_not_as_it_should_be_is_told_as_it_is(payload: bytes, reason: str):
    """It declines all the same."""
    assert reason_of(payload) == reason
