"""A whole session as a machine: literal events in, literal commands out."""

from __future__ import annotations

import random

import pytest
from literal import LOOP, ONE, WORKER, Run, ack, delivered, entering, out, sent
from plans import plan_of

from fabric.plan.channels import find_channels
from fabric.plan.plan import Plan
from fabric.session.control_edge import WAITING_MAX
from fabric.session.events import (
    Answered,
    Asked,
    Buried,
    Command,
    Continue,
    Deliver,
    Exited,
    Finish,
    Frames,
    Input,
    InputClosed,
    Interrupted,
    Launch,
    Launched,
    LaunchFailed,
    LossReport,
    Note,
    Opened,
    Output,
    Refuse,
    Release,
    Seen,
    Send,
    SetTimer,
    Settled,
    Signal,
    Start,
    Tap,
    Tapped,
    TimerFired,
    Told,
)
from fabric.session.session import Session, Settings
from fabric.session.traffic import STEPS_PER_EVENT_MAX
from fabric.wire.codec import decode, encode, join, split
from fabric.wire.control import BATCHES, READY, STOP, ready
from fabric.wire.frame import Data, Eof, Marker


def test_a_graph_without_workers_opens_at_once_and_ends_with_its_input():
    """No process, no timer."""
    run = Run("let main : !int -> !int = map(value + 1)\n")
    assert run(Start()) == [Opened()]
    assert run(entering("input", b"1", 7)) == [Deliver([Output("output", b"2", (7,))]), Settled([7])]
    assert run(InputClosed("input")) == [Finish(0, LossReport())]
    assert run(Continue()) == []


def test_input_is_welcome_when_every_worker_has_returned_its_probe():
    """Launch, announcement, probe, open."""
    run = Run(ONE)
    assert run(Start()) == [Launch("f"), SetTimer(("ready", "f"), 30.0)]
    assert run(Launched("f", 7)) == []
    assert sent(run.frames(Data("f", READY), port="ctrl_out")) == ["probe/f/1"]
    assert not run.session.wants_input
    assert run.frames(Marker("f", "probe/f/1")) == [Opened()]
    assert run.session.wants_input


def test_outputs_are_delivered_when_their_marker_is_back():
    """Not before: the worker may still die."""
    run = Run(ONE).started()
    assert sent(run(entering("i", b"1", 1))) == [b"1", "ack/f/1/1"]
    assert run.frames(out(10), out(11)) == []
    commands = run.frames(ack(1))
    assert delivered(commands) == [b"10", b"11"]
    assert commands[-1] == Settled([1])


def test_a_worker_that_says_so_gets_batches():
    """Message and marker in one frame, and as many messages as came together."""
    run = Run(ONE)
    run(Start())
    run.frames(Data("f", ready(BATCHES)), port="ctrl_out")
    run.frames(Marker("f", "probe/f/1"))
    (command,) = run(Input("i", [(1, b"1"), (2, b"2")]))
    assert isinstance(command, Send)
    frames = map(decode, split(command.raw))
    assert [f.payload if isinstance(f, Data) else f.id for f in frames] == [b"1", "ack/f/1/1", b"2", "ack/f/1/2"]
    answers = [encode(frame) for frame in (out(10), ack(1), out(20), ack(2))]
    assert run(Frames("f", "output", list(join(answers)))) == [
        Deliver([Output("o", b"10", (1,)), Output("o", b"20", (2,))]),
        Settled([1, 2]),
    ]


def test_a_message_that_is_refused_ends_the_input_behind_it():
    """What came with it, and after it, is not taken; what came before is."""
    session = Session(plan_of(ONE), Settings(refusal_ends=True), random.Random(1))
    session.handle(Start(), 0.0)
    commands = session.handle(Input("i", [(1, b"1"), (2, b"true"), (3, b"3")]), 0.0)
    assert [command.code for command in commands if isinstance(command, Refuse)] == [
        "input_type_mismatch",
        "input_closed",
    ]
    assert commands[-1] == Settled([3, 2])


def test_an_input_without_outputs_settles_too():
    """That is how a caller knows that nothing will come."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    assert run.frames(ack(1)) == [Settled([1])]


def test_a_worker_is_ended_in_order():
    """End of data_in behind the last acknowledgement; stop behind its end of data_out; the finish behind its exit."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    assert run(InputClosed("i")) == []
    assert sent(run.frames(out(1), ack(1), now_s=5.0)) == [None]
    assert run.frames(Eof("f"), now_s=6.0) == [
        Send("f", "ctrl_in", encode(Data("fabric", STOP))),
        Send("f", "ctrl_in", encode(Eof("fabric"))),
    ]
    assert run(Exited("f", 0), 7.0) == [Release("f"), Finish(0, LossReport())]


def test_a_grace_that_ends_after_the_worker_means_nothing():
    """Another worker may still have much to do."""
    run = Run(ONE.replace("i ; f ; o", "i ; f ; g ; o") + 'let g : !int -> !int = python { call: "m:g" }\n')
    run(Start())
    for name in ("f", "g"):
        run(Frames(name, "ctrl_out", [encode(Data(name, READY))]))
        run(Frames(name, "output", [encode(Marker(name, f"probe/{name}/1"))]))
    run(entering("i", b"1", 1))
    run.frames(out(1), ack(1))
    run(InputClosed())
    run.frames(Eof("f"))
    run(Exited("f", 0))
    assert run(TimerFired(("grace", "f")), 10.0) == []


def test_a_loop_is_not_ended_while_a_message_is_on_it():
    """The input has ended, and the worker still has one; then it has none."""
    run = Run(LOOP).started()
    run(entering("i", b"2", 1))
    assert run(InputClosed("i")) == []
    assert sent(run.frames(out(1), ack(1))) == [b"1", "ack/f/1/2"]
    assert sent(run.frames(ack(2))) == [None]


def test_an_empty_loop_ends_with_its_input():
    """Nothing entered it: no special rule."""
    assert sent(Run(LOOP).started()(InputClosed("i"))) == [None]


def test_feedback_is_taken_before_new_input():
    """Sixteen are on the loop, so no more are let in; what came back goes on at once, and makes no room."""
    run = Run(LOOP).started()
    admitted = [sent(run(entering("i", str(1000 + ticket).encode(), ticket))) for ticket in range(20)]
    assert admitted[15:17] == [[b"1015", "ack/f/1/16"], []]
    assert sent(run.frames(out(5), ack(1))) == [b"5", "ack/f/1/17"]
    assert sent(run.frames(out(0), ack(2))) == [b"1016", "ack/f/1/18"]


def test_a_refused_input_never_comes_in():
    """It settles at once and is not counted as lost."""
    run = Run(ONE).started()
    assert run(entering("i", b'"x"', 3)) == [
        Refuse("input_type_mismatch", 'expected int, got string "x"', "i", (3,)),
        Settled([3]),
    ]


def test_an_output_of_the_wrong_type_is_refused_and_counted():
    """The inputs that it descends from are told."""
    run = Run(ONE).started()
    run(entering("i", b"1", 3))
    commands = run.frames(Data("f", b'"x"'), ack(1))
    assert commands == [Refuse("output_type_mismatch", 'expected int, got string "x"', "f", (3,)), Settled([3])]
    run(InputClosed())
    run.frames(Eof("f"))
    assert run(Exited("f", 0))[-1] == Finish(5, LossReport(lost=1))


def test_a_malformed_frame_is_counted_and_does_not_stop_the_session():
    """One bad frame between two good ones."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    assert delivered(run(Frames("f", "output", [encode(out(1)), b"\xff", encode(ack(1))]))) == [b"1"]
    run(InputClosed())
    run.frames(Eof("f"))
    assert run(Exited("f", 0))[-1] == Finish(5, LossReport(lost=1, rejected={"short": 1}))


def test_a_worker_that_dies_before_it_is_ready_could_not_be_started():
    """Exit code 4; the status 2 is kept for a wrong configuration."""
    run = Run(ONE)
    run(Start())
    error = ("worker_not_started", "worker 'f' exited with status 3 before it was ready")
    assert run(Exited("f", 3))[-1] == Finish(4, LossReport(), error)
    run = Run(ONE)
    run(Start())
    said = ('{"error":"worker \'f\': no such function","code":"bad_config"}',)
    assert run(Exited("f", 2, said))[-1] == Finish(2, LossReport(), ("bad_config", "worker 'f': no such function"))


def test_a_program_that_cannot_be_started_fails_the_session():
    """No process, so no exit to wait for."""
    run = Run(ONE)
    run(Start())
    error = ("worker_not_started", "worker 'f' could not be started: no such file")
    assert run(LaunchFailed("f", "no such file")) == [Release("f"), Finish(4, LossReport(), error)]


def test_each_worker_that_could_not_be_started_is_noted():
    """Also when the session has failed by the first of them."""
    run = Run(TWO + PAIR)
    run(Start())
    for name in ("a", "b"):
        note = Note("warning", "worker.not_started", {"worker": name, "reason": "no memory"})
        assert note in run.session.handle(LaunchFailed(name, "no memory"), 0.0)


def test_a_worker_that_is_never_ready_is_ended():
    """It is signalled, and the session finishes when it is gone."""
    run = Run(ONE)
    run(Start())
    run(Launched("f", 7))
    assert run(TimerFired(("ready", "f")), 30.0) == [Signal("f", "TERM"), SetTimer(("grace", "f"), 40.0)]
    assert run(TimerFired(("grace", "f")), 40.0) == [Signal("f", "KILL")]
    error = ("ready_timeout", "worker 'f' did not say that it is ready within 30 s")
    assert run(Exited("f", -9), 41.0) == [Release("f"), Finish(4, LossReport(), error)]


def test_a_worker_that_is_launched_while_the_session_fails_is_killed():
    """The signal to it was too early to reach it."""
    run = Run(ONE + 'let g : !int -> !int = python { call: "m:g" }\n')
    run(Start())
    run(Interrupted(2))
    run(Interrupted(2))
    assert run(Launched("f", 7)) == [Signal("f", "KILL")]


def test_a_worker_that_leaves_by_itself_leaves_dead_letters():
    """Its last outputs stand; the rest is counted, also what comes later."""
    run = Run(ONE).started()
    for ticket in (1, 2, 3):
        run(entering("i", str(ticket).encode(), ticket))
    commands = run.frames(out(1), ack(1), out(2), Eof("f"))
    assert delivered(commands) == [b"1", b"2"]
    assert commands[-1] == Settled([1, 2, 3])
    assert run(Exited("f", 0)) == [Release("f")]
    refused = Refuse("dead_lettered", "worker 'f' has ended", "f", (4,))
    buried, *rest = run(entering("i", b"4", 4))
    assert rest == [refused, Settled([4])]
    assert isinstance(buried, Buried)
    letter = buried.letter
    assert (letter.worker, letter.payload, letter.cause, letter.attempts) == ("f", b"4", "worker_ended", 0)
    assert run(InputClosed())[-1] == Finish(5, LossReport(dead_lettered=2))


def test_the_first_stop_drains():
    """No more input; what is there is finished; a worker that has something is watched from now on."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    assert run(Interrupted(2), 100.0) == [SetTimer(("grace", "f"), 110.0)]
    assert run(entering("i", b"2", 2), 100.0) == [
        Refuse("input_closed", "the session takes no more input", "i", (2,)),
        Settled([2]),
    ]
    assert delivered(run.frames(out(1), ack(1), now_s=101.0)) == [b"1"]


def test_the_second_stop_terminates_and_the_third_kills():
    """The exit code is the signal's; what was left is lost."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    run(Interrupted(2))
    assert run(Interrupted(2)) == [Signal("f", "TERM"), SetTimer(("grace", "f"), 10.0)]
    assert run(Interrupted(2)) == [Signal("f", "KILL")]
    finish = run(Exited("f", -9))[-1]
    assert isinstance(finish, Finish)
    assert (finish.exit_code, finish.losses) == (130, LossReport(lost=1))


def test_unpaired_messages_are_counted():
    """A barrier's input has ended and is empty: what the other side holds has no partner."""
    run = Run("let main : !int -> !(int, int) = plumb(i, o) { i ; (map(value) * filter(value > 1)) ; barrier ; o }\n")
    run(Start())
    assert delivered(run(entering("i", b"1", 1))) == []
    assert delivered(run(entering("i", b"2", 2))) == [b"[1,2]"]
    assert run(InputClosed()) == [Settled([2]), Finish(0, LossReport(unpaired=1))]


def test_a_pair_counts_for_the_inputs_of_both_sides():
    """Each input settles when nothing of it is left, in a slot or in a pair."""
    run = Run("let main : (!int, !int) -> !(int, int) = plumb(a, b, o) { (a * b) ; barrier ; o }\n")
    run(Start())
    assert run(entering("a", b"1", 1)) == []
    assert run(entering("b", b"2", 2)) == [Deliver([Output("o", b"[1,2]", (1, 2))]), Settled([1, 2])]


def test_an_endless_loop_gives_others_their_turn():
    """After so many steps the session says that it has work, and can be stopped."""
    run = Run(
        "let spin : !int -> !int = id\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; spin\n  spin ; map(value + 1) ; filter(value > 0) ; spin\n  spin ; filter(false) ; o\n}\n"
    )
    run(Start())
    run(entering("i", b"0", 1))
    assert STEPS_PER_EVENT_MAX == 1000
    assert run.session.has_work
    assert not run.session.wants_input
    assert run(Continue()) == []
    run(Interrupted(2))
    finish = run(Interrupted(2))[-1]
    assert isinstance(finish, Finish)
    assert (finish.exit_code, finish.losses) == (130, LossReport(lost=1))


# --- late, early, too large, too many -----------------------------------------------------------------------------

TWO = 'let a : !int -> !int = python { call: "m:a" }\nlet b : !int -> !int = python { call: "m:b" }\n'


class RunTwo(Run):
    """A session with workers ``a`` and ``b``, both running."""

    def __init__(self, text: str) -> None:
        super().__init__(TWO + text)
        self(Start())
        for name in ("a", "b"):
            self.of(name, Data(name, READY), port="ctrl_out")
            self.of(name, Marker(name, f"probe/{name}/1"))

    def of(self, name: str, *frames: Data | Marker | Eof, port: str = "output", now_s: float = 0.0) -> list[Command]:
        return self(Frames(name, port, [encode(frame) for frame in frames]), now_s)

    def answer(self, name: str, seq: int, *values: int) -> list[Command]:
        outputs = [Data(name, str(value).encode()) for value in values]
        return self.of(name, *outputs, Marker(name, f"ack/{name}/1/{seq}"))

    def end(self, name: str) -> list[Command]:
        return [*self.of(name, Eof(name)), *self(Exited(name, 0))]


PAIR = "let main : (!int, !int) -> !(int, int) = plumb(i, j, o) { i ; a\n j ; b\n (a * b) ; barrier ; o }\n"


def test_late_messages_of_a_closed_barrier_settle_and_are_reported():
    """Nothing waits for ever behind a barrier that will never fire."""
    run = RunTwo(PAIR)
    run(entering("j", b"1", 1))
    run(InputClosed())
    run.end("a")
    assert Settled([1]) in run.answer("b", 1, 5)
    assert run.end("b")[-1] == Finish(0, LossReport(unpaired=1))


def test_what_comes_to_a_merge_any_that_has_closed_is_forgotten():
    """That is what it is for; the input settles, and the worker behind it has long got its end."""
    run = RunTwo(
        'let f : !int -> !int = python { call: "m:f" }\n'
        "let main : (!int, !int) -> !int = plumb(i, j, o) { i ; a\n j ; b\n (a * b) ; merge_any ; f ; o }\n"
    )
    run.of("f", Data("f", READY), port="ctrl_out")
    run.of("f", Marker("f", "probe/f/1"))
    run(entering("j", b"1", 1))
    run(InputClosed("i"))
    assert sent(run.end("a")) == [None]
    assert run.answer("b", 1, 5) == [Settled([1])]


def test_after_a_failure_no_message_moves():
    """What is then reported as lost is not delivered as well."""
    run = RunTwo("let main : !int -> !int = plumb(i, o) { i ; a ; o\n i ; b ; o }\n")
    run(entering("i", b"1", 1))
    assert Signal("b", "TERM") in run(Exited("a", 2))  # it says that its configuration is wrong
    assert run.answer("b", 1, 5) == []
    finish = run(Exited("b", -15))[-1]
    assert isinstance(finish, Finish)
    assert finish.losses == LossReport(lost=2)


def test_an_idle_worker_is_not_ended_while_it_waits_for_another():
    """Worker b has answered and owes nothing; a is busy for longer than b's grace."""
    run = RunTwo("let main : !int -> !int = plumb(i, o) { i ; a ; b ; o }\n")
    run(entering("i", b"1", 1))
    run.answer("a", 1, 5)
    run(entering("i", b"2", 2))
    assert SetTimer(("grace", "b"), 10.0) in run(Interrupted(2))
    run.answer("b", 1, 6)
    assert run(TimerFired(("grace", "b")), 10.0) == [SetTimer(("grace", "b"), 20.0)]
    run.of("a", Data("a", b"7"), now_s=12.0)
    assert run(TimerFired(("grace", "a")), 13.0) == [SetTimer(("grace", "a"), 22.0)]


def test_a_message_that_fits_no_frame_is_refused():
    """Not an exception, which would end the service for everybody."""
    run = Run(WORKER.replace("int", "string") + "let main : !string -> !string = plumb(i, o) { i ; f ; o }\n").started()
    commands = run(entering("i", b'"' + b"x" * (16 * 1024 * 1024 - 10) + b'"', 1))
    assert [command.code for command in commands if isinstance(command, Refuse)] == ["too_large"]
    assert commands[-1] == Settled([1])


def test_a_loop_may_hold_many_messages_as_long_as_it_shrinks():
    """A thousand inputs wait in front of it; each makes eleven of itself once."""
    run = Run(
        WORKER + "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; f\n  f ; filter(value > 0) ; f\n  f ; filter(value = 0) ; o\n}\n"
    ).started()
    for ticket in range(1000):
        run(entering("i", b"11", ticket))
    outstanding, seq, zeros = 16, 0, 0
    value_of: dict[int, int] = {}
    commands: list[Command] = []
    while zeros < 5_000:
        seq += 1
        answers = [1] * 11 if value_of.get(seq, 11) == 11 else [0]
        commands = run.frames(*map(out, answers), ack(seq))
        zeros += answers.count(0)
        outstanding += 1
        for payload, marker in zip(sent(commands)[::2], sent(commands)[1::2], strict=True):
            value_of[int(str(marker).rsplit("/", 1)[1])] = int(payload)  # type: ignore[call-overload]
    assert not [command for command in commands if isinstance(command, Finish)]


def test_the_first_refusal_ends_the_input_where_that_is_asked_for():
    """As `run` does: what is in the graph is finished, the exit code is 1."""
    session = Session(
        plan_of("let main : !int -> !int = map(1 / value) ; map(1)\n"), Settings(refusal_ends=True), random.Random(1)
    )
    session.handle(Start(), 0.0)
    commands = session.handle(entering("input", b"0", 1), 0.0)
    assert session.closing
    assert commands[-1] == Finish(1, LossReport(lost=1))


# --- workers that are stopped and started by hand ---


def restarted(run: Run) -> Run:
    """Bring the second process of worker ``f`` to RUNNING."""
    run(Launched("f", 8))
    run.frames(Data("f", READY), port="ctrl_out")
    run.frames(Marker("f", "probe/f/2"))
    return run


def test_a_worker_that_is_stopped_finishes_what_it_has_and_the_rest_waits():
    """Its end is no end for the graph: another process of it goes on with the message that waits."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    assert sent(run(Asked("f", "stop", 70))) == [None]
    assert run(entering("i", b"2", 2)) == []
    assert delivered(run.frames(out(10), ack(1))) == [b"10"]
    run.frames(Eof("f"))
    assert run(Exited("f", 0)) == [Release("f"), Answered(70)]
    assert run(Asked("f", "start", 71), 50.0) == [Launch("f", 2), SetTimer(("ready", "f"), 80.0)]
    run(Launched("f", 8))
    run.frames(Data("f", READY), port="ctrl_out")
    commands = run.frames(Marker("f", "probe/f/2"))
    assert commands[0] == Answered(71)
    assert sent(commands) == [b"2", "ack/f/2/1"]


def test_a_restart_is_a_stop_and_a_start():
    """Two who ask at once are told together, and there is one new process."""
    run = Run(ONE).started()
    run(Asked("f", "restart", 70))
    assert run(Asked("f", "restart", 71)) == []
    run.frames(Eof("f"))
    assert run(Exited("f", 0)) == [Release("f"), Launch("f", 2), SetTimer(("ready", "f"), 30.0)]
    run.frames(Data("f", READY), port="ctrl_out")
    assert run.frames(Marker("f", "probe/f/2")) == [Answered(70), Answered(71)]
    assert run(InputClosed()) != []


def test_what_a_worker_had_when_it_was_stopped_by_force_goes_to_the_next():
    """Its outputs were held back, so nothing is done twice in the graph."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    run(Asked("f", "restart", 70))
    run.frames(out(10))
    assert run(TimerFired(("grace", "f")), 10.0)[0] == Signal("f", "TERM")
    assert Launch("f", 2) in run(Exited("f", -15), 11.0)
    assert run.session.snapshot().workers[0].waiting == 1
    run.frames(Data("f", READY), port="ctrl_out", now_s=12.0)
    assert sent(run.frames(Marker("f", "probe/f/2"), now_s=12.0)) == [b"1", "ack/f/2/1"]


def test_a_worker_that_does_not_come_back_stays_stopped():
    """Who asked is told why; the session goes on, and may start it once more."""
    run = Run(ONE).started()
    run(Asked("f", "restart", 70))
    run.frames(Eof("f"))
    run(Exited("f", 0))
    why = "worker 'f' exited with status 2 before it was ready: no such module"
    assert run(Exited("f", 2, ("no such module",))) == [Release("f"), Answered(70, why)]
    assert Launch("f", 3) in run(Asked("f", "start", 71))
    assert run(LaunchFailed("f", "no memory")) == [
        Release("f"),
        Answered(71, "worker 'f' could not be started: no memory"),
    ]


def test_a_worker_that_is_not_ready_in_time_when_it_comes_back_is_stopped_again():
    """The session goes on."""
    run = Run(ONE).started()
    run(Asked("f", "restart", 70))
    run.frames(Eof("f"))
    run(Exited("f", 0))
    run(Launched("f", 8))
    assert run(TimerFired(("ready", "f")), 30.0) == [Signal("f", "TERM"), SetTimer(("grace", "f"), 40.0)]
    why = "worker 'f' did not say that it is ready within 30 s"
    assert run(Exited("f", -15), 31.0) == [Release("f"), Answered(70, why)]


def test_a_session_ends_without_a_worker_that_is_stopped():
    """What waits for it is a dead letter."""
    run = Run(ONE).started()
    run(Asked("f", "stop", 70))
    run.frames(Eof("f"))
    run(Exited("f", 0))
    run(entering("i", b"1", 1))
    assert run(Interrupted(2))[-1] == Finish(5, LossReport(dead_lettered=1))


def test_a_session_that_ends_waits_for_a_worker_that_is_restarted():
    """It has a message to finish."""
    run = Run(ONE).started()
    run(Asked("f", "restart", 70))
    run(entering("i", b"1", 1))
    run(Interrupted(2))
    run.frames(Eof("f"))
    run(Exited("f", 0))
    restarted(run)
    assert delivered(run.frames(out(1), Marker("f", "ack/f/2/1"))) == [b"1"]
    run.frames(Eof("f"))
    assert run(Exited("f", 0))[-1] == Finish(0, LossReport())


def test_a_stopped_worker_ends_with_its_input():
    """Nothing waits for it, and nothing will come."""
    run = Run(ONE).started()
    run(Asked("f", "stop", 70))
    run.frames(Eof("f"))
    run(Exited("f", 0))
    assert run(InputClosed())[-1] == Finish(0, LossReport())


def test_what_is_so_already_is_answered_at_once():
    """And what cannot be, too."""
    run = Run(ONE).started()
    assert run(Asked("f", "start", 70)) == [Answered(70)]
    run(Interrupted(2))
    assert run(Asked("f", "restart", 71)) == [Answered(71, "the session is ending")]


def test_what_comes_to_a_tapped_sink_is_shown():
    """Once, with its trace; until nobody looks any more."""
    run = Run(ONE).started()
    plan = run.session.plan
    (worker, _), (leaving, _) = find(plan, "i->f"), find(plan, "f->o")
    assert run(Tap(frozenset({worker, leaving}))) == []
    (_, _, tapped) = run(entering("i", b"1", 1))
    assert isinstance(tapped, Tapped)
    (seen,) = tapped.messages
    assert (seen.sink, seen.payload, len(seen.trace_id)) == (worker, b"1", 16)
    commands = run.frames(out(10), ack(1))
    assert commands[-1] == Tapped([Seen(leaving, b"10", seen.trace_id)])
    run(Tap(frozenset({leaving})))
    assert not [command for command in run(entering("i", b"2", 2)) if isinstance(command, Tapped)]
    run(Tap(frozenset()))
    assert not [command for command in run.frames(out(20), ack(2)) if isinstance(command, Tapped)]


def find(plan: Plan, channel: str) -> tuple[int, str]:
    ((name, (sink,)),) = find_channels(plan, channel).items()
    return sink, name


def test_a_message_from_boundary_to_boundary_is_shown_too():
    """And goes on; otherwise nobody counts it on its way."""
    run = Run("let main : !int -> !int = map(value + 1)\n")
    run(Start())
    run(Tap(frozenset({0})))
    delivered_, settled, tapped = run(entering("input", b"1", 7))
    assert (delivered_, settled) == (Deliver([Output("output", b"2", (7,))]), Settled([7]))
    assert isinstance(tapped, Tapped)
    assert [(seen.sink, seen.payload) for seen in tapped.messages] == [(0, b"2")]


def test_a_session_opens_without_a_worker_that_was_stopped_while_it_started():
    """The others are ready, and what is for it waits."""
    run = Run(ONE)
    run(Start())
    run(Launched("f", 7))
    assert run(Asked("f", "stop", 70)) == [Signal("f", "TERM"), SetTimer(("grace", "f"), 10.0)]
    assert run(Exited("f", -15)) == [Release("f"), Opened(), Answered(70)]


@pytest.mark.parametrize("announced", [False, True])
def test_a_worker_that_comes_up_while_it_is_stopped_is_not_trusted(announced: bool):
    """The signal was on its way. Who asked is told when the process is gone, and messages wait."""
    run = Run(ONE)
    run(Start())
    run(Launched("f", 7))
    if announced:
        run.frames(Data("f", READY), port="ctrl_out")
    run(Asked("f", "stop", 70))
    assert run.frames(Data("f", READY), port="ctrl_out") == []
    assert run.frames(Marker("f", "probe/f/1")) == []
    assert run(Exited("f", -15)) == [Release("f"), Opened(), Answered(70)]


def test_who_stops_a_worker_is_told_if_it_was_ended_by_force():
    """It is stopped, but not as it was asked to; its message waits."""
    run = Run(ONE).started()
    run(entering("i", b"1", 1))
    run(Asked("f", "stop", 70))
    run(TimerFired(("grace", "f")), 10.0)
    why = "worker 'f' gave no sign of life for 10 s, and was ended; what it had not finished waits for the next"
    assert run(Exited("f", -15), 11.0) == [Release("f"), Answered(70, why)]


def test_what_may_have_had_its_effect_is_not_given_to_the_next_process():
    """At most once was promised: it is lost, and counted."""
    run = Run(ONE.replace('"m:f"', '"m:f" compat: true'))
    run(Start())
    run(Launched("f", 7))
    run.frames(Data("f", READY), port="ctrl_out")  # such a worker is not probed
    run(entering("i", b"1", 1))
    run(Asked("f", "stop", 70))
    assert Settled([1]) in run(Exited("f", -9))
    run(Interrupted(2))
    assert run.session.snapshot().lost == 1


def test_a_worker_that_forwards_no_markers_gets_none_behind_control():
    """The one that would come back is refused, so the session would wait for it for ever."""
    run = Run(ONE.replace('"m:f"', '"m:f" compat: true'))
    run(Start())
    run(Launched("f", 7))
    run.frames(Data("f", READY), port="ctrl_out")
    (command,) = run(Told("f", b'{"pause":true}', 70))
    assert decode(command.raw) == Data("fabric", b'{"pause":true}')
    run.frames(Data("f", b'{"kind":"pause_ack"}'), port="ctrl_out")
    assert sent(run(InputClosed())) == [None]


def test_a_session_ends_when_the_last_control_message_was_sent():
    """The worker had nothing else to do, and returns no marker behind it."""
    run = Run(ONE.replace('"m:f"', '"m:f" compat: true'))
    run(Start())
    run(Launched("f", 7))
    run(Told("f", b'{"pause":true}', 70))
    assert run(InputClosed()) == []
    assert None in sent(run.frames(Data("f", READY), port="ctrl_out"))


def test_control_waits_for_a_worker_that_is_stopped_up_to_a_bound():
    """What waits when the session ends is a dead letter, what was too much is lost."""
    run = Run(
        'let f : (!string, !json) -> !string = agent { provider: "eliza" }\n'
        "let main : (!string, !json) -> !string = plumb(i, c, o) {\n  i ; f ; o\n  c ; f@ctrl_in\n}\n"
    )
    run(Start())
    run(Launched("f", 7))
    run.frames(Data("f", READY), port="ctrl_out")
    run.frames(Marker("f", "probe/f/1"))
    run(Asked("f", "stop", 70))
    run.frames(Eof("f"))
    run(Exited("f", 0))
    run(Input("c", [(ticket, b"{}") for ticket in range(WAITING_MAX + 2)]))
    run(Continue())
    run(Continue())
    losses = run(Interrupted(2))[-1].losses
    assert losses == LossReport(lost=2, dead_lettered=WAITING_MAX)


def test_a_worker_that_leaves_before_it_has_returned_a_control_marker_owes_nothing():
    """It was told to stop, and did so with the marker behind that unread: there is nothing to wait for."""
    run = Run(ONE).started()
    run(Told("f", b'{"stop":true}', 1))
    run(InputClosed())
    run.frames(Eof("f"))
    run.frames(Eof("f"), port="ctrl_out")
    run.frames(Eof("f"), port="telemetry")
    assert run(Exited("f", 0))[-1] == Finish(0, LossReport())
