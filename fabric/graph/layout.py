"""Where everything in a drawing of a wiring graph goes: boxes in rows from above, wires in the space between them.

One function a step, after Sugiyama, Tagawa, Toda 1981:

    feedback    which channels lead back
    rows        every other channel leads downwards, all together by as few rows as can be (``simplex``)
    wires       a channel over several rows gets a bend in each row it passes; a way back goes down from its source,
                turns, goes up beside every row and turns again
    order       left and right in each row, with few crossings (``crossings``)
    columns     how far to the right, so that wires are straight where they can be (``columns``)
    lanes       the horizontal stretches of wires (``lanes``)

Bends have a place in their row as boxes have, so no wire can meet a box. Units are whatever the painter draws in:
pixels or characters. A box is symmetrical about its middle, so all numbers are whole.
"""

from __future__ import annotations

__all__ = ["Box", "Label", "Layout", "Point", "Route", "Size", "Spacing", "feedback", "lay_out"]

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import msgspec

from fabric.graph import crossings, lanes, simplex
from fabric.graph.analysis import strongly_connected
from fabric.graph.columns import Hop, columns
from fabric.graph.ir import Graph

Point: TypeAlias = tuple[int, int]


class Size(NamedTuple):
    """Of a box: half of its width, and its height."""

    half: int
    height: int


class Spacing(NamedTuple):
    """Distances in the painter's unit.

    Attributes:
        margin: around the whole.
        boxes: between two boxes of a row.
        lines: between two vertical lines, or one and a box.
        ports: between two wires at a box; even.
        lanes: between two horizontal lines.
        lead: from a row down to the first lane; labels stand here.
        tail: from the last lane down to a row; arrow heads stand here.
        straight: between two rows without lanes.
        label: height of a label; at most ``lead``.
        beside: from a line to its label.
    """

    margin: int
    boxes: int
    lines: int
    ports: int
    lanes: int
    lead: int
    tail: int
    straight: int
    label: int
    beside: int


class Box(msgspec.Struct, frozen=True):
    """Where a node is drawn: left, top, width, height."""

    node: str
    x: int
    y: int
    width: int
    height: int


class Label(msgspec.Struct, frozen=True):
    """Where a label is drawn: left, top, width, height; and which of the texts offered fits there."""

    x: int
    y: int
    width: int
    height: int
    choice: int


class Route(msgspec.Struct, frozen=True):
    """How a channel is drawn.

    Attributes:
        channel: its index in the graph.
        points: corners of horizontal and vertical lines, from its source's box to its target's.
        feedback: it leads back up.
        label: None if there is no room for it.
    """

    channel: int
    points: tuple[Point, ...]
    feedback: bool
    label: Label | None = None


class Layout(msgspec.Struct, frozen=True):
    """A drawing. Nothing is farther left or up than the margin; channels are in the order of the graph."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    routes: tuple[Route, ...]


def lay_out(graph: Graph, sizes: Mapping[str, Size], labels: Sequence[Sequence[int]], spacing: Spacing) -> Layout:
    """Return a drawing; the same for the same graph.

    Args:
        graph: at least one node.
        sizes: of each node's box; a box with many wires is drawn wider.
        labels: for each channel, the widths of the texts that would do for it, the best first.
        spacing: distances.
    """
    back = feedback(graph)
    boxes: dict[str, Box] = {}
    routes: dict[int, Route] = {}
    x, height = spacing.margin, 0
    for nodes in _connected(graph):
        part = _Part(graph, nodes, back, sizes, spacing).draw(labels)
        shift = x - min([box.x for box in part.boxes] + [left for route in part.routes for left in _lefts(route)])
        boxes |= {box.node: _moved_box(box, shift) for box in part.boxes}
        routes |= {route.channel: _moved_route(route, shift) for route in part.routes}
        x = shift + part.width + 2 * spacing.boxes
        height = max(height, part.height)
    return Layout(
        x - 2 * spacing.boxes + spacing.margin,
        height + spacing.margin,
        tuple(boxes[node] for node in graph.nodes),
        tuple(route for _, route in sorted(routes.items())),
    )


def _lefts(route: Route) -> list[int]:
    return [x for x, _ in route.points] + ([route.label.x] if route.label else [])


def _moved_box(box: Box, shift: int) -> Box:
    return Box(box.node, box.x + shift, box.y, box.width, box.height)


def _moved_route(route: Route, shift: int) -> Route:
    label = route.label
    if label:
        label = Label(label.x + shift, label.y, label.width, label.height, label.choice)
    return Route(route.channel, tuple((x + shift, y) for x, y in route.points), route.feedback, label)


def _connected(graph: Graph) -> list[list[str]]:
    """Return the parts that no channel joins, that of the first input first."""
    neighbours: dict[str, list[str]] = {node: [] for node in graph.nodes}
    for channel in graph.channels:
        neighbours[channel.source.node].append(channel.target.node)
        neighbours[channel.target.node].append(channel.source.node)
    part_of: dict[str, int] = {}
    count = 0
    for start in sorted(graph.nodes, key=lambda node: graph.nodes[node].kind != "input"):
        if start in part_of:
            continue
        stack = [start]
        while stack:
            node = stack.pop()
            if node not in part_of:
                part_of[node] = count
                stack += neighbours[node]
        count += 1
    parts: list[list[str]] = [[] for _ in range(count)]
    for node in graph.nodes:
        parts[part_of[node]].append(node)
    return parts


# --- feedback -----------------------------------------------------------------------------------------------------


def feedback(graph: Graph) -> frozenset[int]:
    """Return the indices of the channels that lead back; without them the graph has no loop.

    A loop begins at the node that messages reach first, counted from the first input on; what comes to it from inside
    the loop leads back. Loops inside that are left are opened in the same way. A depth-first search would be shorter,
    but where a loop has two entries it takes whichever the search came by for the beginning.
    """
    inside: dict[str, list[tuple[int, str]]] = {node: [] for node in graph.nodes}
    for index, channel in enumerate(graph.channels):
        inside[channel.source.node].append((index, channel.target.node))
    reached = _reached(graph, inside)
    found: set[int] = set()
    todo = [list(graph.nodes)]
    while todo:
        nodes = todo.pop()
        members = set(nodes)
        successors = {
            node: [target for index, target in inside[node] if target in members and index not in found]
            for node in nodes
        }
        for loop in strongly_connected(nodes, successors):
            if len(loop) == 1 and loop[0] not in successors[loop[0]]:
                continue
            first = min(loop, key=reached.__getitem__)
            around = set(loop)
            found |= {index for node in loop for index, target in inside[node] if target == first and target in around}
            todo.append(loop)
    return frozenset(found)


def _reached(graph: Graph, successors: Mapping[str, Sequence[tuple[int, str]]]) -> dict[str, int]:
    """Number the nodes as a message reaches them: all that the first input reaches, then the second, and so on."""
    reached: dict[str, int] = {}
    fed = {channel.target.node for channel in graph.channels}
    starts = sorted(graph.nodes, key=lambda node: (graph.nodes[node].kind != "input", node in fed))
    for start in starts:
        queue = deque([start])
        while queue:
            node = queue.popleft()
            if node not in reached:
                reached[node] = len(reached)
                queue.extend(target for _, target in successors[node])
    return reached


# --- one connected part -------------------------------------------------------------------------------------------


class _Wire(NamedTuple):
    """A channel's stops from source to target. First and last are nodes with boxes, all others bends."""

    channel: int
    stops: tuple[int, ...]
    feedback: bool

    @property
    def hops(self) -> list[tuple[int, int]]:
        return list(pairwise(self.stops))


class _Part:
    """A connected graph on its way to a drawing. Nodes are numbers; bends are numbered after the nodes with boxes."""

    def __init__(
        self, graph: Graph, nodes: list[str], back: frozenset[int], sizes: Mapping[str, Size], spacing: Spacing
    ) -> None:
        self.names = nodes
        self.spacing = spacing
        number = {node: i for i, node in enumerate(nodes)}
        ends = {
            i: (number[channel.source.node], number[channel.target.node])
            for i, channel in enumerate(graph.channels)
            if channel.source.node in number
        }
        self.row = _rows(len(nodes), ends, back)
        self.wires = [self._wire(i, source, target, i in back) for i, (source, target) in ends.items()]
        self.order = crossings.arrange(self._arrangeable())
        self.place = {node: place for row in self.order for place, node in enumerate(row)}
        self.outlets, self.inlets = self._ports()
        reach = [max((abs(port) for port in ports), default=0) for ports in self._port_places()]
        self.sizes = [
            Size(max(sizes[node].half, reach[i] + (spacing.ports + 1) // 2 if reach[i] else 0), sizes[node].height)
            for i, node in enumerate(nodes)
        ] + [Size(0, 0)] * (len(self.row) - len(nodes))
        self.x = self._columns()
        self._straighten()

    def _wire(self, channel: int, source: int, target: int, is_back: bool) -> _Wire:
        start, end = self.row[source], self.row[target]
        passed = range(start, end - 1, -1) if is_back else range(start + 1, end)
        bends = range(len(self.row), len(self.row) + len(passed))
        self.row += passed
        return _Wire(channel, (source, *bends, target), is_back)

    def _arrangeable(self) -> crossings.Rows:
        links: list[tuple[int, int]] = []
        below: list[tuple[int, int]] = []
        above: list[tuple[int, int]] = []
        for wire in self.wires:
            hops = wire.hops
            if wire.feedback:
                below.append(hops[0])
                above.append((hops[-1][1], hops[-1][0]))
                links += [(lower, upper) for upper, lower in hops[1:-1]]
            else:
                links += hops
        return crossings.Rows(self.row, links, below, above)

    def _ports(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return how far right of their boxes' middles wires leave and arrive, by channel.

        The ways forward are centered; ways back go to the side on which they turn, so that turns lie in one another.
        """
        leaving: defaultdict[int, list[tuple[_Wire, int]]] = defaultdict(list)
        arriving: defaultdict[int, list[tuple[_Wire, int]]] = defaultdict(list)
        for wire in self.wires:
            leaving[wire.stops[0]].append((wire, wire.stops[1]))
            arriving[wire.stops[-1]].append((wire, wire.stops[-2]))
        return self._spread(leaving), self._spread(arriving)

    def _spread(self, wires_of: Mapping[int, list[tuple[_Wire, int]]]) -> dict[int, int]:
        step = self.spacing.ports
        places: dict[int, int] = {}
        for node, wires in wires_of.items():
            here = self.place[node]
            forward = sorted((self.place[other], wire.channel) for wire, other in wires if not wire.feedback)
            turns = sorted(((self.place[other], wire.channel) for wire, other in wires if wire.feedback), reverse=True)
            left = [channel for place, channel in turns if place < here]
            right = [channel for place, channel in turns if place > here]
            middle = [channel for _, channel in forward] or left + right
            start = -(len(middle) - 1) * step // 2 - (len(left) * step if forward else 0)
            for i, channel in enumerate(left + middle + right if forward else middle):
                places[channel] = start + i * step
        return places

    def _port_places(self) -> list[list[int]]:
        places: list[list[int]] = [[] for _ in self.names]
        for wire in self.wires:
            places[wire.stops[0]].append(self.outlets[wire.channel])
            places[wire.stops[-1]].append(self.inlets[wire.channel])
        return places

    def _columns(self) -> list[int]:
        """Return the middle of each box and the place of each bend."""
        boxes = len(self.names)
        apart = {}
        for row in self.order:
            for left, right in pairwise(row):
                gap = self.spacing.boxes if left < boxes and right < boxes else self.spacing.lines
                apart[left, right] = self.sizes[left].half + gap + self.sizes[right].half
        leaving = Counter(wire.stops[0] for wire in self.wires if not wire.feedback)
        arriving = Counter(wire.stops[-1] for wire in self.wires if not wire.feedback)
        hops: list[Hop] = []
        turns: list[Hop] = []
        for wire in self.wires:
            last = len(wire.stops) - 2
            for i, (one, other) in enumerate(wire.hops):
                start = self.outlets[wire.channel] if i == 0 else 0
                end = self.inlets[wire.channel] if i == last else 0
                # A long wire that wavers is worse than a box a little to the side.
                weight = 2 * (1 + 3 * (one >= boxes) + 3 * (other >= boxes))
                rigid = (i > 0 or leaving[one] == 1) and (i < last or arriving[other] == 1)
                if wire.feedback and i == 0:
                    turns.append(Hop(other, end, one, start, 1, False))
                elif wire.feedback and i == last:
                    turns.append(Hop(one, start, other, end, 1, False))
                else:
                    hops.append(Hop(one, start, other, end, weight, rigid))
        return columns(self.order, apart, hops, turns)

    def _straighten(self) -> None:
        """Take kinks out that are smaller than what a port may move without coming near the next one."""
        play = (self.spacing.ports - self.spacing.lines) // 2
        for wire in self.wires:
            if wire.feedback:
                continue
            for (one, other), ports, sign in ((wire.hops[0], self.outlets, 1), (wire.hops[-1], self.inlets, -1)):
                start = self.x[one] + (self.outlets[wire.channel] if one == wire.stops[0] else 0)
                end = self.x[other] + (self.inlets[wire.channel] if other == wire.stops[-1] else 0)
                if abs(end - start) <= play:
                    ports[wire.channel] += sign * (end - start)

    def draw(self, labels: Sequence[Sequence[int]]) -> Layout:
        """Give the wires their lanes, and everything its height."""
        spaces = [_Space() for _ in range(len(self.order) + 1)]
        for wire in self.wires:
            for i in range(len(wire.stops) - 1):
                above, below, space = self._ends(wire, i)
                spaces[space].hops[wire.channel, i] = len(spaces[space].wires)
                spaces[space].wires.append(lanes.Wire(above, below))
        y = self.spacing.margin
        tops: list[int] = []
        heights = [max(self.sizes[node].height for node in row) for row in self.order]
        for number, between in enumerate(spaces):
            between.runs, count = lanes.lay(between.wires, self.spacing.lines)
            between.y = y
            y += self._depth(number, count)
            if number < len(heights):
                tops.append(y)
                y += heights[number]
        boxes = [
            Box(
                name,
                self.x[i] - self.sizes[i].half,
                tops[self.row[i]] + (heights[self.row[i]] - self.sizes[i].height) // 2,
                2 * self.sizes[i].half,
                self.sizes[i].height,
            )
            for i, name in enumerate(self.names)
        ]
        bare = [Route(wire.channel, self._points(wire, boxes, spaces), wire.feedback) for wire in self.wires]
        routes = self._labelled(bare, labels, spaces, tops)
        xs = [x for route in routes for x, _ in route.points]
        rights = [box.x + box.width for box in boxes] + xs
        lefts = [box.x for box in boxes] + xs
        for route in routes:
            if route.label:
                rights.append(route.label.x + route.label.width)
                lefts.append(route.label.x)
        return Layout(max(rights), y, tuple(boxes), tuple(routes))

    def _ends(self, wire: _Wire, hop: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Return where a hop enters the space between two rows from above and from below, and the space's number.

        Space ``i`` is above row ``i``.
        """
        one, other = wire.hops[hop]
        first, last = hop == 0, hop == len(wire.stops) - 2
        start = self.x[one] + (self.outlets[wire.channel] if first else 0)
        end = self.x[other] + (self.inlets[wire.channel] if last else 0)
        if not wire.feedback:
            return (start,), (end,), self.row[other]
        if first:
            return (start, end), (), self.row[one] + 1
        if last:
            return (), (start, end), self.row[other]
        return (end,), (start,), self.row[one]

    def _depth(self, space: int, count: int) -> int:
        """Return the height of a space with so many lanes."""
        spacing = self.spacing
        inner = (count - 1) * spacing.lanes
        if space == 0:
            return inner + spacing.tail if count else 0
        if space == len(self.order):
            return spacing.lead + inner if count else 0
        return spacing.lead + inner + spacing.tail if count else spacing.straight

    def _lane(self, space: int, spaces: Sequence[_Space], lane: int) -> int:
        return spaces[space].y + (self.spacing.lead if space else 0) + lane * self.spacing.lanes

    def _points(self, wire: _Wire, boxes: Sequence[Box], spaces: Sequence[_Space]) -> tuple[Point, ...]:
        source, target = boxes[wire.stops[0]], boxes[wire.stops[-1]]
        points = [(self.x[wire.stops[0]] + self.outlets[wire.channel], source.y + source.height)]
        for i in range(len(wire.stops) - 1):
            above, below, space = self._ends(wire, i)
            run = spaces[space].runs[spaces[space].hops[wire.channel, i]]
            if run is None:
                continue
            start, end = above + below
            lane = self._lane(space, spaces, run.lane)
            if run.turn is None:
                corners = [(start, lane), (end, lane)]
            else:
                then = self._lane(space, spaces, run.then)
                corners = [(start, lane), (run.turn, lane), (run.turn, then), (end, then)]
            points += reversed(corners) if above and below and wire.feedback else corners
        points.append((self.x[wire.stops[-1]] + self.inlets[wire.channel], target.y))
        return tuple(points)

    # --- labels ---

    def _labelled(
        self, routes: list[Route], labels: Sequence[Sequence[int]], spaces: Sequence[_Space], tops: Sequence[int]
    ) -> list[Route]:
        """Put labels beside the first stretch of their wires, else beside the last, where no other line passes."""
        leads = [_Strip(self.spacing, [x for wire in space.wires for x in wire.above]) for space in spaces]
        tails = [_Strip(self.spacing, [x for wire in space.wires for x in wire.below]) for space in spaces]
        labelled = []
        for wire, route in zip(self.wires, routes, strict=True):
            label = None
            for choice, width in enumerate(labels[wire.channel]):
                source, target = self.row[wire.stops[0]] + 1, self.row[wire.stops[-1]]
                x = leads[source].fit(route.points[0][0], width)
                y = spaces[source].y + (self.spacing.lead - self.spacing.label + 1) // 2
                if x is None and spaces[target].runs != [None] * len(spaces[target].runs):
                    x = tails[target].fit(route.points[-1][0], width)
                    y = tops[target] - (self.spacing.tail + self.spacing.label) // 2
                if x is not None:
                    label = Label(x, y, width, self.spacing.label, choice)
                    break
            labelled.append(Route(route.channel, route.points, route.feedback, label))
        return labelled


class _Space:
    """What lies between two rows: the wires, which hop of which channel each is, their runs, and where it begins."""

    def __init__(self) -> None:
        self.wires: list[lanes.Wire] = []
        self.hops: dict[tuple[int, int], int] = {}
        self.runs: list[lanes.Run | None] = []
        self.y = 0


class _Strip:
    """A strip of a space that only vertical lines pass."""

    def __init__(self, spacing: Spacing, lines: list[int]) -> None:
        self._spacing = spacing
        self._taken = [(line, line) for line in lines]

    def fit(self, line: int, width: int) -> int | None:
        """Return the left of a label beside a line, on its right or else on its left; None if both are taken."""
        beside = self._spacing.beside
        for left in (line + beside, line - beside - width):
            right = left + width
            if not any(low < right + beside and left - beside < high for low, high in self._taken):
                self._taken.append((left, right))
                return left
        return None


def _rows(count: int, ends: Mapping[int, tuple[int, int]], back: frozenset[int]) -> list[int]:
    """Return each node's row; a channel that does not lead back leads down by at least one."""
    constraints = []
    for channel, (source, target) in ends.items():
        if channel not in back:
            constraints.append(simplex.Constraint(source, target, 1, 2))
        elif source != target:
            constraints.append(simplex.Constraint(target, source, 0, 1))
    return simplex.solve(count, constraints)
