"""Runs under trio in which a seed decides what trio leaves to chance: who of those that can go on goes first."""

from __future__ import annotations

__all__ = ["run_seeded"]

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from trio._core import _run as scheduler
from trio.testing import MockClock

T = TypeVar("T")

_SWITCH = "_ALLOW_DETERMINISTIC_SCHEDULING"


def run_seeded(function: Callable[[], Awaitable[T]], seed: int) -> T:
    """Run an async function to its end; time passes only where everybody waits.

    Two runs with one seed are the same, and two seeds give two orders, as far as the function itself asks neither the
    clock nor chance. trio has a switch for this, for Hypothesis, which throws it for good; here it is put back.

    Args:
        function: what to run.
        seed: of the order.
    """
    names = vars(scheduler)
    missing = {_SWITCH, "_r"} - names.keys()
    assert not missing, f"trio {trio.__version__} has no {' and '.join(sorted(missing))}: see fabric.testing.seeded"
    before, state = names[_SWITCH], scheduler._r.getstate()
    names[_SWITCH] = True
    scheduler._r.seed(seed)
    try:
        return trio.run(function, clock=MockClock(autojump_threshold=0))
    finally:
        names[_SWITCH] = before
        scheduler._r.setstate(state)
