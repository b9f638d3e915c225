"""The barriers of one session: what goes on together, and what is left without a partner."""

from __future__ import annotations

__all__ = ["Pairing"]

from collections.abc import Callable, Iterable

from fabric.graph.ir import End
from fabric.plan.plan import Plan, sinks_of
from fabric.session.barriers import Barrier
from fabric.session.delivery import Message, Trace
from fabric.session.losses import Losses
from fabric.session.outbox import Outbox
from fabric.session.partners import sides_behind
from fabric.session.traces import Traces


class Pairing:
    """All barriers of a plan.

    Args:
        plan: what runs.
        traces: of the messages.
        losses: counts what stays unpaired.
        out: takes notes of that.
        go_on: called with where a pair comes into being, and the pair. It has appeared.
        moved: called with a barrier that something has left.

    Attributes:
        barriers: by name.
        bereaved: those of which it is to be seen whether something waits there for what has died: :meth:`settle`.
    """

    def __init__(
        self,
        plan: Plan,
        traces: Traces,
        losses: Losses,
        out: Outbox,
        *,
        go_on: Callable[[End, Message], None],
        moved: Callable[[str], None],
    ) -> None:
        nodes = plan.graph.nodes.values()
        self.barriers = {
            node.id: Barrier(port.name for port in node.inputs) for node in nodes if node.kind == "barrier"
        }
        self.bereaved: dict[str, None] = {}
        self._plan = plan
        self._traces = traces
        self._losses = losses
        self._out = out
        self._go_on = go_on
        self._moved = moved

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return sum(barrier.waiting for barrier in self.barriers.values())

    @property
    def since_s(self) -> dict[str, float]:
        """When the oldest message in each barrier that has any came into being."""
        found = ((name, barrier.oldest_at_s) for name, barrier in self.barriers.items())
        return {name: at_s for name, at_s in found if at_s is not None}

    def arrive(self, end: End, message: Message) -> None:
        """A message comes to an input of a barrier."""
        barrier = self.barriers[end.node]
        if barrier.closed:
            self._report_unpaired(end.node, end.port, 1)
            return
        self._traces.appear(message)
        parts = barrier.put(end.port, message)
        if parts:
            self._pair(end.node, parts)
        elif barrier.bereaved:
            self.bereaved[end.node] = None  # to be looked at when what this came of is consumed

    def close(self, name: str) -> None:
        """A barrier will never fire again: report what is left in it."""
        for port, left in self.barriers[name].close().items():
            self._report_unpaired(name, port, len(left))
            for message in left:
                self._traces.consume(message)

    def report_waiting(self, name: str) -> None:
        """A barrier will not fire again before the end: report what is left in it, and leave it there."""
        for port, messages in self.barriers[name].slots.items():
            if messages:
                self._report_unpaired(name, port, messages)

    def died_at(self, worker: str, traces: tuple[Trace, ...]) -> None:
        """A message of these inputs has died at a worker: what would have come of it is missed where that leads."""
        self.died_before(self._leaving(worker), traces)

    def died_before(self, sinks: Iterable[int], traces: tuple[Trace, ...]) -> None:
        """A message of these inputs has died on its way to these sinks."""
        for name, ports in self._sides(sinks, traces):
            for port in ports:
                self.barriers[name].died(port, traces)

    def alone(self, worker: str, traces: tuple[Trace, ...]) -> None:
        """What comes to a worker now has no partners: it is tried again, and they were taken out."""
        for name, ports in self._sides(self._leaving(worker), traces):
            for port in self.barriers[name].lines.keys() - ports:
                self.barriers[name].died(port, traces)

    def settle(self) -> None:
        """Take out of one bereaved barrier what waits for a partner that has died; others may be pairs then."""
        name = next(iter(self.bereaved))
        del self.bereaved[name]
        barrier = self.barriers[name]
        orphans = barrier.take_orphans()
        for port, orphan in orphans:
            self._report_unpaired(name, port, 1)
            self._traces.consume(orphan)
        while orphans and (parts := barrier.take_pair()):
            self._pair(name, parts)
        if orphans:
            self._moved(name)

    def _pair(self, name: str, parts: list[Message]) -> None:
        pair = self._traces.joined(parts, name)
        self._traces.appear(pair)
        self._moved(name)
        self._go_on(End(name, "output"), pair)
        for part in parts:
            self._traces.consume(part)

    def _sides(self, sinks: Iterable[int], traces: tuple[Trace, ...]) -> list[tuple[str, frozenset[str]]]:
        """Return the barriers that miss it, and on which sides."""
        sides = list(sides_behind(self._plan, sinks).items()) if traces else []
        self.bereaved |= dict.fromkeys(name for name, _ in sides)
        return sides

    def _leaving(self, worker: str) -> list[int]:
        """Return the sinks that a worker's answers may come to."""
        routes = self._plan.routes
        return [index for route in routes if route.source.node == worker for index in sinks_of(route.steps)]

    def _report_unpaired(self, name: str, port: str, messages: int) -> None:
        self._losses.unpaired += messages
        self._out.note("warning", "barrier.unpaired", barrier=name, port=port, messages=messages)
