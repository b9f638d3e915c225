"""Streams of both APIs, as their servers send them: for our own assemblers and for the official clients alike."""

from __future__ import annotations

from typing import Any

from llm_bytes import anthropic_text, openai_text

MODEL = "claude-sonnet-4-5-20250929"


def message(*blocks: list[dict[str, Any]], stop: str = "end_turn", usage: dict[str, Any] | None = None, out: int = 9):
    """Return the events of a message whose blocks are given as events without an index."""
    first = {"input_tokens": 12, "output_tokens": 1} | (usage or {})
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    events = [
        {"type": "message_start", "message": start | {"stop_reason": None, "stop_sequence": None, "usage": first}}
    ]
    events.append({"type": "ping"})
    for index, block in enumerate(blocks):
        opened, *deltas = block
        events.append({"type": "content_block_start", "index": index, "content_block": opened})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": stop, "stop_sequence": None}
    return [
        *events,
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": out}},
        {"type": "message_stop"},
    ]


def text(*pieces: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces)]


def thinking(*pieces: str, signature: str) -> list[dict[str, Any]]:
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    start = {"type": "thinking", "thinking": "", "signature": ""}
    return [start, *deltas, {"type": "signature_delta", "signature": signature}]


def tool(id_: str, name: str, *pieces: str) -> list[dict[str, Any]]:
    start = {"type": "tool_use", "id": id_, "name": name, "input": {}}
    return [start, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces)]


REDACTED = [{"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIw"}]

ANTHROPIC: dict[str, bytes] = {
    "plain": anthropic_text(message(text('{"ok":', " true}"))),
    "unicode": anthropic_text(message(text("héllo ", "wörld — ", "日本 🎉 ", '"\\'))),
    "thinking": anthropic_text(message(thinking("Let me ", "see.", signature="c2ln"), text("1"))),
    "redacted": anthropic_text(message(thinking("Hm.", signature="c2ln"), REDACTED, text("2"))),
    "thinking not shown": anthropic_text(message(thinking(signature="c2lnbmVk"), text("3"))),
    "tool": anthropic_text(
        message(text("I look."), tool("toolu_1", "look", '{"at": ', '{"x": [1, 2.5', ']}, "s": "é"}'), stop="tool_use")
    ),
    "tools": anthropic_text(
        message(tool("toolu_1", "look", '{"a":1}'), tool("toolu_2", "now"), tool("toolu_3", "b", "{}"), stop="tool_use")
    ),
    "cached": anthropic_text(
        message(text("4"), usage={"cache_read_input_tokens": 1000, "cache_creation_input_tokens": 70}, out=3)
    ),
    "cut by the limit": anthropic_text(message(text("Once upon"), stop="max_tokens")),
    "refused": anthropic_text(message(text("I cannot help with that."), stop="refusal")),
    "stop sequence": anthropic_text(message(text("5"), stop="stop_sequence")),
}


def completion(
    *deltas: dict[str, Any], reason: str = "stop", usage: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the chunks of an answer; the last one has the usage alone."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5"}
    counts = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18} | (usage or {})

    def part(delta: dict[str, Any], why: str | None) -> dict[str, Any]:
        return base | {"choices": [{"index": 0, "delta": delta, "finish_reason": why}], "usage": None}

    said = [part(delta, None) for delta in ({"role": "assistant", "content": ""}, *deltas)]
    return [*said, part({}, reason), base | {"choices": [], "usage": counts}]


def call(index: int, id_: str | None = None, name: str | None = None, arguments: str = "") -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    named = {"id": id_, "type": "function"} if id_ else {}
    return {"tool_calls": [{"index": index, "function": function, **named}]}


OPENAI: dict[str, bytes] = {
    "plain": openai_text(completion({"content": '{"ok":'}, {"content": " true}"})),
    "unicode": openai_text(completion({"content": "héllo "}, {"content": '日本 🎉 "\\'})),
    "tool": openai_text(
        completion(
            call(0, "call_1", "look"),
            call(0, arguments='{"at": '),
            call(0, arguments='{"x": [1, 2.5]}, "s": "é"}'),
            reason="tool_calls",
        )
    ),
    "tools": openai_text(
        completion(
            {"content": "I look."},
            call(0, "call_1", "look", ""),
            call(0, arguments='{"a":1}'),
            call(1, "call_2", "now", ""),
            call(1, arguments="{}"),
            reason="tool_calls",
        )
    ),
    "cached": openai_text(completion({"content": "4"}, usage={"prompt_tokens_details": {"cached_tokens": 8}})),
    "cut by the limit": openai_text(completion({"content": "Once upon"}, reason="length")),
    "filtered": openai_text(completion({"content": "Well, "}, reason="content_filter")),
    "refused": openai_text(completion({"refusal": "I cannot "}, {"refusal": "help."})),
    "many": openai_text(completion(*({"content": f"{n} "} for n in range(50)))),
}
