"""Turn the morphisms between two waiting places into one route.

A message waits in a worker's queue, in a slot of a barrier, at the boundary (or that of a tool), or, where a loop has
neither worker nor barrier, at a merge that cuts the loop; and where a route would become too long or too deep. At a
monitor it stops to be looked at. Everything between two such places happens in one step: it is one :class:`Route`,
which a session compiles to one Python function: one decode, one encode, no queue.
"""

from __future__ import annotations

__all__ = ["fuse"]

from fabric.graph.analysis import components, strongly_connected
from fabric.graph.ir import WORKERS, Channel, End, Graph, Port
from fabric.lang.types import is_subtype
from fabric.plan.plan import Check, Emit, Route, Sink, Step, Transform
from fabric.wire.payload import Product


def fuse(graph: Graph) -> tuple[tuple[Route, ...], tuple[Sink, ...]]:
    """Return the routes and the sinks that they end in."""
    fusion = _Fusion(graph)
    routes = []
    for node in graph.nodes.values():
        starts = node.kind in ("input", "call", "barrier", "monitor") or node.kind in WORKERS or node.id in fusion.cuts
        for port in node.outputs if starts else ():
            source = End(node.id, port.name)
            if source in fusion.reader_of:
                steps = fusion.steps(fusion.reader_of[source], producer=node.id)
                trusted = node.kind not in ("input", "call", *WORKERS) and not (
                    node.kind == "barrier" and not is_subtype(Product(tuple(p.type for p in node.inputs)), port.type)
                )
                routes.append(Route(source, port.type, steps, trusted))
    while fusion.deep:
        channel, producer = fusion.deep.popitem()[1]
        routes.append(Route(channel.target, channel.type, fusion.steps(channel, producer, cut=False), trusted=True))
    return tuple(routes), tuple(fusion.sinks)


ROUTE_DEPTH_MAX = 16
"""Nodes in a row; behind so many a message waits. Each may nest the function's branches, and Python limits those."""

_ENDS = frozenset({"output", "discard", "barrier", "monitor", *WORKERS})
"""Where a route ends anyway."""

ROUTE_STEPS_MAX = 32
"""A merge that more steps follow than this is cut too: each of its inputs would repeat them, and theirs again."""


def _cuts(graph: Graph) -> set[str]:
    """Return the merges at which messages wait; the reasons are below."""
    inline = {n.id for n in graph.nodes.values() if n.kind not in WORKERS and n.kind not in ("barrier", "monitor")}
    successors: dict[str, list[str]] = {node: [] for node in inline}
    for channel in graph.channels:
        if channel.source.node in inline and channel.target.node in inline:
            successors[channel.source.node].append(channel.target.node)
    cuts: set[str] = set()
    steps: dict[str, int] = {}
    for component in reversed(strongly_connected([node for node in graph.nodes if node in inline], successors)):
        loop = len(component) > 1 or component[0] in successors[component[0]]
        for node in component:
            following = sum(steps.get(after, 1) for after in successors[node])
            merge = graph.nodes[node].kind.startswith("merge")
            # A merge_any forgets what comes after its end, so its messages have to stop and be looked at.
            if graph.nodes[node].kind == "merge_any" or (merge and (loop or following > ROUTE_STEPS_MAX)):
                cuts.add(node)
            steps[node] = 1 if node in cuts else 1 + following
    return cuts


class _Fusion:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.cuts = _cuts(graph)
        self.reader_of = {channel.source: channel for channel in graph.channels}
        self.sinks: list[Sink] = []
        self.deep: dict[End, tuple[Channel, str]] = {}
        self._begun: set[End] = set()
        self._component_of = components(graph)
        inside = {self._component_of[c.source.node] for c in graph.channels if self._within(c)}
        self._loops_of_workers = {self._component_of[n.id] for n in graph.nodes.values() if n.kind in WORKERS} & inside

    def _within(self, channel: Channel) -> bool:
        return self._component_of[channel.source.node] == self._component_of[channel.target.node]

    def steps(self, channel: Channel, producer: str, depth: int = 0, *, cut: bool = True) -> tuple[Step, ...]:
        """Return what happens to a message on this channel.

        Args:
            channel: where it is.
            producer: the worker, barrier, monitor or input that it comes from.
            depth: transforms before it on this route.
            cut: whether a route that is deep ends here.
        """
        goes_on = self.graph.nodes[channel.target.node].kind not in _ENDS
        if cut and goes_on and (depth >= ROUTE_DEPTH_MAX or self._forks_inside(channel)):
            if channel.target not in self._begun:
                self._begun.add(channel.target)
                inside = self._component_of[channel.target.node] in self._loops_of_workers
                self.deep[channel.target] = channel, channel.target.node if inside else producer
            return (self._emit("merge", channel, producer),)
        then = self._steps_at(channel, producer, depth)
        if channel.check is not None and then:
            drops = self.graph.nodes[channel.target.node].kind == "filter"
            return (Check(channel.target.node, channel.check, drops, then),)
        return then

    def _forks_inside(self, channel: Channel) -> bool:
        """Whether a channel leads into a loop of workers, and from there to more than one place.

        What goes round passes the same fork, and each place would have an order of its own. So the fork is not passed
        before what enters has its place in the order of the loop.
        """
        here = self._component_of[channel.target.node]
        if self._within(channel) or here not in self._loops_of_workers:
            return False
        node = self.graph.nodes[channel.target.node]
        while node.kind not in (*WORKERS, "barrier", "monitor") and node.id not in self.cuts:
            if len(node.outputs) != 1:
                return True
            node = self.graph.nodes[self.reader_of[End(node.id, node.outputs[0].name)].target.node]
            if self._component_of[node.id] != here:
                return False
        return False

    def _steps_at(self, channel: Channel, producer: str, depth: int) -> tuple[Step, ...]:
        node = self.graph.nodes[channel.target.node]
        if node.id in self.cuts:
            return self._declared(channel, node.outputs[0], (self._emit("merge", channel, producer),))
        match node.kind:
            case "discard":
                return ()
            case "output":
                return (self._emit("output", channel, producer),)
            case "result":
                return (self._emit("result", channel, producer),)
            case "barrier":
                return (self._emit("barrier", channel, producer),)
            case "monitor":
                return (self._emit("monitor", channel, producer),)
            case "agent" | "python" | "worker" | "handler":
                return (self._emit("worker", channel, producer),)
        follow = {
            port: self.steps(self.reader_of[End(node.id, port.name)], producer, depth + 1) for port in node.outputs
        }
        then = tuple(step for steps in follow.values() for step in steps)
        if node.kind in ("map", "filter", "project") and then:
            kind: Transform = Transform(
                node.id, node.kind, node.expr, node.select, node.index,
                node.inputs[0].type, node.outputs[0].type, then,
            )  # fmt: skip
            return (kind,)
        # id, copy, merge: nothing happens to the message, unless more is declared than is known of it
        return tuple(step for port, steps in follow.items() for step in self._declared(channel, port, steps))

    def _declared(self, channel: Channel, output: Port, then: tuple[Step, ...]) -> tuple[Step, ...]:
        """Return steps behind a look at the message, if it may not have the type of the output that it passes."""
        if not then or is_subtype(channel.check or channel.type, output.type):
            return then
        return (Check(channel.target.node, output.type, False, then),)

    def _emit(self, kind: str, channel: Channel, producer: str) -> Emit:
        feedback = self._component_of[producer] == self._component_of[channel.target.node]
        end = End(channel.target.node, "output") if channel.target.node in self.cuts else channel.target
        inside = self._component_of[channel.target.node] in self._loops_of_workers
        control = kind == "monitor" or channel.target.port == "ctrl_in"  # it may be what the loop waits for
        entry = inside and not (feedback or control)
        self.sinks.append(Sink(kind, end, feedback, entry))  # type: ignore[arg-type]
        return Emit(len(self.sinks) - 1)
