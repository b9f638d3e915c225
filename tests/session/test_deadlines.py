"""Deadlines of one kind: the first that began is the first that is late."""

from __future__ import annotations

from fabric.session.deadlines import Deadlines
from fabric.session.events import SetTimer

KEY = ("calls", "tool")


def test_there_is_one_timer_for_the_one_that_is_due_first():
    """It is asked for again when it has fired, as long as something is under way."""
    deadlines = Deadlines(KEY, 10.0)
    assert deadlines.begin(-1, 1.0) == [SetTimer(KEY, 11.0)]
    assert deadlines.begin(-2, 3.0) == []
    assert deadlines.timer(11.0) == ([-1], [SetTimer(KEY, 13.0)])
    assert deadlines.timer(13.0) == ([-2], [])
    assert deadlines.begin(-3, 20.0) == [SetTimer(KEY, 30.0)]


def test_less_time_is_less_time_for_all():
    """For what has begun, and for what begins later; never more."""
    deadlines = Deadlines(KEY, 10.0)
    deadlines.begin(-1, 0.0)
    deadlines.begin(-2, 6.0)
    assert deadlines.shorten(4.0, 7.0) == [SetTimer(KEY, 10.0)]
    assert deadlines.timer(10.0) == ([-1], [SetTimer(KEY, 11.0)])
    deadlines.begin(-3, 10.5)
    assert deadlines.timer(11.0) == ([-2], [SetTimer(KEY, 14.5)])
    assert deadlines.shorten(20.0, 12.0) == [SetTimer(KEY, 14.5)]
    assert deadlines.timer(14.5) == ([-3], [])
    assert deadlines.shorten(1.0, 20.0) == []


def test_what_is_done_in_time_is_never_late():
    """A timer that finds nothing late waits for what began since."""
    deadlines = Deadlines(KEY, 10.0)
    deadlines.begin(-1, 0.0)
    deadlines.done(-1)
    deadlines.done(-1)
    assert deadlines.begin(-2, 4.0) == []
    assert deadlines.timer(10.0) == ([], [SetTimer(KEY, 14.0)])
    deadlines.done(-2)
    assert deadlines.timer(14.0) == ([], [])
