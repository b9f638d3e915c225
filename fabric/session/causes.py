"""Why messages do not move: chains that lead from what is missed to the first cause. A question about one moment.

A worker that has a message, or that starts or ends, is a cause itself, whatever made it so: who asks from outside can
look at its process. A barrier with an empty side is none: from that side the way leads up, through steps, through
workers that have nothing to do and through other barriers, to a worker that is a cause, to something that let too
little through, or to an input on which nothing has come.
"""

from __future__ import annotations

__all__ = ["STILL_S", "Cause", "Causes", "Chain", "Link", "is_stuck", "why_stuck"]

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from fabric.graph.ir import MONITORED, WORKERS, End
from fabric.plan.channels import end_name
from fabric.plan.plan import Check, Emit, Plan, Route, Step, Transform
from fabric.session.events import Approval
from fabric.session.snapshot import Snapshot, WorkerSnapshot, shared_queue
from fabric.session.startup import start_it

STILL_S = 10.0
"""How long nothing moves before it is said what is waited for. Who looks on begins to wonder by then, and few models
think for longer without a word."""

Cause: TypeAlias = Literal[
    "silent",  # a worker has a message and says nothing
    "starting", "restarting", "stopped", "paused", "ending",  # of a worker
    "admission",  # messages are held back, and it is not known by what
    "ended",  # of a worker from which something should come
    "empty",  # nothing has come on an input of the boundary
    "filtered", "swallowed",  # a filter, or a worker, let too little through
    "unpaired",  # a side of a barrier that nothing can come to
    "protocol",  # a conversation is under way, and its next message does not come
    "approval",  # a worker waits for somebody to approve a call
    "budget",  # a worker waits until others give back what they have reserved
    "tool",  # a worker waits for a tool, and it is not known what that waits for
    "unread",  # a client does not read
    "process",  # the system says why a worker does not work
]  # fmt: skip


class Link(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step from what is missed to why.

    Attributes:
        kind: what it is about.
        name: of that: a node, or a port of the boundary.
        text: in words.
        cause: why, at the end of a chain.
        holds: messages that wait here.
        for_s: how long it has been so, where that is known.
        certain: it does not change by itself, or only after a time that is known.
        help: what to do.
    """

    kind: Literal["output", "worker", "loop", "barrier", "monitor", "filter", "input", "client", "process"]
    name: str
    text: str
    cause: Cause | None = None
    holds: int = 0
    for_s: float = 0.0
    certain: bool = False
    help: str = ""


class Chain(msgspec.Struct, frozen=True):
    """From what is missed to the first cause."""

    links: tuple[Link, ...]

    @property
    def root(self) -> Link:
        """The cause."""
        return self.links[-1]


def is_stuck(chain: Chain, still_s: float = STILL_S) -> bool:
    """Whether messages are held up by the cause, and not just for a moment.

    Args:
        chain: of one cause.
        still_s: how long a moment may be.
    """
    held = any(link.holds for link in chain.links)
    return held and (chain.root.certain or max(link.for_s for link in chain.links) >= still_s)


def why_stuck(
    plan: Plan, snapshot: Snapshot, now_s: float, quiet_s: Mapping[str, float] | None = None
) -> tuple[Chain, ...]:
    """Return what keeps messages from moving, one chain for each cause: the shortest from an output, where one leads.

    Also for causes that may be gone in a moment, such as a worker that has just got a message: see :func:`is_stuck`;
    and, if nothing is held up, why an output has never got anything.

    Args:
        plan: what runs.
        snapshot: how it stands.
        now_s: by the session's clock.
        quiet_s: how long nothing has come to each output of the boundary.
    """
    causes = Causes(plan, snapshot, now_s)
    found: dict[tuple[str, str, Cause | None], tuple[Link, ...]] = {}

    def take(links: tuple[Link, ...]) -> None:
        root = links[-1]
        key = root.kind, root.name, root.cause
        if key not in found:
            found[key] = links

    for sink, arrived in zip(plan.sinks, snapshot.arrived, strict=True):
        if sink.kind != "output" or sink.end.node in plan.extras:
            continue
        first = _of_output(plan.outputs[sink.end.node], arrived, quiet_s or {})
        for links in sorted(causes.above(sink.end), key=len):
            held = any(link.holds for link in links)
            if held or (not arrived and links[-1].cause in ("filtered", "swallowed")):
                take((first, *links))
    for links in causes.held():
        take(links)
    return tuple(map(Chain, found.values()))


def _of_output(port: str, arrived: int, quiet_s: Mapping[str, float]) -> Link:
    if port not in quiet_s:
        text = f"{_messages(arrived)} came to output '{port}'" if arrived else f"nothing came to output '{port}'"
    else:
        before = f" ({_messages(arrived)} before)" if arrived else ""
        text = f"nothing came to output '{port}' for {quiet_s[port]:.0f} s{before}"
    return Link("output", port, text)


class Causes:
    """Looks at one moment of a session. Args: as of :func:`why_stuck`."""

    def __init__(self, plan: Plan, snapshot: Snapshot, now_s: float) -> None:
        self._plan = plan
        self._snapshot = snapshot
        self._now_s = now_s
        by_name = {worker.name: worker for worker in snapshot.workers}
        queues = {queue.node: queue for queue in snapshot.queues}
        self._ahead = {queue.waits_for: queue.ahead for queue in snapshot.queues if queue.ahead}
        self._workers: dict[str, tuple[WorkerSnapshot, ...]] = {}
        for worker in plan.workers:
            self._workers[worker.node] = (*self._workers.get(worker.node, ()), by_name[worker.name])
        for node, queue in queues.items():
            self._workers[node] = (shared_queue(queue, self._workers[node]), *self._workers[node])
        self._called: dict[str, list[str]] = {}
        for caller, tool in snapshot.calls:
            self._called.setdefault(caller, []).append(tool)
        self._unpaid = snapshot.budget.waiting if snapshot.budget is not None else ()
        self._asked: dict[str, list[Approval]] = {}
        for approval in snapshot.approvals:
            self._asked.setdefault(approval.worker, []).append(approval)
        self._feeders: dict[End, list[tuple[Route, int, int, str]]] = {}
        for route, taken in zip(plan.routes, snapshot.taken, strict=True):
            for sink, through in _ends(route.steps):
                self._feeders.setdefault(plan.sinks[sink].end, []).append((route, taken, sink, through))

    @property
    def callers(self) -> Collection[str]:
        """Workers that wait for tools."""
        return self._called.keys()

    @property
    def workers(self) -> Iterator[WorkerSnapshot]:
        """All of them; before replicas comes what waits for them, as if that was one more."""
        return (worker for node in self._workers.values() for worker in node)

    # --- what holds messages ---

    def held(self) -> Iterator[tuple[Link, ...]]:
        """Yield a chain for each cause of something's being held up, from where messages wait."""
        for barrier in self.waiting_barriers():
            yield from self.of_barrier(barrier)
        for worker in self.workers:
            cause = self.of_worker(worker)
            if cause is not None:
                yield (cause,)
        for worker in self.workers:
            if worker.name in self._called:
                yield from self.of_caller(worker)
            elif worker.waiting and self.of_worker(worker) is None:
                yield from self.of_waiting(worker)
        for name, count in self._snapshot.entering.items():
            if count:
                yield from self.of_entry(name)
        for node, text in self._snapshot.monitors.items():
            yield from self._of_monitor(node, text)

    def waiting_barriers(self) -> Iterator[str]:
        """Yield the barriers in which something waits."""
        return (barrier for barrier, slots in self._snapshot.barriers.items() if any(slots.values()))

    def of_worker(self, worker: WorkerSnapshot) -> Link | None:
        """Return why a worker is waited for itself, if it is."""
        name, has, since_s = f"worker '{worker.name}'", _messages(worker.unacknowledged), self._now_s - worker.moved_s
        holds = worker.waiting + worker.unacknowledged
        waits = f"{_messages(holds)} wait{'s' * (holds == 1)} for it"
        if worker.activity == "restarting":
            in_s = max(0.0, (worker.starts_at_s or 0.0) - self._now_s)
            text = f"{name} has crashed and is started again in {in_s:.0f} s; {waits}"
            return self._cause(worker, "restarting", text, certain=True) if holds else None
        if worker.activity == "starting":
            text = f"{name} has not been ready since its start {since_s:.0f} s ago"
            help_ = f"fabric worker {worker.name}" if worker.awaited else ""
            text += f" ({start_it(worker.name)})" if worker.awaited else ""
            return msgspec.structs.replace(self._cause(worker, "starting", text, help_=help_), holds=max(holds, 1))
        if worker.activity == "stopped":
            help_ = f"fabric start {worker.name}"
            text = f"{name} is stopped and {waits}"
            return self._cause(worker, "stopped", text, certain=True, help_=help_) if holds else None
        if worker.unacknowledged and worker.paused:
            help_ = f"fabric ctl {worker.name} resume"
            return self._cause(worker, "paused", f"{name} is paused and holds {has}", certain=True, help_=help_)
        if worker.name in self._asked:
            return self._approval(worker)
        if worker.name in self._unpaid:
            text = f"{name} waits for its next call of a model until others have used, or not, what they reserved"
            return self._cause(worker, "budget", text)
        if worker.name in self._called:
            return None  # it is its tool that is waited for
        if worker.unacknowledged:
            before = f"it answered {worker.answered} before" if worker.answered else "it has never answered anything"
            text = f"{name} has {has} and has been silent for {since_s:.0f} s ({before})"
            ahead = self._ahead.get(worker.name, 0)
            if ahead:
                text += f"; {_messages(ahead)} that others answered wait{'s' * (ahead == 1)} for it"
            return self._cause(worker, "silent", text)
        if worker.paused and worker.activity in ("draining", "stopping"):
            text, help_ = f"{name} was told to end, and is paused", f"fabric ctl {worker.name} resume"
            return msgspec.structs.replace(self._ending(worker, text), cause="paused", certain=True, help=help_)
        if worker.output_ended:
            return self._ending(worker, f"{name} has ended its output and does not exit")
        if worker.activity in ("draining", "stopping"):
            return self._ending(worker, f"{name} was told to end {since_s:.0f} s ago and has not ended its output")
        return None

    def _cause(
        self, worker: WorkerSnapshot, cause: Cause, text: str, *, certain: bool = False, help_: str = ""
    ) -> Link:
        holds, for_s = worker.waiting + worker.unacknowledged, max(0.0, self._now_s - worker.moved_s)
        return Link("worker", worker.name, text, cause, holds, round(for_s, 3), certain, help_)

    def _approval(self, worker: WorkerSnapshot) -> Link:
        """Return the link of a worker that waits for somebody to approve what it calls."""
        first, *others = self._asked[worker.name]
        text = f"worker '{worker.name}' waits for approval of {first.tool}" + f", and {len(others)} more" * bool(others)
        link = self._cause(worker, "approval", text, certain=True, help_=f"fabric approve {first.id}")
        return msgspec.structs.replace(link, holds=max(link.holds, 1), for_s=round(self._now_s - first.asked_s, 3))

    def _ending(self, worker: WorkerSnapshot, text: str) -> Link:
        """Return the link of a worker that should be gone: if it holds no message, it holds up the end."""
        return msgspec.structs.replace(self._cause(worker, "ending", text), holds=1)

    def of_waiting(self, worker: WorkerSnapshot) -> Iterator[tuple[Link, ...]]:
        """Yield why messages wait for a worker that is not given any."""
        text = f"worker '{worker.name}' has {_messages(worker.waiting)} waiting for it"
        if worker.held_by:
            text += f", until there is room at {_quoted(dict.fromkeys(end.node for end in worker.held_by))}"
        found: list[tuple[Link, ...]] = []
        for node in dict.fromkeys(end.node for end in worker.held_by):
            if node in self._snapshot.barriers:
                found += self.of_barrier(node)
            else:
                found += self._of_loop(node)
        replicas = self._workers.get(worker.name, ())[1:]
        found += [(cause,) for replica in replicas if (cause := self.of_worker(replica)) is not None]
        yield from self._onward(self._cause(worker, "admission", text), found)

    def of_caller(self, worker: WorkerSnapshot) -> Iterator[tuple[Link, ...]]:
        """Yield why a worker does not get on that has called tools."""
        found = [links for end in self._results(worker) for links in sorted(self.above(end), key=len)]
        yield from self._onward(self._calling(worker), found)

    def _calling(self, worker: WorkerSnapshot) -> Link:
        tools = _quoted(dict.fromkeys(self._called[worker.name]))
        return self._cause(worker, "tool", f"worker '{worker.name}' waits for its tool {tools}")

    def _results(self, worker: WorkerSnapshot) -> list[End]:
        """Return where the results come to that a worker waits for; some tools give none."""
        nodes = (node for node in self._plan.graph.nodes.values() if node.kind == "result")
        return [End(node.id, node.inputs[0].name) for node in nodes if node.tool in self._called[worker.name]]

    def of_entry(self, worker: str) -> Iterator[tuple[Link, ...]]:
        """Yield why messages wait before a loop; it is named by the first of its workers."""
        count = self._snapshot.entering[worker]
        text = f"{_messages(count)} wait{'s' * (count == 1)} before the loop of '{worker}', which is full"
        yield from self._onward(Link("loop", worker, text, "admission", count), self._of_loop(worker))

    def _of_loop(self, node: str) -> list[tuple[Link, ...]]:
        """Return the causes among a worker and those that are on its loop."""
        loop = next(part.nodes for part in self._plan.components if node in part.nodes)
        workers = [worker for other in loop for worker in self._workers.get(other, ())]
        return [(cause,) for worker in workers if (cause := self.of_worker(worker)) is not None]

    def _onward(self, link: Link, found: list[tuple[Link, ...]]) -> Iterator[tuple[Link, ...]]:
        """Yield the way from a link to each cause; if there is none, it is one itself."""
        passed = msgspec.structs.replace(link, cause=None)
        yield from ((passed, *links) for links in found)
        if not found:
            yield (link,)

    def of_barrier(self, barrier: str) -> Iterator[tuple[Link, ...]]:
        """Yield why each empty side of a barrier is so."""
        link = self._barrier_link(barrier)
        for port, count in self._snapshot.barriers[barrier].items():
            if count:
                continue
            found = sorted(self.above(End(barrier, port)), key=len)
            yield from ((link, *links) for links in found)
            if not found:
                text = f"{self.content_of(barrier)}, and nothing can come to its '{port}'"
                yield (msgspec.structs.replace(link, text=text, cause="unpaired", certain=True),)

    def content_of(self, barrier: str) -> str:
        """Say what waits in a barrier."""
        slots = self._snapshot.barriers[barrier]
        has = ", ".join(f"{count} from {self._names(End(barrier, port))}" for port, count in slots.items() if count)
        return f"barrier '{barrier}' has {has}"

    def _barrier_link(self, barrier: str) -> Link:
        slots = self._snapshot.barriers[barrier]
        empty = [self._names(End(barrier, port), all_=True) for port, count in slots.items() if not count]
        since_s = self._snapshot.barriers_since_s.get(barrier)
        for_s = round(max(0.0, self._now_s - since_s), 3) if since_s is not None else 0.0
        text = f"{self.content_of(barrier)}, waits on {', '.join(empty)}"
        return Link("barrier", barrier, text, holds=sum(slots.values()), for_s=for_s)

    def _of_monitor(self, node: str, text: str) -> Iterator[tuple[Link, ...]]:
        """Yield the workers that a conversation waits for; if none of them is a cause, the conversation is."""
        link = Link("monitor", node, text, holds=1)
        any_worker = False
        for side in MONITORED:
            for links in self.above(End(node, side)):
                if links[-1].kind == "worker" and links[-1].holds:
                    any_worker = True
                    yield (link, *links)
        if not any_worker:
            yield (msgspec.structs.replace(link, cause="protocol", certain=True),)

    # --- the way up ---

    def above(self, target: End) -> Iterator[tuple[Link, ...]]:
        """Yield why nothing more comes to a place: what lies on the way up, and the cause; the nearest first."""
        seen = {target}
        places: deque[tuple[End, tuple[Link, ...]]] = deque([(target, ())])
        while places:
            place, links = places.popleft()
            for route, taken, sink, through in self._feeders.get(place, ()):
                came = self._snapshot.arrived[sink]
                for found in self._behind(route.source, taken, came, through):
                    if isinstance(found, Link):
                        yield (*links, found)
                        continue
                    end, passed = found
                    if end not in seen:
                        seen.add(end)
                        places.append((end, (*links, *passed)))

    def _behind(
        self, source: End, taken: int, came: int, through: str
    ) -> Iterator[Link | tuple[End, tuple[Link, ...]]]:
        """Yield why nothing more comes of a route: causes, and places to look above, with what lies before them."""
        name, node = f"'{end_name(self._plan, source)}'", self._plan.graph.nodes[source.node]
        workers = self._workers.get(node.id, ())
        causes = [cause for worker in workers if (cause := self.of_worker(worker)) is not None]
        callers = [worker for worker in workers if worker.name in self._called]
        if causes:
            yield from causes
        elif callers:
            for caller in callers:
                calling = msgspec.structs.replace(self._calling(caller), cause=None)
                yield from ((end, (calling,)) for end in self._results(caller))
        elif came < taken and through:
            text = f"{name}: of {taken} that it sent, {came or 'none'} passed {through}"
            yield Link("filter", through.strip("'"), text, "filtered")
        elif node.kind == "input":
            text = f"input {name}: " + (f"{taken} have come, and no more" if taken else "nothing has come")
            yield Link("input", source.port, text, "empty")
        elif node.kind in WORKERS:
            yield from self._above_worker(workers[0], source, taken)
        elif node.kind == "barrier":
            slots = self._snapshot.barriers[node.id]
            passed = (self._barrier_link(node.id),) if any(slots.values()) else ()
            for port in node.inputs:
                if not slots[port.name]:
                    yield End(node.id, port.name), passed
        elif node.kind == "monitor":
            said = self._snapshot.monitors.get(node.id)
            passed = (Link("monitor", node.id, said, holds=1),) if said else ()
            for side, to in MONITORED.items():
                if to.output == source.port:
                    yield End(node.id, side), passed
        else:  # a place that only cuts a route
            yield source, ()

    def _above_worker(
        self, worker: WorkerSnapshot, source: End, sent: int
    ) -> Iterator[Link | tuple[End, tuple[Link, ...]]]:
        """Yield why nothing more comes from a worker that has nothing to do."""
        name = f"'{end_name(self._plan, source)}'"
        if worker.activity == "stopped":
            text = f"{name}: it is stopped (fabric start {worker.name})"
            yield Link("worker", worker.name, text, "stopped", certain=True)
        elif worker.activity == "restarting":
            text = f"{name}: it has crashed, and is started again"
            yield Link("worker", worker.name, text, "restarting", certain=True)
        elif worker.activity == "exited":
            yield Link("worker", worker.name, f"{name}: it has ended", "ended", certain=True)
        elif source.port != "output":
            text = f"{name}: " + (f"it has sent {sent}" if sent else "it never sent anything")
            yield Link("worker", worker.name, text, "swallowed")
        elif worker.answered > sent:
            text = f"{name}: for {worker.answered} that it was given it sent {sent or 'nothing'}"
            yield Link("worker", worker.name, text, "swallowed")
        else:
            idle = Link("worker", worker.name, f"worker '{worker.name}' has nothing to do")
            yield End(worker.name, "input"), (idle,)

    def _names(self, target: End, *, all_: bool = False) -> str:
        """Name where messages come from that arrive there; ``all_``: or could come from."""
        feeders = self._feeders.get(target, [])
        came = [route for route, _, sink, _ in feeders if all_ or self._snapshot.arrived[sink]]
        return _quoted(dict.fromkeys(end_name(self._plan, route.source) for route in came)) or f"'{target.port}'"


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


def _quoted(names: Mapping[str, object] | tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _messages(count: int) -> str:
    return f"{count} message{'s' * (count != 1)}"
