"""What a session waits for, computed from its log alone.

There is no mark that says "running" or "pending", which a crash could leave behind. A session is ready as long as
there is something that no handler's commit has seen, be it only that the session was begun.
"""

from __future__ import annotations

__all__ = ["Backoff", "Failed", "Idle", "Paused", "Readiness", "Ready", "Sleeping", "decision_order", "readiness"]

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from fabric.store.record import Attempt, Commit


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait after attempts that failed.

    Attributes:
        first_s: after the first one; then twice as long each time.
        longest_s: and no longer.
        attempts_max: after so many nobody tries any more, until something is pushed.
    """

    first_s: float = 1.0
    longest_s: float = 300.0
    attempts_max: int = 8

    def delay_s(self, attempts: int) -> float:
        """Return how long to wait after so many attempts, at least one."""
        return min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 64))


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A handler is to be run.

    Attributes:
        base: the number of commits that it is to see.
        attempts: how many have failed with the same.
    """

    base: int
    attempts: int = 0


class Idle(msgspec.Struct, frozen=True, tag=True):
    """Its handler has seen everything and had nothing to say."""


class Paused(msgspec.Struct, frozen=True, tag=True):
    """Its handler waits for a push."""

    reason: str = ""


class Sleeping(msgspec.Struct, frozen=True, tag=True):
    """Its handler waits for a push or a time.

    Attributes:
        until: seconds since 1970.
    """

    until: float
    reason: str = ""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It would be ready, but attempts have failed.

    Attributes:
        base: the number of commits that they saw.
        attempts: how many.
        retry_at: seconds since 1970; ``None``: no more, until something is pushed.
    """

    base: int
    attempts: int
    retry_at: float | None = None


Readiness: TypeAlias = Ready | Idle | Paused | Sleeping | Failed


def decision_order(commits: Sequence[Commit]) -> list[int]:
    """Return the numbers of the commits in the order in which handlers see them.

    A push that slipped in between a handler's look at the log and its commit comes *after* that commit here. So what a
    handler has seen stays the beginning of what is seen later, directly followed by what it made of it; and a push is
    the newest thing until somebody has seen it.
    """
    order: list[int] = []
    after = 0
    for seq, commit in enumerate(commits):
        if commit.kind == "handler":
            position = min(max(commit.base, after), seq)
            order.insert(position, seq)
            after = seq + 1
        else:
            order.append(seq)
    return order


def readiness(
    commits: Sequence[Commit], attempts: Sequence[Attempt], now: float, backoff: Backoff | None = None
) -> Readiness:
    """Return what a session waits for.

    Args:
        commits: its own, all of them.
        attempts: that have failed; those from another state of the log do not count.
        now: seconds since 1970.
        backoff: ``None``: as usual.
    """
    base = len(commits)
    waits = _waits(commits, now)
    if waits is not None:
        return waits
    failed = [attempt for attempt in attempts if attempt.base == base]
    if not failed:
        return Ready(base)
    backoff = backoff or Backoff()
    if len(failed) >= backoff.attempts_max:
        return Failed(base, len(failed))
    retry_at = max(attempt.at for attempt in failed) + backoff.delay_s(len(failed))
    if now < retry_at <= now + backoff.longest_s:  # a later one is of a clock that ran ahead
        return Failed(base, len(failed), retry_at)
    return Ready(base, len(failed))


def _waits(commits: Sequence[Commit], now: float) -> Idle | Paused | Sleeping | None:
    """Return what a session waits for; ``None``: for nothing."""
    last = next((seq for seq in reversed(range(len(commits))) if commits[seq].kind == "handler"), None)
    if last is None:
        return None
    decided = commits[last]
    if decided.base < last or last + 1 < len(commits):
        return None  # something slipped in, or came later; a pause that did not see it is void
    pause = decided.pause
    if pause is None:
        return None if decided.entries else Idle()
    if pause.until is None:
        return Paused(pause.reason)
    return Sleeping(pause.until, pause.reason) if now < pause.until else None
