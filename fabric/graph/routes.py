"""The inside of a body as its author thinks of it: which process feeds which, through what.

Processes and ports of the body are known by their names; a morphism written in a chain has none but the line that it
stands in, which changes with every edit. So a body is compared by its routes, from name to name. What passes messages
on unchanged (``id``, ``copy``, ``merge``, a channel) is left out of them: how often a message comes where is counted.

Routes do not say everything: of two barriers of which each joins two, they do not tell which two. :attr:`Inside.shape`
does. It colours each node by its label, and again and again by the colours around it; bodies of different colours
differ. Source: Weisfeiler and Leman 1968.
"""

from __future__ import annotations

__all__ = ["Inside", "Labels", "Route", "look_inside"]

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from fabric.graph.analysis import strongly_connected
from fabric.graph.captions import show_expr
from fabric.lang.typed import BOUNDARY, Body, Endpoint, Input, Instance

ROUTES_MAX = 1_000
"""So many routes are followed from a port; morphisms side by side double them at each step."""

ROUNDS_MAX = 100
"""So far around itself each node is looked at. Two nodes that look alike up to there are taken as alike."""

_PASSES_ON = frozenset({"id", "copy", "merge"})

_Edge = tuple[str, str, str, str]
"""Node and port that it leaves, node and port that it comes to."""


class Route(msgspec.Struct, frozen=True, order=True):
    """From a name to a name. ``via``: the morphisms in between, as a program writes them."""

    source: str
    target: str
    via: tuple[str, ...] = ()


class Inside(msgspec.Struct, frozen=True):
    """What is in a body.

    Attributes:
        processes: how many of each name.
        routes: how many ways of each.
        shape: colours, which differ if anything does.
    """

    processes: Counter[str]
    routes: Counter[Route]
    shape: Counter[int]


class Labels(msgspec.Struct, frozen=True):
    """What to call things.

    Attributes:
        bindings: the name to use for a binding; others keep theirs.
        ports: the name to use for a port of a binding; others keep theirs.
        plain: the ports of a binding that need no mention: its only input, its only output.
    """

    bindings: Mapping[str, str]
    ports: Mapping[tuple[str, str], str]
    plain: frozenset[tuple[str, str]]

    def binding(self, name: str) -> str:
        """Return what a binding is called."""
        return self.bindings.get(name, name)

    def port(self, binding: str, port: str) -> str:
        """Return what a port is called."""
        return self.ports.get((binding, port), port)


def look_inside(body: Body, around: str, labels: Labels) -> Inside:
    """Return what is in a body, which is that of the binding ``around``."""
    instances = {instance.name: instance for instance in body.instances}
    clear = _what_passes_on(body)
    edges = _without(body, clear)
    nodes = {name: _label(instance, labels) for name, instance in instances.items() if name not in clear}
    ends: Counter[_Edge] = Counter()
    for (source, out, target, into), count in edges.items():
        ends[
            _end(source, out, around, labels, "<"),
            _port(source, out, instances, labels),
            _end(target, into, around, labels, ">"),
            _port(target, into, instances, labels),
        ] += count
    processes = Counter(labels.binding(i.binding) for i in body.instances if i.binding is not None)
    for edge in ends:
        nodes.setdefault(edge[0], edge[0])
        nodes.setdefault(edge[2], edge[2])
    return Inside(processes, _routes(ends, nodes, instances, labels), _shape(ends, nodes))


# --- nodes and edges ----------------------------------------------------------------------------------------------


def _what_passes_on(body: Body) -> set[str]:
    """Return the nodes that pass on what they get, if nothing is validated behind them for having passed there."""
    validated = {connection.source.instance for connection in body.connections if connection.checked}
    return {
        instance.name
        for instance in body.instances
        if instance.binding is None and instance.kind in _PASSES_ON and instance.name not in validated
    }


def _without(body: Body, clear: set[str]) -> Counter[_Edge]:
    """Return the connections between the other nodes, each as often as a message takes it."""
    following: dict[str, list[Endpoint]] = {name: [] for name in clear}
    for connection in body.connections:
        if connection.source.instance in clear:
            following[connection.source.instance].append(connection.target)
    # What comes of one message is counted backwards, each node once: ways through copies double with each merge.
    reached: dict[str, Counter[Endpoint]] = {}

    def come_of(ends: Iterable[Endpoint]) -> Counter[Endpoint]:
        found: Counter[Endpoint] = Counter()
        for end in ends:
            found.update(reached.get(end.instance, {}) if end.instance in clear else {end: 1})
        return found

    order = strongly_connected(clear, {name: [end.instance for end in ends] for name, ends in following.items()})
    for name in (name for part in reversed(order) for name in part if name in clear):
        reached[name] = come_of(following[name])
    edges: Counter[_Edge] = Counter()
    for connection in body.connections:
        source = connection.source
        if source.instance not in clear:
            for target, count in come_of([connection.target]).items():
                edges[source.instance, source.port, target.instance, target.port] += count
    return edges


def _label(instance: Instance, labels: Labels) -> str:
    if instance.binding is not None:
        return labels.binding(instance.binding)
    if instance.wire is not None:
        return f"a session of {instance.wire.protocol.name}"
    argument = ""
    if instance.expr is not None and not (isinstance(instance.expr, Input) and instance.select):
        argument = f"({show_expr(instance.expr)})"
    elif instance.index is not None:
        argument = f"({instance.index})"
    fields = "".join(f".{field}" for field in instance.select)
    return fields if instance.kind == "map" and fields and not argument else f"{instance.kind}{argument}{fields}"


def _end(name: str, port: str, around: str, labels: Labels, way: str) -> str:
    """Return the node of an end: the name of an instance, or for each port of the body one of its own."""
    return name if name != BOUNDARY else f"{way}{labels.port(around, port)}"


def _port(name: str, port: str, instances: Mapping[str, Instance], labels: Labels) -> str:
    if name == BOUNDARY:
        return ""
    return labels.port(instances[name].binding or "", port)


# --- routes -------------------------------------------------------------------------------------------------------


def _routes(
    edges: Counter[_Edge], nodes: Mapping[str, str], instances: Mapping[str, Instance], labels: Labels
) -> Counter[Route]:
    def is_named(node: str) -> bool:
        return node not in instances or instances[node].binding is not None or not instances[node].outputs

    def name(node: str, port: str) -> str:
        if node not in instances:
            return node[1:]
        binding = instances[node].binding
        if binding is None or (binding, port) in labels.plain:
            return nodes[node]
        return f"{nodes[node]}@{port}"

    leaving: dict[str, list[tuple[_Edge, int]]] = defaultdict(list)
    for edge, count in edges.items():
        leaving[edge[0]].append((edge, count))
    routes: Counter[Route] = Counter()
    for start, starting in leaving.items():
        if not is_named(start) and instances[start].inputs:
            continue
        todo: list[tuple[_Edge, int, str, tuple[str, ...], frozenset[str]]] = [
            (edge, count, name(start, edge[1]), (), frozenset({start})) for edge, count in starting
        ]
        followed = 0
        while todo and followed < ROUTES_MAX:
            followed += 1
            (_, _, target, into), count, source, via, passed = todo.pop()
            if is_named(target):
                routes[Route(source, name(target, into), via)] += count
            elif target not in leaving:  # a morphism whose output nobody reads
                routes[Route(source, nodes[target], via)] += count
            elif target not in passed:
                inputs = [port.name for port in instances[target].inputs]
                side = f"side {inputs.index(into) + 1} of a " if len(inputs) > 1 else ""
                step = side + nodes[target]
                todo += [
                    (edge, count * more, source, (*via, step), passed | {target})
                    for edge, more in leaving.get(target, ())
                ]
    return routes


# --- shape --------------------------------------------------------------------------------------------------------


def _shape(edges: Counter[_Edge], nodes: Mapping[str, str]) -> Counter[int]:
    colours = {node: hash(label) for node, label in nodes.items()}
    before: dict[str, list[tuple[str, str, str, int]]] = defaultdict(list)
    behind: dict[str, list[tuple[str, str, str, int]]] = defaultdict(list)
    for (source, out, target, into), count in edges.items():
        behind[source].append((target, out, into, count))
        before[target].append((source, out, into, count))
    classes = 0
    for _ in range(ROUNDS_MAX):
        if len(set(colours.values())) == classes:
            break
        classes = len(set(colours.values()))
        colours = {
            node: hash(
                (
                    colour,
                    tuple(sorted((colours[other], *rest) for other, *rest in before[node])),
                    tuple(sorted((colours[other], *rest) for other, *rest in behind[node])),
                )
            )
            for node, colour in colours.items()
        }
    return Counter(colours.values())
