"""Typed module to wiring graph, one idea a pass.

    flatten     nested bodies become nodes with prefixed names, and so do tools (``graph.flatten``)
    observe     side ports that nobody reads get an output, if they are asked for (``graph.observe``)
    fan_out     a source with several targets gets a copy
    fan_in      a target with several sources gets merges: on a loop the forward side first, then the feedback side
    loose_ends  an output that nobody reads is discarded, an optional input that nobody feeds is empty

:func:`validate` states what holds between the passes and after the last.
"""

from __future__ import annotations

__all__ = ["PASSES", "build", "fan_in", "fan_out", "flatten", "loose_ends", "validate"]

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from fabric.graph.analysis import components
from fabric.graph.flatten import flatten, fresh
from fabric.graph.ir import Channel, End, Graph, Node, Port
from fabric.graph.observe import SIDE_PORTS, observe
from fabric.lang import typed
from fabric.wire.payload import Type


def build(module: typed.Module, observed: Iterable[str] = ()) -> Graph:
    """Return the wiring graph of a module's main binding.

    Args:
        module: the program.
        observed: side ports that get an extra output; see :mod:`fabric.graph.observe`.
    """
    graph = flatten(module)
    for label in observed:
        graph = observe(graph, label)
    for rewrite in PASSES:
        graph = rewrite(graph)
    return graph


# --- fan-out and fan-in -------------------------------------------------------------------------------------------


def fan_out(graph: Graph) -> Graph:
    """Give a source with k > 1 targets a copy with k outputs."""
    by_source: defaultdict[End, list[Channel]] = defaultdict(list)
    for channel in graph.channels:
        by_source[channel.source].append(channel)
    nodes = dict(graph.nodes)
    channels: list[Channel] = []
    for source, readers in by_source.items():
        if len(readers) == 1:
            channels += readers
            continue
        type_ = readers[0].type
        copy = fresh(nodes, f"{_place(graph.nodes[source.node].outputs, source)}.copy")
        outputs = tuple(Port(f"output_{i}", type_) for i in range(len(readers)))
        nodes[copy] = Node(copy, "copy", (Port("input", type_),), outputs, tool=graph.nodes[source.node].tool)
        channels.append(Channel(source, End(copy, "input"), type_))
        channels += [
            Channel(End(copy, port.name), reader.target, type_, reader.check)
            for port, reader in zip(outputs, readers, strict=True)
        ]
    return Graph(graph.name, nodes, tuple(channels))


def fan_in(graph: Graph) -> Graph:
    """Give a target with k > 1 sources merges.

    Off a loop: one ``merge_all``. On a loop: a ``merge`` whose input 0 is the forward side and whose input 1 is the
    feedback side, each behind a ``merge_all`` if it has several sources.
    """
    component_of = components(graph)
    by_target: defaultdict[End, list[Channel]] = defaultdict(list)
    for channel in graph.channels:
        by_target[channel.target].append(channel)
    nodes = dict(graph.nodes)
    channels: list[Channel] = []

    def join(kind: str, name: str, sources: list[tuple[End, Type, Type | None]], type_: Type, tool: str) -> End:
        merge = fresh(nodes, name)
        inputs = tuple(Port(f"input_{i}", source[1]) for i, source in enumerate(sources))
        ports = inputs, (Port("output", type_),)
        nodes[merge] = Node(merge, "merge" if kind == "merge" else "merge_all", *ports, tool=tool)
        channels.extend(
            Channel(end, End(merge, port.name), end_type, check)
            for port, (end, end_type, check) in zip(inputs, sources, strict=True)
        )
        return End(merge, "output")

    for target, writers in by_target.items():
        if len(writers) == 1:
            channels += writers
            continue
        type_ = next(port.type for port in nodes[target.node].inputs if port.name == target.port)
        name, tool = f"{_place(graph.nodes[target.node].inputs, target)}.merge", graph.nodes[target.node].tool
        sides: tuple[list[tuple[End, Type, Type | None]], ...] = ([], [])
        for writer in writers:
            inside = component_of[writer.source.node] == component_of[target.node]
            sides[inside].append((writer.source, writer.type, writer.check))
        if sides[0] and sides[1]:
            joined = [
                (join("merge_all", f"{name}.{side_name}", side, type_, tool), type_, None) if len(side) > 1 else side[0]
                for side, side_name in zip(sides, ("forward", "feedback"), strict=True)
            ]
            end = join("merge", name, joined, type_, tool)
        else:
            end = join("merge_all", name, sides[0] or sides[1], type_, tool)
        channels.append(Channel(end, target, type_))
    return Graph(graph.name, nodes, tuple(channels))


def loose_ends(graph: Graph) -> Graph:
    """Discard every output that nobody reads; feed every optional input that nobody feeds from an ``empty``."""
    used = {end for channel in graph.channels for end in (channel.source, channel.target)}
    nodes, channels = dict(graph.nodes), list(graph.channels)
    for node in graph.nodes.values():
        for port in node.outputs:
            if End(node.id, port.name) not in used and port.name not in SIDE_PORTS:
                sink = fresh(nodes, f"{node.id}.{port.name}.discard")
                nodes[sink] = Node(sink, "discard", (Port("input", port.type),), tool=node.tool)
                channels.append(Channel(End(node.id, port.name), End(sink, "input"), port.type))
        for port in node.inputs:
            if End(node.id, port.name) not in used:
                source = fresh(nodes, f"{node.id}.{port.name}.empty")
                nodes[source] = Node(source, "empty", (), (Port("output", port.type),), tool=node.tool)
                channels.append(Channel(End(source, "output"), End(node.id, port.name), port.type))
    return Graph(graph.name, nodes, tuple(channels))


def _place(ports: tuple[Port, ...], end: End) -> str:
    """Name a port in the name of a node that is made for it: by its node, where that says enough."""
    return end.node if len(ports) == 1 or end.port in ("input", "output") else f"{end.node}.{end.port}"


PASSES: tuple[Callable[[Graph], Graph], ...] = (fan_out, fan_in, loose_ends)


def validate(graph: Graph, *, complete: bool = True) -> None:
    """Assert what every graph promises: the ends of channels exist; if ``complete``, one channel a port."""
    types = {End(n.id, p.name): p.type for n in graph.nodes.values() for p in (*n.inputs, *n.outputs)}
    sources: Counter[End] = Counter()
    targets: Counter[End] = Counter()
    for channel in graph.channels:
        assert channel.source in types, f"no port {channel.source}"
        assert channel.target in types, f"no port {channel.target}"
        sources[channel.source] += 1
        targets[channel.target] += 1
    if complete:
        for node in graph.nodes.values():
            for port in node.inputs:
                assert targets[End(node.id, port.name)] == 1, (
                    f"{node.id}.{port.name} has {targets[End(node.id, port.name)]}"
                )
            for port in node.outputs:
                expected = (0, 1) if port.name in SIDE_PORTS else (1,)
                assert sources[End(node.id, port.name)] in expected, f"{node.id}.{port.name}"
