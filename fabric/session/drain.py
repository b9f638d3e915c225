"""What has ended: ends of channels, quiescence of loops.

Components of the graph (``fabric.plan.order``) end in topological order. A component may end when

1. every channel that enters it from outside has ended, and
2. nothing moves inside: no message waits in the coordinator, none is with a worker, no output is held back, no
barrier can fire.

While that holds nothing can come into being inside it any more, whatever its shape: ring, diamond, barrier, nested
loops. Single nodes are components too, so one rule serves for a pipeline and for a loop. The session looks only when
no step of its own is unfinished; then barriers have fired and what waits, waits for workers.

A component without workers ends at once. One with workers *closes*: its workers are sent the end of their data_in,
and each channel that leaves it ends when the worker's port behind it has; a channel that leaves from a morphism when
all ports inside have.

A barrier and a ``merge_any`` outside of loops may end earlier: the barrier when an input has ended and nothing of
that input waits for a partner, for it will never fire again.

Source: the counting of Mattern 1987, made trivial by counting in one place. Not taken: markers that a merge sends
round its loop; they lose messages behind a copy with two ways back, a barrier, a nested loop (wire/PROTOCOL.md §4).
"""

from __future__ import annotations

__all__ = ["Drain", "Ending"]

from collections.abc import Callable

import msgspec

from fabric.graph.ir import WORKERS, End
from fabric.plan.plan import Plan


class Ending(msgspec.Struct, frozen=True):
    """What ends now. In this order: barriers report what is left, workers get their end.

    Attributes:
        barriers: nodes that will never fire again.
        merges: nodes that pass on nothing that still comes.
        workers: nodes whose data_in ends.
    """

    barriers: tuple[str, ...] = ()
    merges: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()


class Drain:
    """Which components are open, closing, or ended.

    Args:
        plan: the plan.
        idle: tells whether a worker has nothing to do: queue empty, nothing unacknowledged.
        starved: tells of a barrier which of its input ports have no message waiting.
    """

    def __init__(self, plan: Plan, idle: Callable[[str], bool], starved: Callable[[str], frozenset[str]]) -> None:
        self._graph = plan.graph
        self._components = plan.components
        self._idle = idle
        self._starved = starved
        self._number_of = {node: i for i, component in enumerate(plan.components) for node in component.nodes}
        self._open_entries = [component.entries for component in plan.components]
        self._closed = [False] * len(plan.components)
        self._workers = [
            tuple(node for node in component.nodes if plan.graph.nodes[node].kind in WORKERS)
            for component in plan.components
        ]
        # Ports of workers that lead somewhere: while one is open, morphisms behind it may still get something.
        wired = {channel.source for channel in plan.graph.channels}
        self._open_ports = [
            {End(worker, port.name) for worker in workers for port in plan.graph.nodes[worker].outputs} & wired
            for workers in self._workers
        ]
        self._ended_targets: set[End] = set()
        self._reader_of = {channel.source: channel.target for channel in plan.graph.channels}
        self._ended: set[End] = set()
        self._endings: list[Ending] = []
        self._to_look_at: list[int] = []

    @property
    def over(self) -> bool:
        """Whether every component has closed and every channel has ended."""
        return all(self._closed) and not any(self._open_ports)

    def closed(self, node: str) -> bool:
        """Whether a node's component has closed: it takes nothing any more."""
        return self._closed[self._number_of[node]]

    def ended(self, target: End) -> bool:
        """Whether the channel to an input port has ended."""
        return target in self._ended_targets

    def begin(self) -> list[Ending]:
        """Close what has no entry and nothing to do: ``empty`` sources."""
        for number, component in enumerate(self._components):
            if self._open_entries[number] == 0 and not any(
                self._graph.nodes[n].kind in ("input", "call") for n in component.nodes
            ):
                self._to_look_at.append(number)
        return self._take()

    def input_closed(self, node: str) -> list[Ending]:
        """A boundary input has ended, or nobody will call a tool any more. Idempotent."""
        number = self._number_of[node]
        if not self._closed[number]:
            self._close(number)
        return self._take()

    def rested(self, node: str) -> list[Ending]:
        """A worker has nothing left to do, or a barrier fired: perhaps for the last time."""
        self._to_look_at.append(self._number_of[node])
        return self._take()

    def port_ended(self, end: End) -> list[Ending]:
        """A worker has ended an output port."""
        number = self._number_of[end.node]
        self._open_ports[number].discard(end)
        self._end_exits(number)
        return self._take()

    def _take(self) -> list[Ending]:
        while self._to_look_at:
            number = self._to_look_at.pop()
            if not self._closed[number] and self._may_close(number):
                self._close(number)
        endings, self._endings = self._endings, []
        return endings

    def _may_close(self, number: int) -> bool:
        component = self._components[number]
        node = self._graph.nodes[component.nodes[0]]
        if not component.loop and node.kind == "barrier":
            waiting = self._starved(node.id)
            if any(End(node.id, port) in self._ended_targets for port in waiting):
                return True
        if not component.loop and node.kind == "merge_any":
            return any(target.node == node.id for target in self._ended_targets)
        return self._open_entries[number] == 0 and all(map(self._idle, self._workers[number]))

    def _close(self, number: int) -> None:
        self._closed[number] = True
        component = self._components[number]
        kinds = {node: self._graph.nodes[node].kind for node in component.nodes}
        ending = Ending(
            barriers=tuple(node for node, kind in kinds.items() if kind == "barrier"),
            merges=tuple(node for node, kind in kinds.items() if kind == "merge_any"),
            workers=self._workers[number],
        )
        if ending != Ending():
            self._endings.append(ending)
        self._end_exits(number)

    def _end_exits(self, number: int) -> None:
        for source, target_number in self._components[number].exits:
            if source in self._ended:
                continue
            if source.node in self._workers[number]:
                ended = source not in self._open_ports[number]
            else:
                ended = self._closed[number] and not self._open_ports[number]
            if ended:
                self._ended.add(source)
                self._ended_targets.add(self._reader_of[source])
                self._open_entries[target_number] -= 1
                self._to_look_at.append(target_number)
