"""How a notebook shows a program: the picture of its wiring.

A picture has rules of style of its own. As HTML it is an image, so that these stay inside of it; a notebook takes that
rather than the bare SVG if it can.
"""

from __future__ import annotations

__all__ = ["as_html"]

from base64 import b64encode
from collections.abc import Iterable
from html import escape

from fabric.graph.ir import Graph
from fabric.graph.svg import draw_svg
from fabric.lang.diagnostic import Diagnostic, render_all


def as_html(graph: Graph, warnings: Iterable[Diagnostic] = ()) -> str:
    """Return the picture as an image, and below it what the checker remarked."""
    svg = b64encode(draw_svg(graph).encode()).decode()
    told = list(warnings)
    below = f"<pre>{escape(render_all(told))}</pre>" if told else ""
    return f'<img alt="wiring of {escape(graph.name)}" src="data:image/svg+xml;base64,{svg}">{below}'
