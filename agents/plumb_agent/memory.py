"""What an agent remembers, as the control channel shows it and replaces it.

Two formats. Blocks, as the Messages API has them, which lose nothing; and that of Chat Completions (``"openai"``),
which has no place for thoughts and for whether a result is an error. Both can be given back.

    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a.md"}}]}
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "..."}]}

    {"role": "assistant", "content": null, "tool_calls": [{"id": "t1", "type": "function", "function": {...}}]}
    {"role": "tool", "tool_call_id": "t1", "content": "..."}

A history that no provider would take is refused: each call of a tool has its result in the message behind it, and each
result its call before it; no message and no text is empty; results are the user's, calls and thoughts the model's.
"""

from __future__ import annotations

__all__ = ["Format", "MemoryRefused", "dump", "read_messages"]

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from fabric.errors import ValueRejected
from fabric.wire.payload import decode_json, encode_json, to_plain
from plumb_agent.messages import (
    Block,
    Content,
    Message,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    text_of,
    tool_uses,
)

Format = Literal["anthropic", "openai"]


class MemoryRefused(ValueError):
    """A ``set_memory`` with a malformed message. Nothing of it is taken."""


# --- Showing ------------------------------------------------------------------------------------------------------


def dump(messages: Iterable[Message], format_: Format = "anthropic") -> list[dict[str, Any]]:
    """Return messages as plain JSON values. A message of one piece of text is shown as that string."""
    if format_ == "openai":
        return [item for message in messages for item in _openai(message)]
    return [{"role": message.role, "content": _shown(message.content)} for message in messages]


def _shown(content: Content) -> Any:
    if isinstance(content, str) or (len(content) == 1 and isinstance(content[0], TextBlock)):
        return text_of(content)
    return [to_plain(block) for block in content]


def _openai(message: Message) -> Iterator[dict[str, Any]]:
    """Yield a message in the other format: the results of a round are a message each."""
    content = message.content
    text = text_of(content)
    results = [] if isinstance(content, str) else [block for block in content if isinstance(block, ToolResultBlock)]
    for result in results:
        yield {"role": "tool", "tool_call_id": result.tool_use_id, "content": result.content}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": encode_json(call.input).decode()},
        }
        for call in tool_uses(content)
    ]
    if calls:
        yield {"role": message.role, "content": text or None, "tool_calls": calls}
    elif text or not results:
        yield {"role": message.role, "content": text}


# --- Reading ------------------------------------------------------------------------------------------------------


def read_messages(plain: Any) -> tuple[Message, ...]:
    """Read the messages of a ``set_memory``; what :func:`dump` returns, in either format, can be read again.

    A content that is neither a string nor a list of blocks is a JSON value, and stands for its JSON text.

    Raises:
        MemoryRefused: a message has no role or no content, or the whole is nothing that a provider takes.
    """
    if not isinstance(plain, list):
        raise MemoryRefused("set_memory takes an array of messages")
    messages: list[Message] = []
    results: list[Block] = []  # of messages of the role tool, which are one message here
    for number, item in enumerate(plain):
        if isinstance(item, dict) and item.get("role") == "tool":
            results.append(_tool_message(number, item))
            continue
        if results:
            messages.append(Message("user", tuple(results)))
            results = []
        messages.append(_message(number, item))
    if results:
        messages.append(Message("user", tuple(results)))
    _check_calls(messages)
    return tuple(messages)


def _message(number: int, item: Any) -> Message:
    if not isinstance(item, dict) or "role" not in item or "content" not in item:
        raise MemoryRefused(f"message {number} needs a role and a content")
    role = item["role"]
    if role not in ("user", "assistant"):
        raise MemoryRefused(f"message {number}: role must be 'user' or 'assistant', got {role!r}")
    if role == "assistant" and item.get("tool_calls"):
        return Message(role, (*_said(number, item["content"]), *_calls(number, item["tool_calls"])))
    return Message(role, _content(number, role, item["content"]))


def _content(number: int, role: str, plain: Any) -> Content:
    if isinstance(plain, str):
        if not plain.strip():
            raise MemoryRefused(f"message {number} is empty; no model takes that")
        return plain
    if isinstance(plain, list) and plain and all(isinstance(item, dict) and "type" in item for item in plain):
        return tuple(_block(number, role, item) for item in plain)
    return encode_json(plain).decode()


_ROLES = {"tool_result": "user", "tool_use": "assistant", "thinking": "assistant", "redacted_thinking": "assistant"}


def _block(number: int, role: str, item: dict[str, Any]) -> Block:
    kind = item["type"]
    if kind == "tool_result" and isinstance(item.get("content"), list):
        item = {**item, "content": _joined(number, item["content"])}
    try:
        block: Block = msgspec.convert(item, Block)
    except msgspec.ValidationError as error:
        raise MemoryRefused(f"message {number}: a block of type {kind!r} is not known, or malformed: {error}") from None
    if _ROLES.get(kind, role) != role:
        raise MemoryRefused(f"message {number}: a block of type {kind!r} is no {role}'s")
    if isinstance(block, TextBlock) and not block.text.strip():
        raise MemoryRefused(f"message {number} has an empty text; no model takes that")
    return block


def _joined(number: int, parts: list[Any]) -> str:
    """Return the text of a result that is a list of blocks of text."""
    try:
        return "".join(block.text for block in msgspec.convert(parts, list[TextBlock]))
    except msgspec.ValidationError as error:
        raise MemoryRefused(f"message {number}: a tool_result is text, or a list of text: {error}") from None


def _check_calls(messages: list[Message]) -> None:
    """See that calls and results stand beside each other."""
    waiting: set[str] = set()
    for message in messages:
        blocks = () if isinstance(message.content, str) else message.content
        found = [block.tool_use_id for block in blocks if isinstance(block, ToolResultBlock)]
        if set(found) - waiting or len(set(found)) < len(found):
            raise MemoryRefused(f"a tool_result for {sorted(found)} has no tool_use in the message before it")
        if waiting - set(found):
            raise MemoryRefused(f"a tool_use has no tool_result in the message behind it: {sorted(waiting)}")
        calls = [call.id for call in tool_uses(message.content)]
        waiting = set(calls)
        if len(waiting) < len(calls):
            raise MemoryRefused(f"two calls of tools in one message have one id: {sorted(calls)}")
    if waiting:
        raise MemoryRefused(f"a tool_use has no tool_result behind it: {sorted(waiting)}")


# --- Reading the other format -------------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    function: _Function


class _ToolMessage(msgspec.Struct):
    tool_call_id: str
    content: str


def _tool_message(number: int, item: dict[str, Any]) -> ToolResultBlock:
    try:
        message = msgspec.convert(item, _ToolMessage)
    except msgspec.ValidationError as error:
        raise MemoryRefused(f"message {number} of the role 'tool': {error}") from None
    return ToolResultBlock(message.tool_call_id, message.content)


def _said(number: int, plain: Any) -> tuple[Block, ...]:
    if plain is not None and not isinstance(plain, str):
        raise MemoryRefused(f"message {number}: the content beside tool_calls is a string or null")
    return (TextBlock(plain),) if plain and plain.strip() else ()


def _calls(number: int, plain: Any) -> Iterator[Block]:
    try:
        for call in msgspec.convert(plain, list[_Call]):
            arguments = decode_json(call.function.arguments)
            yield ToolUseBlock(call.id, call.function.name, msgspec.convert(arguments, dict[str, Any]))
    except (msgspec.ValidationError, ValueRejected) as error:
        raise MemoryRefused(f"message {number}: tool_calls are malformed: {error}") from None
