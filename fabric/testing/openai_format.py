"""OpenAI's Chat Completions from the server's side: a request read, a turn written.

What a model thinks is written as ``reasoning_content``, as servers do that show it.

Source: OpenAI, API reference, "Create chat completion", "Streaming events", "Error codes".
"""

from __future__ import annotations

__all__ = ["error_body", "read_request", "stream_events", "whole_body"]

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fabric.testing.answers import Call, ModelRequest, StopReason, Text, Thinking, Turn, pieces

_ERRORS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_STOPS: dict[StopReason, str] = {"end_turn": "stop", "max_tokens": "length", "refusal": "content_filter"}


def read_request(body: dict[str, Any], headers: dict[str, str], agent: str) -> ModelRequest:
    """Read the body of a request.

    Raises:
        ValueError: it has not the shape of one.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(body.get("model"), str):
        raise ValueError("a request has a 'model' and at least one of 'messages'")
    by_role = [(message.get("role"), _text(message.get("content"))) for message in messages]
    prompts = [text for role, text in by_role if role == "user" and text]
    return ModelRequest(
        provider="openai",
        agent=agent,
        model=body["model"],
        system="\n\n".join(text for role, text in by_role if role in ("system", "developer")),
        prompt=prompts[-1] if prompts else "",
        results=tuple(_newest_results(by_role)),
        tools=tuple(tool["function"]["name"] for tool in body.get("tools", ()) if "function" in tool),
        stream=bool(body.get("stream")),
        calls=sum(len(message.get("tool_calls") or ()) for message in messages),
        body=body,
        headers=headers,
    )


def _newest_results(by_role: list[tuple[Any, str]]) -> list[str]:
    """Return the texts of the messages of tools at the end."""
    end = len(by_role)
    while end and by_role[end - 1][0] == "tool":
        end -= 1
    return [text for _, text in by_role[end:]]


def _text(content: Any) -> str:
    """Return the text of a content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "\n\n".join(part["text"] for part in content or () if part.get("type") == "text")


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return the body of an error."""
    kind = _ERRORS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def whole_body(turn: Turn, request: ModelRequest, number: int) -> dict[str, Any]:
    """Return an answer in one piece. ``number`` makes its id."""
    texts = [part.text for part in turn.parts if isinstance(part, Text)]
    thoughts = [part.text for part in turn.parts if isinstance(part, Thinking)]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    calls = [part for part in turn.parts if isinstance(part, Call)]
    if calls:
        message["tool_calls"] = [_call(call, request, index) for index, call in enumerate(calls)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _stop(turn)}
    return _base(request, number, "chat.completion") | {"choices": [choice], "usage": _usage(turn)}


def stream_events(turn: Turn, request: ModelRequest, number: int) -> list[bytes]:
    """Return an answer as the events of a stream."""
    base = _base(request, number, "chat.completion.chunk")
    counted = bool(_mapping(request.body.get("stream_options")).get("include_usage"))
    unknown: dict[str, Any] = {"usage": None} if counted else {}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return base | {"choices": [choice]} | unknown

    chunks = [chunk({"role": "assistant", "content": ""})]
    chunks += [chunk(delta) for delta in _deltas(turn, request)]
    chunks.append(chunk({}, _stop(turn)))
    if counted:
        chunks.append(base | {"choices": [], "usage": _usage(turn)})
    return [*(b"data: %s\n\n" % msgspec.json.encode(each) for each in chunks), b"data: [DONE]\n\n"]


def _deltas(turn: Turn, request: ModelRequest) -> Iterator[dict[str, Any]]:
    index = 0
    for part in turn.parts:
        match part:
            case Text(text):
                yield from ({"content": piece} for piece in pieces(text))
            case Thinking(text):
                yield from ({"reasoning_content": piece} for piece in pieces(text))
            case Call(name):
                whole = _call(part, request, index)
                yield {"tool_calls": [whole | {"index": index, "function": {"name": name, "arguments": ""}}]}
                for piece in pieces(whole["function"]["arguments"]):
                    yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
                index += 1


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _base(request: ModelRequest, number: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-scripted-{number:04}", "object": kind, "created": 0, "model": request.model}


def _call(call: Call, request: ModelRequest, index: int) -> dict[str, Any]:
    """Return a call of an answer. Its id is the same in each run."""
    arguments = msgspec.json.encode(call.arguments).decode()
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"call_scripted_{request.calls + index + 1:02}", "type": "function", "function": function}


def _stop(turn: Turn) -> str:
    calls = any(isinstance(part, Call) for part in turn.parts)
    return "tool_calls" if calls and turn.stop == "end_turn" else _STOPS[turn.stop]


def _usage(turn: Turn) -> dict[str, Any]:
    return {
        "prompt_tokens": turn.input_tokens,
        "completion_tokens": turn.output_tokens,
        "total_tokens": turn.input_tokens + turn.output_tokens,
        "prompt_tokens_details": {"cached_tokens": turn.cached_tokens},
    }
