"""What a user's function may say of the message that it is at.

A worker does one message at a time, so there is one place that knows which: :class:`Work`. Its worker puts it into the
context of its task once, and only changes what is in it, since that costs a message nothing. Tasks that the function
starts inherit the context, and so do threads of ``trio.to_thread``. Other threads do not, such as those of
``threading`` and ``concurrent.futures``, unless they are given it with ``contextvars.copy_context().run``.
"""

from __future__ import annotations

__all__ = ["NO_MESSAGE", "Message", "MessageFailed", "Work", "at_work", "fail", "log", "message", "telemetry"]

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, NoReturn

import msgspec

from fabric.errors import FabricError
from fabric.wire.codec import Question
from fabric.wire.payload import encode_json

_STDERR = 2
_TRACE_AT = 1  # in what an answer repeats of a message; flags are before it


NO_MESSAGE = Question(b"", b"", b"")
"""What a worker is at before the first, and behind the last."""


class Message(msgspec.Struct, frozen=True):
    """The message that a function is at.

    Attributes:
        trace_id: 32 hexadecimal digits, the same for all that comes of one input of the program.
        span_id: 16 digits, of this message alone. It has the same one when it is tried again behind a crash: so who
            does something outside that must not be done twice can see that it was.

    Both are empty by hand, with ``frames: "bare"``, and outside of a worker.
    """

    trace_id: str = ""
    span_id: str = ""


class MessageFailed(FabricError):
    """The function says that it cannot do this message: raised by :func:`fail`."""

    code = "message_failed"


class Work:
    """What a worker is at.

    Args:
        report: sends telemetry of a message; ``None``: the worker has no port for it.

    Attributes:
        question: the message; between two the last one.
    """

    __slots__ = ("_thread", "question", "report")

    def __init__(self, report: Callable[[Question, bytes], None] | None = None) -> None:
        self.question = NO_MESSAGE
        self.report = report
        self._thread = threading.get_ident()

    @property
    def is_of_this_thread(self) -> bool:
        """Whether its sockets may be used here."""
        return self._thread == threading.get_ident()


_work: ContextVar[Work] = ContextVar("work")
_nowhere = Work()
_at_work: set[Work] = set()
"""What the workers of this process are at: with any of them, who does not know of one is in a thread of its own."""


@contextlib.contextmanager
def at_work(work: Work) -> Iterator[None]:
    """Let the functions below speak of this work in here, and in what is started here."""
    token = _work.set(work)
    _at_work.add(work)
    try:
        yield
    finally:
        _at_work.discard(work)
        _work.reset(token)


def message() -> Message:
    """Return which message this is: an empty one in a thread that does not know, see above."""
    question = _work.get(_nowhere).question
    return Message(question.origin[_TRACE_AT:].hex(), question.span_id.hex())


def telemetry(kind: str, **fields: Any) -> None:
    """Report something about the work: ``{"kind": kind, ...}`` on the worker's port ``telemetry``.

    It belongs to the message: what a worker that dies has said of one that it did not finish is not passed on. Where
    the program does not use that port it is a log line of level debug.

    Raises:
        RuntimeError: in a thread that the function started. In one of ``trio.to_thread`` call it with
            ``trio.from_thread.run_sync``; any other does not know of which message it speaks.
        TypeError: JSON cannot say the fields.
    """
    work = _work.get(_nowhere)
    if work is _nowhere and _at_work:
        raise RuntimeError(
            "telemetry() was called in a thread that does not know the message: start it with"
            " trio.to_thread.run_sync(...), and there use trio.from_thread.run_sync(telemetry, ...)"
        )
    if work.report is None:
        log("telemetry", "debug", kind=kind, **fields)
        return
    if not work.is_of_this_thread:
        raise RuntimeError("telemetry() was called in another thread: use trio.from_thread.run_sync(...) there")
    work.report(work.question, encode_json({"kind": kind, **fields}))


def log(event: str, level: Literal["debug", "info", "warning", "error"] = "info", **fields: Any) -> None:
    """Write a log line to stderr: ``{"log": level, "event": event, ..., "trace": the message's trace id}``.

    Those of level debug are written if ``PIPELINE_DEBUG`` is 1. May be called in any thread.

    Raises:
        TypeError: JSON cannot say the fields.
    """
    if level == "debug" and os.environ.get("PIPELINE_DEBUG") != "1":
        return
    line = {"log": level, "event": event, **fields}
    trace_id = message().trace_id
    if trace_id:
        line["trace"] = trace_id
    with contextlib.suppress(OSError):  # nobody reads it: that is no reason to fail
        os.write(_STDERR, encode_json(line) + b"\n")


def fail(why: str) -> NoReturn:
    """Give this message up. In a tool the call is answered with the reason; elsewhere the message is a dead letter.

    It is not tried again. What was yielded for it before does not count.

    Raises:
        MessageFailed: always.
    """
    raise MessageFailed(why)
