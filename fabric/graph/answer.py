"""The answer of ``fabric graph --reach``, as text for a reader and as JSON for a program."""

from __future__ import annotations

__all__ = ["reach_json", "reach_text"]

from collections.abc import Mapping, Sequence
from typing import Any

from fabric.graph.ir import WORKERS, Call, Graph
from fabric.graph.reach import Reach
from fabric.wire.payload import encode_json


def reach_text(graph: Graph, found: Reach) -> str:
    """Return the answer in lines: what is asked about, what can come to it, where what comes of it can go."""
    inputs = {name: path for name, path in found.inputs.items() if path is not None}
    lines = [_headline(graph, found)]
    is_input = _kind(graph, found) == "input"
    if not is_input:
        lines.append("can be reached from")
        lines += _rows({name: _way(graph, path, found.calls.get(path[-1])) for name, path in inputs.items()})
        lines += [] if inputs else [f"  nothing: {_why_nothing(found)}"]
        out_of_reach = [name for name, path in found.inputs.items() if path is None]
        if inputs and out_of_reach:
            lines.append(f"cannot be reached from\n  {', '.join(out_of_reach)}")
        if found.before:
            lines.append(f"by way of\n  {', '.join(found.before)}")
    if found.place.nodes and _kind(graph, found) != "output":
        lines.append("what it gives can reach" if found.place.kind == "tool" else "what comes of it can reach")
        to = {name: _way(graph, path, None) for name, path in found.outputs.items() if path is not None}
        to |= {_tool(c.call): _way(graph, c.path, c.call) for c in found.callings}
        lines += _rows(to)
        lines += [] if to else ["  nothing: no output of the program and no tool"]
        beyond = [name for name, path in found.outputs.items() if path is None]
        if beyond:
            lines.append(f"cannot reach\n  {', '.join(beyond)}")
        if found.after:
            lines.append(f"by way of\n  {', '.join(found.after)}")
    if found.opaque:
        programs = "programs of their own" if len(found.opaque) > 1 else "a program of its own"
        lines.append(f"not seen here: what else {', '.join(found.opaque)} may do, {programs}")
    return "\n".join(lines)


def _kind(graph: Graph, found: Reach) -> str:
    """Return the kind of the only node of a place, or nothing."""
    return graph.nodes[found.place.nodes[0]].kind if found.place.kind in ("port", "process") else ""


def _headline(graph: Graph, found: Reach) -> str:
    place = found.place
    if place.kind == "tool":
        builtin = next(iter({call.builtin for call in found.calls.values()} - {"", place.name}), "")
        return f"tool {place.name}" + (f" ({builtin})" if builtin else "")
    kind = _kind(graph, found) or place.kind
    return f"{kind if not place.takes and not place.gives else 'port'} {place.name}"


def _why_nothing(found: Reach) -> str:
    if found.place.kind == "tool" and not found.place.nodes:
        return "no agent of the program may call it"
    return "no input of the program leads there"


def _way(graph: Graph, path: Sequence[str], call: Call | None) -> str:
    """Write a path by what users have named: ports of the boundary and workers; what lies between is left out."""
    shown = []
    for position, name in enumerate(path):
        node = graph.nodes[name]
        if node.kind in ("input", "output"):
            shown.append((*node.outputs, *node.inputs)[0].name)
        elif node.kind in WORKERS or position in (0, len(path) - 1):
            shown.append(name)
    return " -> ".join(shown) + (f" ({_calls(call)})" if call else "")


def _calls(call: Call) -> str:
    return "calls " + ", which calls ".join((*call.through, call.name))


def _tool(call: Call) -> str:
    return f"{call.name} ({call.builtin})" if call.builtin and call.builtin != call.name else call.name


def _rows(ways: Mapping[str, str]) -> list[str]:
    width = max(map(len, ways), default=0)
    return [f"  {name:<{width}}   {way}" for name, way in ways.items()]


def reach_json(graph: Graph, found: Reach) -> str:
    """Return the answer as one JSON object. ``path`` has the ids of all nodes, morphisms among them."""
    place = found.place

    def calling(call: Call) -> dict[str, Any]:
        return {"tool": call.name, "builtin": call.builtin or None, "through": list(call.through)}

    return encode_json(
        {
            "v": 1,
            "name": graph.name,
            "place": {"kind": place.kind, "name": place.name, "nodes": list(place.nodes)},
            "reached_from": [
                {"input": name, "path": list(path), "call": calling(found.calls[path[-1]]) if found.calls else None}
                for name, path in found.inputs.items()
                if path is not None
            ],
            "not_reached_from": [name for name, path in found.inputs.items() if path is None],
            "by_way_of": list(found.before),
            "reaches": [
                *({"output": name, "path": list(path)} for name, path in found.outputs.items() if path is not None),
                *({**calling(c.call), "path": list(c.path)} for c in found.callings),
            ],
            "does_not_reach": [name for name, path in found.outputs.items() if path is None],
            "behind": list(found.after),
            "opaque": list(found.opaque),
        }
    ).decode()
