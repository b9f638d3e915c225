"""What it means for a session that the process of a worker is gone."""

from __future__ import annotations

__all__ = ["Crashed", "Ended", "Exit", "Failed", "Stopped", "meaning_of"]

from typing import TypeAlias

import msgspec

from fabric.errors import Stranger
from fabric.session.events import Exited
from fabric.session.failure import Failure, describe_exit, last_words, name_of
from fabric.session.worker_state import WorkerState
from fabric.wire.lifecycle import State

_NOT_YET = (State.LAUNCHED, State.READY)


class Ended(msgspec.Struct, frozen=True):
    """It had ended its output: all that it could say was said."""


class Stopped(msgspec.Struct, frozen=True):
    """It may be started again by hand; ``error``: why it stopped, unless somebody asked and it did so in order."""

    error: str | None


class Crashed(msgspec.Struct, frozen=True):
    """It is to be started again, and gets what it had not acknowledged once more.

    Attributes:
        failure: what is told if it is not, because that happens too often.
        stderr: its last lines.
        told: whether it says itself that it cannot do a message. It would say so again.
        span_id: of that message, if it names it.
    """

    failure: Failure
    stderr: tuple[str, ...] = ()
    told: bool = False
    span_id: bytes = b""


class Failed(msgspec.Struct, frozen=True):
    """The session cannot go on."""

    failure: Failure


Exit: TypeAlias = Ended | Stopped | Crashed | Failed

NEVER_AGAIN = 2
"""The exit status of a worker whose configuration is wrong: it would be the next time."""

TOLD = 1
"""The exit status of a worker that says on stderr why it cannot do a message."""


def meaning_of(worker: WorkerState, exited: Exited) -> Exit:
    """Return what an exit means; ``worker`` is as it was before."""
    steering, shutdown, state = worker.steering, worker.shutdown, worker.state
    if steering.stopping:
        # One that was not ready had nothing to finish.
        orderly = state in _NOT_YET or (state is State.DRAINED and exited.status == 0)
        return Stopped(steering.error or (None if orderly else _why_stopped(worker, exited)))
    if shutdown.forced:
        silent = f"gave no sign of life for {shutdown.grace_s:g} s after it was asked to end, and was ended"
        missing = "; what it had not sent is missing" if state is not State.DRAINED else ""
        return Failed(Failure(5, "worker_killed", f"{name_of(worker.name)} {silent}{missing}"))
    if state is State.DRAINED or (state is State.DRAINING and worker.idle):  # all that it could say was said
        return Ended()
    external = worker.plan.runner == "external"
    if (
        external and state in _NOT_YET and worker.input_ended and worker.idle
    ):  # nobody came, and there was nothing to do
        return Ended()
    before = _not_reached(worker)
    unanswered = worker.delivery.waiting
    failure = describe_exit(worker.name, exited.status, exited.stderr, before=before, unanswered=unanswered)
    if worker.fault is not None:
        failure = worker.fault
    if before is not None and worker.by_hand and not external:  # a session with work in it outlives a failed start
        return Stopped(failure.message)
    earlier = external or (worker.attachment is not None and worker.attachment.left_over)  # it was there before us
    first = worker.incarnation == 1 and not earlier
    by_itself = exited.status >= 0 and before is not None and first  # and will do so again
    if by_itself or exited.status == NEVER_AGAIN:
        return Failed(failure)
    said = last_words(exited.stderr)
    told = exited.status == TOLD and said.code not in ("", Stranger.code)  # no message is to blame for a stranger
    return Crashed(failure, exited.stderr, told, said.span_id)


def _not_reached(worker: WorkerState) -> str | None:
    """Say what a worker had not come to in its life, or ``None`` if it was at work."""
    if worker.answered:
        return None
    if worker.plan.transport == "stdio":
        return "it answered anything"
    return "it was ready" if worker.state in _NOT_YET else None


def _why_stopped(worker: WorkerState, exited: Exited) -> str:
    """Say how a worker ended that was to stop in order."""
    if worker.shutdown.forced:
        how = f"gave no sign of life for {worker.shutdown.grace_s:g} s, and was ended"
    else:
        how = describe_exit(worker.name, exited.status, exited.stderr, before=None, unanswered=0).message
    return how + ("; what it had not finished waits for the next" if worker.delivery.waiting else "")
