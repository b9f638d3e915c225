"""What an agent remembers, as the control channel shows it and replaces it."""

from __future__ import annotations

__all__ = ["MemoryRefused", "dump", "read_messages"]

from collections.abc import Iterable
from typing import Any, Literal

from fabric.wire.payload import encode_json, to_plain
from plumb_agent.messages import Content, Message, TextBlock, text_of

Format = Literal["anthropic", "openai"]


class MemoryRefused(ValueError):
    """A ``set_memory`` with a malformed message. Nothing of it is taken."""


def dump(messages: Iterable[Message], format_: Format = "anthropic") -> list[dict[str, Any]]:
    """Return messages as plain JSON values.

    A message of one piece of text is shown as that string, in both formats; other blocks as a list of blocks in the
    Anthropic format, and as all their text in the OpenAI one.
    """

    def content(of: Content) -> Any:
        if isinstance(of, str) or format_ == "openai" or len(of) == 1:
            return text_of(of)
        return [to_plain(block) for block in of]

    return [{"role": message.role, "content": content(message.content)} for message in messages]


def read_messages(plain: Any) -> tuple[Message, ...]:
    """Read the messages of a ``set_memory``; what :func:`dump` returns can be read again.

    A content that is neither a string nor a list of blocks is a JSON value, and stands for its JSON text.

    Raises:
        MemoryRefused: a message has no role or no content, or one that no model takes.
    """
    if not isinstance(plain, list):
        raise MemoryRefused("set_memory takes an array of messages")
    return tuple(_message(number, item) for number, item in enumerate(plain))


def _message(number: int, item: Any) -> Message:
    if not isinstance(item, dict) or "role" not in item or "content" not in item:
        raise MemoryRefused(f"message {number} needs a role and a content")
    role = item["role"]
    if role not in ("user", "assistant"):
        raise MemoryRefused(f"message {number}: role must be 'user' or 'assistant', got {role!r}")
    return Message(role, _content(number, item["content"]))


def _content(number: int, plain: Any) -> Content:
    if isinstance(plain, str):
        return plain
    if isinstance(plain, list) and plain and all(isinstance(item, dict) and "type" in item for item in plain):
        blocks = []
        for item in plain:
            if item["type"] != "text" or not isinstance(item.get("text"), str):
                raise MemoryRefused(f"message {number}: a block of type {item['type']!r} is not known, or has no text")
            blocks.append(TextBlock(item["text"]))
        return tuple(blocks)
    return encode_json(plain).decode()
