"""Graphs to draw: the examples, a newsroom as large as one likes, and random ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from plans import graph_of

from fabric.compiler import check_file
from fabric.graph.ir import WORKERS, Channel, End, Graph, Kind, Node, Port
from fabric.wire.payload import Prim

ROOT = Path(__file__).parents[2]
EXAMPLES = ("hello", "review", "debate", "shelf")


def example(name: str) -> Graph:
    return check_file(ROOT / "compose" / name / "main.plumb").graph


def newsroom(desks: int) -> Graph:
    """Desks that work side by side, each with a loop of its own, a meeting of all, and a way back to every desk."""
    lines = [
        "type Story = { text: string, round: int }",
        "type Verdict = { pass: bool, text: string, round: int, remark: string }",
        'let split : !string -> !Story = python { call: "newsroom:split" }',
        'let chief : !Story -> !Verdict = agent { provider: "anthropic" model: "claude" }',
    ]
    for desk in range(desks):
        lines += [
            f'let writer{desk} : !Story -> !Story = agent {{ provider: "anthropic" model: "claude" }}',
            f'let checker{desk} : !Story -> !Verdict = python {{ call: "newsroom:check" }}',
            f"let desk{desk} : !Story -> !Story = plumb(task, story) {{",
            f"  task ; writer{desk} ; checker{desk}",
            f"  checker{desk} ; filter(pass) ; map({{ text, round }}) ; story",
            f"  checker{desk} ; filter(!pass && round < 5)",
            f"    ; map({{ text: text + remark, round: round + 1 }}) ; writer{desk}",
            "}",
        ]
    lines += ["let main : !string -> !string = plumb(topic, front_page) {", "  topic ; split"]
    lines += [f"  split ; filter(round % {desks} = {desk}) ; desk{desk} ; chief" for desk in range(desks)]
    lines += ["  chief ; filter(pass).text ; front_page", "  chief ; filter(!pass) ; map({ text, round }) ; desk0", "}"]
    return graph_of("\n".join(lines))


KINDS: tuple[Kind, ...] = (*sorted(WORKERS), "map", "filter", "copy", "merge", "barrier", "discard", "input", "output")


def random_graph(seed: int, nodes: int, channels: int, kinds: Sequence[Kind] = KINDS) -> Graph:
    """Any nodes, any channels between them, loops of one node and several channels between two included."""
    rng = random.Random(seed)
    kind_of = [rng.choice(kinds) for _ in range(nodes)]
    names = [f"{kind}@{i}" for i, kind in enumerate(kind_of)]
    ends = [(rng.randrange(nodes), rng.randrange(nodes)) for _ in range(channels)]
    type_ = Prim("string")
    made = {
        name: Node(
            name,
            kind_of[i],
            tuple(Port(f"in_{c}", type_) for c, (_, target) in enumerate(ends) if target == i),
            tuple(Port(f"out_{c}", type_) for c, (source, _) in enumerate(ends) if source == i),
        )
        for i, name in enumerate(names)
    }
    joined = tuple(
        Channel(End(names[source], f"out_{c}"), End(names[target], f"in_{c}"), type_)
        for c, (source, target) in enumerate(ends)
    )
    return Graph("random", made, joined)
