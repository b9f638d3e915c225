"""The rule by which a log grows, event by event."""

from __future__ import annotations

import pytest

from fabric.store.commit import UNSURE_MAX, Create, Created, Done, Dropped, Ended, Exists, GaveUp, Placing, Unsure
from fabric.store.record import TOMBSTONE, Commit, Entry, Kind


def commit(id_: str, kind: Kind = "client", base: int = 0, key: str = "") -> Commit:
    return Commit(id_, kind, base, 0.0, entries=(Entry("push"),), key=key)


PUSHED, OTHER = commit("pushed"), commit("other")
DECIDED = commit("decided", "handler")
DELETED = Commit("gone", "system", 0, 0.0, entries=(Entry(TOMBSTONE),))


def test_a_commit_takes_the_number_after_what_it_has_seen():
    """And is done when it was created."""
    machine = Placing(commit("mine", base=2))
    assert machine.begin([PUSHED, OTHER]) == Create(2)
    assert machine.handle(Created()) == Done(2, machine.commit)


@pytest.mark.parametrize("kind", ["client", "handler"])
def test_pushes_that_slipped_in_are_gone_past(kind: Kind):
    """By other pushes and by handlers, whether they were known before or are met."""
    machine = Placing(commit("mine", kind))
    assert machine.begin([PUSHED]) == Create(1)
    assert machine.handle(Exists(OTHER)) == Create(2)


def test_a_push_goes_past_decisions():
    """It decides nothing, so nobody can have decided before it."""
    assert Placing(commit("mine")).begin([DECIDED]) == Create(1)


@pytest.mark.parametrize("base", [0, 1, 5])
def test_a_decision_that_meets_another_one_is_dropped(base: int):
    """Whatever that was decided from: the handler whose decision this is has not seen it."""
    machine = Placing(commit("mine", "handler"))
    machine.begin([])
    other = commit("decided", "handler", base)
    assert machine.handle(Exists(PUSHED)) == Create(1)
    assert machine.handle(Exists(other)) == Dropped(1, other)


def test_a_commit_knows_itself():
    """After an answer that was lost it finds itself, and is done."""
    machine = Placing(commit("mine", "handler"))
    machine.begin([])
    assert machine.handle(Unsure()) == Create(0)
    assert machine.handle(Exists(machine.commit)) == Done(0, machine.commit)


def test_a_push_with_a_key_is_found_wherever_it_is():
    """Before what its pusher has seen, among it, or when it is met: then it is not pushed again."""
    before = commit("before", key="k")
    assert Placing(commit("mine", base=2, key="k")).begin([before, OTHER]) == Done(0, before)
    assert Placing(commit("mine", key="k")).begin([OTHER, before]) == Done(1, before)
    machine = Placing(commit("mine", key="k"))
    machine.begin([])
    assert machine.handle(Exists(before)) == Done(0, before)


def test_a_push_without_a_key_is_like_no_other():
    """Nor is a decision a push, with whatever key."""
    assert Placing(commit("mine", base=1)).begin([commit("before")]) == Create(1)
    assert Placing(commit("mine", base=1, key="k")).begin([commit("before", "handler", key="k")]) == Create(1)


@pytest.mark.parametrize("kind", ["client", "handler", "system"])
def test_nothing_goes_past_a_tombstone(kind: Kind):
    """Not even another one."""
    assert Placing(commit("mine", kind)).begin([DELETED]) == Ended()


def test_no_answer_again_and_again_is_given_up():
    """For one number; where somebody else is found, there was an answer."""
    machine = Placing(commit("mine"))
    machine.begin([])
    for seq in range(3):
        for _ in range(UNSURE_MAX - 1):
            assert machine.handle(Unsure()) == Create(seq)
        assert machine.handle(Exists(OTHER)) == Create(seq + 1)
    for _ in range(UNSURE_MAX - 1):
        machine.handle(Unsure())
    assert machine.handle(Unsure()) == GaveUp(3)
