"""Draw the examples and a large graph, for a person to look at: ``python tests/graph/pictures.py DIRECTORY``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from drawn import EXAMPLES, example, newsroom, random_graph

from fabric.graph.ir import Graph
from fabric.graph.svg import Live, draw_svg


def live(graph: Graph) -> Live:
    """Return figures of every size."""
    rates = {channel.source: 0.04 * 3**i if i % 9 else 0.0 for i, channel in enumerate(graph.channels)}
    return Live(rates, {node: 7**i - 1 for i, node in enumerate(graph.nodes)})


def main(directory: Path) -> None:
    """Write a picture of each."""
    directory.mkdir(parents=True, exist_ok=True)
    graphs = {name: example(name) for name in EXAMPLES}
    graphs["newsroom"] = newsroom(6)
    graphs["random"] = random_graph(1, 20, 30)
    for name, graph in graphs.items():
        (directory / f"{name}.svg").write_text(draw_svg(graph), encoding="utf-8")
        print(f"{name}: {len(graph.nodes)} nodes, {len(graph.channels)} channels")
    (directory / "live.svg").write_text(draw_svg(graphs["review"], live(graphs["review"])), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
