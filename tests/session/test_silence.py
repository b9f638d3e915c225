"""A worker that has a message and says nothing."""

from __future__ import annotations

from literal import ONE, Run, ack, entering, out

from fabric.session.events import Exited, Frames, Launched, Note, SetTimer, Signal, TimerFired
from fabric.session.settings import Settings, WorkerSettings
from fabric.session.silence import Silence
from fabric.wire.codec import encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Marker

STALL = TimerFired(("stall", "f"))


def timer(at_s: float) -> SetTimer:
    return SetTimer(("stall", "f"), at_s)


def stalled(silent_s: float) -> Note:
    return Note("warning", "worker.stalled", {"worker": "f", "silent_s": silent_s})


def test_one_timer_watches_over_many_messages():
    """It is set with the first, and put off when something was said meanwhile."""
    silence = Silence("f", 60.0, None)
    assert silence.fed(10.0) == [timer(70.0)]
    assert silence.fed(20.0) == []
    assert silence.timer(70.0, since_s=40.0) == ([timer(100.0)], False)
    assert silence.timer(100.0, since_s=None) == ([], False)
    assert silence.fed(200.0) == [timer(260.0)]


def test_a_silence_is_told_once():
    """As long as it lasts; it ends nobody who has no limit."""
    silence = Silence("f", 60.0, None)
    silence.fed(0.0)
    assert silence.timer(60.0, since_s=0.0) == ([stalled(60.0), timer(120.0)], False)
    assert silence.timer(120.0, since_s=0.0) == ([timer(180.0)], False)
    silence.told = False  # it said something
    assert silence.timer(180.0, since_s=115.0) == ([stalled(65.0), timer(240.0)], False)


def test_an_idle_timeout_ends_it():
    """After it was told that it stalls, or before, whichever is the shorter."""
    silence = Silence("f", 60.0, 90.0)
    silence.fed(0.0)
    assert silence.timer(60.0, since_s=0.0) == ([stalled(60.0), timer(90.0)], False)
    assert silence.timer(90.0, since_s=0.0) == ([], True)
    silence = Silence("f", 60.0, 5.0)
    assert silence.fed(0.0) == [timer(5.0)]
    assert silence.timer(5.0, since_s=0.0) == ([], True)


def test_a_worker_beyond_its_idle_timeout_is_killed_and_its_message_goes_to_another():
    """It counts as a crash."""
    run = Run(ONE, Settings(workers={"f": WorkerSettings(idle_timeout_s=5.0)})).started()
    run(entering("i", b"1", 1), 100.0)
    assert run(STALL, 105.0) == [Signal("f", "KILL")]
    assert run(Exited("f", -9), 105.0)[-1] == SetTimer(("restart", "f"), 105.5)


def test_a_worker_that_waits_itself_is_not_silent():
    """It has answered everything; it is shown as stalled only while it has a message."""
    run = Run(ONE, Settings(stall_s=60.0)).started()
    run(entering("i", b"1", 1))
    run(STALL, 60.0)
    assert run.session.snapshot().workers[0].stalled
    run.frames(out(1), ack(1), now_s=61.0)
    assert not run.session.snapshot().workers[0].stalled
    run(STALL, 120.0)
    assert [note.event for note in run.notes].count("worker.stalled") == 1


def test_the_next_process_is_watched_if_the_timer_fired_while_there_was_none():
    """Between a crash and the next start nobody is silent; the timer is set anew with the next message."""
    run = Run(ONE, Settings(workers={"f": WorkerSettings(idle_timeout_s=5.0)})).started()
    run(entering("i", b"1", 1), 100.0)
    run(Exited("f", -9), 104.8)
    run(STALL, 105.0)
    run(TimerFired(("restart", "f")), 105.3)
    run(Launched("f", 8), 105.3)
    run.frames(Data("f", READY), port="ctrl_out", now_s=105.4)
    commands = run.session.handle(Frames("f", "output", [encode(Marker("f", "probe/f/2"))]), 105.5)
    assert timer(110.5) in commands
    assert run(STALL, 110.5) == [Signal("f", "KILL")]
