"""What goes wrong in a simulated session, as data: which process dies when, which is slow, which is not heard of.

A *step* of a process is a frame that it receives or sends, on any port; it counts them from 1. So a fault can be put
between any two things that the coordinator could see of the process, and nowhere else does it matter.
"""

from __future__ import annotations

__all__ = ["STATUSES", "Crash", "Faults", "Slow", "Stall", "draw_faults"]

import random
from collections.abc import Mapping

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


class Faults(msgspec.Struct, frozen=True):
    """All that goes wrong in one session.

    Attributes:
        seed: of what is left open here: how long each frame is on its way, how many that were on their way when their
            sender died arrive.
        crashes: at most one for each process.
        stalls: any number.
        slow: at most one for each worker.
        delay_s: what a frame is on its way, at most.
        input_s: what the client waits before each message, at most.
    """

    seed: int = 0
    crashes: tuple[Crash, ...] = ()
    stalls: tuple[Stall, ...] = ()
    slow: tuple[Slow, ...] = ()
    delay_s: float = 0.0
    input_s: float = 0.0


STATUSES = (-9, -9, -11, -15, 0, 1, 3)
"""How processes end that nobody expected to. 0 is one of them: it has not ended its output."""

FIRST_STEP = 4
"""Announcement, probe, probe: a first process that dies before it has taken these steps ends the session."""


def draw_faults(seed: int, steps: Mapping[str, int], crashes: int = 3) -> Faults:
    """Return faults by chance.

    Args:
        seed: the same seed, the same faults.
        steps: how many each worker takes if nothing goes wrong.
        crashes: how many there are at most; fewer come true if a worker has no such step, or no such process.
    """
    rng = random.Random(seed)
    workers = sorted(name for name, taken in steps.items() if taken >= FIRST_STEP)
    died: dict[str, int] = {}
    planned = []
    for _ in range(crashes if workers else 0):
        worker = rng.choice(workers)
        incarnation = died[worker] = died.get(worker, 0) + 1
        if incarnation == 1:
            step = rng.randint(FIRST_STEP, steps[worker])
        else:  # what comes again for it comes at once
            step = rng.randint(0, rng.choice((4, 10, steps[worker])))
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
        Stall(worker, rng.randint(FIRST_STEP, steps[worker]), rng.uniform(1, 300), rng.randint(1, 2))
        for worker in workers
        if rng.random() < 0.1
    )
    slow = tuple(Slow(worker, rng.uniform(0, 1)) for worker in workers if rng.random() < 0.2)
    delay_s, input_s = rng.choice((0.0, 0.01, 1.0)), rng.choice((0.0, 1.0))
    return Faults(seed, tuple(planned), stalls, slow, delay_s, input_s)
