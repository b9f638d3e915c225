"""Runs of graphs whose workers somebody else starts: processes die, links are cut, coordinators are replaced."""

from __future__ import annotations

from collections import Counter

import pytest
from outside_runs import KINDS, run_outside

BLOCK = 10


@pytest.mark.parametrize("first", range(0, 50, BLOCK))
def test_nothing_is_lost_doubled_or_reordered_whoever_comes_and_goes(first: int):
    """Each input is committed exactly once, agents remember what they answered, and it comes to an end."""
    wrong = {seed: outcome.wrong for seed in range(first, first + BLOCK) if (outcome := run_outside(seed)).wrong}
    assert not wrong


def test_every_kind_of_fault_comes_true():
    """Or some of what the runs are for is not tried any more."""
    hit: Counter[str] = Counter()
    for seed in range(300):
        hit += run_outside(seed).hit
        if not set(KINDS) - hit.keys():
            return
    raise AssertionError(set(KINDS) - hit.keys())
