"""Three hundred runs of a hundred graphs in which workers die: each output once, in order; ``runs.py`` does more."""

from __future__ import annotations

from collections import Counter

import pytest
from crash_runs import FAULT_KINDS, GRAPHS, run_case
from random_graphs import Graph

BLOCK = 10
FIRST_SEEDS = range(0, 40, BLOCK)
SMALL = 20
"""Visits of messages at places, in a graph of which many runs take no time."""

ROUNDS = 3
"""Runs of each graph, each with other faults."""


@pytest.mark.parametrize("first", FIRST_SEEDS)
def test_nothing_is_lost_doubled_or_reordered_by_crashes(first: int):
    """Any process may die at any of its steps, as often as its worker is started again."""
    wrong = {}
    hit: Counter[str] = Counter()
    for graph in range(first, first + BLOCK):
        for seed in range(graph, graph + ROUNDS * GRAPHS, GRAPHS):
            outcome = run_case(seed)
            hit += outcome.hit
            if outcome.wrong:
                wrong[f"python tests/simulation/runs.py --seed {seed}"] = outcome.wrong
    assert not wrong
    assert hit.keys() >= {"idle", "in_message", "after_end"}


@pytest.mark.parametrize("first", range(0, 60, BLOCK))
def test_replicas_lose_double_and_reorder_nothing(first: int):
    """One to four of each worker without memory, which die, stall and are started anew; all of them get something."""
    wrong = {}
    hit: Counter[str] = Counter()
    for seed in range(first, first + BLOCK):
        outcome = run_case(seed, shared=True)
        hit += outcome.hit
        if outcome.wrong:
            wrong[f"python tests/simulation/runs.py --replicas --seed {seed}"] = outcome.wrong
    assert not wrong
    assert hit.keys() >= {f"given to replica {number}" for number in range(1, 5)}


def small(kind: str, without: str = "") -> int:
    """Return the first graph with such a place, and none of the other, in which not much happens."""
    graphs = ((seed, Graph(seed)) for seed in range(GRAPHS))
    kinds = ((seed, set(graph.places.values())) for seed, graph in graphs if graph.visits < SMALL)
    return next(seed for seed, found in kinds if kind in found and without not in found)


def test_every_kind_of_fault_comes_true():
    """In a few hundred runs of two graphs, or some of what the runs are for is not tried any more."""
    graphs = [small("agent"), small("worker", without="agent")]
    hit: Counter[str] = Counter()
    for seed in range(400):
        hit += run_case(seed, graph_seed=graphs[seed % 2]).hit
        if not set(FAULT_KINDS) - hit.keys():
            return
    raise AssertionError(set(FAULT_KINDS) - hit.keys())


def test_the_graphs_are_many_and_of_many_kinds():
    """Five hundred, no two alike; all kinds of places, and loops."""
    graphs = [Graph(seed) for seed in range(500)]
    assert len({graph.text() for graph in graphs}) == 500
    kinds = Counter(kind for graph in graphs for kind in set(graph.places.values()))
    assert min(kinds[kind] for kind in ("step", "worker", "spread", "agent", "diamond", "body", "channels")) > 50
    sides = {sides for graph in graphs for sides in graph.sides.values()}
    assert sides == {("worker", "worker"), ("worker", "step"), ("step", "worker"), ("step", "step")}
    assert sum(graph.direct.total() for graph in graphs) > 10_000
