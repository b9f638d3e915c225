"""What has happened in a run, as entries of its log. From them alone a session is brought back to where it was.

Only what cannot be computed again is an entry: what came in, what workers answered, what was said of memories, what
became of tool calls with effects, which messages died. What morphisms make of a message, which messages a barrier
pairs, where a route leads: all of that follows, for between two entries a session does nothing but go on until nothing
moves. So the order of the entries is the order of everything.

The ids of messages follow, too: those that come into being by the n-th entry are drawn from n and the id of the session
in whose log the entry is, which of an inherited one is the ancestor (:class:`Emitted` is not counted: whoever takes the
output writes it).

Inside of tools nothing is an entry: a call is a part of its caller's message, and made again with it.

A payload is JSON text as it came, byte by byte. What is no JSON text, and was refused, is told in base64 instead, as
``garbled``; the payload is ``null`` then.
"""

from __future__ import annotations

__all__ = [
    "LINE_KEYS",
    "Answer",
    "Buried",
    "Called",
    "Closed",
    "Emitted",
    "Entered",
    "Finished",
    "Forgotten",
    "Given",
    "History",
    "Intended",
    "Ordered",
    "Paid",
    "Released",
    "Remembered",
    "Resumed",
    "Retried",
    "Said",
    "Steered",
    "Turn",
    "bytes_of",
    "decode_history",
    "encode_history",
    "text_of",
]

import binascii
from typing import TypeAlias

import msgspec


class Entered(msgspec.Struct, frozen=True, tag="input", tag_field="event", omit_defaults=True):
    """A message came in from outside.

    Attributes:
        port: of the boundary.
        payload: JSON text, as it came.
        ticket: by which the client knows it.
        key: by which another attempt to give the same message is known; empty: there is none.
        garbled: what is no JSON text.
    """

    port: str
    payload: msgspec.Raw
    ticket: int
    key: str = ""
    garbled: str | None = None


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """One thing that a worker sent for a message.

    Attributes:
        port: where.
        payload: JSON text, as it came.
        span: its id, 16 hexadecimal digits, if the worker gave it one.
        garbled: what is no JSON text.
    """

    port: str
    payload: msgspec.Raw
    span: str = ""
    garbled: str | None = None


class Turn(msgspec.Struct, frozen=True, tag="turn", tag_field="event", omit_defaults=True):
    """A worker is done with a message: what it consumed and what it made of it, at once.

    Attributes:
        node: of the graph.
        message: the id of what it consumed, 16 hexadecimal digits.
        outputs: in order.
        worker: which of several replicas.
        declined: why it made nothing of it: the message is a dead letter.
    """

    node: str
    message: str
    outputs: tuple[Answer, ...] = ()
    worker: str = ""
    declined: str = ""


class Released(msgspec.Struct, frozen=True, tag="early", tag_field="event", omit_defaults=True):
    """An output of a message went on before the worker was done with it, as its declaration says (``release``)."""

    node: str
    message: str
    answer: Answer
    worker: str = ""


class Given(msgspec.Struct, frozen=True, tag="given", tag_field="event"):
    """A worker is about to get a message that it must not get twice, for it cannot say when it is done."""

    node: str
    message: str


class Said(msgspec.Struct, frozen=True, tag="said", tag_field="event", omit_defaults=True):
    """A worker sent the graph something that belongs to no message, such as a reply on ctrl_out.

    Attributes:
        answers: number of the control message to which this is a reply; 0: to none.
    """

    node: str
    answer: Answer
    worker: str = ""
    answers: int = 0


class Ordered(msgspec.Struct, frozen=True, tag="order", tag_field="event"):
    """An operator has a control message for a worker: JSON text. The ticket is the request's."""

    worker: str
    payload: msgspec.Raw
    ticket: int


class Steered(msgspec.Struct, frozen=True, tag="steered", tag_field="event", omit_defaults=True):
    """Nothing more will come of a control message of the graph or an operator.

    Attributes:
        number: counts those for this worker, from 1.
        taken: whether the worker has said that it did what it was asked for.
    """

    worker: str
    number: int
    taken: bool = False


class Remembered(msgspec.Struct, frozen=True, tag="memory", tag_field="event"):
    """What an agent said of its memory, with nothing under way: JSON text of its reply. What was before is settled."""

    worker: str
    dump: msgspec.Raw


class Forgotten(msgspec.Struct, frozen=True, tag="forgotten", tag_field="event"):
    """A worker was started anew by hand: it knows nothing, and is set to nothing."""

    worker: str


class Paid(msgspec.Struct, frozen=True, tag="paid", tag_field="event", omit_defaults=True):
    """A worker has called a model. Each call is in one such entry, whatever becomes of the message.

    Attributes:
        usage: JSON text, as its telemetry told it.
        message: the id of what it was at, as far as the worker said it.
    """

    worker: str
    usage: msgspec.Raw
    message: str = ""


class Intended(msgspec.Struct, frozen=True, tag="intent", tag_field="event", omit_defaults=True):
    """A tool that has effects is about to be called.

    Attributes:
        worker: the caller.
        message: the id of what it is at.
        call: its id of the call, JSON text; the same when it is asked again for the same message.
        tool, arguments: what is called, with which JSON text.
        answer: what the model said that led to it and is in no entry before, as the agent told it: JSON text
            (:mod:`fabric.wire.recall`); ``null``: it told nothing.
        waits: whether it first has to be approved. When it was, there is another entry for it.
    """

    worker: str
    message: str
    call: msgspec.Raw
    tool: str
    arguments: msgspec.Raw
    answer: msgspec.Raw = msgspec.Raw(b"null")
    waits: bool = False


class Called(msgspec.Struct, frozen=True, tag="result", tag_field="event", omit_defaults=True):
    """What came of an intent: the response to the caller, JSON text, as it was sent."""

    worker: str
    message: str
    call: msgspec.Raw
    response: msgspec.Raw


class Buried(msgspec.Struct, frozen=True, tag="dead", tag_field="event", omit_defaults=True):
    """A message that waited for a worker, or was with it, is a dead letter.

    Attributes:
        cause: a ``DeathCause``; or ``lost``: it is no letter, for its worker may have done it.
    """

    node: str
    message: str
    cause: str
    detail: str
    attempts: int = 0
    stderr: tuple[str, ...] = ()


class Retried(msgspec.Struct, frozen=True, tag="retry", tag_field="event", omit_defaults=True):
    """A dead letter, or what somebody made of one, was given to its worker again."""

    node: str
    payload: msgspec.Raw
    ticket: int
    garbled: str | None = None


class Closed(msgspec.Struct, frozen=True, tag="closed", tag_field="event"):
    """A barrier or a merge takes nothing any more, for what leads there has ended. It holds until :class:`Resumed`."""

    node: str


class Emitted(msgspec.Struct, frozen=True, tag="emitted", tag_field="event", omit_defaults=True):
    """Whoever takes the output has got so many messages of it.

    Attributes:
        count: of all outputs, in the order in which they left the graph.
        size_bytes: how long the file was then, if it is one that can tell; else 0.
        file: which file, as ``device:inode``.
    """

    count: int
    size_bytes: int = 0
    file: str = ""


class Resumed(msgspec.Struct, frozen=True, tag="resumed", tag_field="event"):
    """The session was brought back from all that is before this. What had been closed is open again."""


class Finished(msgspec.Struct, frozen=True, tag="finished", tag_field="event"):
    """All that came was done, and nothing more was to come. Another run of the session goes on from here.

    It is not there if the session failed, was interrupted, or came to a limit: what was to come may still come.
    """

    exit_code: int


History: TypeAlias = (
    Entered
    | Turn
    | Released
    | Given
    | Said
    | Ordered
    | Steered
    | Remembered
    | Forgotten
    | Paid
    | Intended
    | Called
    | Buried
    | Retried
    | Closed
    | Emitted
    | Resumed
    | Finished
)
"""One entry."""

LINE_KEYS = "=line/"
"""How keys of lines of an input begin. Behind it is the line's number since that input began; 1 is a new one."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[History] = msgspec.json.Decoder(History)


def encode_history(entry: History) -> bytes:
    """Return an entry as JSON text: the body of an entry of the log."""
    return _encoder.encode(entry)


def decode_history(raw: bytes) -> History:
    """Return an entry.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decoder.decode(raw)


_raw_decoder = msgspec.json.Decoder(msgspec.Raw)
_NULL = msgspec.Raw(b"null")


def text_of(payload: bytes) -> tuple[msgspec.Raw, str | None]:
    """Return a payload as an entry has it, and what stands there for it if it is no JSON text."""
    try:
        if payload[:1] not in (b" ", b"\t", b"\r", b"\n") and payload[-1:] not in (b" ", b"\t", b"\r", b"\n"):
            if not payload.isascii():
                payload.decode()
            _raw_decoder.decode(payload)
            _raw_decoder.decode(b'[[{"":[%b]}]]' % payload)  # as deep as it will lie in an entry
            return msgspec.Raw(payload), None
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    return _NULL, binascii.b2a_base64(payload, newline=False).decode()


def bytes_of(raw: msgspec.Raw, garbled: str | None = None) -> bytes:
    """Return a payload of an entry.

    Raises:
        ValueError: ``garbled`` is no base64.
    """
    return bytes(raw) if garbled is None else binascii.a2b_base64(garbled, strict_mode=bool(garbled))
