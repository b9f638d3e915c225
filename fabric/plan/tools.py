"""Who may call which tool, by which name."""

from __future__ import annotations

__all__ = ["called_as", "make_tools", "tool_spec"]

from collections import Counter
from collections.abc import Iterable

from fabric.graph.ir import End, Graph
from fabric.lang.tools import EFFECTS, REPEATABLE
from fabric.lang.typed import Module
from fabric.plan.plan import ToolPlan
from fabric.wire.spec import ToolSpec


def make_tools(module: Module, graph: Graph) -> dict[str, ToolPlan]:
    """Return the tools of a program, by name."""
    nodes = graph.nodes.values()
    wired = {node.tool for node in nodes if node.kind == "monitor"}
    results = {node.tool for node in nodes if node.kind == "result"}
    repeatable = _repeatable(module, graph)
    return {
        node.tool: ToolPlan(
            node.tool,
            End(node.id, node.outputs[0].name),
            node.tool in results,
            tuple(caller.id for caller in nodes if node.tool in caller.tools),
            alone=node.tool in wired,
            effects=module.bindings[node.tool].config.get("builtin") in EFFECTS,
            repeatable=node.tool in repeatable,
        )
        for node in nodes
        if node.kind == "call"
    }


def _repeatable(module: Module, graph: Graph) -> frozenset[str]:
    """Return the tools that may be run twice with the same arguments.

    Those of which the program says so, builtins that are so, and what is made of agents and pure parts alone, if the
    agents call only such tools. A python function may do anything.
    """
    nodes = [node for node in graph.nodes.values() if node.tool]
    config = {node.tool: module.bindings[node.tool].config for node in nodes}
    said = {name for name, found in config.items() if found.get("idempotent")}
    found = said | {name for name in config if config[name].get("builtin", "fs.read") in REPEATABLE}
    while True:
        spoilt = {
            node.tool
            for node in nodes
            if (node.kind == "python" and "builtin" not in config[node.tool])
            or (node.kind == "agent" and node.binding is not None and module.bindings[node.binding].config.get("mcp"))
            or not found.issuperset(node.tools)
        }
        if not found & spoilt - said:
            return frozenset(found)
        found -= spoilt - said


def called_as(tools: Iterable[str]) -> dict[str, str]:
    """Return the names by which a process may call its tools.

    A tool of another file is ``Fs.read``, and also ``read`` if no other one ends so: the author of a program in a
    library does not know under which name the library is used.
    """
    names = {tool: tool for tool in tools}
    last = {tool: tool.rpartition(".")[2] for tool in names}
    often = Counter(last.values())
    return names | {short: tool for tool, short in last.items() if often[short] == 1}


def tool_spec(module: Module, name: str, tool: str) -> ToolSpec:
    """Return what a process is told of a tool that it may call."""
    binding = module.bindings[tool]
    description = binding.config.get("description", "")
    return ToolSpec(name, binding.inputs[0].type, binding.outputs[0].type, description)
