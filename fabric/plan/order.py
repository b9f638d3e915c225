"""What drains as one, and before what."""

from __future__ import annotations

__all__ = ["drain_order", "start_order"]

from fabric.graph.analysis import components
from fabric.graph.ir import WORKERS, End, Graph
from fabric.plan.plan import Component


def drain_order(graph: Graph) -> tuple[Component, ...]:
    """Return the components in topological order: each can end only after all before it that feed it."""
    number_of = components(graph)
    count = max(number_of.values(), default=-1) + 1
    nodes: list[list[str]] = [[] for _ in range(count)]
    for node, number in number_of.items():
        nodes[number].append(node)
    entries = [0] * count
    exits: list[list[tuple[End, int]]] = [[] for _ in range(count)]
    inner = [0] * count
    for channel in graph.channels:
        source, target = number_of[channel.source.node], number_of[channel.target.node]
        if source == target:
            inner[source] += 1
        else:
            entries[target] += 1
            exits[source].append((channel.source, target))
    return tuple(Component(tuple(nodes[i]), entries[i], tuple(exits[i]), loop=inner[i] > 0) for i in range(count))


def start_order(graph: Graph) -> tuple[str, ...]:
    """Return the workers' nodes, consumers before producers."""
    number_of = components(graph)
    workers = [node.id for node in graph.nodes.values() if node.kind in WORKERS]
    return tuple(sorted(workers, key=lambda node: -number_of[node]))
