"""Ending one worker."""

from fabric.session.events import Note, Send, SetTimer, Signal
from fabric.session.shutdown import Shutdown
from fabric.wire.codec import encode
from fabric.wire.frame import Data, Eof

TERMINATED = Note("warning", "worker.killed", {"worker": "judge", "grace_s": 30.0})


def machine(*, control: bool = True) -> Shutdown:
    return Shutdown("judge", grace_s=30.0, control=control)


def test_a_silent_worker_is_terminated_after_its_grace_and_then_killed():
    """TERM to the group first; KILL after as much again."""
    judge = machine()
    assert judge.asked(now_s=100.0) == [SetTimer(("grace", "judge"), 130.0)]
    assert judge.timer(now_s=130.0, owes=True) == [
        TERMINATED,
        Signal("judge", "TERM"),
        SetTimer(("grace", "judge"), 160.0),
    ]
    assert judge.timer(now_s=160.0, owes=True) == [Signal("judge", "KILL")]
    assert judge.forced


def test_a_worker_that_moves_is_waited_for():
    """The grace counts from the last sign of life."""
    judge = machine()
    judge.asked(now_s=100.0)
    judge.moved(now_s=125.0)
    assert judge.timer(now_s=130.0, owes=True) == [SetTimer(("grace", "judge"), 155.0)]
    assert not judge.forced


def test_control_ends_after_the_output():
    """stop, then the end of ctrl_in: before the end of data_out they would cut off what is queued."""
    assert machine().output_ended(now_s=100.0) == [
        Send("judge", "ctrl_in", encode(Data("fabric", b'{"stop":true}'))),
        Send("judge", "ctrl_in", encode(Eof("fabric"))),
        SetTimer(("grace", "judge"), 130.0),
    ]


def test_without_control_nothing_is_sent_at_the_end():
    """The steps are skipped; silence counts all the same."""
    assert machine(control=False).output_ended(now_s=100.0) == [SetTimer(("grace", "judge"), 130.0)]


def test_the_timer_is_set_once():
    """Being asked again restarts the count, not the timer."""
    judge = machine()
    judge.asked(now_s=100.0)
    assert judge.asked(now_s=110.0) == []
    assert judge.timer(now_s=130.0, owes=True) == [SetTimer(("grace", "judge"), 140.0)]


def test_a_worker_is_terminated_once():
    """A second order changes nothing; killing is another order."""
    judge = machine()
    assert judge.terminate(now_s=1.0) == [Signal("judge", "TERM"), SetTimer(("grace", "judge"), 31.0)]
    assert judge.terminate(now_s=2.0) == []
    assert judge.kill() == [Signal("judge", "KILL")]
    assert judge.timer(now_s=31.0, owes=True) == []


def test_a_worker_that_owes_nothing_is_not_ended():
    """It waits for others, whose messages may take long."""
    judge = machine()
    judge.asked(now_s=100.0)
    assert judge.timer(now_s=130.0, owes=False) == [SetTimer(("grace", "judge"), 160.0)]
    assert not judge.forced
