"""A picture of a wiring graph in characters: double boxes are workers, round ones ports, dashed wires lead back."""

from __future__ import annotations

__all__ = ["draw_ascii"]

from fabric.graph.captions import Caption, caption, fitting, name_of, shortened, width_of
from fabric.graph.ir import WORKERS, Graph, Node
from fabric.graph.layout import Box, Route, Size, Spacing, lay_out

SPACING = Spacing(margin=0, boxes=3, lines=2, ports=4, lanes=1, lead=2, tail=2, straight=3, label=1, beside=2)
"""In characters. A box from column 2 to column 6 has the width 4: places count, not characters."""

_TITLE_COLUMNS = 28
_DETAIL_COLUMNS = 26
_LABEL_COLUMNS = 20

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_WIRE = {
    _UP | _DOWN: "│",
    _LEFT | _RIGHT: "─",
    _DOWN | _RIGHT: "╭",
    _DOWN | _LEFT: "╮",
    _UP | _RIGHT: "╰",
    _UP | _LEFT: "╯",
    _UP | _DOWN | _LEFT | _RIGHT: "┼",
}
_DASHED = {_UP | _DOWN: "╎", _LEFT | _RIGHT: "╌"}

# Corners and sides: top left, top, top right, side, bottom left, bottom, bottom right, bottom where a wire leaves.
_WORKER = "╔═╗║╚═╝╤"
_PORT = "╭─╮│╰─╯┬"
_BARRIER = "╒═╕│└─┘┬"
_STEP = "┌─┐│└─┘┬"


def draw_ascii(graph: Graph) -> str:
    """Return the picture: lines without spaces at their ends, as wide as they need to be."""
    captions = {node.id: _shown(caption(node)) for node in graph.nodes.values()}
    labels = [fitting(name_of(channel), _LABEL_COLUMNS) for channel in graph.channels]
    sizes = {node: _size(*words) for node, words in captions.items()}
    layout = lay_out(graph, sizes, [[width_of(text) for text in texts] for texts in labels], SPACING)
    canvas = _Canvas(layout.width + 1, layout.height + 1)
    for route in layout.routes:
        canvas.wire(route)
    for box in layout.boxes:
        canvas.box(graph.nodes[box.node], box, captions[box.node])
    for route in layout.routes:
        x, y = route.points[0]
        canvas.rows[y][x] = _frame(graph.nodes[graph.channels[route.channel].source.node])[7]
        if route.label:
            canvas.text(route.label.x, route.label.y, labels[route.channel][route.label.choice])
    return "\n".join("".join(row).rstrip() for row in canvas.rows).rstrip("\n")


def _shown(words: Caption) -> tuple[str, str]:
    return shortened(words.title, _TITLE_COLUMNS), shortened(words.detail, _DETAIL_COLUMNS)


def _size(title: str, detail: str) -> Size:
    return Size((max(width_of(title), width_of(detail)) + 4) // 2, 3 if detail else 2)


def _frame(node: Node) -> str:
    if node.kind in WORKERS:
        return _WORKER
    return (
        _PORT if node.kind in ("input", "output", "call", "result") else _BARRIER if node.kind == "barrier" else _STEP
    )


class _Canvas:
    """Rows of cells; a cell holds a character, or nothing behind one of double width."""

    def __init__(self, width: int, height: int) -> None:
        self.rows = [[" "] * width for _ in range(height)]
        self._ways: dict[tuple[int, int], int] = {}

    def text(self, x: int, y: int, text: str) -> None:
        """Write from a cell on; marks without a width go to the character before them."""
        for char in text:
            width = width_of(char)
            if not width:
                self.rows[y][x - 1] += char
                continue
            self.rows[y][x : x + width] = [char, ""][:width]
            x += width

    def wire(self, route: Route) -> None:
        """Draw a wire; where it meets another they cross."""
        ways: dict[tuple[int, int], int] = {}
        for (x, y), (to_x, to_y) in zip(route.points, route.points[1:], strict=False):
            dx, dy = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)
            out, back = {(1, 0): (_RIGHT, _LEFT), (-1, 0): (_LEFT, _RIGHT), (0, 1): (_DOWN, _UP)}.get(
                (dx, dy), (_UP, _DOWN)
            )
            while (x, y) != (to_x, to_y):
                ways[x, y] = ways.get((x, y), 0) | out
                x, y = x + dx, y + dy
                ways[x, y] = ways.get((x, y), 0) | back
        for (x, y), way in ways.items():
            met = self._ways.get((x, y), 0)
            self._ways[x, y] = met | way
            looks = _DASHED if route.feedback and not met else {}
            self.rows[y][x] = looks.get(way) or _WIRE.get(met | way, " ")
        x, y = route.points[-1]
        self.rows[y - 1][x] = "▼"

    def box(self, node: Node, box: Box, words: tuple[str, str]) -> None:
        """Draw a box and what stands in it."""
        frame = _frame(node)
        inner = box.width - 1
        self.text(box.x, box.y, frame[0] + frame[1] * inner + frame[2])
        for row in range(1, box.height):
            self.text(box.x, box.y + row, frame[3] + " " * inner + frame[3])
        self.text(box.x, box.y + box.height, frame[4] + frame[5] * inner + frame[6])
        for row, text in enumerate(filter(None, words), 1):
            self.text(box.x + 1 + (inner - width_of(text)) // 2, box.y + row, text)
