"""Draw a wiring graph: DOT for Graphviz, Mermaid for Markdown, JSON for programs; SVG and characters to look at."""

from __future__ import annotations

__all__ = ["FORMATS", "render"]

from collections.abc import Callable

from fabric.graph.analysis import callings, loops
from fabric.graph.ascii import draw_ascii
from fabric.graph.ir import WORKERS, Graph, Node
from fabric.graph.svg import draw_svg
from fabric.wire.payload import encode_json, show


def render(graph: Graph, output: str) -> str:
    """Return the drawing in one of ``FORMATS``."""
    return FORMATS[output](graph)


def _label(node: Node) -> str:
    if node.kind in ("call", "result"):
        return f"tool {node.tool}" if node.kind == "call" else f"result of {node.tool}"
    if node.wire is not None:
        return f"{node.wire.protocol.name} ({node.wire.left} <-> {node.wire.right})"
    return node.id if node.kind in WORKERS or node.id.startswith(node.kind) else f"{node.id} ({node.kind})"


def _dot(graph: Graph) -> str:
    names = {node: f"n{i}" for i, node in enumerate(graph.nodes)}
    lines = [f"digraph {_quoted(graph.name)} {{", "  rankdir=LR;", "  node [fontname=Helvetica];"]
    for node in graph.nodes.values():
        shape = (
            "box"
            if node.kind in WORKERS
            else "plaintext"
            if node.kind in ("input", "output", "call", "result")
            else "ellipse"
        )
        lines.append(f"  {names[node.id]} [label={_quoted(_label(node))}, shape={shape}];")
    for channel in graph.channels:
        source, target = names[channel.source.node], names[channel.target.node]
        lines.append(f"  {source} -> {target} [label={_quoted('!' + show(channel.type))}];")
    lines += [f"  {names[caller]} -> {names[call]} [label=calls, style=dashed];" for caller, call in callings(graph)]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _mermaid(graph: Graph) -> str:
    names = {node: f"n{i}" for i, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes.values():
        left, right = ("[", "]") if node.kind in WORKERS else ("([", "])")
        lines.append(f"  {names[node.id]}{left}{_mermaid_text(_label(node))}{right}")
    for channel in graph.channels:
        source, target = names[channel.source.node], names[channel.target.node]
        lines.append(f"  {source} -->|{_mermaid_text('!' + show(channel.type))}| {target}")
    lines += [f"  {names[caller]} -.->|calls| {names[call]}" for caller, call in callings(graph)]
    return "\n".join(lines)


def _mermaid_text(text: str) -> str:
    escaped = "".join(f"#{ord(c)};" if c in '"#<>|{}[]()' else c for c in text)
    return f'"{escaped}"'


def _json(graph: Graph) -> str:
    nodes = [
        {
            "id": node.id,
            "kind": node.kind,
            "binding": node.binding,
            **({"protocol": node.wire.protocol.name} if node.wire is not None else {}),
            "inputs": [{"name": port.name, "type": show(port.type)} for port in node.inputs],
            "outputs": [{"name": port.name, "type": show(port.type)} for port in node.outputs],
            "part_of": node.tool or None,
            "tools": [call.name for call in node.calls],
        }
        for node in graph.nodes.values()
    ]
    channels = [
        {
            "from": {"node": channel.source.node, "port": channel.source.port},
            "to": {"node": channel.target.node, "port": channel.target.port},
            "type": show(channel.type),
            "validated": channel.check is not None,
        }
        for channel in graph.channels
    ]
    return encode_json(
        {"v": 1, "name": graph.name, "nodes": nodes, "channels": channels, "loops": loops(graph)}
    ).decode()


FORMATS: dict[str, Callable[[Graph], str]] = {
    "mermaid": _mermaid,
    "svg": draw_svg,
    "ascii": draw_ascii,
    "dot": _dot,
    "json": _json,
}
