"""A picture of a wiring graph as SVG: one file, no script, nothing loaded; light or dark as its reader's screen is."""

from __future__ import annotations

__all__ = ["Live", "draw_svg"]

from collections.abc import Sequence
from html import escape
from math import ceil

import msgspec

from fabric.graph.captions import Caption, caption, fitting, name_of, printable, shortened, width_of
from fabric.graph.ir import WORKERS, Channel, End, Graph, Node
from fabric.graph.layout import Box, Label, Point, Route, Size, Spacing, lay_out
from fabric.wire.payload import show

SPACING = Spacing(
    margin=16, boxes=28, lines=12, ports=18, lanes=10, lead=22, tail=18, straight=36, label=12, beside=5
)  # fmt: skip
"""In pixels."""

# The fonts of one width differ a little; these are the widest common ones, so that texts stay in their boxes.
_TITLE_PX = 7.4
_DETAIL_PX = 6.5
_LABEL_PX = 6.1
_TITLE_COLUMNS = 30
_DETAIL_COLUMNS = 28
_LABEL_COLUMNS = 24
_PADDING = 12
_BADGE = 36
_RATE_COLUMNS = 6
_ARROW = (4, 8)
_ROUND = 6

_STYLE = """
svg { color-scheme: light dark; --paper: #ffffff; --ink: #1f2933; --dim: #5b6875; --line: #64707d; --back: #c2410c;
  --worker: #e6f0fc; --worker-edge: #2563ab; --step: #f4f5f7; --step-edge: #a3adb8; --port: #e4f5e9;
  --port-edge: #2f855a; --slow: #3b82c4; --fast: #d97706; --hot: #dc2626; --few: #fde9a9; --many: #fbb36b;
  --full: #f28b82; }
@media (prefers-color-scheme: dark) { svg { --paper: #12181f; --ink: #e6eaee; --dim: #9aa7b4; --line: #8b98a5;
  --back: #fb923c; --worker: #16283d; --worker-edge: #5b9ee6; --step: #1e262f; --step-edge: #5a6673; --port: #14301f;
  --port-edge: #52b07c; --slow: #5fa8e8; --fast: #f5a623; --hot: #ff6b63; --few: #5a4a12; --many: #7a4513;
  --full: #7f2a24; } }
text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: var(--ink); font-size: 10.5px; }
.paper { fill: var(--paper); }
.title { font-size: 12px; font-weight: 600; }
.dim, .label { fill: var(--dim); }
.label { font-size: 10px; }
.node rect { fill: var(--step); stroke: var(--step-edge); }
.worker rect { fill: var(--worker); stroke: var(--worker-edge); stroke-width: 1.5; }
.port rect { fill: var(--port); stroke: var(--port-edge); stroke-width: 1.5; }
.node .bar { fill: var(--worker-edge); stroke: none; }
.barrier .bar { fill: var(--dim); }
.step .title { font-size: 10.5px; }
.wire { fill: none; stroke: var(--line); stroke-width: 1.4; }
.head { fill: var(--line); }
.reach { fill: none; stroke: transparent; stroke-width: 9; }
.back .wire { stroke: var(--back); stroke-dasharray: 6 4; }
.back .head, .back .label { fill: var(--back); }
.channel:hover .wire { stroke-width: 3; }
.rate0 .wire { opacity: 0.45; }
.rate1 .wire { stroke: var(--slow); stroke-width: 1.8; } .rate1 .head { fill: var(--slow); }
.rate2 .wire { stroke: var(--slow); stroke-width: 2.6; } .rate2 .head { fill: var(--slow); }
.rate3 .wire { stroke: var(--fast); stroke-width: 3.4; } .rate3 .head { fill: var(--fast); }
.rate4 .wire { stroke: var(--hot); stroke-width: 4.2; } .rate4 .head { fill: var(--hot); }
.depth1 .body { fill: var(--few); } .depth2 .body { fill: var(--many); } .depth3 .body { fill: var(--full); }
.depth2 .dim, .depth3 .dim { fill: var(--ink); }
"""


class Live(msgspec.Struct, frozen=True):
    """What moves at the moment; colors wires and boxes, and stands beside them in figures.

    A drawing has the same places with whatever figures for the same channels and nodes.

    Attributes:
        rates: messages per second on the channel that leaves a port. A channel that is missing is drawn as without
            figures, one with 0 is faint; color and width go by the power of ten: below 1, 10, 100, more.
        depths: messages that wait for a node, by its id: none, below 10, below 100, more.
    """

    rates: dict[End, float] = {}
    depths: dict[str, int] = {}


def draw_svg(graph: Graph, live: Live | None = None) -> str:
    """Return the picture, the same for the same graph and figures."""
    live = live or Live()
    captions = {node.id: caption(node) for node in graph.nodes.values()}
    labels = [_labels(channel, live) for channel in graph.channels]
    widths = [
        [_label_width(text, channel.source in live.rates) for text in texts]
        for channel, texts in zip(graph.channels, labels, strict=True)
    ]
    sizes = {node.id: _size(node, captions[node.id], node.id in live.depths) for node in graph.nodes.values()}
    layout = lay_out(graph, sizes, widths, SPACING)
    backwards = sum(route.feedback for route in layout.routes)
    about = f"{len(graph.nodes)} nodes, {len(graph.channels)} channels, {backwards} of them leading back"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{layout.width}" height="{layout.height}" '
        f'viewBox="0 0 {layout.width} {layout.height}">',
        f"<title>{_text(printable(graph.name))}</title>",
        f"<desc>{about}</desc>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{layout.width}" height="{layout.height}"/>',
    ]
    for route in layout.routes:
        lines += _channel(graph.channels[route.channel], route, labels[route.channel], live)
    for box in layout.boxes:
        lines += _node(graph.nodes[box.node], captions[box.node], box, live.depths.get(box.node))
    return "\n".join([*lines, "</svg>"])


# --- nodes --------------------------------------------------------------------------------------------------------


_PORTS = ("input", "output", "call", "result")


def _shown(words: Caption) -> tuple[str, str]:
    return shortened(words.title, _TITLE_COLUMNS), shortened(words.detail, _DETAIL_COLUMNS)


def _size(node: Node, words: Caption, badge: bool) -> Size:
    title, detail = _shown(words)
    width = max(_TITLE_PX * width_of(title), _DETAIL_PX * width_of(detail)) + 2 * _PADDING + (_BADGE if badge else 0)
    return Size(max(ceil(width / 2), 24), 42 if detail else 30 if node.kind in _PORTS else 24)


def _look(node: Node) -> str:
    if node.kind in WORKERS:
        return f"worker {node.kind}"
    return f"port {node.kind}" if node.kind in _PORTS else f"step {node.kind}"


def _node(node: Node, words: Caption, box: Box, depth: int | None) -> list[str]:
    title, detail = _shown(words)
    look = _look(node)
    full = words.full
    if depth is not None:
        look += f" depth{_depth_class(depth)}"
        full += f"\n{depth} waiting"
    pill = node.kind in _PORTS or (node.kind not in WORKERS and not detail)
    corner = 3 if node.kind in WORKERS or node.kind == "barrier" else box.height // 2 if pill else 8
    middle = box.x + (box.width - (_BADGE if depth is not None else 0)) / 2
    lines = [
        f'<g class="node {look}" data-node="{_text(printable(node.id))}"><title>{_text(full)}</title>',
        f'<rect class="body" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="{corner}"/>',
    ]
    if node.kind in WORKERS:
        lines.append(f'<rect class="bar" x="{box.x}" y="{box.y}" width="5" height="{box.height}" rx="2"/>')
    elif node.kind == "barrier":
        lines.append(f'<rect class="bar" x="{box.x}" y="{box.y}" width="{box.width}" height="4"/>')
    base = box.y + (18 if detail else box.height // 2 + 4 + (node.kind == "barrier"))
    lines.append(f'<text class="title" x="{middle:g}" y="{base}" text-anchor="middle">{_text(title)}</text>')
    if detail:
        dim = ' class="dim"' if node.kind in WORKERS else ""
        lines.append(f'<text{dim} x="{middle:g}" y="{box.y + 33}" text-anchor="middle">{_text(detail)}</text>')
    if depth is not None:
        right = box.x + box.width - 8
        lines.append(f'<text x="{right}" y="{box.y + box.height // 2 + 4}" text-anchor="end">{_count(depth)}</text>')
    return [*lines, "</g>"]


def _depth_class(depth: int) -> int:
    return sum(depth >= least for least in (1, 10, 100))


def _count(depth: int) -> str:
    return str(depth) if depth < 10_000 else "10k+"


# --- channels -----------------------------------------------------------------------------------------------------


def _labels(channel: Channel, live: Live) -> list[str]:
    forms = fitting(name_of(channel), _LABEL_COLUMNS)
    rate = live.rates.get(channel.source)
    return forms if rate is None else [f"{_rate(rate)} {forms[0]}", _rate(rate)]


def _label_width(text: str, has_rate: bool) -> int:
    """Return the room for a label; a rate has always the same, so that places stay as figures change."""
    columns = width_of(text) + (_RATE_COLUMNS - len(text.split(" ")[0]) if has_rate else 0)
    return ceil(_LABEL_PX * columns)


def _rate(rate: float) -> str:
    """Print a rate in at most ``_RATE_COLUMNS`` characters."""
    if rate < 10:
        return "0/s" if rate <= 0 else "<0.1/s" if rate < 0.1 else f"{rate:.1f}/s"
    for unit in ("", "k", "M"):
        if rate < 999.5:
            return f"{rate:.0f}{unit}/s"
        rate /= 1000
    return ">1G/s"


def _rate_class(rate: float) -> int:
    return sum(rate > least if not least else rate >= least for least in (0, 1, 10, 100))


def _channel(channel: Channel, route: Route, labels: Sequence[str], live: Live) -> list[str]:
    ends = f"{channel.source.node}.{channel.source.port} → {channel.target.node}.{channel.target.port}"
    about = f"{printable(ends)}\n{printable('!' + show(channel.type))}"
    if channel.check is not None:
        about += f"\nchecked as !{printable(show(channel.check))}"
    look = "channel back" if route.feedback else "channel"
    rate = live.rates.get(channel.source)
    if rate is not None:
        look += f" rate{_rate_class(rate)}"
        about += f"\n{_rate(rate)}"
    path = _path(route.points)
    half, length = _ARROW
    x, y = route.points[-1]
    lines = [
        f'<g class="{look}" data-channel="{_text(printable(ends))}"><title>{_text(about)}</title>',
        f'<path class="reach" d="{path}"/><path class="wire" d="{path}"/>',
        f'<path class="head" d="M{x} {y}l{-half} {-length}h{2 * half}z"/>',
    ]
    if route.label:
        lines.append(_label(route, route.label, labels[route.label.choice]))
    return [*lines, "</g>"]


def _label(route: Route, label: Label, text: str) -> str:
    """Write a label, close to the line that it stands beside."""
    right = label.x + label.width
    is_left = any(right + SPACING.beside == x for x, _ in (route.points[0], route.points[-1]))
    at = f'x="{right}" text-anchor="end"' if is_left else f'x="{label.x}"'
    return f'<text class="label" {at} y="{label.y + label.height - 3}">{_text(text)}</text>'


def _path(points: Sequence[Point]) -> str:
    """Draw a line whose corners are round, and which ends inside its arrow head."""
    (x, y), *inner, (end_x, end_y) = points
    parts = [f"M{x} {y}"]
    corners = [(x, y), *inner, (end_x, end_y - _ARROW[1] // 2)]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        start, stop = _toward(corner, before), _toward(corner, after)
        parts.append(f"L{start[0]:g} {start[1]:g}Q{corner[0]} {corner[1]} {stop[0]:g} {stop[1]:g}")
    return "".join([*parts, f"L{corners[-1][0]} {corners[-1][1]}"])


def _toward(corner: Point, other: Point) -> tuple[float, float]:
    """Return the place where a corner's rounding ends: on the way to the next, at most half of it."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = abs(dx) + abs(dy)
    part = min(_ROUND, length / 2) / length if length else 0
    return corner[0] + dx * part, corner[1] + dy * part


def _text(text: str) -> str:
    return escape(text)
