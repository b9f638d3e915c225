"""What a run of a handler does next: a decision without a clock or a process."""

from __future__ import annotations

__all__ = ["Invoke", "Mode", "Quiet", "Step", "Wait", "next_step"]

from typing import TypeAlias

import msgspec

from fabric.store.readiness import Failed, Readiness, Ready, Sleeping


class Invoke(msgspec.Struct, frozen=True):
    """Invoke the handler."""


class Wait(msgspec.Struct, frozen=True):
    """Wait for something to be pushed, or for a time.

    Attributes:
        until: seconds since 1970; ``None``: for a push alone.
    """

    until: float | None = None


class Quiet(msgspec.Struct, frozen=True):
    """The run is over."""


Step: TypeAlias = Invoke | Wait | Quiet


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for.

    Attributes:
        once: one decision, and no more.
        watch: never be quiet.
        retries: how many attempts that failed may be followed by another one.
    """

    once: bool = False
    watch: bool = False
    retries: int = 0


def next_step(readiness: Readiness, mode: Mode, *, decided: int, failed: int) -> Step:
    """Return what is next.

    A run was started by somebody, so its first attempt at a decision waits for no back-off of attempts before.

    Args:
        decided: how many decisions this run has brought into the log.
        failed: how many of its attempts have failed since the log was last changed.
    """
    if mode.once and decided:
        return Quiet()
    if isinstance(readiness, Ready | Failed):
        retry_at = readiness.retry_at if isinstance(readiness, Failed) else None
        if not failed:
            return Invoke()
        if failed > mode.retries and not mode.watch:
            return Quiet()
        if isinstance(readiness, Ready):
            return Invoke()
        return Wait(retry_at) if mode.watch or retry_at is not None else Quiet()
    if mode.watch and not mode.once:
        return Wait(readiness.until if isinstance(readiness, Sleeping) else None)
    return Quiet()
