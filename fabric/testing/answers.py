"""What a scripted model is asked and what it says, as data, whichever API it is asked by.

An answer is written as short as can be: any JSON value is answered as its JSON text, which is what an agent expects of
a model. What is no value has a name: :class:`Text`, :class:`Thinking`, :class:`Call`, :class:`Answer` for several of
them, :class:`Failure`, :class:`Cut`.
"""

from __future__ import annotations

__all__ = [
    "Answer",
    "Call",
    "Cut",
    "Failure",
    "ModelRequest",
    "Reply",
    "StopReason",
    "Text",
    "Thinking",
    "Turn",
    "estimate_tokens",
    "pieces",
    "read_answer",
]

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import msgspec

from fabric.errors import ValueRejected
from fabric.wire.payload import encode_json

StopReason: TypeAlias = Literal["end_turn", "max_tokens", "refusal"]
"""Why an answer ends, where that is not plain: it was cut off at the limit of tokens, or the model declines."""

CHARS_PER_TOKEN = 4
"""Of counts that nobody scripted. They are the same in every run, and about what a tokenizer says of English."""

PIECE_CHARS = 12
"""Of a piece of a stream. Models send a few tokens each; so no client gets away with reading the first one."""


# --- What is asked ----------------------------------------------------------------------------------------------------


class ModelRequest(msgspec.Struct, frozen=True):
    """A request as it came.

    Attributes:
        provider: by whose API: ``anthropic`` or ``openai``.
        agent: which agent of the program asks; empty if it is no agent of ours.
        model: by name.
        system: the system prompt.
        prompt: text of the newest message of the user that has some.
        results: what came of the tools that were called last, as text; none unless the newest message brings them.
        tools: what the model may call, by name.
        stream: whether the answer is to come in pieces.
        calls: how many calls of tools there are in the conversation so far.
        body: all of it, as it was sent.
        headers: that say nothing of who asks: there is no key in them.
    """

    provider: Literal["anthropic", "openai"]
    agent: str
    model: str
    system: str
    prompt: str
    results: tuple[str, ...]
    tools: tuple[str, ...]
    stream: bool
    calls: int
    body: dict[str, Any]
    headers: dict[str, str]


# --- What is said -----------------------------------------------------------------------------------------------------


class Text(msgspec.Struct, frozen=True):
    """Characters as they are, JSON or not, instead of the JSON text of a value."""

    text: str


class Thinking(msgspec.Struct, frozen=True):
    """What the model thinks before it answers."""

    text: str


class Call(msgspec.Struct, frozen=True):
    """A call of a tool. The request that brings its result is the next one of that agent."""

    name: str
    arguments: dict[str, Any] = {}


class Answer:
    """An answer of several parts, or one whose usage or end matters.

    Args:
        parts: in order: values, ``Text``, ``Thinking``, ``Call``.
        stop: why it ends, if not because it is done.
        input_tokens, output_tokens: what it used; estimated if not given.
        cached_tokens: of the input, read from the provider's cache.
    """

    def __init__(
        self,
        *parts: Any,
        stop: StopReason = "end_turn",
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int = 0,
    ) -> None:
        self.parts = parts
        self.stop: StopReason = stop
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.cached_tokens = cached_tokens


class Failure(msgspec.Struct, frozen=True):
    """An error instead of an answer.

    Attributes:
        status: of HTTP. 429, 500 and above are tried again by clients, other ones are not.
        message: in words.
        retry_after_s: how long the client is asked to wait.
    """

    status: int
    message: str = "scripted failure"
    retry_after_s: float | None = None


class Cut(msgspec.Struct, frozen=True):
    """An answer whose connection ends in the middle.

    Attributes:
        answer: what it would have been.
        events: how many events of the stream arrive; half of them if not given.
    """

    answer: Any = Text("It was a dark and stormy night; the rain fell in torrents, except at occasional intervals.")
    events: int | None = None


# --- Read -------------------------------------------------------------------------------------------------------------


class Turn(msgspec.Struct, frozen=True):
    """An answer, ready to be written in any API. ``cut`` is after how many events it ends, ``-1``: after half."""

    parts: tuple[Text | Thinking | Call, ...]
    stop: StopReason
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cut: int | None = None


Reply: TypeAlias = Turn | Failure


def read_answer(answer: Any, request: ModelRequest) -> Reply:
    """Return what an answer of a script means for a request.

    Raises:
        TypeError: it is none.
    """
    match answer:
        case Failure():
            return answer
        case Cut(inner, events):
            turn = read_answer(inner, request)
            if isinstance(turn, Failure):
                raise TypeError("a Failure cannot be Cut: it has no stream")
            return msgspec.structs.replace(turn, cut=-1 if events is None else events)
        case Answer():
            return _turn(answer, request)
        case list() if answer and all(isinstance(item, Call) for item in answer):
            return _turn(Answer(*answer), request)
    return _turn(Answer(answer), request)


def _turn(answer: Answer, request: ModelRequest) -> Turn:
    parts = tuple(_part(part) for part in answer.parts)
    if not parts:
        raise TypeError("an Answer needs at least one part")
    asked, said = answer.input_tokens, answer.output_tokens
    return Turn(
        parts,
        answer.stop,
        estimate_tokens(request.body) if asked is None else asked,
        sum(map(_tokens, parts)) if said is None else said,
        answer.cached_tokens,
    )


def _part(part: Any) -> Text | Thinking | Call:
    if isinstance(part, Text | Thinking | Call):
        return part
    try:
        return Text(encode_json(part).decode())
    except (ValueRejected, TypeError) as error:
        names = "a JSON value, Text, Thinking, Call, Answer, Failure or Cut"
        raise TypeError(f"an answer is {names}; got a {type(part).__name__}: {error}") from None


def _tokens(part: Text | Thinking | Call) -> int:
    return estimate_tokens(part.arguments if isinstance(part, Call) else part.text)


def estimate_tokens(value: Any) -> int:
    """Return about how many tokens a text, or a JSON value, is; at least one."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return max(1, len(text) // CHARS_PER_TOKEN)


def pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces; nothing of it is left out."""
    yield from (text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS))
