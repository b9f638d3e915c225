"""Anthropic's Messages API: the body of a request, and its stream of events as a reply.

Two places of a request are marked for the provider's cache: the system prompt up to its ``cache_break``, and the end of
a conversation that has gone on for a while, so that the next call reads what this one wrote. The second is left out
behind a system prompt that changes with each call, since a cache holds beginnings.

Event types, kinds of blocks and kinds of deltas that are not known are passed over: the API's versioning policy says
that there may be new ones.

Source: Anthropic, API reference, "Create a Message" and "Streaming Messages".
"""

from __future__ import annotations

__all__ = ["HOME", "Anthropic", "AnthropicAssembler"]

from collections.abc import Mapping
from typing import Any

import msgspec

from plumb_agent.messages import (
    Block,
    Content,
    Message,
    RedactedThinkingBlock,
    Reply,
    Request,
    StopReason,
    SystemBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
)
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.dialect import finish, malformed, read_arguments, read_json, stream_error, strict_schema

HOME = "https://api.anthropic.com"
_VERSION = "2023-06-01"
_CACHE = {"type": "ephemeral"}
_CACHE_BREAKS_MAX = 3
"""In the system prompt. The API takes four; the fourth is for the conversation."""

_STOPS: dict[str, StopReason] = {
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "refusal": "refusal",
}
"""Any other reason is the end of a turn; also ``pause_turn``, which says: send it back and I go on. If what there is of
the answer does not fit, that is what the conversation does."""

_STRUCTURED_WORDS = ("output_config", "output_format", "output format", "structured output", "schema")
"""What a refusal of the schema has in it. If it was of something else, it comes again."""


class Anthropic(msgspec.Struct, frozen=True):
    """The dialect of the Messages API.

    Attributes:
        structured: whether the server is asked to hold the model to the output's schema.
    """

    structured: bool = True

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return "anthropic"

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers of a request."""
        return {"x-api-key": key, "anthropic-version": _VERSION}

    def body(self, request: Request) -> bytes:
        """Return the body of a request."""
        body: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_tokens,
            "stream": True,
            "messages": _messages(request),
        }
        if request.system:
            body["system"] = _system(request.system)
        if request.tools:
            body["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
                for tool in request.tools
            ]
        if request.thinking_budget is not None:
            body["thinking"] = {"type": "enabled", "budget_tokens": request.thinking_budget}
        elif request.temperature is not None:  # the API takes none from a model that thinks
            body["temperature"] = request.temperature
        schema = strict_schema(request.output_schema) if self.structured else None
        if schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return msgspec.json.encode(body)

    def assembler(self, request: Request) -> AnthropicAssembler:
        """Return what reads a stream."""
        return AnthropicAssembler()

    def whole(self, request: Request, data: bytes) -> Reply:
        """Read a message that came in one piece."""
        message = read_json("anthropic", data, _Whole)
        if message.type == "error" or message.error is not None:
            raise stream_error("anthropic", message.error, started=False)
        if message.stop_reason is None:
            raise malformed("anthropic", "a message without a 'stop_reason'")
        assembler = AnthropicAssembler()
        assembler.start(message)
        for index, block in enumerate(message.content):
            assembler.open_block(index, block)
        assembler.stop(message.stop_reason, message.usage, message.stop_details)
        assembler.end()
        return assembler.reply()

    def without(self, request: Request, words: str) -> Anthropic | None:
        """Do without the schema, if there was one and it is what the server did not take."""
        if not self.structured or strict_schema(request.output_schema) is None:
            return None
        return Anthropic(structured=False) if any(word in words.lower() for word in _STRUCTURED_WORDS) else None


# --- Requests -----------------------------------------------------------------------------------------------------


def _system(blocks: tuple[SystemBlock, ...]) -> list[dict[str, Any]]:
    breaks = [number for number, block in enumerate(blocks) if block.cache_break][-_CACHE_BREAKS_MAX:]
    return [
        {"type": "text", "text": block.text} | ({"cache_control": _CACHE} if number in breaks else {})
        for number, block in enumerate(blocks)
        if block.text.strip()  # the API takes no empty text
    ]


def _messages(request: Request) -> list[dict[str, Any]]:
    messages = [_message(message) for message in request.messages]
    steady = not request.system or request.system[-1].cache_break
    if len(messages) > 1 and steady:
        content = messages[-1]["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if content:
            content[-1] = content[-1] | {"cache_control": _CACHE}
            messages[-1]["content"] = content
    return messages


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": _content(message.content)}


def _content(content: Content) -> Any:
    if isinstance(content, str):
        return content
    return [msgspec.to_builtins(block) for block in content if not _is_foreign(block)]


def _is_foreign(block: Block) -> bool:
    """Whether the API would not take a block back: no text, or thinking of somebody else, which nobody signed."""
    match block:
        case TextBlock(text):
            return not text.strip()
        case ThinkingBlock(_, signature):
            return not signature
    return False


# --- Answers ------------------------------------------------------------------------------------------------------


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _StopDetails(msgspec.Struct):
    explanation: str | None = None


class _Piece(msgspec.Struct):
    """A block, at its start or whole."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str | None = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Any = None


class _Message(msgspec.Struct):
    model: str = ""
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Whole(_Message):
    type: str = "message"
    content: list[_Piece] = []
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None
    error: Any = None


class _Typed(msgspec.Struct):
    type: str


class _MessageStart(msgspec.Struct):
    message: _Message


class _BlockStart(msgspec.Struct):
    index: int
    content_block: _Piece


class _Change(msgspec.Struct):
    type: str
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""


class _BlockDelta(msgspec.Struct):
    index: int
    delta: _Change


class _Stop(msgspec.Struct):
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None


class _MessageDelta(msgspec.Struct):
    delta: _Stop
    usage: _Usage | None = None


class _Error(msgspec.Struct):
    error: Any = None


class _Growing:
    """A block that comes in pieces."""

    def __init__(self, start: _Piece) -> None:
        self.start = start
        self.text: list[str] = [start.thinking if start.type == "thinking" else start.text]
        self.json: list[str] = []
        self.signature = start.signature or ""


class AnthropicAssembler:
    """Turns the events of a stream into a reply."""

    def __init__(self) -> None:
        self._started = False
        self._model = ""
        self._usage: dict[str, int] = {}
        self._blocks: dict[int, _Growing] = {}
        self._stop: str | None = None
        self._explanation = ""
        self._ended = False

    @property
    def done(self) -> bool:
        """Whether the message has ended."""
        return self._ended

    def feed(self, event: str, data: str) -> None:
        """Take an event. What it is is said by its data, too, and that is what counts."""
        if self._ended or (not data and event != "error"):
            return
        kind = "error" if event == "error" else read_json("anthropic", data, _Typed).type
        if kind == "error":
            raise self._error(data)
        if kind == "message_start":
            self.start(read_json("anthropic", data, _MessageStart).message)
        elif kind in _AFTER_START and not self._started:
            raise malformed("anthropic", f"an event {kind!r} before 'message_start'")
        elif kind == "content_block_start":
            start = read_json("anthropic", data, _BlockStart)
            self.open_block(start.index, start.content_block)
        elif kind == "content_block_delta":
            self._grow(read_json("anthropic", data, _BlockDelta))
        elif kind == "message_delta":
            delta = read_json("anthropic", data, _MessageDelta)
            self.stop(delta.delta.stop_reason, delta.usage, delta.delta.stop_details)
        elif kind == "message_stop":
            self.end()

    def start(self, message: _Message) -> None:
        """Take what is known of a message from its start."""
        self._started = True
        self._model = message.model
        self._count(message.usage)

    def open_block(self, index: int, start: _Piece) -> None:
        """Take a block, or its start."""
        self._blocks[index] = _Growing(start)

    def stop(self, reason: str | None, usage: _Usage | None, details: _StopDetails | None) -> None:
        """Take why a message ends, and what it cost."""
        if reason is not None:
            self._stop = reason
        if usage is not None:
            self._count(usage)
        if details is not None and details.explanation:
            self._explanation = details.explanation

    def end(self) -> None:
        """Take that a message has ended."""
        if self._stop is None:
            raise malformed("anthropic", "a message that ends without a 'stop_reason'")
        self._ended = True

    def reply(self) -> Reply:
        """Return the reply."""
        if not self._started:
            text = "anthropic sent a stream with nothing in it"
            raise ProviderFailed(text, code="stream_empty", transient=True)
        if not self._ended:
            text = "anthropic's answer was cut off before its end"
            raise ProviderFailed(text, code="stream_cut", transient=True, usage="all")
        stop = _STOPS.get(self._stop or "", "end_turn")
        usage = _read_usage(self._usage)
        blocks = [block for index in sorted(self._blocks) if (block := self._block(index, stop, usage)) is not None]
        if stop == "refusal" and self._explanation and not blocks:
            blocks = [TextBlock(self._explanation)]
        return finish("anthropic", blocks, stop, usage, self._model)

    def _grow(self, delta: _BlockDelta) -> None:
        block = self._blocks.get(delta.index)
        if block is None:
            raise malformed("anthropic", f"a piece of block {delta.index}, which has not begun")
        change = delta.delta
        match change.type:
            case "text_delta":
                block.text.append(change.text)
            case "thinking_delta":
                block.text.append(change.thinking)
            case "input_json_delta":
                block.json.append(change.partial_json)
            case "signature_delta":
                block.signature = change.signature

    def _block(self, index: int, stop: StopReason, usage: Usage) -> Block | None:
        block = self._blocks[index]
        start = block.start
        match start.type:
            case "text":
                return TextBlock("".join(block.text))
            case "thinking":
                return ThinkingBlock("".join(block.text), block.signature)
            case "redacted_thinking":
                return RedactedThinkingBlock(start.data)
            case "tool_use":
                text = "".join(block.json)
                if isinstance(start.input, dict) and start.input:  # a message in one piece
                    return ToolUseBlock(start.id, start.name, start.input)
                arguments = read_arguments(text, cut=stop == "max_tokens")
                if arguments is not None:
                    return ToolUseBlock(start.id, start.name, arguments)
                if stop != "max_tokens":  # the limit may cut through a call; such a call is none
                    what = f"the arguments of a call of {start.name!r} are no JSON object"
                    raise malformed("anthropic", what, usage=usage)
        return None

    def _error(self, data: str) -> ProviderFailed:
        try:
            error = read_json("anthropic", data, _Error).error
        except ProviderFailed:
            error = data
        return stream_error("anthropic", error, started=self._started)

    def _count(self, usage: _Usage) -> None:
        """Take counts. They are of the whole message so far; those that are not told stay."""
        self._usage |= {name: count for name, count in msgspec.structs.asdict(usage).items() if count is not None}


_AFTER_START = ("content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop")


def _read_usage(counts: Mapping[str, int]) -> Usage:
    """Return the usage; the API counts what it has cached apart from the other input."""
    read = counts.get("cache_read_input_tokens", 0)
    created = counts.get("cache_creation_input_tokens", 0)
    return Usage(counts.get("input_tokens", 0) + read + created, counts.get("output_tokens", 0), read, created)
