"""Anthropic's Messages API from the server's side: a request read, a turn written.

Source: Anthropic, API reference, "Create a Message", "Streaming Messages", "Errors".
"""

from __future__ import annotations

__all__ = ["error_body", "read_request", "stream_events", "whole_body"]

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fabric.testing.answers import Call, ModelRequest, Text, Thinking, Turn, pieces

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}

_SIGNATURE = "c2NyaXB0ZWQ="


def read_request(body: dict[str, Any], headers: dict[str, str], agent: str) -> ModelRequest:
    """Read the body of a request.

    Raises:
        ValueError: it has not the shape of one.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(body.get("model"), str):
        raise ValueError("a request has a 'model' and at least one of 'messages'")
    said = [message for message in messages if message.get("role") == "user" and _text(message.get("content"))]
    return ModelRequest(
        provider="anthropic",
        agent=agent,
        model=body["model"],
        system=_text(body.get("system", "")),
        prompt=_text(said[-1]["content"]) if said else "",
        results=tuple(_text(block.get("content", "")) for block in _blocks(messages[-1], "tool_result")),
        tools=tuple(tool["name"] for tool in body.get("tools", ())),
        stream=bool(body.get("stream")),
        calls=sum(len(_blocks(message, "tool_use")) for message in messages),
        body=body,
        headers=headers,
    )


def _blocks(message: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    content = message.get("content")
    return [] if isinstance(content, str) else [block for block in content or () if block.get("type") == kind]


def _text(content: Any) -> str:
    """Return the text of a content, which is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    return "\n\n".join(block["text"] for block in content or () if block.get("type") == "text")


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return the body of an error."""
    kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def whole_body(turn: Turn, request: ModelRequest, number: int) -> dict[str, Any]:
    """Return an answer in one piece. ``number`` makes its id."""
    blocks = [_opened(part, id_) | _filled(part) for part, id_ in _named(turn, request)]
    return _message(request, number) | {
        "content": blocks,
        "stop_reason": _stop(turn),
        "usage": _usage(turn) | {"output_tokens": turn.output_tokens},
    }


def stream_events(turn: Turn, request: ModelRequest, number: int) -> list[bytes]:
    """Return an answer as the events of a stream."""
    events = _events(turn, request, number)
    return [b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event)) for event in events]


def _events(turn: Turn, request: ModelRequest, number: int) -> Iterator[dict[str, Any]]:
    start = _message(request, number) | {"usage": _usage(turn) | {"output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    for index, (part, id_) in enumerate(_named(turn, request)):
        yield {"type": "content_block_start", "index": index, "content_block": _opened(part, id_)}
        if index == 0:
            yield {"type": "ping"}
        for delta in _deltas(part):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": _stop(turn), "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": turn.output_tokens}}
    yield {"type": "message_stop"}


def _message(request: ModelRequest, number: int) -> dict[str, Any]:
    return {
        "id": f"msg_scripted_{number:04}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(turn: Turn) -> dict[str, Any]:
    """Return what went in; here what was read from the cache is counted apart."""
    fresh = max(0, turn.input_tokens - turn.cached_tokens)
    return {"input_tokens": fresh, "cache_creation_input_tokens": 0, "cache_read_input_tokens": turn.cached_tokens}


def _stop(turn: Turn) -> str:
    calls = any(isinstance(part, Call) for part in turn.parts)
    return "tool_use" if calls and turn.stop == "end_turn" else turn.stop


def _named(turn: Turn, request: ModelRequest) -> Iterator[tuple[Text | Thinking | Call, str]]:
    """Yield each part with the id that it has if it is a call: the same in each run."""
    calls = request.calls
    for part in turn.parts:
        calls += isinstance(part, Call)
        yield part, f"toolu_scripted_{calls:02}"


def _opened(part: Text | Thinking | Call, id_: str) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": ""}
        case Thinking():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case Call(name):
            return {"type": "tool_use", "id": id_, "name": name, "input": {}}


def _filled(part: Text | Thinking | Call) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"text": text}
        case Thinking(text):
            return {"thinking": text, "signature": _SIGNATURE}
        case Call(_, arguments):
            return {"input": arguments}


def _deltas(part: Text | Thinking | Call) -> Iterator[dict[str, Any]]:
    match part:
        case Text(text):
            yield from ({"type": "text_delta", "text": piece} for piece in pieces(text))
        case Thinking(text):
            yield from ({"type": "thinking_delta", "thinking": piece} for piece in pieces(text))
            yield {"type": "signature_delta", "signature": _SIGNATURE}
        case Call(_, arguments):
            text = msgspec.json.encode(arguments).decode()
            yield from ({"type": "input_json_delta", "partial_json": piece} for piece in pieces(text))
