"""Drawings of the examples, of a large program and of random graphs: nothing lies on anything."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

import pytest
from drawn import EXAMPLES, example, newsroom, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import graph_of

from fabric.graph import ascii as characters
from fabric.graph import svg
from fabric.graph.analysis import strongly_connected
from fabric.graph.ir import Graph
from fabric.graph.layout import Box, Label, Layout, Point, Size, Spacing, feedback, lay_out

SPACINGS = (svg.SPACING, characters.SPACING)
GRAPHS = {
    **{name: example(name) for name in EXAMPLES},
    "newsroom": newsroom(6),
    "random": random_graph(7, 60, 75),
    "dense": random_graph(8, 30, 60),
}


def drawn(graph: Graph, spacing: Spacing, seed: int = 0) -> Layout:
    """Draw with boxes and labels of any size."""
    rng = random.Random(seed)
    sizes = {node: Size(rng.randint(4, 60), rng.randint(2, 40)) for node in graph.nodes}
    labels = [sorted((rng.randint(1, 90), rng.randint(1, 30)), reverse=True) for _ in graph.channels]
    return lay_out(graph, sizes, labels, spacing)


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int], gap: int = 0) -> bool:
    """Whether two rectangles (left, top, right, bottom) meet, or come nearer than the gap; borders belong to them."""
    return (
        one[0] <= other[2] + gap and other[0] <= one[2] + gap and one[1] <= other[3] + gap and other[1] <= one[3] + gap
    )


def area(thing: Box | Label) -> tuple[int, int, int, int]:
    return thing.x, thing.y, thing.x + thing.width, thing.y + thing.height


def inked(label: Label) -> tuple[int, int, int, int]:
    """In characters, a label of height 1 ends in the row in which it begins."""
    left, top, right, bottom = area(label)
    return (left, top, right - 1, bottom - 1) if label.height == 1 else (left, top, right, bottom)


def line(one: Point, other: Point) -> tuple[int, int, int, int]:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[0], other[0]), max(one[1], other[1])


def check(graph: Graph, layout: Layout, spacing: Spacing) -> None:
    """Assert everything that a drawing promises."""
    boxes = {box.node: box for box in layout.boxes}
    assert [box.node for box in layout.boxes] == list(graph.nodes)
    assert [route.channel for route in layout.routes] == list(range(len(graph.channels)))
    for one, other in combinations(layout.boxes, 2):
        assert not overlap(area(one), area(other), gap=1), (one, other)
    labels = [route.label for route in layout.routes if route.label]
    for one, other in combinations(labels, 2):
        assert not overlap(inked(one), inked(other)), (one, other)
    lines = [(line(*ends), route) for route in layout.routes for ends in pairwise(route.points)]
    for label in labels:
        assert not any(overlap(inked(label), area(box)) for box in layout.boxes), label
        assert not any(overlap(inked(label), segment) for segment, _ in lines), label
    for thing in (*layout.boxes, *labels):
        left, top, right, bottom = area(thing)
        assert spacing.margin <= left
        assert spacing.margin <= top
        assert right <= layout.width - spacing.margin
        assert bottom <= layout.height - spacing.margin
    back = feedback(graph)
    for route in layout.routes:
        channel = graph.channels[route.channel]
        source, target = boxes[channel.source.node], boxes[channel.target.node]
        (start_x, start_y), (end_x, end_y) = route.points[0], route.points[-1]
        assert source.x < start_x < source.x + source.width
        assert target.x < end_x < target.x + target.width
        assert (start_y, end_y) == (source.y + source.height, target.y)
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(route.points)]
        assert all((dx == 0) != (dy == 0) for dx, dy in steps), route
        assert steps[0][1] > 0
        assert steps[-1][1] > 0
        assert route.feedback == (route.channel in back) == any(dy < 0 for _, dy in steps)
        for i, ends in enumerate(pairwise(route.points)):
            for box in layout.boxes:
                if overlap(line(*ends), area(box)):
                    # Only its own ends touch, and only with the very end.
                    assert (i == 0 and box is source) or (i == len(steps) - 1 and box is target), (route, box)
                    touched = ends[0] if i == 0 and box is source else ends[1]
                    assert touched[1] in (box.y, box.y + box.height)
                    other_end = ends[1] if touched is ends[0] else ends[0]
                    assert not box.y <= other_end[1] <= box.y + box.height
    for (one, route), (other, other_route) in combinations(lines, 2):
        if route is other_route:
            continue
        upright, other_upright = one[0] == one[2], other[0] == other[2]
        if upright and other_upright:
            assert not (abs(one[0] - other[0]) < spacing.lines and one[1] <= other[3] and other[1] <= one[3])
        elif not upright and not other_upright:
            assert not (abs(one[1] - other[1]) < spacing.lanes and one[0] <= other[2] and other[0] <= one[2])
        elif overlap(one, other):
            across, down = (other, one) if upright else (one, other)
            assert across[0] < down[0] < across[2], (route, other_route)
            assert down[1] < across[1] < down[3], (route, other_route)


@pytest.mark.parametrize("spacing", SPACINGS, ids=("svg", "ascii"))
@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_lies_on_anything(name: str, spacing: Spacing):
    """Boxes, labels and wires keep apart; wires only cross; each starts under its source and ends on its target."""
    check(GRAPHS[name], drawn(GRAPHS[name], spacing), spacing)


@settings(max_examples=150)
@given(st.integers(), st.integers(1, 16), st.integers(0, 28), st.sampled_from(SPACINGS))
def test_nothing_lies_on_anything_in_random_graphs(seed: int, nodes: int, channels: int, spacing: Spacing):
    """Whatever the loops, whatever the sizes."""
    graph = random_graph(seed, nodes, channels)
    check(graph, drawn(graph, spacing, seed), spacing)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_always_drawn_the_same(name: str):
    """Byte for byte."""
    assert drawn(GRAPHS[name], svg.SPACING) == drawn(GRAPHS[name], svg.SPACING)


# --- feedback -----------------------------------------------------------------------------------------------------


@given(st.integers(), st.integers(1, 16), st.integers(0, 40))
def test_what_leads_back_is_on_a_loop_and_opens_every_loop(seed: int, nodes: int, channels: int):
    """Without it the graph has an order; and a channel off any loop never leads back."""
    graph = random_graph(seed, nodes, channels)
    back = feedback(graph)

    def successors(without: frozenset[int]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {node: [] for node in graph.nodes}
        for i, channel in enumerate(graph.channels):
            if i not in without:
                found[channel.source.node].append(channel.target.node)
        return found

    forward = successors(back)
    assert len(strongly_connected(graph.nodes, forward)) == len(graph.nodes)
    assert not any(node in forward[node] for node in graph.nodes)
    loops = strongly_connected(graph.nodes, successors(frozenset()))
    for i in back:
        ends = {graph.channels[i].source.node, graph.channels[i].target.node}
        assert any(ends <= set(loop) for loop in loops)


def ways_back(graph: Graph) -> set[tuple[str, str]]:
    return {(graph.channels[i].source.node, graph.channels[i].target.node) for i in feedback(graph)}


def test_a_loop_begins_where_messages_enter_it():
    """Not where a search happens to come by: both debaters are heard before the barrier."""
    graph = graph_of(
        "type C = { set_temp: number }\n"
        "let pro : (!string, !C) -> !string = agent { }\nlet con : (!string, !C) -> !string = agent { }\n"
        "let judge : !(string, string) -> !{ answer: string, heat: number } = agent { }\n"
        "let main : !string -> !string = plumb(i, o) {\n"
        "  i ; (pro * con) ; barrier ; judge\n judge.answer ; o\n"
        "  judge ; map({ set_temp: heat }) ; (pro@ctrl_in * con@ctrl_in)\n}\n"
    )
    assert {target for _, target in ways_back(graph)} == {"pro", "con"}


def test_the_second_input_of_a_loop_does_not_move_its_beginning():
    """Loops begin at what the first input reaches first."""
    graph = graph_of(
        "let a : !int -> !int = id\nlet b : !int -> !int = id\n"
        "let main : (!int, !int) -> !int = plumb(i, j, o) { i ; map(value + 1) ; a ; b\n"
        " b ; filter(value < 9) ; a\n j ; b ; o }\n"
    )
    assert {target for _, target in ways_back(graph)} == {"a.merge"}


# --- what it looks like -------------------------------------------------------------------------------------------


def test_a_chain_is_one_straight_line():
    """No bends, whatever the widths."""
    graph = graph_of("let main : !int -> !int = plumb(i, o) { i ; map(value + 1) ; id ; filter(value > 2) ; o }")
    layout = drawn(graph, svg.SPACING)
    assert len({x for route in layout.routes for x, _ in route.points}) == 1
    assert all(len(route.points) == 2 for route in layout.routes)


def test_a_copy_stands_over_the_middle_of_its_readers():
    """And a barrier under the middle of its writers."""
    graph = graph_of(
        "let a : !int -> !int = id\nlet b : !int -> !int = id\n"
        "let main : !int -> !(int, int) = plumb(i, o) { i ; (a * b) ; barrier ; o }\n"
    )
    layout = lay_out(graph, {node: Size(40, 30) for node in graph.nodes}, [[] for _ in graph.channels], svg.SPACING)
    middle = {box.node: box.x + box.width // 2 for box in layout.boxes}
    assert middle["a"] + middle["b"] == 2 * middle["i.copy"] == 2 * middle["barrier@3"] == 2 * middle["o"]


def test_a_loop_leaves_the_way_forward_straight():
    """The way back goes around."""
    graph = graph_of(
        "let a : !int -> !int = map(value - 1)\n"
        "let main : !int -> !int = plumb(i, o) { i ; a\n a ; filter(value > 0) ; a\n a ; filter(value = 0) ; o }\n"
    )
    layout = drawn(graph, svg.SPACING)
    routes = {(graph.channels[r.channel].source.node, graph.channels[r.channel].target.node): r for r in layout.routes}
    assert [len(routes[ends].points) for ends in (("i", "a.merge"), ("a.merge", "a"), ("a", "a.copy"))] == [2, 2, 2]
    (back,) = [route for route in layout.routes if route.feedback]
    assert len(back.points) == 6


def test_parts_that_nothing_joins_stand_side_by_side():
    """Each has its own rows."""
    graph = graph_of("let main : (!int, !int) -> (!int, !int) = plumb(i, j, o, p) { i ; o\n j ; map(value + 1) ; p }")
    layout = drawn(graph, svg.SPACING)
    boxes = {box.node: box for box in layout.boxes}
    assert max(boxes[node].x + boxes[node].width for node in ("i", "i-o", "o")) < min(
        boxes[node].x for node in ("j", "p")
    )
    check(graph, layout, svg.SPACING)


def test_a_label_gives_way_to_a_shorter_one_and_then_to_none():
    """Where a line passes there is no room."""
    graph = graph_of("let main : !int -> !int = plumb(i, o) { i ; map(1) ; o\n i ; map(2) ; o\n i ; map(3) ; o }")
    sizes = {node: Size(20, 20) for node in graph.nodes}
    fits = lay_out(graph, sizes, [[500, 10] for _ in graph.channels], svg.SPACING)
    assert {route.label.choice for route in fits.routes if route.label} == {0, 1}
    none = lay_out(graph, sizes, [[] for _ in graph.channels], svg.SPACING)
    assert [route.label for route in none.routes] == [None] * len(graph.channels)
