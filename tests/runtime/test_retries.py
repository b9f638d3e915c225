"""What has come of a dead letter that was tried again."""

from __future__ import annotations

from fabric.runtime.retries import Retries
from fabric.session.events import DeadLetter


def letter(worker: str, payload: bytes, *tickets: int) -> DeadLetter:
    return DeadLetter(worker, payload, "poison", "boom", 1, (), bytes(16), tickets)


def begun() -> Retries:
    retries = Retries()
    retries.begin(7, 17, "judge", b"1")
    return retries


def test_one_that_its_worker_is_done_with_is_none_any_more():
    """And nobody tries it again, whatever list he has read."""
    retries = begun()
    assert retries.taken(17)
    assert not retries.taken(18)
    assert retries.settled(7) == (17, "done")
    assert retries.taken(17)


def test_one_that_is_a_dead_letter_again_keeps_its_number():
    """It may be tried once more."""
    retries = begun()
    assert retries.buried(letter("judge", b"1", 3, 7)) == 17
    retries.refused(7)
    assert retries.settled(7) == (17, "dead")
    assert not retries.taken(17)


def test_what_came_of_it_may_be_a_letter_of_its_own():
    """For another worker, or for the same with another message."""
    retries = begun()
    assert retries.buried(letter("critic", b"1", 7)) is None
    assert retries.buried(letter("judge", b"2", 7)) is None
    assert retries.settled(7) == (17, "done")


def test_one_of_which_something_was_refused_stays():
    """Whoever mends that may try again."""
    retries = begun()
    retries.refused(7)
    assert retries.settled(7) == (17, "refused")
    assert not retries.taken(17)


def test_other_messages_are_none_of_its_business():
    """Nor is what settles twice."""
    retries = begun()
    assert retries.buried(letter("judge", b"1", 8)) is None
    retries.refused(8)
    assert retries.settled(8) is None
    assert retries.settled(7) == (17, "done")
    assert retries.settled(7) is None
