"""What an invocation decides."""

from __future__ import annotations

import pytest

from fabric.errors import HandlerFailed
from fabric.handlers.decision import Decision, Wait, decide
from fabric.handlers.records import Output
from fabric.store.record import PAUSE_TYPE

A, B = Output(data=b"a", name="a"), Output(data=b"b", name="b")


def pause(reason: bytes = b"", **metadata: object) -> Output:
    return Output(data=reason, content_type=PAUSE_TYPE, metadata=metadata)


def test_output_without_a_pause_does_not_wait():
    """It is a new event itself."""
    assert decide([A, B]) == Decision((A, B))


def test_no_output_is_a_decision_too():
    """The handler has seen everything, and has nothing to say."""
    assert decide([]) == Decision()


def test_a_pause_acts_at_the_end():
    """What comes behind it is kept."""
    assert decide([pause(b"why"), A]) == Decision((A,), Wait(b"why"))


def test_of_several_pauses_the_last_one_counts():
    """A sleep that was thought better of, and the other way round."""
    assert decide([pause(b"1", duration="9.00s"), A, pause(b"2"), B]) == Decision((A, B), Wait(b"2"))
    assert decide([pause(b"1"), pause(b"2", duration="1.50s")]).wait == Wait(b"2", {"duration": "1.50s"}, 1.5)


@pytest.mark.parametrize("content_type", [f"{PAUSE_TYPE}; charset=utf-8", PAUSE_TYPE.upper()])
def test_a_pause_is_known_by_its_media_type(content_type: str):
    """Parameters and case do not matter."""
    assert decide([Output(data=b"", content_type=content_type)]).wait == Wait()


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (pause(b"", duration="infs"), "'infs'"),
        (pause(b"", duration="nans"), "'nans'"),
        (pause(b"", duration=""), "''"),
        (pause(b"", duration=5), "5: expected a string"),
        (Output(uri="https://h/", content_type=PAUSE_TYPE), "by uri"),
        (Output(data=b"", content_type=PAUSE_TYPE, fork=True), "with fork"),
        (Output(data=b"", content_type=PAUSE_TYPE, session="other"), "'other'"),
    ],
)
def test_a_pause_that_cannot_be_meant_fails_the_invocation(output: Output, why: str):
    """Also one that a later pause would have replaced."""
    with pytest.raises(HandlerFailed, match=why):
        decide([A, output, pause()])
