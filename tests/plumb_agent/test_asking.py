"""Responses of tools, as JSON text."""

from __future__ import annotations

import pytest

from plumb_agent.asking import read_response
from plumb_agent.events import ToolAnswered, ToolFailed


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (b'{"id":"c1","content":{"a":[1,null]}}', ToolAnswered("c1", {"a": [1, None]})),
        (b'{"id":"c1","content":null}', ToolAnswered("c1", None)),
        (b'{"id":"c1","error":"no such file"}', ToolFailed("c1", "no such file")),
        (b'{"id":"c1","error":{"code":2}}', ToolFailed("c1", '{"code":2}')),
        (b'{"id":1,"content":2}', None),
        (b"[", None),
    ],
)
def test_a_response_is_a_result_or_why_there_is_none(payload: bytes, event: object):
    """What has no id of ours belongs to no call."""
    assert read_response(payload) == event


@pytest.mark.parametrize("said", ["content", "error"])
def test_a_response_that_cannot_be_read_is_a_call_that_failed(said: str):
    """JSON text may hold numbers that nobody can: the model is told, the agent goes on."""
    event = read_response(b'{"id":"c1","%b":[1e999]}' % said.encode())
    assert isinstance(event, ToolFailed)
    assert event.id == "c1"
    assert event.error.startswith("the tool's response cannot be read: expected JSON, got malformed text")


@pytest.mark.parametrize("payload", [b'{"id":"c1"}', b'{"id":"c1","content":1,"error":"x"}'])
def test_a_response_says_one_of_the_two(payload: bytes):
    """Else it is an error."""
    assert read_response(payload) == ToolFailed("c1", "the tool's response has neither a content nor an error, or both")
