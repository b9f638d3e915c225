"""Whether a service is ready, and what it lacks.

It is ready when each of its workers is there, and does something with what it is given. Whether one that has a message
and says nothing thinks or hangs is told in two ways:

* Our own workers are asked each ``PULSE_S`` whether they move (``fabric.session.pulse``), as long as they have a
  message. One that has not answered for ``UNANSWERED_S`` is stopped, or hangs: two seconds would do on a quiet machine,
  and both together stay below the five within which it has to be seen.
* Programs of others are not asked: they need not answer. One of these is stalled after ``stall_s`` of silence, and so
  is a Python function, which may answer and never return. An agent is not, for a model may think for minutes, and the
  agent ends its attempts by itself.

Not taken: progress alone. A limit of five seconds would be wrong for every model, and one of minutes is no readiness.
"""

from __future__ import annotations

__all__ = ["PULSE_S", "UNANSWERED_S", "Missing", "missing"]

import msgspec

from fabric.plan.plan import Plan
from fabric.session.figures import Figures
from fabric.session.snapshot import Snapshot, WorkerSnapshot

PULSE_S = 1.0
UNANSWERED_S = 3.0


class Missing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that a service lacks.

    Attributes:
        reason: a word: what its worker is at instead of serving, ``not_answering``, ``silent``, or ``draining``.
        detail: the same in words.
        worker: which; empty for the service as a whole.
    """

    reason: str
    detail: str
    worker: str = ""


_SERVES = ("ready", "busy")


def missing(plan: Plan, snapshot: Snapshot, figures: Figures, now_s: float, *, draining: bool) -> tuple[Missing, ...]:
    """Return what is lacking; nothing: it is ready.

    Args:
        plan: what runs.
        snapshot, figures: of the session.
        now_s: by the session's clock.
        draining: whether it takes no more input.
    """
    kinds = {worker.name: worker.spec.kind for worker in plan.workers}
    found = (_of(worker, kinds[worker.name], figures, now_s) for worker in snapshot.workers)
    lacking = tuple(one for one in found if one is not None)
    return (Missing("draining", "no more input is taken"), *lacking) if draining else lacking


def _of(worker: WorkerSnapshot, kind: str, figures: Figures, now_s: float) -> Missing | None:
    if worker.activity not in _SERVES:
        return Missing(worker.activity, f"it is {worker.activity}, not ready", worker.name)
    messages = worker.waiting + worker.unacknowledged
    since_s = figures.unanswered_s.get(worker.name)
    if messages and since_s is not None and now_s - since_s > UNANSWERED_S:
        text = f"it has {messages} messages, and has not answered for {now_s - since_s:.1f} s whether it moves"
        return Missing("not_answering", text, worker.name)
    if worker.stalled and kind != "agent":
        return Missing(
            "silent", f"it has {messages} messages, and was silent for {now_s - worker.moved_s:.0f} s", worker.name
        )
    return None
