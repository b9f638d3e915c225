"""What workers say on a side port that nobody reads, as an output of the graph that its program does not have."""

from __future__ import annotations

__all__ = ["SIDE_PORTS", "observe"]

import msgspec

from fabric.graph.ir import WORKERS, Channel, End, Graph, Node, Port
from fabric.wire.payload import JSON

SIDE_PORTS = ("telemetry", "ctrl_out")
"""Ports that may be observed: what comes there tells of the work, it is none of its results."""


def observe(graph: Graph, label: str) -> Graph:
    """Merge all ports of this name that nobody reads into an extra output ``__label``.

    A port that is only discarded counts as one that nobody reads, and is no longer discarded. A port that something
    reads is left alone. Idempotent: what is observed is read.

    Args:
        graph: a flat one, before copies and merges are made.
        label: one of ``SIDE_PORTS``.
    """
    assert label in SIDE_PORTS
    sinks = {node.id for node in graph.nodes.values() if node.kind == "discard"}
    read = {channel.source for channel in graph.channels if channel.target.node not in sinks}
    found = {
        End(node.id, port.name)
        for node in graph.nodes.values()
        if node.kind in WORKERS
        for port in node.outputs
        if port.name == label
    } - read
    if not found:
        return graph
    kept = tuple(channel for channel in graph.channels if channel.source not in found)
    fed = {channel.target.node for channel in kept}
    left = {channel.target.node for channel in graph.channels} - fed  # discards without anything to discard
    nodes = {name: node for name, node in graph.nodes.items() if name not in left & sinks}
    extra = next((node for node in nodes.values() if node.extra == label), None)
    if extra is None:
        name = f"__{label}"
        while name in nodes:
            name += "_"
        extra = nodes[name] = Node(name, "output", inputs=(Port(f"__{label}", JSON),), extra=label)
    end = End(extra.id, extra.inputs[0].name)
    observed = tuple(Channel(source, end, JSON) for source in _in_order(graph, found))
    return msgspec.structs.replace(graph, nodes=nodes, channels=kept + observed)


def _in_order(graph: Graph, ends: set[End]) -> list[End]:
    return [end for node in graph.nodes.values() for port in node.outputs if (end := End(node.id, port.name)) in ends]
