"""Pictures in characters: read back, they are the graph."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from drawn import EXAMPLES, example, newsroom, random_graph
from hypothesis import given
from hypothesis import strategies as st
from plans import graph_of

from fabric.graph.ascii import draw_ascii
from fabric.graph.captions import width_of
from fabric.graph.ir import WORKERS, Graph
from fabric.graph.layout import feedback

STEPS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}
TURNS = {
    ("down", "╰"): "right", ("down", "╯"): "left", ("up", "╭"): "right", ("up", "╮"): "left",
    ("left", "╭"): "down", ("left", "╰"): "up", ("right", "╮"): "down", ("right", "╯"): "up",
}  # fmt: skip
STRAIGHT = {"up": "│╎┼", "down": "│╎┼", "left": "─╌┼", "right": "─╌┼"}


class Picture:
    """A drawing in which every box is a worker's."""

    def __init__(self, text: str) -> None:
        lines = text.split("\n")
        width = max(map(len, lines))
        self.rows = [line.ljust(width) for line in lines]

    def title(self, x: int, y: int) -> str:
        """Read the name of the box whose border is at a place."""
        while self.rows[y][x] not in "╔╚":
            x -= 1
        while self.rows[y][x] != "╔":
            y -= 1
        return self.rows[y + 1][x + 1 :].split("║")[0].strip()

    def follow(self, x: int, y: int) -> tuple[str, bool]:
        """Follow a wire from a box's border: return the name of the box where it ends, and whether it is dashed."""
        way, dashed = "down", False
        while True:
            x, y = x + STEPS[way][0], y + STEPS[way][1]
            sign = self.rows[y][x]
            if sign == "▼":
                assert way == "down"
                return self.title(x, y + 1), dashed
            dashed = dashed or sign in "╎╌"
            if (way, sign) in TURNS:
                way = TURNS[way, sign]
            else:
                assert sign in STRAIGHT[way], (way, sign, x, y)

    def channels(self) -> Counter[tuple[str, str, bool]]:
        return Counter(
            (self.title(x, y), *self.follow(x, y))
            for y, row in enumerate(self.rows)
            for x, sign in enumerate(row)
            if sign == "╤"
        )


@given(st.integers(), st.integers(1, 14), st.integers(0, 25))
def test_read_back_a_drawing_is_the_graph(seed: int, nodes: int, channels: int):
    """Every wire leads from its source to its target; those that lead back are dashed, no others."""
    check_read_back(random_graph(seed, nodes, channels, sorted(WORKERS)))


@pytest.mark.parametrize("seed", range(3))
def test_read_back_a_drawing_of_sixty_nodes_is_the_graph(seed: int):
    """Wide, but right."""
    check_read_back(random_graph(seed, 60, 75, sorted(WORKERS)))


def check_read_back(graph: Graph) -> None:
    drawn = Picture(draw_ascii(graph)).channels()
    back = feedback(graph)
    assert drawn == Counter((c.source.node, c.target.node, i in back) for i, c in enumerate(graph.channels))


@pytest.mark.parametrize("name", [*EXAMPLES, "newsroom"])
def test_every_worker_stands_in_a_double_box_and_every_channel_has_its_arrow(name: str):
    """Nothing is drawn over."""
    graph = newsroom(6) if name == "newsroom" else example(name)
    text = draw_ascii(graph)
    assert text.count("▼") == len(graph.channels)
    workers = [node for node in graph.nodes.values() if node.kind in WORKERS]
    assert text.count("╔") == text.count("╝") == len(workers)
    assert all(len(re.findall(f"║ +{re.escape(node.id)} +║", text)) == 1 for node in workers)


LOOP = """\
    ╭───╮
    │ i │
    ╰─┬─╯
      │ !int
      │   ╭╌╌╌╌╌╌╌╌╌╌╮
      ▼   ▼          ╎
"""


def test_a_loop_is_a_dashed_way_around():
    """The first lines of one."""
    graph = graph_of(
        "let a : !int -> !int = map(value - 1)\n"
        "let main : !int -> !int = plumb(i, o) { i ; a\n a ; filter(value > 0) ; a\n a ; filter(value = 0) ; o }\n"
    )
    lines = draw_ascii(graph).splitlines()
    left = min(line.index("╭") for line in lines[:1]) - 4
    assert [line[left:].rstrip() for line in lines[:6]] == LOOP.splitlines()
    assert "╎" in lines[len(lines) // 2]
    assert any("╰╌╌╌" in line and line.endswith("╌╯") for line in lines)


HELLO = """\
       ╭───────╮
       │ input │
       ╰───┬───╯
           │ !string
           ▼
╔═════════════════════╗
║       doctor        ║
║ agent eliza/doctor  ║
╚══════════╤══════════╝
           │ !string
           ▼
      ╭─────────╮
      │ output  │
      ╰─────────╯"""


def test_hello_is_what_the_readme_would_show():
    """To the letter."""
    assert draw_ascii(example("hello")) == HELLO


def test_wide_characters_take_two_columns():
    """Borders stay in line."""
    graph = graph_of('let main : !string -> !string = plumb(i, o) { i ; filter(value = "日本語") ; o }')
    lines = draw_ascii(graph).splitlines()
    at = next(i for i, line in enumerate(lines) if "日本語" in line)
    assert len({width_of(line) for line in lines[at - 2 : at + 2]}) == 1
