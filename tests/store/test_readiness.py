"""What a session waits for, as its log says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.store.readiness import Backoff, Failed, Idle, Paused, Ready, Sleeping, decision_order, readiness
from fabric.store.record import Attempt, Commit, Entry, Pause

PUSH = Commit("p", "client", 0, 0.0, entries=(Entry("push"),))


def decided(base: int, pause: Pause | None = None, *, said: bool = False) -> Commit:
    return Commit("h", "handler", base, 0.0, entries=(Entry("push"),) * said, pause=pause)


@pytest.mark.parametrize(
    ("log", "waits"),
    [
        ([], Ready(0)),
        ([PUSH], Ready(1)),
        ([decided(0)], Idle()),
        ([PUSH, decided(1)], Idle()),
        ([PUSH, decided(1, said=True)], Ready(2)),
        ([PUSH, decided(1, Pause("r"))], Paused("r")),
        ([PUSH, decided(1, Pause("r"), said=True)], Paused("r")),
        ([PUSH, decided(1, Pause("r", 10.5))], Sleeping(10.5, "r")),
        ([PUSH, decided(1, Pause("r", 10.0))], Ready(2)),
        ([PUSH, decided(1, Pause("r")), PUSH], Ready(3)),
        ([PUSH, PUSH, decided(1, Pause("r"))], Ready(3)),
        ([PUSH, PUSH, decided(1)], Ready(3)),
        ([PUSH, PUSH, decided(1, Pause("r")), decided(3, Pause("s"))], Paused("s")),
    ],
)
def test_what_a_log_waits_for(log: list[Commit], waits: object):
    """At ten o'clock; a pause that has not seen everything is void."""
    assert readiness(log, [], 10.0) == waits


def test_attempts_that_failed_delay_the_next_one_twice_as_long_each_time():
    """Up to a limit, and so many times; then nobody tries, until something is pushed."""
    backoff = Backoff(first_s=1.0, longest_s=3.0, attempts_max=4)
    failed = [Attempt(1, 100.0), Attempt(1, 110.0), Attempt(1, 120.0), Attempt(1, 130.0)]
    assert readiness([PUSH], failed[:1], 100.9, backoff) == Failed(1, 1, 101.0)
    assert readiness([PUSH], failed[:1], 101.0, backoff) == Ready(1, 1)
    assert readiness([PUSH], failed[:2], 110.0, backoff) == Failed(1, 2, 112.0)
    assert readiness([PUSH], failed[:3], 120.0, backoff) == Failed(1, 3, 123.0)
    assert readiness([PUSH], failed, 1e9, backoff) == Failed(1, 4, None)
    assert readiness([PUSH, PUSH], failed, 130.0, backoff) == Ready(2)
    assert readiness([decided(0)], [Attempt(1, 100.0)], 100.0, backoff) == Idle()


def test_a_clock_that_ran_ahead_stops_nobody():
    """Nobody waits longer than the longest back-off."""
    failed = [Attempt(1, 1e9)]
    assert readiness([PUSH], failed, 100.0, Backoff(1.0, longest_s=60.0)) == Ready(1, 1)
    assert readiness([PUSH], failed, 1e9 - 59.0, Backoff(1.0, longest_s=60.0)) == Failed(1, 1, 1e9 + 1.0)


@st.composite
def logs(draw: st.DrawFn) -> list[Commit]:
    """Draw a log that the rule allows: a decision has seen all decisions before it."""
    log: list[Commit] = []
    after = 0
    for handler in draw(st.lists(st.booleans(), max_size=12)):
        if handler:
            log.append(decided(draw(st.integers(after, len(log))), said=draw(st.booleans())))
            after = len(log)
        else:
            log.append(PUSH)
    return log


@given(logs())
def test_a_decision_directly_follows_what_it_saw(log: list[Commit]):
    """What each handler saw is the beginning of what is seen now."""
    order = decision_order(log)
    assert sorted(order) == list(range(len(log)))
    for seq, commit in enumerate(log):
        if commit.kind == "handler":
            assert order[: commit.base + 1] == [*decision_order(log[: commit.base]), seq]


@given(logs())
def test_a_session_is_ready_if_its_newest_entry_was_seen_by_nobody(log: list[Commit]):
    """And only then it is; or nothing was decided at all."""
    order = decision_order(log)
    last = log[order[-1]] if order else None
    unseen = last is None or last.kind == "client" or bool(last.entries)
    assert isinstance(readiness(log, [], 0.0), Ready) == unseen
