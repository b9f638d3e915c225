"""What can be told of a wiring graph: its components, its loops, an order."""

from __future__ import annotations

__all__ = ["callings", "components", "loops", "strongly_connected"]

from fabric.graph.ir import Graph
from fabric.lang.ordering import strongly_connected


def _successors(graph: Graph) -> dict[str, list[str]]:
    successors: dict[str, list[str]] = {node: [] for node in graph.nodes}
    for channel in graph.channels:
        successors[channel.source.node].append(channel.target.node)
    for caller, call in callings(graph):
        successors[caller].append(call)
    return successors


def callings(graph: Graph) -> list[tuple[str, str]]:
    """Return who calls what: each caller, and the node where the calls of a tool come in."""
    nodes = graph.nodes.values()
    calls = {node.tool: node.id for node in nodes if node.kind == "call"}
    return [(node.id, calls[tool]) for node in nodes for tool in node.tools if tool in calls]


def components(graph: Graph) -> dict[str, int]:
    """Return the number of each node's strongly connected component; a channel never leads to a smaller number.

    Neither does a call: who calls a tool comes before it, and never makes a loop with it (E0506).
    """
    found = strongly_connected(graph.nodes, _successors(graph))
    return {node: number for number, component in enumerate(found) for node in component}


def loops(graph: Graph) -> list[list[str]]:
    """Return the components that are loops: several nodes, or one that feeds itself."""
    successors = _successors(graph)
    return [
        component
        for component in strongly_connected(graph.nodes, successors)
        if len(component) > 1 or component[0] in successors[component[0]]
    ]
