"""How a session is run: times and policy."""

from __future__ import annotations

__all__ = ["Settings"]

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """How a session is run.

    Attributes:
        ready_timeout_s: from a worker's launch to the return of its probe.
        grace_s: silence after which a worker that was asked for an end is terminated, and after as much again killed.
        refusal_ends: whether the first message that is refused ends the input, and makes the exit code 1.
    """

    ready_timeout_s: float = 30.0
    grace_s: float = 10.0
    refusal_ends: bool = False
