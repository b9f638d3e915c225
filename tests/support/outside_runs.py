"""One run of a random graph whose workers somebody else starts: they die, links are cut, coordinators are replaced."""

from __future__ import annotations

__all__ = ["KINDS", "OutsideRun", "run_outside"]

import random
from collections import Counter
from typing import NamedTuple

import trio
from crash_runs import SETTINGS, prepared, reference, simulated, wrong_with
from random_graphs import Graph

from fabric.testing import Crash, Faults, LinkCut, Restart, Watch
from fabric.testing.faults import STATUSES

GRAPHS = 500

STEPS_MAX = 60
"""Of a process, after which it may die."""

KINDS = ("process died", "link cut", "frames of the past", "another process announced itself", "coordinator replaced")
"""What is counted."""


class OutsideRun(NamedTuple):
    """What came of one seed: what is wrong, and how often each of ``KINDS`` came true."""

    wrong: list[str]
    hit: Counter[str]


def outside_faults(seed: int, graph: Graph, names: list[str]) -> tuple[Faults, frozenset[str]]:
    """Return what goes wrong, and which workers are somebody else's. Those stay when the coordinator is killed."""
    rng = random.Random(f"outside {seed}")
    killed = rng.random() < 0.3
    outside = frozenset(names if killed else rng.sample(names, rng.randint(1, len(names))))
    crashes = [
        Crash(name, rng.randint(0, STEPS_MAX), number, after_s=rng.choice((0.0, rng.uniform(0, 2))),
              status=rng.choice(STATUSES))
        for name in sorted(outside)
        for number in range(1, rng.randint(1, 4))
    ]  # fmt: skip
    cuts = [
        LinkCut(
            rng.choice(sorted(outside)),
            rng.expovariate(0.1),
            for_s=rng.choice((0.0, rng.uniform(0, 40))),
            deaf_s=rng.choice((0.0, rng.uniform(0, 5))),
            halves_s=rng.choice((0.0, rng.uniform(0, 30))),
        )
        for _ in range(rng.randint(0, 4))
    ]
    restarts = [Restart(rng.choice(names), rng.expovariate(0.1)) for _ in range(rng.randint(0, 1)) if not graph.agents]
    faults = Faults(
        seed,
        tuple(crashes),
        cuts=tuple(cuts),
        restarts=tuple(restarts),
        killed_at_s=rng.expovariate(0.1) if killed else None,
        delay_s=rng.choice((0.0, 0.01, 1.0)),
        input_s=rng.choice((0.0, 1.0)),
    )
    return faults, outside


def run_outside(seed: int, watch: Watch | None = None) -> OutsideRun:
    """Run the graph of a seed, and say what is wrong with what came out."""
    graph_seed = seed % GRAPHS
    graph, plan = prepared(graph_seed)
    names = sorted(worker.name for worker in plan.workers if worker.transport == "zmq")
    if not names or reference(graph_seed).wrong:
        return OutsideRun([], Counter())
    faults, outside = outside_faults(seed, graph, names)
    try:
        done = simulated(graph_seed, seed, faults, SETTINGS, watch, outside=outside)
    except trio.TooSlowError:
        return OutsideRun(["has not ended"], Counter())
    hit: Counter[str] = Counter()
    hit["process died"] = sum(record.phase is not None for record in done.processes)
    hit["link cut"] = len(faults.cuts)
    hit["frames of the past"] = sum(note.event == "worker.past_refused" for note in done.notes)
    hit["another process announced itself"] = sum(note.fields.get("code") == "replaced" for note in done.notes)
    hit["coordinator replaced"] = faults.killed_at_s is not None
    wrong = wrong_with(graph_seed, done)
    if faults.cuts:  # what it was asked and did not answer before a cut, it is asked again, as after a crash
        wrong = [text for text in wrong if "times, and answered" not in text]
    return OutsideRun(wrong, hit)
