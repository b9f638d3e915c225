"""What goes wrong in a simulated session, as data: which process dies when, which is slow, which is not heard of.

A *step* of a process is a frame that it receives or sends, on any port; it counts them from 1. So a fault can be put
between any two things that the coordinator could see of the process, and nowhere else does it matter.
"""

from __future__ import annotations

__all__ = ["STATUSES", "Crash", "Faults", "LinkCut", "Restart", "Slow", "Stall", "draw_faults"]

import random
from collections.abc import Iterable
from typing import Protocol

import msgspec


class Crash(msgspec.Struct, frozen=True):
    """A process is killed. What it had sent and nobody has read is cut somewhere; what was sent to it is gone.

    Attributes:
        worker: its name.
        step: after which of its steps; 0: before it has done anything.
        incarnation: which of the worker's processes, from 1.
        after_s: how long after that step.
        status: its exit status, or the negative number of the signal.
        stderr: its last lines.
        told_after_s: how long nobody hears of it.
    """

    worker: str
    step: int
    incarnation: int = 1
    after_s: float = 0.0
    status: int = -9
    stderr: tuple[str, ...] = ()
    told_after_s: float = 0.0


class Stall(msgspec.Struct, frozen=True):
    """A process does nothing for a while: after a step, before it receives anything more.

    Attributes:
        worker: its name.
        step: after which of its steps.
        for_s: how long.
        incarnation: which of the worker's processes.
    """

    worker: str
    step: int
    for_s: float
    incarnation: int = 1


class Slow(msgspec.Struct, frozen=True):
    """Every process of a worker needs some time for each frame on ``input``: those before it have to wait.

    Attributes:
        worker: its name.
        per_frame_s: so much time.
    """

    worker: str
    per_frame_s: float


class Restart(msgspec.Struct, frozen=True):
    """Somebody asks for a worker to be stopped in order and started again. It begins anew, without its memory.

    Attributes:
        worker: its name.
        at_s: when.
    """

    worker: str
    at_s: float


class LinkCut(msgspec.Struct, frozen=True):
    """The link to a worker that somebody else starts is cut. Frames that were on it may be lost; the process lives on.

    Attributes:
        worker: its name.
        at_s: when.
        for_s: until the coordinator notices, and opens its side anew.
        deaf_s: how long the worker goes on sending into the old connection then, which nobody reads.
        halves_s: how long it shares its frames out between the old and the new connection then.
    """

    worker: str
    at_s: float
    for_s: float = 0.0
    deaf_s: float = 0.0
    halves_s: float = 0.0


class Faults(msgspec.Struct, frozen=True):
    """All that goes wrong in one session.

    Attributes:
        seed: of what is left open here: how long each frame is on its way, how many that were on their way when their
            sender died arrive.
        crashes: at most one for each process.
        stalls: any number.
        slow: at most one for each worker.
        restarts: any number.
        cuts: any number, of workers that somebody else starts.
        killed_at_s: a coordinator that was there before was killed then; ``None``: there was none. It had the same
            inputs, and what it gave does not count. Workers that somebody else starts have stayed.
        delay_s: what a frame is on its way, at most.
        input_s: what the client waits before each message, at most.
    """

    seed: int = 0
    crashes: tuple[Crash, ...] = ()
    stalls: tuple[Stall, ...] = ()
    slow: tuple[Slow, ...] = ()
    restarts: tuple[Restart, ...] = ()
    cuts: tuple[LinkCut, ...] = ()
    killed_at_s: float | None = None
    delay_s: float = 0.0
    input_s: float = 0.0


class Lived(Protocol):
    """What has to be known of a process: see :class:`~fabric.testing.processes.ProcessRecord`."""

    @property
    def worker(self) -> str:
        """Whose it was."""
        ...

    @property
    def steps(self) -> int:
        """How many it took."""
        ...

    @property
    def trusted(self) -> int:
        """From which on it cannot be said not to have started."""
        ...


STATUSES = (-9, -9, -11, -15, 0, 1, 3)
"""How processes end that nobody expected to. 0 is one of them: it has not ended its output."""


def draw_faults(seed: int, processes: Iterable[Lived], crashes: int = 3) -> Faults:
    """Return faults by chance, none of which ends the session: a first process that dies at its start would.

    Args:
        seed: the same seed, the same faults.
        processes: those of a run in which nothing goes wrong.
        crashes: how many there are at most; fewer come true if there is no such process, or it has no such step.
    """
    rng = random.Random(seed)
    lives = {lived.worker: range(lived.trusted, lived.steps + 1) for lived in processes if lived.trusted}
    workers = sorted(lives)
    planned: list[Crash] = []
    for _ in range(crashes if workers else 0):
        worker = planned[-1].worker if planned and rng.random() < 0.3 else rng.choice(workers)
        incarnation = 1 + sum(crash.worker == worker for crash in planned)
        soon = rng.randint(0, rng.choice((4, 10, lives[worker][-1])))  # what comes again for it comes at once
        step = rng.choice(lives[worker]) if incarnation == 1 else soon
        planned.append(
            Crash(
                worker,
                step,
                incarnation,
                after_s=rng.choice((0.0, 0.0, rng.uniform(0, 2))),
                status=rng.choice(STATUSES),
                told_after_s=rng.choice((0.0, 0.0, rng.uniform(0, 5))),
            )
        )
    stalls = tuple(
        Stall(worker, rng.choice(lives[worker]), rng.uniform(1, 300), rng.randint(1, 2))
        for worker in workers
        if rng.random() < 0.1
    )
    slow = tuple(Slow(worker, rng.uniform(0, 1)) for worker in workers if rng.random() < 0.2)
    delay_s, input_s = rng.choice((0.0, 0.01, 1.0)), rng.choice((0.0, 1.0))
    return Faults(seed, tuple(planned), stalls, slow, delay_s=delay_s, input_s=input_s)
