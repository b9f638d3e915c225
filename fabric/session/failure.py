"""A worker's exit that was none, in words: what happened, when, and what it said."""

from __future__ import annotations

__all__ = ["STDERR_LINES_KEPT", "Failure", "describe_exit", "name_of", "quoted"]

import msgspec

from fabric.errors import ValueRejected
from fabric.wire.payload import decode_json

STDERR_LINES_KEPT = 20
"""Last lines of a worker that are told when it fails."""


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
    code, said = _last_words(stderr)
    if before is not None and status == 2 and code:  # it knows best what is wrong with its configuration
        return Failure(2, code, said)
    how = f"exited with status {status}" if status >= 0 else f"was killed by signal {-status}"
    when = f" before {before}" if before is not None else ""
    left = f" with {unanswered} message{'s' if unanswered > 1 else ''} unanswered" if unanswered else ""
    why = f": {said.removeprefix(f'{name_of(worker)}: ')}" if said else ""
    message = f"{name_of(worker)} {how}{when}{left}{why}"
    if before is not None:
        return Failure(2 if status == 2 else 4, "worker_not_started", message)
    return Failure(1, "child_died", message)


def name_of(worker: str) -> str:
    """Name a worker in a message."""
    return f"worker '{worker}'"


QUOTED_MAX = 60
"""Characters that a message shows of what somebody made up: it may have millions."""


def quoted(text: str) -> str:
    """Quote what a worker sent, or how it begins."""
    return repr(text if len(text) <= QUOTED_MAX else text[: QUOTED_MAX - 1] + "…")


def _last_words(stderr: tuple[str, ...]) -> tuple[str, str]:
    """Return what a worker said of its end: code and text of its last error object, else no code and its last line."""
    for line in reversed(stderr):
        try:
            said = decode_json(line)
        except ValueRejected:
            if line.strip():
                return "", line.strip()
            continue
        if isinstance(said, dict) and isinstance(said.get("error"), str):
            return str(said.get("code", "")), said["error"]
    return "", ""
