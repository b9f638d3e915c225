"""What can be told of a wiring graph: its components, its loops, an order."""

from __future__ import annotations

__all__ = ["components", "loops", "strongly_connected"]

from collections.abc import Iterable, Mapping, Sequence

from fabric.graph.ir import Graph


def strongly_connected(nodes: Iterable[str], successors: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the strongly connected components, each before those that it feeds.

    Source: Tarjan 1972, with an explicit stack, since a long chain would exhaust Python's.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for root in nodes:
        if root in index:
            continue
        todo = [(root, iter(successors.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while todo:
            node, rest = todo[-1]
            for following in rest:
                if following not in index:
                    index[following] = low[following] = len(index)
                    stack.append(following)
                    on_stack.add(following)
                    todo.append((following, iter(successors.get(following, ()))))
                    break
                if following in on_stack:
                    low[node] = min(low[node], index[following])
            else:
                todo.pop()
                if todo:
                    low[todo[-1][0]] = min(low[todo[-1][0]], low[node])
                if low[node] == index[node]:
                    component: list[str] = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    found.append(component[::-1])
    return found[::-1]


def _successors(graph: Graph) -> dict[str, list[str]]:
    successors: dict[str, list[str]] = {node: [] for node in graph.nodes}
    for channel in graph.channels:
        successors[channel.source.node].append(channel.target.node)
    return successors


def components(graph: Graph) -> dict[str, int]:
    """Return the number of each node's strongly connected component; a channel never leads to a smaller number."""
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
