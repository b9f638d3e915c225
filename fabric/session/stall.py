"""What a session waits for when nothing moves: the first cause, not what follows from it.

A worker that has a message, or that starts or ends, is a cause itself. A barrier with an empty side is none: from that
side the way leads up, through steps, through workers that have nothing to do and through other barriers, to a worker
that is a cause, to something that let too little through, or to an input on which nothing has come.
"""

from __future__ import annotations

__all__ = ["STILL_S", "waited_for"]

from collections.abc import Iterator

from fabric.graph.ir import MONITORED, WORKERS, End
from fabric.plan.channels import end_name
from fabric.plan.plan import Check, Emit, Plan, Route, Step, Transform
from fabric.session.snapshot import Snapshot, WorkerSnapshot

STILL_S = 10.0
"""How long nothing moves before it is said what is waited for. Who looks on begins to wonder by then, and few models
think for longer without a word."""

CAUSES_TOLD_MAX = 3
"""Of one standstill. More are counted: it is to be one line that can be read."""


def waited_for(plan: Plan, snapshot: Snapshot, now_s: float) -> str | None:
    """Return what is waited for, in words, or ``None`` if nothing is under way.

    Args:
        plan: what runs.
        snapshot: how it stands; nothing has moved since.
        now_s: by the session's clock.
    """
    looking = _Looking(plan, snapshot, now_s)
    causes = list(looking.causes())
    more = len(causes) - CAUSES_TOLD_MAX
    return "; ".join(causes[:CAUSES_TOLD_MAX]) + (f"; and {more} more" if more > 0 else "") if causes else None


class _Looking:
    def __init__(self, plan: Plan, snapshot: Snapshot, now_s: float) -> None:
        self._plan = plan
        self._snapshot = snapshot
        self._now_s = now_s
        self._workers = {worker.name: worker for worker in snapshot.workers}
        self._calls: dict[str, list[str]] = {}
        for caller, tool in snapshot.calls:
            self._calls.setdefault(caller, []).append(tool)
        self._feeders: dict[End, list[tuple[Route, int, int, str]]] = {}
        for route, taken in zip(plan.routes, snapshot.taken, strict=True):
            for sink, through in _ends(route.steps):
                self._feeders.setdefault(plan.sinks[sink].end, []).append((route, taken, sink, through))

    def causes(self) -> Iterator[str]:
        """Yield workers that are causes, then what barriers wait for beyond those."""
        told: dict[str, str] = {}
        calling: dict[str, str] = {}
        for worker in self._snapshot.workers:
            cause = self._of_worker(worker)
            if cause is not None:
                (calling if worker.name in self._calls else told)[worker.name] = cause
        told = told or calling  # who waits for a tool is no first cause, if there is another
        yield from told.values()
        said: set[str] = set()
        for barrier, slots in self._snapshot.barriers.items():
            if not any(slots.values()):
                continue
            has = ", ".join(f"{count} from {self._names(End(barrier, port))}" for port, count in slots.items() if count)
            for port, count in slots.items():
                found = [] if count else list(self._above(End(barrier, port), set()))
                first = [cause for cause in found if cause not in said]
                said |= set(first)
                if first:
                    yield f"barrier '{barrier}' has {has}, waits on {' and '.join(first)}"
                elif not (count or found or told):
                    yield f"barrier '{barrier}' has {has}, and nothing can come to its '{port}'"
        if not told and not said:
            yield from self._snapshot.monitors.values()
        if not told and not said:  # messages that a loop does not admit, while none inside of it moves
            waiting = [worker for worker in self._snapshot.workers if worker.waiting]
            yield from (f"worker '{worker.name}' has {_messages(worker.waiting)} waiting for it" for worker in waiting)

    def _of_worker(self, worker: WorkerSnapshot) -> str | None:
        """Return why a worker is waited for itself, if it is."""
        name, has = f"worker '{worker.name}'", _messages(worker.unacknowledged)
        if worker.activity == "starting":
            return f"{name} has not been ready since its start {self._since(worker)} ago"
        if worker.activity == "stopped":
            wait = f"{_messages(worker.waiting)} wait{'s' * (worker.waiting == 1)} for it"
            return f"{name} is stopped and {wait}; fabric start {worker.name}" if worker.waiting else None
        if worker.unacknowledged and worker.paused:
            return f"{name} is paused and holds {has}"
        if called := self._calls.get(worker.name):
            tools = " and ".join(f"'{tool}'" for tool in dict.fromkeys(called))
            return f"{name} waits for its tool {tools}"
        if worker.unacknowledged:
            before = f"it answered {worker.answered} before" if worker.answered else "it has never answered anything"
            return f"{name} has {has} and has been silent for {self._since(worker)} ({before})"
        if worker.output_ended:
            return f"{name} has ended its output and does not exit"
        if worker.activity in ("draining", "stopping"):
            return f"{name} was told to end {self._since(worker)} ago and has not ended its output"
        return None

    def _since(self, worker: WorkerSnapshot) -> str:
        return f"{self._now_s - worker.moved_s:.0f} s"

    def _names(self, target: End) -> str:
        """Name where messages come from that arrive there."""
        feeders = self._feeders.get(target, [])
        found = dict.fromkeys(end_name(self._plan, route.source) for route, _, sink, _ in feeders if self._came(sink))
        return ", ".join(f"'{name}'" for name in found)

    def _came(self, sink: int) -> int:
        return self._snapshot.arrived[sink]

    def _above(self, target: End, seen: set[End]) -> Iterator[str]:
        """Yield why nothing more comes to a place. What a worker is the cause of is told with that worker."""
        if target in seen:
            return
        seen.add(target)
        for route, taken, sink, through in self._feeders.get(target, ()):
            source, came = route.source, self._came(sink)
            name, node = f"'{end_name(self._plan, source)}'", self._plan.graph.nodes[source.node]
            if node.kind in WORKERS and self._of_worker(self._workers[node.id]) is not None:
                continue
            if came < taken and through:
                yield f"{name}: of {taken} that it sent, {came or 'none'} passed {through}"
            elif node.kind == "input":
                yield f"input {name}: " + (f"{taken} have come, and no more" if taken else "nothing has come")
            elif node.kind in WORKERS:
                yield from self._above_worker(self._workers[node.id], source, taken, seen)
            elif node.kind == "barrier":
                slots = self._snapshot.barriers[node.id]
                for port in node.inputs:
                    if not slots[port.name]:
                        yield from self._above(End(node.id, port.name), seen)
            elif node.kind == "monitor":
                for side, to in MONITORED.items():
                    if to.output == source.port:
                        yield from self._above(End(node.id, side), seen)
            else:  # a place that only cuts a route
                yield from self._above(source, seen)

    def _above_worker(self, worker: WorkerSnapshot, source: End, sent: int, seen: set[End]) -> Iterator[str]:
        """Yield why nothing more comes from a worker that has nothing to do."""
        name = f"'{end_name(self._plan, source)}'"
        if worker.activity == "stopped":
            yield f"{name}: it is stopped (fabric start {worker.name})"
        elif worker.activity == "exited":
            yield f"{name}: it has ended"
        elif source.port != "output":
            yield f"{name}: " + (f"it has sent {sent}" if sent else "it never sent anything")
        elif worker.answered > sent:
            yield f"{name}: for {worker.answered} that it was given it sent {sent or 'nothing'}"
        else:
            yield from self._above(End(worker.name, "input"), seen)


def _ends(steps: tuple[Step, ...], through: str = "") -> Iterator[tuple[int, str]]:
    """Yield the sinks of a route, each with the last filter on the way there, in words."""
    for step in steps:
        match step:
            case Emit(sink):
                yield sink, through
            case Transform(node, "filter") | Check(node, drops=True):
                yield from _ends(step.then, f"'{node}'")
            case Transform() | Check():
                yield from _ends(step.then, through)


def _messages(count: int) -> str:
    return f"{count} message{'s' * (count != 1)}"
