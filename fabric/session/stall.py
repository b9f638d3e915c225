"""What a session waits for when nothing moves, in one line: the first causes, not what follows from them."""

from __future__ import annotations

__all__ = ["STILL_S", "waited_for"]

from collections.abc import Iterator

from fabric.plan.plan import Plan
from fabric.session.causes import STILL_S, Causes, Link
from fabric.session.snapshot import Snapshot

CAUSES_TOLD_MAX = 3
"""Of one standstill. More are counted: it is to be one line that can be read."""


def waited_for(plan: Plan, snapshot: Snapshot, now_s: float) -> str | None:
    """Return what is waited for, in words, or ``None`` if nothing is under way.

    Args:
        plan: what runs.
        snapshot: how it stands; nothing has moved since.
        now_s: by the session's clock.
    """
    causes = list(_causes(snapshot, Causes(plan, snapshot, now_s)))
    more = len(causes) - CAUSES_TOLD_MAX
    return "; ".join(causes[:CAUSES_TOLD_MAX]) + (f"; and {more} more" if more > 0 else "") if causes else None


def _causes(snapshot: Snapshot, causes: Causes) -> Iterator[str]:
    """Yield workers that are causes, then what barriers wait for beyond those."""
    told = [cause for worker in causes.workers if (cause := causes.of_worker(worker)) is not None]
    yield from map(_with_help, told)
    said: set[str] = set()
    for barrier in causes.waiting_barriers():
        waits_on: dict[str, None] = {}
        for links in causes.of_barrier(barrier):
            root = links[-1]
            if root.cause == "unpaired":
                yield root.text
                said.add(root.text)
            elif root not in told and root.text not in said:
                waits_on[root.text] = None
        said |= waits_on.keys()
        if waits_on:
            yield f"{causes.content_of(barrier)}, waits on {' and '.join(waits_on)}"
    if not told and not said:
        yield from snapshot.monitors.values()
        for worker in causes.workers:
            if worker.name in causes.callers:
                yield from (links[-1].text for links in causes.of_caller(worker))
            elif worker.waiting:
                yield from (links[0].text for links in causes.of_waiting(worker))
        for name, count in snapshot.entering.items():
            if count:
                yield from (links[0].text for links in causes.of_entry(name))


def _with_help(cause: Link) -> str:
    return f"{cause.text}; {cause.help}" if cause.help else cause.text
