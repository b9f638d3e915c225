"""What a conversation and a provider say to each other, whichever the provider is.

Nothing above ``providers/`` knows more of a provider than this. All of it is frozen.
"""

from __future__ import annotations

__all__ = [
    "Block",
    "Content",
    "History",
    "Message",
    "RedactedThinkingBlock",
    "Reply",
    "Request",
    "Role",
    "StopReason",
    "SystemBlock",
    "TextBlock",
    "ThinkingBlock",
    "Tool",
    "ToolResultBlock",
    "ToolUseBlock",
    "Usage",
    "text_of",
    "tool_uses",
]

from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias

import msgspec

Role: TypeAlias = Literal["user", "assistant"]


class TextBlock(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    """A piece of text."""

    text: str


class ThinkingBlock(msgspec.Struct, frozen=True, tag="thinking", tag_field="type"):
    """What the model thought. It goes back as it is: the provider checks the signature."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(msgspec.Struct, frozen=True, tag="redacted_thinking", tag_field="type"):
    """What the model thought, encrypted by the provider. It goes back as it is."""

    data: str


class ToolUseBlock(msgspec.Struct, frozen=True, tag="tool_use", tag_field="type"):
    """The model calls a tool. ``id`` is of the provider's choice; the result repeats it."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(msgspec.Struct, frozen=True, tag="tool_result", tag_field="type"):
    """What came of a call, as text; with ``is_error`` why nothing did."""

    tool_use_id: str
    content: str
    is_error: bool = False


Block: TypeAlias = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
"""What a message is made of. The names are those of the Messages API, which has all of them."""

Content: TypeAlias = str | tuple[Block, ...]


class Message(msgspec.Struct, frozen=True):
    """One turn. A user's ``content`` is the JSON text of the input; a model's are the blocks of its reply."""

    role: Role
    content: Content


def text_of(content: Content) -> str:
    """Return all text of a message, without what is not text."""
    return content if isinstance(content, str) else "".join(b.text for b in content if isinstance(b, TextBlock))


def tool_uses(content: Content) -> tuple[ToolUseBlock, ...]:
    """Return the calls of tools in a message, in order."""
    return () if isinstance(content, str) else tuple(b for b in content if isinstance(b, ToolUseBlock))


class History:
    """A sequence of messages that grows at its end, in constant time, and never changes.

    Histories that grew out of each other share one list. ``appended`` adds to it if nobody did so before, and copies
    otherwise; so a retry, which forks the history, costs a copy, and an ordinary turn costs nothing.
    """

    __slots__ = ("_items", "_length")

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._items = list(messages)
        self._length = len(self._items)

    def appended(self, *messages: Message) -> History:
        """Return the longer history; this one stays as it is."""
        longer = History.__new__(History)
        longer._items = self._items if len(self._items) == self._length else self._items[: self._length]
        longer._items.extend(messages)
        longer._length = len(longer._items)
        return longer

    def since(self, earlier: History | None) -> tuple[Message, ...] | None:
        """Return the messages after ``earlier`` if this history surely continues it, otherwise ``None``."""
        if earlier is None or earlier._items is not self._items or earlier._length > self._length:
            return None
        return tuple(self._items[earlier._length : self._length])

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Message]:
        return iter(self._items[: self._length])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"History({list(self)!r})"


class SystemBlock(msgspec.Struct, frozen=True):
    """A part of the system prompt. With ``cache_break`` a provider may cache everything up to here."""

    text: str
    cache_break: bool = False


class Tool(msgspec.Struct, frozen=True):
    """A tool, as a model is told of it.

    Attributes:
        name: letters, digits, ``_`` and ``-``, 64 at most: what every provider takes.
        description: what it is for.
        input_schema: JSON Schema of an object.
    """

    name: str
    description: str
    input_schema: dict[str, Any]


class Request(msgspec.Struct, frozen=True):
    """One call of a model.

    Attributes:
        system: parts of the system prompt, in order.
        messages: ends with a message of the user.
        input: JSON text of the input that is being answered, whatever was said about it since.
        model: name, as the provider knows it.
        temperature: ``None``: whatever the provider does.
        max_tokens: of the reply, thinking included.
        thinking_budget: of ``max_tokens``, for thinking; ``None``: no thinking.
        output_schema: JSON Schema of the value that is wanted, for a provider that can enforce one.
        tools: what the model may call.
    """

    system: tuple[SystemBlock, ...]
    messages: History
    input: str
    model: str
    temperature: float | None = None
    max_tokens: int = 8192
    thinking_budget: int | None = None
    output_schema: dict[str, Any] = {}
    tools: tuple[Tool, ...] = ()


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call, counted by the provider. Cached ones are part of ``prompt_tokens``."""

    prompt_tokens: int
    completion_tokens: int
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0


StopReason: TypeAlias = Literal["end_turn", "tool_use", "max_tokens", "refusal"]
"""Why a model stopped: it was done; it waits for its tools; the limit of tokens cut it off; it will not answer."""


class Reply(msgspec.Struct, frozen=True):
    """What a model answered. A provider that streams returns it when the stream has ended.

    Attributes:
        model: which one did, as the provider says; empty if it does not.
        status: of the HTTP response.
    """

    blocks: tuple[Block, ...]
    usage: Usage
    stop_reason: StopReason = "end_turn"
    model: str = ""
    status: int = 200
