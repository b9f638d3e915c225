"""Durable sessions that are killed as a whole: what comes out is what would have; ``durable.py`` does more."""

from __future__ import annotations

from collections import Counter

import pytest
from durable_runs import relived, run_case, undisturbed

BLOCK = 30


@pytest.mark.parametrize("first", range(0, 60, BLOCK))
def test_a_session_that_is_killed_does_what_it_would_have_done(first: int):
    """At any command, several times, also while it is brought back, and with a disk that takes its time."""
    wrong = {}
    hit: Counter[str] = Counter()
    for seed in range(first, first + BLOCK):
        outcome = run_case(seed)
        hit += outcome.hit
        if outcome.wrong:
            wrong[f"python tests/simulation/durable.py --seeds {seed}..{seed + 1}"] = outcome.wrong
    assert not wrong
    assert hit.keys() >= {
        "killed",
        "ended",
        "went on with a history",
        "workers died, too",
        "begun with a part of a history",
    }


@pytest.mark.parametrize("graph", range(12))
def test_any_part_of_a_history_is_one(graph: int):
    """From each prefix the session comes to where it was: what had left the graph by then has left it, by its ids."""
    whole = undisturbed(graph)
    assert relived(graph, whole.log).outputs == whole.outputs
    for end in range(len(whole.log)):
        outputs = relived(graph, whole.log[:end]).outputs
        assert outputs == whole.outputs[: len(outputs)]
