"""Some runs over a bucket in which all goes wrong; ``commits.py`` does more."""

from __future__ import annotations

from collections import Counter

import pytest
from commit_runs import KINDS, run_commits

BLOCK = 10


@pytest.mark.parametrize("first", range(0, 60, BLOCK))
def test_no_push_is_lost_or_doubled_and_every_input_is_answered_once(first: int):
    """Nor is any child, delivery or version of memory, whoever is killed, stalls, or hears nothing of the bucket."""
    wrong = {
        f"python tests/simulation/commits.py --seed {seed}": outcome.wrong
        for seed in range(first, first + BLOCK)
        if (outcome := run_commits(seed)).wrong
    }
    assert not wrong


def test_whatever_goes_wrong_often():
    """With one operation in twelve lost, doubled, late, or the last of its process."""
    assert not {seed: outcome.wrong for seed in range(12) if (outcome := run_commits(seed, 0.08)).wrong}


def test_every_kind_of_trouble_comes_true():
    """Or some of what the runs are for is not tried any more."""
    hit: Counter[str] = Counter()
    for seed in range(1000, 1300):
        hit += run_commits(seed).hit
        if not set(KINDS) - hit.keys():
            return
    raise AssertionError(set(KINDS) - hit.keys())
