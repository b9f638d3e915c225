"""Which barriers lose a partner when a message dies on its way."""

from __future__ import annotations

__all__ = ["sides_behind"]

from collections.abc import Iterable

from fabric.plan.plan import Plan, sinks_of


def sides_behind(plan: Plan, sinks: Iterable[int]) -> dict[str, frozenset[str]]:
    """Return the barriers that a message which comes to these sinks may reach on some sides only, and which those are.

    What it becomes would have come there. On the other sides its partners wait, or will. A barrier that it may reach
    on all sides gets none of it, and is not missed there.
    """
    leaving: dict[str, list[int]] = {}
    for route in plan.routes:
        leaving.setdefault(route.source.node, []).extend(sinks_of(route.steps))
    found: dict[str, set[str]] = {}
    seen: set[int] = set()
    waiting = list(sinks)
    while waiting:
        index = waiting.pop()
        if index in seen:
            continue
        seen.add(index)
        sink = plan.sinks[index]
        if sink.kind == "barrier":
            found.setdefault(sink.end.node, set()).add(sink.end.port)
        if sink.kind != "output" and sink.end.port != "ctrl_in":
            waiting += leaving.get(sink.end.node, ())
    nodes = plan.graph.nodes
    return {name: frozenset(ports) for name, ports in found.items() if len(ports) < len(nodes[name].inputs)}
