"""A worker's exit that was none, in words: what happened, when, and what it said."""

from __future__ import annotations

__all__ = ["STDERR_LINES_KEPT", "Failure", "LastWords", "describe_exit", "last_words", "name_of", "quoted"]

from typing import NamedTuple

import msgspec

from fabric.errors import ValueRejected
from fabric.wire.lifecycle import BROKE_OFF
from fabric.wire.payload import decode_json

STDERR_LINES_KEPT = 20
"""Last lines of a worker that are told when it fails."""


PROVIDER_UNAVAILABLE = "provider_unavailable"
"""What an agent says whose provider cannot be reached, or is overloaded, however often it was asked."""


class Failure(msgspec.Struct, frozen=True):
    """Why a session ends: the exit code, a word for programs, the text for people."""

    exit_code: int
    code: str
    message: str


def describe_exit(worker: str, status: int, stderr: tuple[str, ...], *, before: str | None, unanswered: int) -> Failure:
    """Return the failure that an exit means.

    Args:
        worker: its name.
        status: its exit status, or the negative number of the signal that ended it.
        stderr: its last lines.
        before: what it had not reached yet, as in "it was ready"; None if it had been at work.
        unanswered: messages that it leaves behind.
    """
    code, said, _ = last_words(stderr)
    if before is not None and status == 2 and code:  # it knows best what is wrong with its configuration
        return Failure(2, code, said)
    how = f"exited with status {status}" if status >= 0 else f"was killed by signal {-status}"
    if status == BROKE_OFF:
        how = "is gone: its connection broke off"
    when = f" before {before}" if before is not None else ""
    left = f" with {unanswered} message{'s' if unanswered > 1 else ''} unanswered" if unanswered else ""
    why = f": {said.removeprefix(f'{name_of(worker)}: ')}" if said else ""
    message = f"{name_of(worker)} {how}{when}{left}{why}"
    if before is not None:
        return Failure(2 if status == 2 else 4, "worker_not_started", message)
    if code == PROVIDER_UNAVAILABLE:
        return Failure(69, code, message)
    return Failure(1, "child_died", message)


def name_of(worker: str) -> str:
    """Name a worker in a message."""
    return f"worker '{worker}'"


QUOTED_MAX = 60
"""Characters that a message shows of what somebody made up: it may have millions."""


def quoted(text: str) -> str:
    """Quote what a worker sent, or how it begins."""
    return repr(text if len(text) <= QUOTED_MAX else text[: QUOTED_MAX - 1] + "…")


class LastWords(NamedTuple):
    """What a worker said of its end.

    Attributes:
        code, text: of its last error object; without one no code, and its last line.
        span_id: of the message that it says it failed at, if it names one.
    """

    code: str
    text: str
    span_id: bytes = b""


def last_words(stderr: tuple[str, ...]) -> LastWords:
    """Return what a worker said of its end in its last lines."""
    for line in reversed(stderr):
        try:
            said = decode_json(line)
        except ValueRejected:
            if line.strip():
                return LastWords("", line.strip())
            continue
        if isinstance(said, dict) and isinstance(said.get("error"), str):
            return LastWords(str(said.get("code", "")), said["error"], _span_of(said.get("span")))
    return LastWords("", "")


def _span_of(text: object) -> bytes:
    try:
        return bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return b""
