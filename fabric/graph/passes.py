"""Typed module to wiring graph, one idea a pass.

    flatten     nested bodies become nodes with prefixed names
    observe     side ports that nobody reads get an output, if they are asked for (``graph.observe``)
    fan_out     a source with several targets gets a copy
    fan_in      a target with several sources gets merges: on a loop the forward side first, then the feedback side
    loose_ends  an output that nobody reads is discarded, an optional input that nobody feeds is empty

:func:`validate` states what holds between the passes and after the last.
"""

from __future__ import annotations

__all__ = ["PASSES", "build", "fan_in", "fan_out", "flatten", "loose_ends", "validate"]

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, TypeAlias

import msgspec

from fabric.graph.analysis import components
from fabric.graph.calls import calls_of
from fabric.graph.ir import Call, Channel, End, Graph, Node, Port
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


# --- flatten ------------------------------------------------------------------------------------------------------


_Inner: TypeAlias = tuple[dict[str, list[tuple[End, bool]]], dict[str, list[tuple[End, bool]]]]
"""Of an expanded binding: for each input the ends that read it, for each output the ends that feed it. The flag says
that messages between the body's port and that end have to be validated."""


class _Flat:
    """The nodes and edges found so far; an edge is source, target, and whether to validate in between."""

    def __init__(self, module: typed.Module) -> None:
        self.module = module
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[End, End], bool] = {}
        self.calls: dict[str, tuple[Call, ...]] = {}

    def connect(self, sources: list[tuple[End, bool]], targets: list[tuple[End, bool]], checked: bool) -> None:
        """Join every source with every target."""
        for source, source_checked in sources:
            for target, target_checked in targets:
                self.edges.setdefault((source, target), checked or source_checked or target_checked)

    def node(self, of: typed.Binding | typed.Instance, node_id: str, binding: str | None) -> _Inner:
        """Add a node of its own."""
        assert of.kind != "plumb"
        assert of.kind != "tool"
        runs = _runs(self.module.bindings[binding].config) if binding is not None else ""
        wire = of.wire if isinstance(of, typed.Instance) else None
        if wire is not None:
            prefix = node_id.removesuffix(of.name)
            wire = msgspec.structs.replace(wire, left=prefix + wire.left, right=prefix + wire.right)
        if of.kind == "agent" and binding is not None and binding not in self.calls:
            self.calls[binding] = calls_of(self.module, binding)
        self.nodes[node_id] = Node(
            node_id,
            of.kind,
            of.inputs,
            of.outputs,
            binding,
            of.expr,
            of.select,
            of.index,
            of.span,
            runs,
            wire,
            self.calls.get(binding or "", ()),
        )
        return (
            {port.name: [(End(node_id, port.name), False)] for port in of.inputs},
            {port.name: [(End(node_id, port.name), False)] for port in of.outputs},
        )

    def body(self, binding: typed.Binding, prefix: str) -> _Inner:
        """Add the inside of a ``plumb`` binding, every name prefixed."""
        assert binding.body is not None
        parts: dict[str, _Inner] = {}
        for instance in binding.body.instances:
            if instance.kind == "plumb":
                assert instance.binding is not None
                nested = self.module.bindings[instance.binding]
                parts[instance.name] = self.body(nested, f"{prefix}{instance.name}.")
            else:
                parts[instance.name] = self.node(instance, prefix + instance.name, instance.binding)
        inputs: dict[str, list[tuple[End, bool]]] = {port.name: [] for port in binding.inputs}
        outputs: dict[str, list[tuple[End, bool]]] = {port.name: [] for port in binding.outputs}
        for connection in binding.body.connections:
            source, target, checked = connection.source, connection.target, connection.checked
            if source.instance == target.instance == typed.BOUNDARY:
                self._straight(binding, connection, prefix, inputs, outputs)
            elif source.instance == typed.BOUNDARY:
                ends = parts[target.instance][0][target.port]
                inputs[source.port] += [(end, checked or inner) for end, inner in ends]
            elif target.instance == typed.BOUNDARY:
                ends = parts[source.instance][1][source.port]
                outputs[target.port] += [(end, checked or inner) for end, inner in ends]
            else:
                self.connect(parts[source.instance][1][source.port], parts[target.instance][0][target.port], checked)
        return inputs, outputs

    def _straight(
        self,
        binding: typed.Binding,
        connection: typed.Connection,
        prefix: str,
        inputs: dict[str, list[tuple[End, bool]]],
        outputs: dict[str, list[tuple[End, bool]]],
    ) -> None:
        """Give a body whose input is wired straight to its output a node to pass through."""
        source, target = connection.source.port, connection.target.port
        through = f"{prefix}{source}-{target}"
        type_ = next(port.type for port in binding.inputs if port.name == source)
        self.nodes[through] = Node(
            through, "id", (Port("input", type_),), (Port("output", type_),), span=connection.span
        )
        inputs[source].append((End(through, "input"), False))
        outputs[target].append((End(through, "output"), connection.checked))


def _runs(config: Mapping[str, Any]) -> str:
    """Say what runs a worker, as far as its program does."""
    named = "/".join(config[key] for key in ("provider", "model") if key in config)
    return named or config.get("call") or " ".join(config.get("command", ()))


def flatten(module: typed.Module) -> Graph:
    """Expand the main binding. Fan-out and fan-in are still many channels on one port."""
    main = module.bindings[module.main]
    flat = _Flat(module)
    if main.kind == "plumb":
        boundary_outputs = main.outputs
        inputs, outputs = flat.body(main, "")
    else:
        boundary_outputs = tuple(port for port in main.outputs if port.name in main.declared)
        inputs, outputs = flat.node(main, main.name, main.name)
    for port in main.inputs:
        if main.kind == "plumb" or port.name != "ctrl_in":
            node = _fresh(flat.nodes, port.name)
            flat.nodes[node] = Node(node, "input", outputs=(port,), span=main.span)
            flat.connect([(End(node, port.name), False)], inputs[port.name], False)
    for port in boundary_outputs:
        node = _fresh(flat.nodes, port.name)
        flat.nodes[node] = Node(node, "output", inputs=(port,), span=main.span)
        flat.connect(outputs[port.name], [(End(node, port.name), False)], False)
    types = {End(n.id, p.name): p.type for n in flat.nodes.values() for p in (*n.inputs, *n.outputs)}
    channels = tuple(
        Channel(source, target, types[source], types[target] if checked else None)
        for (source, target), checked in flat.edges.items()
    )
    return Graph(PurePath(module.source.path).stem, flat.nodes, channels)


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
        copy = _fresh(nodes, f"{_place(graph.nodes[source.node].outputs, source)}.copy")
        outputs = tuple(Port(f"output_{i}", type_) for i in range(len(readers)))
        nodes[copy] = Node(copy, "copy", (Port("input", type_),), outputs)
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

    def join(kind: str, name: str, sources: list[tuple[End, Type, Type | None]], type_: Type) -> End:
        merge = _fresh(nodes, name)
        inputs = tuple(Port(f"input_{i}", source[1]) for i, source in enumerate(sources))
        nodes[merge] = Node(merge, "merge" if kind == "merge" else "merge_all", inputs, (Port("output", type_),))
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
        name = f"{_place(graph.nodes[target.node].inputs, target)}.merge"
        sides: tuple[list[tuple[End, Type, Type | None]], ...] = ([], [])
        for writer in writers:
            inside = component_of[writer.source.node] == component_of[target.node]
            sides[inside].append((writer.source, writer.type, writer.check))
        if sides[0] and sides[1]:
            joined = [
                (join("merge_all", f"{name}.{side_name}", side, type_), type_, None) if len(side) > 1 else side[0]
                for side, side_name in zip(sides, ("forward", "feedback"), strict=True)
            ]
            end = join("merge", name, joined, type_)
        else:
            end = join("merge_all", name, sides[0] or sides[1], type_)
        channels.append(Channel(end, target, type_))
    return Graph(graph.name, nodes, tuple(channels))


def loose_ends(graph: Graph) -> Graph:
    """Discard every output that nobody reads; feed every optional input that nobody feeds from an ``empty``."""
    used = {end for channel in graph.channels for end in (channel.source, channel.target)}
    nodes, channels = dict(graph.nodes), list(graph.channels)
    for node in graph.nodes.values():
        for port in node.outputs:
            if End(node.id, port.name) not in used and port.name not in SIDE_PORTS:
                sink = _fresh(nodes, f"{node.id}.{port.name}.discard")
                nodes[sink] = Node(sink, "discard", (Port("input", port.type),))
                channels.append(Channel(End(node.id, port.name), End(sink, "input"), port.type))
        for port in node.inputs:
            if End(node.id, port.name) not in used:
                source = _fresh(nodes, f"{node.id}.{port.name}.empty")
                nodes[source] = Node(source, "empty", (), (Port("output", port.type),))
                channels.append(Channel(End(source, "output"), End(node.id, port.name), port.type))
    return Graph(graph.name, nodes, tuple(channels))


def _place(ports: tuple[Port, ...], end: End) -> str:
    """Name a port in the name of a node that is made for it: by its node, where that says enough."""
    return end.node if len(ports) == 1 or end.port in ("input", "output") else f"{end.node}.{end.port}"


def _fresh(nodes: dict[str, Node], name: str) -> str:
    count, fresh = 1, name
    while fresh in nodes:
        count += 1
        fresh = f"{name}.{count}"
    return fresh


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
