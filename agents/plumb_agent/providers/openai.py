"""OpenAI's Chat Completions: the body of a request, and its stream of chunks as a reply.

Many servers speak it, and not all of it. The system prompt is one message, since the templates of many models have
room for one, at the beginning. What a model thinks, which some servers show as ``reasoning_content`` or ``reasoning``,
becomes a block, and is not sent back: no server takes it. What a server refuses by its name is left out, and that is
remembered: ``response_format``, ``stream_options``, and of the two names of the limit of tokens the wrong one.

A stream has ended well when its reason is known and either the usage or ``[DONE]`` has come: some servers send the one
without the other. A server that does not tell the usage is believed to have used as much as its text may have cost.

Source: OpenAI, API reference, "Create chat completion" and "Streaming events".
"""

from __future__ import annotations

__all__ = ["ESTIMATED_BYTES_PER_TOKEN", "HOME", "OpenAI", "OpenAIAssembler", "dialect_for"]

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from plumb_agent.messages import (
    Block,
    Message,
    Reply,
    Request,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Usage,
    text_of,
    tool_uses,
)
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.dialect import finish, malformed, read_arguments, read_json, stream_error, strict_schema

HOME = "https://api.openai.com"

ESTIMATED_BYTES_PER_TOKEN = 2
"""Where a server does not count. Mostly it is twice that; a budget is better spent too early than too late."""

_END = "[DONE]"

_STOPS: dict[str, StopReason] = {"length": "max_tokens", "content_filter": "refusal"}
"""Any other reason is the end of a turn: servers have words of their own for that."""

_BROKEN = ("error", "insufficient_system_resource")
"""Reasons with which servers give up in the middle."""

_STRUCTURED_WORDS = ("response_format", "structured output", "schema", "guided_json", "grammar")
"""What a refusal of the schema has in it. If it was of something else, it comes again."""


class OpenAI(msgspec.Struct, frozen=True):
    """The dialect of Chat Completions.

    Attributes:
        limit: what the limit of tokens is called. OpenAI's models want the newer word, others may know the older only.
        structured: whether the server is asked to hold the model to the output's schema.
        counted: whether the server is asked for the usage.
    """

    limit: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    structured: bool = True
    counted: bool = True

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return "openai"

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers of a request."""
        return {"authorization": f"Bearer {key}"}

    def body(self, request: Request) -> bytes:
        """Return the body of a request."""
        body: dict[str, Any] = {
            "model": request.model,
            self.limit: request.max_tokens,
            "stream": True,
            "messages": list(_messages(request)),
        }
        if self.counted:
            body["stream_options"] = {"include_usage": True}
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.input_schema,
                    },
                }
                for tool in request.tools
            ]
        schema = strict_schema(request.output_schema) if self.structured else None
        if schema is not None:
            format_ = {"name": "output", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": format_}
        return msgspec.json.encode(body)

    def assembler(self, request: Request) -> OpenAIAssembler:
        """Return what reads a stream."""
        return OpenAIAssembler(request)

    def whole(self, request: Request, data: bytes) -> Reply:
        """Read a completion that came in one piece: it has the shape of a chunk with everything in it."""
        assembler = OpenAIAssembler(request)
        assembler.take(read_json("openai", data, _Chunk))
        if not assembler.has_reason:
            raise malformed("openai", "a completion without a 'finish_reason'")
        assembler.end()
        return assembler.reply()

    def without(self, request: Request, words: str) -> OpenAI | None:
        """Do without what the words name, or call the limit by its other name."""
        words = words.lower()
        if self.counted and "stream_options" in words:
            return msgspec.structs.replace(self, counted=False)
        structured = self.structured and strict_schema(request.output_schema) is not None
        if structured and any(word in words for word in _STRUCTURED_WORDS):
            return msgspec.structs.replace(self, structured=False)
        if self.limit == "max_tokens" and "max_completion_tokens" in words:
            return msgspec.structs.replace(self, limit="max_completion_tokens")
        if self.limit == "max_completion_tokens" and "max_completion_tokens" in words:
            return msgspec.structs.replace(self, limit="max_tokens")
        return None


def dialect_for(url: str) -> OpenAI:
    """Return how to ask the server at a URL: OpenAI's own models want the newer name of the limit."""
    return OpenAI() if url.startswith(f"{HOME}/") else OpenAI(limit="max_tokens")


# --- Requests -----------------------------------------------------------------------------------------------------


def _messages(request: Request) -> Iterator[dict[str, Any]]:
    system = "\n\n".join(block.text for block in request.system if block.text)
    if system:
        yield {"role": "system", "content": system}
    for message in request.messages:
        yield from _message(message)


def _message(message: Message) -> Iterator[dict[str, Any]]:
    text = text_of(message.content)
    if message.role == "assistant":
        calls = [_call(block) for block in tool_uses(message.content)]
        yield {"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})
        return
    results = [] if isinstance(message.content, str) else [b for b in message.content if isinstance(b, ToolResultBlock)]
    for result in results:  # right behind the calls that they answer, and before anything else
        content = f"Error: {result.content}" if result.is_error else result.content
        yield {"role": "tool", "tool_call_id": result.tool_use_id, "content": content}
    if text or not results:
        yield {"role": "user", "content": text}


def _call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.input).decode()
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


# --- Answers ------------------------------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolPiece(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    """What a chunk adds, or all there is."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolPiece] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: _Usage | None = None
    error: Any = None


class _GrowingCall:
    """A call that comes in pieces."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.name = ""
        self.arguments: list[str] = []


class OpenAIAssembler:
    """Turns the chunks of a stream into a reply.

    Args:
        request: what is answered; its size is an estimate of what it cost, if the server does not say.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._started = False
        self._model = ""
        self._usage: _Usage | None = None
        self._thinking: list[str] = []
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[_GrowingCall] = []
        self._at: dict[int, _GrowingCall] = {}
        self._reason: str | None = None
        self._ended = False

    @property
    def done(self) -> bool:
        """Whether the stream has said that it ends."""
        return self._ended

    @property
    def has_reason(self) -> bool:
        """Whether it is known why the answer ends."""
        return self._reason is not None

    def feed(self, event: str, data: str) -> None:
        """Take an event."""
        if self._ended or not data:
            return
        if data.strip() == _END:
            self.end()
        elif event == "error":
            raise self._error(data)
        else:
            self.take(read_json("openai", data, _Chunk))

    def take(self, chunk: _Chunk) -> None:
        """Take a chunk."""
        if chunk.error is not None:
            raise stream_error("openai", chunk.error, started=self._started)
        self._model = chunk.model or self._model
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices or ():
            said = choice.delta or choice.message
            if choice.index != 0:  # one answer was asked for
                continue
            self._started = True
            if said is not None:
                self._add(said)
            self._reason = choice.finish_reason or self._reason

    def end(self) -> None:
        """Take that there is no more."""
        self._ended = True

    def reply(self) -> Reply:
        """Return the reply."""
        if not self._started:
            text = "openai sent a stream with nothing in it"
            raise ProviderFailed(text, code="stream_empty", transient=True)
        if self._reason is None or not (self._ended or self._usage is not None):
            raise ProviderFailed(
                "openai's answer was cut off before its end", code="stream_cut", transient=True, usage="all"
            )
        if self._reason in _BROKEN:
            text = f"openai's answer was given up in the middle: {self._reason}"
            raise ProviderFailed(text, code="stream_cut", transient=True, usage="all")
        stop = _STOPS.get(self._reason, "end_turn")
        usage = self._count()
        if self._refusal:
            return finish("openai", [TextBlock("".join(self._refusal))], "refusal", usage, self._model)
        blocks: list[Block] = [ThinkingBlock("".join(self._thinking)), TextBlock("".join(self._text))]
        blocks += self._tool_uses(stop, usage)
        return finish("openai", blocks, stop, usage, self._model)

    def _add(self, said: _Said) -> None:
        thought = said.reasoning_content or said.reasoning
        for piece, pieces in ((thought, self._thinking), (said.content, self._text), (said.refusal, self._refusal)):
            if piece:
                pieces.append(piece)
        for number, call in enumerate(said.tool_calls or ()):
            self._add_call(call, number)

    def _add_call(self, piece: _ToolPiece, number: int) -> None:
        """Add to the call of that index. A further id is a further call: some servers give all of them the index 0."""
        index = number if piece.index is None else piece.index
        call = self._at.get(index)
        if call is None or (piece.id and call.id and piece.id != call.id):
            call = self._at[index] = _GrowingCall(piece.id or "")
            self._calls.append(call)
        call.id = call.id or piece.id or ""
        if piece.function is not None:
            call.name = call.name or piece.function.name or ""
            call.arguments.append(piece.function.arguments or "")

    def _tool_uses(self, stop: StopReason, usage: Usage) -> Iterator[ToolUseBlock]:
        for number, call in enumerate(self._calls):
            arguments = read_arguments("".join(call.arguments), cut=stop == "max_tokens")
            if arguments is not None and call.name:
                yield ToolUseBlock(call.id or f"call_{number}", call.name, arguments)
            elif stop != "max_tokens":  # the limit may cut through a call; such a call is none
                what = f"a call of {call.name!r} whose arguments are no JSON object" if call.name else "a nameless call"
                raise malformed("openai", what, usage=usage)

    def _error(self, data: str) -> ProviderFailed:
        try:
            error = read_json("openai", data, _Chunk).error or data
        except ProviderFailed:
            error = data
        return stream_error("openai", error, started=self._started)

    def _count(self) -> Usage:
        usage = self._usage
        if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return self._estimate()
        cached = usage.prompt_tokens_details or _Cached()
        read, created = cached.cached_tokens or 0, cached.cache_write_tokens or 0
        return Usage(usage.prompt_tokens, usage.completion_tokens, read, created)

    def _estimate(self) -> Usage:
        sent = len(OpenAI().body(self._request))
        pieces = (self._thinking, self._text, self._refusal, *(call.arguments for call in self._calls))
        came = sum(len(part.encode()) for piece in pieces for part in piece)
        completion = min(came // ESTIMATED_BYTES_PER_TOKEN + 1, self._request.max_tokens)
        return Usage(sent // ESTIMATED_BYTES_PER_TOKEN + 1, completion)
