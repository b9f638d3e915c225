"""How many messages have been on each channel, from the counts that a session keeps: one for each route and sink.

What a route fuses has no count of its own. A map, a copy or a merge passes on what it gets; what leaves a filter is
seen where it comes out of the route.
"""

from __future__ import annotations

__all__ = ["flows"]

from collections.abc import Iterator, Sequence

from fabric.graph.ir import End, Graph
from fabric.plan.plan import Check, Emit, Plan, Step, Transform
from fabric.session.snapshot import Snapshot


def flows(plan: Plan, snapshot: Snapshot) -> dict[End, int]:
    """Return the messages that have left each output port so far; a port of which that cannot be told is missing."""
    known = {route.source: taken for route, taken in zip(plan.routes, snapshot.taken, strict=True)}
    known |= dict(_filtered(plan, snapshot.arrived))
    into = {channel.target: channel.source for channel in plan.graph.channels}
    unknown = {channel.source for channel in plan.graph.channels if channel.source not in known}
    found = True
    while found:
        passed_on = {end: _passed_on(plan.graph, end, into, known) for end in unknown}
        told = {end: count for end, count in passed_on.items() if count is not None}
        known |= told
        unknown -= told.keys()
        found = bool(told)
    return {channel.source: known[channel.source] for channel in plan.graph.channels if channel.source in known}


def _passed_on(graph: Graph, end: End, into: dict[End, End], known: dict[End, int]) -> int | None:
    """Return what a node that passes on all that it gets has passed on, if what came to it is known."""
    node = graph.nodes[end.node]
    if node.kind == "filter":
        return None
    counts = [known.get(into[End(node.id, port.name)]) for port in node.inputs]
    return None if None in counts else sum(count for count in counts if count is not None)


def _filtered(plan: Plan, arrived: Sequence[int]) -> Iterator[tuple[End, int]]:
    """Yield what has left each filter. One behind a merge lies on several routes."""
    passed: dict[str, list[int | None]] = {}
    for route in plan.routes:
        for node, then in _filters(route.steps):
            passed.setdefault(node, []).append(_entered(then, arrived))
    for node, counts in passed.items():
        if None not in counts:
            yield End(node, plan.graph.nodes[node].outputs[0].name), sum(count for count in counts if count is not None)


def _filters(steps: tuple[Step, ...]) -> Iterator[tuple[str, tuple[Step, ...]]]:
    for step in steps:
        if isinstance(step, Transform) and step.kind == "filter":
            yield step.node, step.then
        if not isinstance(step, Emit):
            yield from _filters(step.then)


def _entered(steps: tuple[Step, ...], arrived: Sequence[int]) -> int | None:
    """Return how many messages have come to these steps, ``None`` if all of them may drop some."""
    for step in steps:
        match step:
            case Emit(sink):
                return arrived[sink]
            case Transform(kind="filter") | Check(drops=True):
                continue
        entered = _entered(step.then, arrived)
        if entered is not None:
            return entered
    return None
