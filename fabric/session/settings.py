"""How a session is run: times and policy."""

from __future__ import annotations

__all__ = ["Settings", "WorkerSettings"]

from typing import Literal

import msgspec

from fabric.session.budget import Limits


class WorkerSettings(msgspec.Struct, frozen=True):
    """How one worker is run.

    Attributes:
        redeliveries_max: see :class:`Settings`; ``None``: as there.
        idle_timeout_s: silence with a message unanswered after which it is killed and started again; ``None``: never,
            for a model may think for minutes.
        on_crash: of one whose memory cannot be rebuilt. ``fail``: its crash fails the session; ``forget``: it is
            started again without its memory.
    """

    redeliveries_max: int | None = None
    idle_timeout_s: float | None = None
    on_crash: Literal["fail", "forget"] = "fail"


class Settings(msgspec.Struct, frozen=True):
    """How a session is run.

    Attributes:
        ready_timeout_s: from a worker's launch to the return of its probe.
        handshake_timeout_s: the same of a worker that somebody else starts; ``None``: it is waited for, and that is
            told now and then.
        grace_s: silence after which a worker that was asked for an end is terminated, and after as much again killed.
        refusal_ends: whether the first message that is refused ends the input, and makes the exit code 1; and whether
            a call that was not approved makes it 6.
        restarts_max: how often a worker may be started again within ``restart_period_s``; the next crash fails the
            session.
        backoff_s: from a crash to the next start; doubled, up to ``backoff_max_s``, for each crash in a row between
            which the worker answered nothing.
        redeliveries_max: how many processes a message may kill before it is a dead letter.
        stall_s: silence with a message unanswered after which a worker is shown as stalled.
        queue: messages that may wait for one worker, or in one slot of a barrier, before those that feed it wait.
        policy: what becomes of a message for a queue that is full: those that send to it wait (``block``), or it is
            a ``dead_letter``.
        approval: whether calls of tools with effects wait until somebody approves them (``ask``), are run at once
            (``grant``), or are refused, for there is nobody to ask (``refuse``).
        in_doubt: the same of calls that may have been run already, by a run that was stopped, and for which it would
            matter if they were run twice. Who approves all calls beforehand does not approve these.
        approval_timeout_s: how long they wait.
        tool_timeout_s: how long a call may take, from the moment when it may be run.
        workers: what differs, by name.
        limits: what it may use.
    """

    ready_timeout_s: float = 30.0
    handshake_timeout_s: float | None = None
    grace_s: float = 10.0
    refusal_ends: bool = False
    restarts_max: int = 3
    restart_period_s: float = 60.0
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    redeliveries_max: int = 3
    stall_s: float = 60.0
    queue: int = 1_000
    policy: Literal["block", "dead_letter"] = "block"
    approval: Literal["ask", "grant", "refuse"] = "ask"
    in_doubt: Literal["ask", "grant", "refuse"] = "ask"
    approval_timeout_s: float = 300.0
    tool_timeout_s: float = 120.0
    workers: dict[str, WorkerSettings] = {}
    limits: Limits = Limits()

    def of(self, worker: str) -> WorkerSettings:
        """Return what holds for one worker."""
        return self.workers.get(worker, WorkerSettings())
