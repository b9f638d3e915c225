"""Workers that crash: started again, and what they had given to the next process."""

from __future__ import annotations

import pytest
from literal import ONE, Run, ack, delivered, entering, out, sent

from fabric.session.events import (
    Answered,
    Asked,
    Buried,
    DeadLetter,
    Exited,
    Finish,
    InputClosed,
    Launch,
    Launched,
    LaunchFailed,
    LossReport,
    Refuse,
    Release,
    SetTimer,
    Settled,
    Signal,
    Start,
    TimerFired,
)
from fabric.session.settings import Settings
from fabric.session.supervise import Supervisor
from fabric.wire.codec import decode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Eof, Marker

RESTART = TimerFired(("restart", "f"))


def test_the_wait_doubles_while_nothing_is_answered():
    """Up to its maximum; one that has answered something is taken for sound."""
    supervisor = Supervisor(Settings(restarts_max=99, backoff_s=0.5, backoff_max_s=3.0))
    assert [supervisor.crashed(0.0, answered=False) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert supervisor.crashed(0.0, answered=True) == 0.5
    assert supervisor.crashed(0.0, answered=False) == 1.0


def test_crashes_count_for_so_long_only():
    """Three in a minute are borne, a fourth is not; one that was a minute ago is forgotten."""
    supervisor = Supervisor(Settings(restarts_max=3, restart_period_s=60.0))
    assert [supervisor.crashed(at_s, answered=True) for at_s in (0.0, 1.0, 2.0)] == [0.5, 0.5, 0.5]
    assert supervisor.crashed(60.0, answered=True) == 0.5
    assert supervisor.crashed(60.5, answered=True) is None


def test_crashes_that_a_message_was_to_blame_for_do_not_count():
    """It is a dead letter now, and kills nobody any more; so many bad messages end no service."""
    supervisor = Supervisor(Settings(restarts_max=2))
    assert supervisor.crashed(0.0, answered=False) == 0.5
    assert supervisor.crashed(1.0, answered=False, explained=2) == 0.5
    assert supervisor.crashed(2.0, answered=False, explained=1) == 0.5
    assert [supervisor.crashed(3.0, answered=True) for _ in range(3)] == [0.5, 0.5, None]


def test_what_was_not_acknowledged_goes_to_the_next_process_first():
    """In order, one by one, behind new numbers, ahead of what came meanwhile; its outputs so far never were."""
    run = Run(ONE).started()
    for ticket in (1, 2, 3):
        run(entering("i", b"%d" % ticket, ticket))
    assert delivered(run.frames(out(10), ack(1), out(20))) == [b"10"]
    assert run(Exited("f", -9), 5.0) == [Release("f"), SetTimer(("restart", "f"), 5.5)]
    assert run(entering("i", b"4", 4), 5.1) == []
    assert run(RESTART, 5.5) == [Launch("f", 2), SetTimer(("ready", "f"), 35.5)]
    assert sent(run.ready(2, 5.6)) == [b"2", "ack/f/2/1"]
    assert sent(run.frames(out(20), ack(1, 2))) == [b"3", "ack/f/2/2"]
    assert sent(run.frames(out(30), ack(2, 2))) == [b"4", "ack/f/2/3"]
    commands = run.frames(out(40), ack(3, 2))
    assert delivered(commands) == [b"40"]
    assert commands[-1] == Settled([4])


def test_an_exit_with_status_0_is_a_crash_too_if_the_output_was_not_ended():
    """Nobody knows what it had not sent."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    assert run(Exited("f", 0))[-1] == SetTimer(("restart", "f"), 0.5)


def test_a_worker_that_crashes_too_often_fails_the_session():
    """The last crash is told, with what the worker said of it."""
    run = Run(ONE, Settings(restarts_max=1)).started()
    run(entering("i", b"1", 1))
    run(Exited("f", -11))
    run(RESTART, 0.5)
    run.ready(2)
    error = "worker 'f' was killed by signal 9 with 1 message unanswered: out of memory"
    assert run(Exited("f", -9, ("out of memory",)), 1.0) == [
        Release("f"),
        Finish(1, LossReport(lost=1), ("child_died", f"{error}; it has crashed 2 times in 60 s")),
    ]


def test_a_wrong_configuration_is_not_tried_again():
    """Exit status 2 says so."""
    run = Run(ONE).started()
    finish = run(Exited("f", 2))[-1]
    assert isinstance(finish, Finish)
    assert finish.error == ("child_died", "worker 'f' exited with status 2")


def test_a_message_that_kills_its_worker_again_and_again_is_a_dead_letter():
    """The others are answered; the letter has the last words."""
    run = Run(ONE, Settings(redeliveries_max=2)).started()
    run(entering("i", b"1", 1))
    run(entering("i", b"2", 2))
    run(Exited("f", -11))
    run(RESTART, 0.5)
    run.ready(2)
    commands = run(Exited("f", -11, ("segmentation fault",)), 1.0)
    why = "worker 'f' was killed by signal 11 with 2 messages unanswered: segmentation fault"
    (buried,) = [command for command in commands if isinstance(command, Buried)]
    trace = buried.letter.trace_id
    assert buried.letter == DeadLetter("f", b"1", "poison", why, 2, ("segmentation fault",), trace, (1,))
    assert Refuse("dead_lettered", why, "f", (1,)) in commands
    assert commands[-1] == Settled([1])
    run(RESTART, 1.5)
    assert sent(run.ready(3)) == [b"2", "ack/f/3/1"]
    run.frames(out(20), ack(1, 3))
    run(InputClosed())
    run.frames(Eof("f"))
    assert run(Exited("f", 0))[-1] == Finish(5, LossReport(dead_lettered=1))


def test_a_message_that_another_process_has_answered_is_not_to_blame():
    """The one behind it was with both processes that died, and that is not enough here."""
    run = Run(ONE, Settings(redeliveries_max=3)).started()
    run(entering("i", b"1", 1))
    run(entering("i", b"2", 2))
    run(Exited("f", -9))
    run(RESTART)
    run.ready(2)
    run.frames(out(10), ack(1, 2))
    assert not [command for command in run(Exited("f", -9)) if isinstance(command, Buried)]


SAID = ('{"error":"worker \'f\': m:f raised KeyError: 1","code":"python_error","span":"%s"}',)


def test_a_worker_that_says_why_it_cannot_do_a_message_is_believed():
    """It is not tried again, whichever of those that the worker had it was; the worker comes back."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    second = decode(run(entering("i", b"2", 2))[0].raw)  # type: ignore[union-attr]
    assert isinstance(second, Data)
    assert second.provenance is not None
    span = second.provenance.span_id
    commands = run(Exited("f", 1, (SAID[0] % span.hex(),)))
    assert [command.letter.payload for command in commands if isinstance(command, Buried)] == [b"2"]
    run(RESTART)
    assert sent(run.ready(2)) == [b"1", "ack/f/2/1"]


def test_where_a_refusal_ends_the_session_so_does_that():
    """One run of a program on some lines: the first that cannot be done is told, with exit code 1."""
    run = Run(ONE, Settings(refusal_ends=True)).started()
    run(entering("i", b"1", 1))
    error = "worker 'f' exited with status 1 with 1 message unanswered: m:f raised KeyError: 1"
    assert run(Exited("f", 1, SAID))[-1] == Finish(1, LossReport(lost=1), ("child_died", error))


def test_a_first_start_that_is_killed_is_tried_again():
    """One that fails by itself would fail by itself the next time."""
    run = Run(ONE)
    run(Start())
    assert run(Exited("f", -9))[1] == SetTimer(("restart", "f"), 0.5)


def test_a_worker_that_does_not_come_up_again_is_killed_and_started_once_more():
    """It counts as a crash."""
    run = Run(ONE).started()
    run(Exited("f", -9))
    run(RESTART, 0.5)
    assert run(TimerFired(("ready", "f")), 30.5) == [Signal("f", "KILL")]
    assert run(Exited("f", -9), 30.6) == [Release("f"), SetTimer(("restart", "f"), 31.6)]


def test_the_end_of_the_input_goes_to_the_next_process_behind_what_is_redelivered():
    """A crash in the middle of draining."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    run(InputClosed())
    run(Exited("f", -9))
    run(RESTART)
    commands = run.ready(2)
    assert sent(commands) == [b"1", "ack/f/2/1"]
    assert sent(run.frames(out(10), ack(1, 2))) == [None]


def test_a_worker_that_dies_when_it_has_answered_everything_is_not_needed_any_more():
    """Its input has ended, so there is nothing to start it for."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    run.frames(out(10), ack(1))
    run(InputClosed())
    assert run(Exited("f", -9))[-1] == Finish(0, LossReport())


def test_nor_is_one_that_waits_for_its_restart_when_the_input_ends():
    """Likewise."""
    run = Run(ONE).started()
    run(Exited("f", -9))
    assert run(InputClosed())[-1] == Finish(0, LossReport())


def test_frames_of_a_process_at_fault_are_not_looked_at():
    """Its messages go to another, so what it makes of them must not count."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    run(entering("i", b"2", 2))
    assert run.frames(ack(2)) == [Signal("f", "KILL")]
    assert run.frames(out(10), ack(1)) == []
    run(Exited("f", -9))
    run(RESTART)
    assert sent(run.ready(2)) == [b"1", "ack/f/2/1"]  # and the other one behind its marker


@pytest.mark.parametrize("wish", ["start", "restart"])
def test_who_asks_for_a_worker_that_waits_for_its_restart_need_not_wait(wish: str):
    """It is started at once."""
    run = Run(ONE).started()
    run(Exited("f", -9))
    assert run(Asked("f", wish, 70), 0.1) == [Launch("f", 2), SetTimer(("ready", "f"), 30.1)]  # type: ignore[arg-type]
    assert Answered(70) in run.ready(2)
    assert run(RESTART, 0.5) == []


def test_and_who_wants_it_stopped_gets_that_too():
    """Then what comes for it waits until somebody starts it."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    run(Exited("f", -9))
    assert run(Asked("f", "stop", 70)) == [Answered(70)]
    assert run(RESTART, 0.5) == []
    run(Asked("f", "start", 71))
    assert sent(run.ready(2)) == [b"1", "ack/f/2/1"]


def test_markers_of_a_process_before_are_not_taken():
    """They prove nothing of this one."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    run(Exited("f", -9))
    run(RESTART)
    run.ready(2)
    assert delivered(run.frames(Data("f", b"10"), Marker("f", "ack/f/1/1"))) == []


def test_a_process_that_comes_too_late_is_killed_when_it_is_there():
    """Until then no signal reaches it."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    run(Exited("f", -9))
    run(RESTART, 0.5)
    assert run(TimerFired(("ready", "f")), 31.0) == [Signal("f", "KILL")]
    assert run(Launched("f", 8), 32.0) == [Signal("f", "KILL")]
    assert run(Exited("f", -9), 32.0)[-1] == SetTimer(("restart", "f"), 33.0)


def test_a_session_ends_when_the_last_message_was_lost_with_its_worker():
    """One that may get no message twice has nothing left then, and is not started for nothing."""
    run = Run(ONE.replace('"m:f"', '"m:f" compat: true'))
    run(Start())
    run(Launched("f", 7))
    run.frames(Data("f", READY), port="ctrl_out")
    run(entering("i", b"1", 1))
    run(InputClosed())
    assert run(Exited("f", -9))[-1] == Finish(5, LossReport(lost=1))


def test_who_waits_for_a_worker_that_is_not_started_again_is_told():
    """It had crashed at its start, and with the input at its end there is nothing to start it for."""
    run = Run(ONE)
    run(Start())
    run(Launched("f", 7))
    assert run(Asked("f", "start", 70)) == []
    run(Exited("f", -9))
    assert Answered(70, "worker 'f' has ended") in run(InputClosed())


def test_a_start_that_fails_behind_a_crash_counts_as_one():
    """The host may be out of memory or descriptors for a moment."""
    run = Run(ONE, Settings(restarts_max=2)).started()
    run(Exited("f", -9))
    run(RESTART, 0.5)
    assert run(LaunchFailed("f", "no room"), 0.5) == [Release("f"), SetTimer(("restart", "f"), 1.5)]
    run(RESTART, 1.5)
    finish = run(LaunchFailed("f", "no room"), 1.5)[-1]
    assert isinstance(finish, Finish)
    why = "worker 'f' could not be started again: no room; it has crashed 3 times in 60 s"
    assert (finish.exit_code, finish.error) == (1, ("worker_not_started", why))
