"""A seed is a run: all that happens, in the same order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import trio
from crash_runs import Digest, run_case
from trio._core import _run as scheduler

from fabric.testing import run_seeded

HERE = Path(__file__)
SEEDS = (*range(5), 113)
"""In the last one many places are full at a time: who is let go first must not hang on a set."""


def digest(seed: int, graph_seed: int | None = None) -> str:
    watch = Digest()
    run_case(seed, graph_seed=graph_seed, watch=watch)
    return str(watch)


def test_equal_seeds_give_equal_runs_and_other_seeds_others():
    """Every event, its time, every command; also of one graph with several seeds."""
    found = [digest(seed, graph_seed=1) for seed in SEEDS]
    assert found == [digest(seed, graph_seed=1) for seed in SEEDS]
    assert len(set(found)) == len(SEEDS)


def test_a_seed_is_the_same_run_in_another_process():
    """Whatever that process takes for the hash of a string: who reads a seed elsewhere can look at the same run."""
    code = f"import sys; sys.path[:0] = {sys.path!r}\nfrom test_seeded import *\nprint(*map(digest, SEEDS), sep='\\n')"
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=HERE.parent,
        ).stdout.split()
        for hash_seed in ("1", "2")
    ]
    assert found[0] == found[1] == [digest(seed) for seed in SEEDS]


def order(seed: int) -> list[int]:
    """Let ten tasks go on together; return who went first."""
    gone: list[int] = []

    async def go(number: int) -> None:
        await trio.lowlevel.checkpoint()
        gone.append(number)

    async def all_go() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(go, number)

    run_seeded(all_go, seed)
    return gone


def test_the_seed_decides_who_goes_first():
    """More than two orders are possible, each of them again and again."""
    orders = [order(seed) for seed in range(20)]
    assert orders == [order(seed) for seed in range(20)]
    assert len({tuple(one) for one in orders}) > 10


def test_trio_is_left_as_it_was():
    """Its switch, and what it would have drawn next."""
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()
    order(1)
    assert (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()) == before
