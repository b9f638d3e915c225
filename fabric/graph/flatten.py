"""Nested bodies as nodes with prefixed names, and each tool that is called as a part of its own.

A tool made of a process gets an instance of that process, between a node where calls come in and one where results
go: ``words.call``, ``words.count``, ``words.result``. One that is a builtin gets a worker under its name. All callers
share it. Nothing else is wired to it.
"""

from __future__ import annotations

__all__ = ["flatten", "fresh"]

from collections.abc import Container, Mapping
from pathlib import PurePath
from typing import Any, TypeAlias

import msgspec

from fabric.graph.calls import calls_of
from fabric.graph.ir import Call, Channel, End, Graph, Node, Port
from fabric.graph.observe import SIDE_PORTS
from fabric.lang import typed
from fabric.lang.tools import BUILTINS
from fabric.lang.types import is_subtype
from fabric.wire.payload import Product, Type

_Ends: TypeAlias = list[tuple[End, bool]]
_Inner: TypeAlias = tuple[dict[str, _Ends], dict[str, _Ends]]
"""Of an expanded binding: for each input the ends that read it, for each output the ends that feed it. The flag says
that messages between the body's port and that end have to be validated."""


class _Flat:
    """The nodes and edges found so far; an edge is source, target, and whether to validate in between."""

    def __init__(self, module: typed.Module) -> None:
        self.module = module
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[End, End], bool] = {}
        self.calls: dict[str, tuple[Call, ...]] = {}

    def connect(self, sources: _Ends, targets: _Ends, checked: bool) -> None:
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
        if of.kind in ("agent", "worker") and binding is not None and binding not in self.calls:
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

    def tools(self) -> None:
        """Add each tool that a node calls, also by way of other tools."""
        made: set[str] = set()
        while wanted := [tool for node in self.nodes.values() for tool in node.tools if tool not in made]:
            for name in dict.fromkeys(wanted):
                made.add(name)
                before = set(self.nodes)
                self._tool(self.module.bindings[name])
                for node_id in self.nodes.keys() - before:
                    self.nodes[node_id] = msgspec.structs.replace(self.nodes[node_id], tool=name)

    def _tool(self, tool: typed.Binding) -> None:
        given, result = tool.inputs[0].type, tool.outputs[0].type
        before = dict(self.nodes)
        takes, inputs, gives, outputs = self._lowered(tool)
        call = End(fresh(self.nodes, f"{tool.name}.call"), "arguments")  # only now it is known what names are taken
        node = Node(call.node, "call", (), (Port(call.port, given),), span=tool.span)
        self.nodes = before | {call.node: node} | {name: n for name, n in self.nodes.items() if name not in before}
        self.connect([(call, False)], inputs, not is_subtype(given, takes))
        if gives is None:  # nothing comes of a call: it is done when nothing of it is left
            return
        end = End(fresh(self.nodes, f"{tool.name}.result"), "result")
        self.nodes[end.node] = Node(end.node, "result", (Port(end.port, result),), (), span=tool.span)
        self.connect(outputs, [(end, False)], not is_subtype(gives, result))

    def _lowered(self, tool: typed.Binding) -> tuple[Type, _Ends, Type | None, _Ends]:
        """Add what a tool is made of: return what it takes and where, and what it gives, if anything, and where."""
        builtin = tool.config.get("builtin")
        if builtin is not None:
            takes, gives = BUILTINS[builtin]
            name = fresh(self.nodes, tool.name)
            ports = (Port("input", takes),), (Port("output", gives),)
            self.nodes[name] = Node(name, "python", *ports, tool.name, span=tool.span, runs=builtin)
            return takes, [(End(name, "input"), False)], gives, [(End(name, "output"), False)]
        process = self.module.bindings[tool.config["process"]]
        if process.kind == "plumb":
            ends = self.body(process, f"{tool.name}.")
        else:
            ends = self.node(process, f"{tool.name}.{process.name}", process.name)
        main = [port for port in process.outputs if process.kind == "plumb" or port.name not in SIDE_PORTS]
        takes, inputs = process.inputs[0].type, ends[0][process.inputs[0].name]
        if len(main) < 2:
            return takes, inputs, main[0].type if main else None, ends[1][main[0].name] if main else []
        both = fresh(self.nodes, f"{tool.name}.both")
        slots = tuple(Port(f"input_{i}", port.type) for i, port in enumerate(main))
        pair = Product(tuple(port.type for port in main))
        self.nodes[both] = Node(both, "barrier", slots, (Port("output", pair),))
        for slot, port in zip(slots, main, strict=True):
            self.connect(ends[1][port.name], [(End(both, slot.name), False)], False)
        return takes, inputs, pair, [(End(both, "output"), False)]

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
        inputs: dict[str, _Ends] = {port.name: [] for port in binding.inputs}
        outputs: dict[str, _Ends] = {port.name: [] for port in binding.outputs}
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
        inputs: dict[str, _Ends],
        outputs: dict[str, _Ends],
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
            node = fresh(flat.nodes, port.name)
            flat.nodes[node] = Node(node, "input", outputs=(port,), span=main.span)
            flat.connect([(End(node, port.name), False)], inputs[port.name], False)
    for port in boundary_outputs:
        node = fresh(flat.nodes, port.name)
        flat.nodes[node] = Node(node, "output", inputs=(port,), span=main.span)
        flat.connect(outputs[port.name], [(End(node, port.name), False)], False)
    flat.tools()
    types = {End(n.id, p.name): p.type for n in flat.nodes.values() for p in (*n.inputs, *n.outputs)}
    channels = tuple(
        Channel(source, target, types[source], types[target] if checked else None)
        for (source, target), checked in flat.edges.items()
    )
    return Graph(PurePath(module.source.path).stem, flat.nodes, channels)


def fresh(taken: Container[str], name: str) -> str:
    """Return a name that is not taken: this one, or this one with a number."""
    count, found = 1, name
    while found in taken:
        count += 1
        found = f"{name}.{count}"
    return found
