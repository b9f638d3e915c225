"""What can come to a place of the graph, and where what comes of it can go.

A process is taken to pass everything on: from each of its inputs, control included, to each of its outputs. So what is
said to be out of reach is out of reach, whatever the processes do with their messages, as far as they do nothing
besides: a python function or a program of a worker may open a file or a connection of its own, and an answer names
those that lie on its ways.

What a tool is made of belongs to those who call it: it is no place of its own, but is followed to what it may call.
"""

from __future__ import annotations

__all__ = ["Calling", "Place", "Reach", "find_place", "reach"]

import heapq
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from fabric.errors import UnknownName
from fabric.graph.ir import WORKERS, Call, Channel, Graph, Node
from fabric.lang.diagnostic import did_you_mean

TOOL = "tool:"


class Place(msgspec.Struct, frozen=True):
    """What is asked about.

    Attributes:
        kind: ``tool``, ``port`` (``name`` is a port of the boundary, or ``node@port``), ``process``, or ``body``:
            all that is in a nested one.
        name: as it is shown.
        nodes: where it is: of a tool the agents that may call it.
        takes: the port where messages come in, if it is one; ``gives``: where they go out.
    """

    kind: Literal["tool", "port", "process", "body"]
    name: str
    nodes: tuple[str, ...]
    takes: str | None = None
    gives: str | None = None


class Calling(msgspec.Struct, frozen=True):
    """A tool that may be called on the way: the path ends with the agent that calls."""

    path: tuple[str, ...]
    call: Call


_CameFrom: TypeAlias = dict[str, str | None]
"""Of each node that was reached the one before it; None of a start. Whole paths would be as much as their square."""


class Reach(msgspec.Struct, frozen=True):
    """The answer. Paths are ids of nodes, with the fewest workers between their ends.

    Attributes:
        place: what was asked about.
        calls: if it is a tool: how each of the agents calls it.
        inputs: of the boundary, by name, each with a path to the place; None: nothing that comes in there gets to it.
        outputs: of the boundary, by name, each with a path from the place; None: nothing of it gets out there.
        before, after: workers from which something can come to the place, and those that something of it can go to.
        callings: the tools that may be called by the place or behind it, each by a shortest path.
        opaque: workers and tools that run a program of their own: those on these ways, or, if it is a tool that is
            asked about, all there are, for they may do the same without it.
        part: the part of the graph that lies on these ways.
    """

    place: Place
    calls: dict[str, Call]
    inputs: dict[str, tuple[str, ...] | None]
    outputs: dict[str, tuple[str, ...] | None]
    before: tuple[str, ...]
    after: tuple[str, ...]
    callings: tuple[Calling, ...]
    opaque: tuple[str, ...]
    part: Graph


# --- finding ------------------------------------------------------------------------------------------------------


def find_place(graph: Graph, wanted: str, tools: Mapping[str, str]) -> Place:
    """Return what a name means: ``tool:NAME``, a port of the boundary, ``NODE@PORT``, or a node.

    Args:
        graph: the whole one.
        wanted: the name.
        tools: all tools that there are, by name, with their builtins. A builtin is a name of what is made of it.

    Raises:
        UnknownName: there is nothing of that name.
    """
    whole, graph = graph, _without_tools(graph)
    if wanted.startswith(TOOL):
        return _find_tool(graph, wanted.removeprefix(TOOL), tools)
    for node in graph.nodes.values():
        if node.kind in ("input", "output") and wanted == _shown(node):
            return Place("port", wanted, (node.id,))
    written = {node.id: node for node in graph.nodes.values() if node.span is not None}
    if wanted in written:
        return Place("process", wanted, (wanted,))
    inside = tuple(node for node in written if node.startswith(f"{wanted}."))
    if inside:
        return Place("body", wanted, inside)
    name, at, port = wanted.rpartition("@")
    if at and name in written:
        port = "ctrl_in" if port == "ctrl" else port
        ins, outs = ({p.name for p in ports} for ports in (written[name].inputs, written[name].outputs))
        if port in ins | outs:
            shown = f"{name}@{port}"
            return Place("port", shown, (name,), port if port in ins else None, port if port in outs else None)
        raise _unknown(f"'{name}' has no port", port, sorted(ins | outs), "its ports are")
    known = [*map(_shown, _boundary(graph)), *(node for node in written if written[node].kind in WORKERS)]
    known += dict.fromkeys(name.rpartition(".")[0] for name in written if "." in name and "@" not in name)
    hint = f"for a tool write {TOOL}{wanted}" if wanted in tools or wanted in tools.values() else None
    if hint is None and wanted in whole.nodes:
        hint = f"it works for a tool: write {TOOL}{whole.nodes[wanted].tool}"
    raise _unknown("there is no port and no process", wanted, known, "there are", hint)


def _find_tool(graph: Graph, name: str, tools: Mapping[str, str]) -> Place:
    if name not in tools and name not in tools.values():
        raise _unknown("there is no tool", name, [*tools, *filter(None, tools.values())], "there are")
    nodes = tuple(node.id for node in graph.nodes.values() if any(name in (c.name, c.builtin) for c in node.calls))
    return Place("tool", name, nodes)


def _without_tools(graph: Graph) -> Graph:
    """Return what is left of a graph without the parts that are tools; nothing else is wired to those."""
    nodes = {name: node for name, node in graph.nodes.items() if not node.tool}
    return Graph(graph.name, nodes, tuple(channel for channel in graph.channels if channel.source.node in nodes))


def _unknown(what: str, name: str, known: Collection[str], there_are: str, hint: str | None = None) -> UnknownName:
    unique = list(dict.fromkeys(known))
    shown = ", ".join(unique[:20]) + (", ..." if len(unique) > 20 else "") or "none"
    hint = hint or did_you_mean(name, unique)
    return UnknownName(f"{what} '{name}'; {there_are}: {shown}" + (f". {hint[0].upper()}{hint[1:]}" if hint else ""))


def _boundary(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes.values() if node.kind in ("input", "output")]


def _shown(node: Node) -> str:
    """Name a node as users do: a port of the boundary by its port."""
    if node.kind == "input":
        return node.outputs[0].name
    return node.inputs[0].name if node.kind == "output" else node.id


# --- reaching -----------------------------------------------------------------------------------------------------


def reach(graph: Graph, place: Place) -> Reach:
    """Return what can come to a place, and where what comes of it can go."""
    graph = _without_tools(graph)
    into: dict[str, list[Channel]] = {node: [] for node in graph.nodes}
    out: dict[str, list[Channel]] = {node: [] for node in graph.nodes}
    for channel in graph.channels:
        into[channel.target.node].append(channel)
        out[channel.source.node].append(channel)
    before = [c.source.node for node in place.nodes for c in into[node] if c.target.port == place.takes]
    behind = [c.target.node for node in place.nodes for c in out[node] if c.source.port == place.gives]
    sources = {node: [channel.source.node for channel in channels] for node, channels in into.items()}
    targets = {node: [channel.target.node for channel in channels] for node, channels in out.items()}
    up = _shortest(graph, before if place.takes else place.nodes, sources)
    down = _shortest(graph, behind if place.gives else place.nodes, targets)

    def to_place(node: str) -> tuple[str, ...]:
        return _path(node, up)[::-1] + (place.nodes if place.takes else ())

    def from_place(node: str) -> tuple[str, ...]:
        return (place.nodes if place.gives else ()) + _path(node, down)

    on_ways = {*up, *down, *place.nodes}
    callings: dict[str, Calling] = {}
    for node in down:  # the nearest first
        for call in graph.nodes[node].calls:
            asked_about = place.kind == "tool" and place.name in (call.name, call.builtin)
            if call.name not in callings and not asked_about:
                callings[call.name] = Calling(from_place(node), call)
    part = Graph(
        graph.name,
        {name: node for name, node in graph.nodes.items() if name in on_ways},
        tuple(c for c in graph.channels if c.source.node in on_ways and c.target.node in on_ways),
    )
    workers = [node.id for node in graph.nodes.values() if node.kind in WORKERS]
    return Reach(
        place,
        {
            node: next(c for c in graph.nodes[node].calls if place.name in (c.name, c.builtin))
            for node in place.nodes
            if place.kind == "tool"
        },
        {_shown(n): to_place(n.id) if n.id in up else None for n in _boundary(graph) if n.kind == "input"},
        {_shown(n): from_place(n.id) if n.id in down else None for n in _boundary(graph) if n.kind == "output"},
        tuple(node for node in workers if node in up and node not in place.nodes),
        tuple(node for node in workers if node in down and node not in place.nodes),
        tuple(callings.values()),
        _opaque(graph if place.kind == "tool" else part),
        part,
    )


def _opaque(graph: Graph) -> tuple[str, ...]:
    """Return the workers and the tools that run a program of their own."""
    nodes = graph.nodes.values()
    workers = [node.id for node in nodes if node.kind in ("python", "worker", "handler")]
    return tuple(dict.fromkeys([*workers, *(call.name for node in nodes for call in node.calls if call.opaque)]))


def _shortest(graph: Graph, starts: Iterable[str], following: Mapping[str, Iterable[str]]) -> _CameFrom:
    """Find a way to each node that can be reached, with the fewest workers, then the fewest nodes; the nearest first.

    Source: Dijkstra 1959; the order of the program decides between equals.
    """
    came_from: _CameFrom = {}
    order = {node: i for i, node in enumerate(graph.nodes)}
    waiting: list[tuple[int, int, int, str, str | None]] = [(0, 0, order[node], node, None) for node in starts]
    heapq.heapify(waiting)
    while waiting:
        workers, nodes, _, node, before = heapq.heappop(waiting)
        if node in came_from:
            continue
        came_from[node] = before
        workers += graph.nodes[node].kind in WORKERS
        for after in following[node]:
            if after not in came_from:
                heapq.heappush(waiting, (workers, nodes + 1, order[after], after, node))
    return came_from


def _path(node: str | None, came_from: _CameFrom) -> tuple[str, ...]:
    path: list[str] = []
    while node is not None:
        path.append(node)
        node = came_from[node]
    return tuple(path[::-1])
