"""What has happened in a run, as entries of its log. From them alone a session is brought back to where it was.

Only what cannot be computed again is an entry: what came in, what workers answered, what was said of memories, what
became of tool calls with effects, which messages died. What morphisms make of a message, which messages a barrier
pairs, where a route leads: all of that follows, for between two entries a session does nothing but go on until nothing
moves. So the order of the entries is the order of everything.

The ids of messages follow, too: those that come into being by the n-th entry are drawn from the session's id and n.
"""

from __future__ import annotations

__all__ = [
    "Answer",
    "Buried",
    "Called",
    "Emitted",
    "Entered",
    "Finished",
    "History",
    "Intended",
    "Remembered",
    "Retried",
    "Said",
    "Turn",
    "decode_history",
    "encode_history",
]

from typing import TypeAlias

import msgspec


class Entered(msgspec.Struct, frozen=True, tag="input", tag_field="event", omit_defaults=True):
    """A message came in from outside.

    Attributes:
        port: of the boundary.
        payload: JSON text, as it came.
        ticket: by which the client knows it.
        key: by which another attempt to give the same message is known; empty: there is none.
    """

    port: str
    payload: msgspec.Raw
    ticket: int
    key: str = ""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """One thing that a worker sent for a message.

    Attributes:
        port: where.
        payload: JSON text, as it came.
        span: its id, 16 hexadecimal digits, if the worker gave it one.
    """

    port: str
    payload: msgspec.Raw
    span: str = ""


class Turn(msgspec.Struct, frozen=True, tag="turn", tag_field="event", omit_defaults=True):
    """A worker is done with a message: what it consumed and what it made of it, at once.

    Attributes:
        node: of the graph.
        message: the id of what it consumed, 16 hexadecimal digits.
        outputs: in order.
        worker: which of several replicas.
        declined: why it made nothing of it.
        usage: what it has paid for since its last turn: one object for each call of a model, as its telemetry told it.
    """

    node: str
    message: str
    outputs: tuple[Answer, ...] = ()
    worker: str = ""
    declined: str = ""
    usage: tuple[msgspec.Raw, ...] = ()


class Said(msgspec.Struct, frozen=True, tag="said", tag_field="event", omit_defaults=True):
    """A worker sent something that belongs to no message, such as a reply on ctrl_out."""

    node: str
    answer: Answer
    worker: str = ""


class Remembered(msgspec.Struct, frozen=True, tag="memory", tag_field="event"):
    """What an agent said of its memory, with nothing under way: JSON text of its reply. What was before is settled."""

    worker: str
    dump: msgspec.Raw


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
    """A message that waited for a worker is a dead letter."""

    node: str
    message: str
    cause: str
    detail: str
    attempts: int = 0


class Retried(msgspec.Struct, frozen=True, tag="retry", tag_field="event"):
    """A dead letter, or what somebody made of one, was given to its worker again."""

    node: str
    payload: msgspec.Raw
    ticket: int


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


class Finished(msgspec.Struct, frozen=True, tag="finished", tag_field="event"):
    """The session has ended with this exit code. Another run of it goes on from here."""

    exit_code: int


History: TypeAlias = Entered | Turn | Said | Remembered | Intended | Called | Buried | Retried | Emitted | Finished
"""One entry."""

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
