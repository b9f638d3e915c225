"""Pictures as SVG."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from drawn import EXAMPLES, ROOT, example, newsroom, random_graph
from hypothesis import given
from hypothesis import strategies as st
from plans import graph_of

from fabric.graph.captions import width_of
from fabric.graph.ir import Channel, End, Graph, Node, Port
from fabric.graph.layout import feedback
from fabric.graph.svg import Live, draw_svg
from fabric.wire.payload import Prim

SVG = "{http://www.w3.org/2000/svg}"
GRAPHS = {**{name: example(name) for name in EXAMPLES}, "newsroom": newsroom(6), "random": random_graph(7, 60, 75)}

WIDEST_PX = 0.61
"""Of a character, for each pixel of the font's size: DejaVu Sans Mono is 0.602."""


def parsed(graph: Graph, live: Live | None = None) -> ET.Element:
    return ET.fromstring(draw_svg(graph, live))


def groups(root: ET.Element, attribute: str) -> list[ET.Element]:
    return [group for group in root.iter(f"{SVG}g") if attribute in group.attrib]


@pytest.mark.parametrize("name", GRAPHS)
def test_every_node_and_every_channel_is_drawn_once(name: str):
    """Ways back are marked, each line ends in an arrow head."""
    graph, root = GRAPHS[name], parsed(GRAPHS[name])
    assert [group.get("data-node") for group in groups(root, "data-node")] == list(graph.nodes)
    channels = groups(root, "data-channel")
    assert [group.get("data-channel") for group in channels] == [
        f"{c.source.node}.{c.source.port} → {c.target.node}.{c.target.port}" for c in graph.channels
    ]
    back = {i for i, group in enumerate(channels) if "back" in (group.get("class") or "").split()}
    assert back == feedback(graph)
    assert all([path.get("class") for path in group.iter(f"{SVG}path")][1:] == ["wire", "head"] for group in channels)


@pytest.mark.parametrize("name", GRAPHS)
def test_texts_stay_in_their_boxes(name: str):
    """In the widest common font; and everything else on the paper."""
    sizes = {"title": 12.0, "dim": 10.5, None: 10.5}
    root = parsed(GRAPHS[name])
    for group in groups(root, "data-node"):
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        left, width = float(rect.get("x") or 0), float(rect.get("width") or 0)
        top, height = float(rect.get("y") or 0), float(rect.get("height") or 0)
        for text in group.iter(f"{SVG}text"):
            half = sizes[text.get("class")] * WIDEST_PX * width_of(text.text or "") / 2
            middle = float(text.get("x") or 0)
            assert left + 5 < middle - half
            assert middle + half < left + width
            assert top + 8 < float(text.get("y") or 0) < top + height - 3


def test_it_is_one_file_for_light_and_dark_that_loads_nothing():
    """No script, no address but the name of the format, a title for those who do not see it."""
    text = draw_svg(example("review"))
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|url\(|@import|href|<image|<foreignObject", text)
    assert "@media (prefers-color-scheme: dark)" in text
    root = ET.fromstring(text)
    assert (root.get("role"), root[0].tag, root[0].text) == ("img", f"{SVG}title", "main")
    assert root[1].text == "17 nodes, 18 channels, 1 of them leading back"


def test_the_same_graph_gives_the_same_bytes_in_any_process():
    """No order of a set shows."""
    program = (
        "import sys; from fabric.compiler import check_file; from fabric.graph.render import render; "
        "print(*(render(check_file(sys.argv[1]).graph, style) for style in ('svg', 'ascii')))"
    )
    drawings = {
        subprocess.run(
            [sys.executable, "-c", program, ROOT / "compose/review/main.plumb"],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(drawings) == 1
    assert len(drawings.pop()) > 10_000


def test_names_cannot_leave_their_places():
    """Markup in a string of the program is text in the picture."""
    text = "</title><script>&\"'\\u0000\\u001b"
    graph = graph_of(f'let main : !string -> !string = plumb(i, o) {{ i ; filter(value = "{_quoted(text)}") ; o }}')
    root = parsed(graph)
    assert not list(root.iter(f"{SVG}script"))
    (title,) = [g.findtext(f"{SVG}title") or "" for g in groups(root, "data-node") if "filter" in g.get("class", "")]
    assert "</title><script>&" in title


def _quoted(text: str) -> str:
    return text.replace('"', '\\"')


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_any_name_gives_a_picture_that_can_be_read(name: str, runs: str):
    """Whatever characters: names come from programs, and commands from anywhere."""
    string = Prim("string")
    nodes = {
        "i": Node("i", "input", outputs=(Port("i", string),)),
        f"w{name}": Node(f"w{name}", "worker", (Port("input", string),), runs=runs),
    }
    graph = Graph(name, nodes, (Channel(End("i", "i"), End(f"w{name}", "input"), string),))
    root = ET.fromstring(draw_svg(graph).encode())
    assert len(groups(root, "data-node")) == 2


# --- live figures -------------------------------------------------------------------------------------------------


def figures(graph: Graph, rate: float, depth: int) -> Live:
    return Live({channel.source: rate for channel in graph.channels}, dict.fromkeys(graph.nodes, depth))


@pytest.mark.parametrize(
    ("rate", "text", "look"),
    [
        (0.0, "0/s", "rate0"),
        (0.04, "<0.1/s", "rate1"),
        (0.96, "1.0/s", "rate1"),
        (1.0, "1.0/s", "rate2"),
        (9.94, "9.9/s", "rate2"),
        (10.0, "10/s", "rate3"),
        (99.9, "100/s", "rate3"),
        (100.0, "100/s", "rate4"),
        (7086.0, "7k/s", "rate4"),
        (999_700.0, "1M/s", "rate4"),
        (5e9, ">1G/s", "rate4"),
    ],
)
def test_a_rate_is_a_figure_and_a_color(rate: float, text: str, look: str):
    """Messages per second, by powers of ten."""
    graph = example("hello")
    first = groups(parsed(graph, figures(graph, rate, 0)), "data-channel")[0]
    assert first.get("class") == f"channel {look}"
    assert first.findtext(f"{SVG}text") == f"{text} !string"
    assert (first.findtext(f"{SVG}title") or "").splitlines()[-1] == text


@pytest.mark.parametrize(
    ("depth", "text", "look"),
    [(0, "0", 0), (1, "1", 1), (9, "9", 1), (10, "10", 2), (100, "100", 3), (9999, "9999", 3), (10_000, "10k+", 3)],
)
def test_a_depth_is_a_figure_and_a_color(depth: int, text: str, look: int):
    """Messages that wait."""
    graph = example("hello")
    node = groups(parsed(graph, figures(graph, 0.0, depth)), "data-node")[0]
    assert f"depth{look}" in (node.get("class") or "").split()
    assert [found.text for found in node.iter(f"{SVG}text")][-1] == text
    assert (node.findtext(f"{SVG}title") or "").endswith(f"\n{depth} waiting")


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_moves_when_figures_change(name: str):
    """Boxes, wires and labels stay where they are."""
    graph = GRAPHS[name]

    def places(live: Live) -> Counter[tuple[str | None, ...]]:
        root = parsed(graph, live)
        keys = ("width", "height", "x", "y", "d")
        return Counter(tuple(element.get(key) for key in keys) for element in root.iter())

    assert places(figures(graph, 0.0, 0)) == places(figures(graph, 123_456.0, 123_456))


def test_what_has_no_figures_looks_as_without():
    """Only what is known is colored."""
    graph = example("hello")
    assert draw_svg(graph, Live()) == draw_svg(graph)
    root = parsed(graph, Live({}, {"doctor": 3}))
    assert {group.get("class") for group in groups(root, "data-channel")} == {"channel"}
