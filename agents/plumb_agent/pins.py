"""Results of tools that stay in an agent's context when its history is replaced.

A pin is known by the canonical form of its call: the tool's name and the arguments, with the keys of objects sorted and
``3.0`` written as ``3``. There are 20 at most, and a MiB of them; the oldest makes room.
"""

from __future__ import annotations

__all__ = ["NO_PINS", "PINNED_BYTES_MAX", "PINS_MAX", "Pin", "Pins", "canonical_key", "find_result", "note"]

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from fabric.wire.payload import EXACT_FLOAT_MAX, encode_json
from plumb_agent.messages import Message, ToolResultBlock, ToolUseBlock, tool_uses

PINS_MAX = 20

PINNED_BYTES_MAX = 1024 * 1024
"""Of all pinned results together: they are in every call of the model."""

_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Pin(msgspec.Struct, frozen=True):
    """A result that is pinned. ``key`` is the canonical form of the call."""

    key: str
    tool: str
    arguments: dict[str, Any]
    content: str


class Pins(msgspec.Struct, frozen=True):
    """The pins of an agent, oldest first."""

    entries: tuple[Pin, ...] = ()

    @property
    def keys(self) -> list[str]:
        """Their canonical forms."""
        return [pin.key for pin in self.entries]

    def with_pin(self, pin: Pin) -> Pins:
        """Return these and a further one, without the oldest if there are too many. The same call changes nothing."""
        if pin.key in self.keys:
            return self
        entries = [*self.entries, pin]
        while len(entries) > PINS_MAX or sum(len(entry.content.encode()) for entry in entries) > PINNED_BYTES_MAX:
            del entries[0]
        return Pins(tuple(entries))

    def without(self, key: str) -> Pins:
        """Return these without one; it need not be there."""
        return Pins(tuple(pin for pin in self.entries if pin.key != key)) if key in self.keys else self

    def shown(self) -> list[dict[str, Any]]:
        """Return them as a memory dump shows them."""
        return [{"tool": pin.tool, "arguments": pin.arguments, "content": pin.content} for pin in self.entries]

    def documents(self) -> Message | None:
        """Return the message that tells a model of them, if there are any."""
        if not self.entries:
            return None
        pinned = "\n".join(
            f'<pinned key="{_attribute(pin.key)}">\n{_fenced(pin.content)}\n</pinned>' for pin in self.entries
        )
        return Message("user", f"{_HEAD}{pinned}\n</pinned-documents>")


NO_PINS = Pins()

_HEAD = """<pinned-documents>
The following tool results are pinned in your context. They survive
compaction and are always available. Do not re-fetch them.

"""


def canonical_key(tool: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the canonical form of a call, and its arguments in that form."""
    canonical = _canonical(arguments)
    text = _encode_sorted(canonical)
    return f"{tool}({text.decode()})", msgspec.json.decode(text)


def _canonical(value: Any) -> Any:
    match value:
        case dict():
            return {name: _canonical(item) for name, item in value.items()}
        case list() | tuple():
            return [_canonical(item) for item in value]
        case float() if value.is_integer() and abs(value) <= EXACT_FLOAT_MAX:
            return int(value)
    return value


def note(key: str, *, in_documents: bool) -> str:
    """Return what a call gives whose result is pinned.

    Args:
        key: canonical form of the call.
        in_documents: whether the message of :meth:`Pins.documents` is in the history and has it.
    """
    quoted = encode_json(key).decode()
    text = (
        f"This tool result is already pinned in your context. Look for <pinned key={quoted}> in the pinned-documents "
        "block at the top of your conversation."
    )
    if not in_documents:
        text += " Until the conversation is compacted it is not there but where you called the tool."
    return encode_json({"pinned": True, "note": text}).decode()


def find_result(messages: Iterable[Message], key: str, key_of: Callable[[ToolUseBlock], str | None]) -> str | None:
    """Return the newest good result of a call that is in these messages; a note about a pin is none.

    Args:
        messages: a history.
        key: canonical form of the call.
        key_of: gives that of a call in the history.
    """
    good: dict[str, str] = {}
    for message in reversed(list(messages)):
        if isinstance(message.content, str):
            continue
        if message.role == "user":
            results = (block for block in message.content if isinstance(block, ToolResultBlock))
            good = {block.tool_use_id: block.content for block in results if not block.is_error}
            continue
        for call in reversed(tool_uses(message.content)):
            if call.id in good and key_of(call) == key and not _is_note(good[call.id], key):
                return good[call.id]
    return None


def _is_note(content: str, key: str) -> bool:
    return content in (note(key, in_documents=True), note(key, in_documents=False))


def _attribute(text: str) -> str:
    for character, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, escape)
    return text


_FENCE = re.compile("<(?=/?pinned)", re.IGNORECASE)


def _fenced(content: str) -> str:
    """Return a result that can neither end its element nor begin another: of those tags ``<`` becomes ``&lt;``."""
    return _FENCE.sub("&lt;", content)
