"""When a loop ends: each of the four conditions by itself, with the other three fulfilled. See ``session.drain``."""

from __future__ import annotations

import pytest
from literal import LOOP, WORKER, Run, ack, delivered, entering, out, sent

from fabric.session.events import (
    Continue,
    Finish,
    Input,
    InputClosed,
    LossReport,
    Start,
)
from fabric.session.loop_entry import LOOP_ADMITTED_MAX
from fabric.session.traffic import STEPS_PER_EVENT_MAX
from fabric.wire.frame import Data, Marker


def test_a_loop_does_not_end_before_every_entry_has():
    """It is at rest, one of its inputs has ended, and more comes on the other."""
    text = LOOP.replace("!int -> !int = plumb(i, o)", "(!int, !int) -> !int = plumb(i, j, o)")
    run = Run(text.replace("  i ; f", "  i ; f\n  j ; f"))
    run.started()
    assert sent(run(InputClosed("i"))) == []
    assert sent(run(entering("j", b"1", 1))) == [b"1", "ack/f/1/1"]
    assert delivered(run.frames(out(0), ack(1))) == [b"0"]
    assert sent(run(InputClosed("j"))) == [None]


def test_a_loop_does_not_end_while_a_message_of_it_waits_in_the_coordinator():
    """It has so far to go that others got their turn in between; its input has ended meanwhile."""
    run = Run(
        "let step : !int -> !int = id\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; step\n  step ; filter(value > 0) ; map(value - 1) ; step\n  step ; filter(value = 0) ; o\n}\n"
    )
    run(Start())
    run(entering("i", b"%d" % (3 * STEPS_PER_EVENT_MAX), 1))
    assert run.session.has_work
    commands = run(InputClosed())
    while run.session.has_work:
        commands += run(Continue())
    assert delivered(commands) == [b"0"]
    assert commands[-1] == Finish(0, LossReport())


def test_a_loop_does_not_end_while_a_worker_has_a_message():
    """Nor while what it said of it is held back: that may go round."""
    run = Run(LOOP).started()
    run(entering("i", b"2", 1))
    assert sent(run(InputClosed())) == []
    assert sent(run.frames(out(1))) == []
    assert sent(run.frames(ack(1))) == [b"1", "ack/f/1/2"]
    assert sent(run.frames(out(0), ack(2))) == [None]


def test_a_loop_does_not_end_while_a_message_waits_for_a_worker():
    """The worker is not ready yet, so nothing is with it."""
    run = Run(LOOP)
    run(Start())
    run(entering("i", b"1", 1))
    assert run(InputClosed()) == []
    assert sent(run.ready()) == [b"1", "ack/f/1/1"]
    assert sent(run.frames(out(0), ack(1))) == [None]


AGENT_LOOP = (
    'let f : (!string, !json) -> !string = agent { provider: "eliza" }\n'
    "let main : !json -> !string = plumb(i, o) {\n"
    '  i ; f@ctrl_in\n  f@ctrl_out ; filter(kind = "resume_ack").kind ; f\n  f ; o\n}\n'
)


def test_a_loop_does_not_end_while_a_control_message_is_under_way():
    """What is answered to it may be a message for the same worker."""
    run = Run(AGENT_LOOP).started()
    run(entering("i", b'{"resume":true}', 1))
    assert sent(run(InputClosed())) == []
    assert sent(run.frames(Data("f", b'{"kind":"resume_ack"}'), port="ctrl_out")) == [b'"resume_ack"', "ack/f/1/1"]
    assert sent(run.frames(Marker("f", "ctl/f/1/1"), port="ctrl_out")) == []
    run.frames(Marker("f", "ack/f/1/1"), port="ctrl_out")
    commands = run.frames(Data("f", b'"well"'), ack(1))
    assert (delivered(commands), sent(commands)) == ([b'"well"'], [None])


BARRIER_LOOP = WORKER + (
    "let main : (!int, !int) -> !int = plumb(i, j, o) {\n"
    "  let left : !int = channel\n  let pairs : !(int, int) = channel\n"
    "  i ; f\n  f ; filter(value = 7) ; left\n  spawn barrier(left, j, pairs)\n"
    "  pairs ; map(value[1]) ; f\n  f ; filter(value = 0) ; o\n}\n"
)


def test_a_loop_does_not_end_with_a_barrier_on_it_that_cannot_fire():
    """One side of it comes from outside and has ended; the loop has another way in."""
    run = Run(BARRIER_LOOP).started()
    assert sent(run(InputClosed("j"))) == []
    assert sent(run(entering("i", b"1", 1))) == [b"1", "ack/f/1/1"]
    assert delivered(run.frames(out(0), ack(1))) == [b"0"]
    assert sent(run(InputClosed("i"))) == [None]


COUNTED_BARRIER_LOOP = WORKER + (
    "let m : !int -> !int = id\n"
    "let main : (!int, !int) -> !int = plumb(i, j, o) {\n"
    "  let left : !int = channel\n  let pairs : !(int, int) = channel\n"
    "  i ; f ; m\n  m ; filter(value > 0) ; map(value - 1) ; m\n  m ; filter(value = 0) ; left\n"
    "  spawn barrier(left, j, pairs)\n  pairs ; map(value[1]) ; f\n  f ; filter(value < 0) ; o\n}\n"
)


@pytest.mark.parametrize("rounds", range(STEPS_PER_EVENT_MAX - 3, STEPS_PER_EVENT_MAX + 1))
def test_a_loop_does_not_end_before_its_barrier_has_fired(rounds: int):
    """Both sides are there and no worker has anything, but others got their turn before the pair could go on."""
    run = Run(COUNTED_BARRIER_LOOP).started()
    run(entering("i", b"1", 1))
    run(entering("j", b"5", 2))
    run(InputClosed())
    commands = run.frames(out(rounds), ack(1))
    while run.session.has_work:
        commands += run(Continue())
    assert sent(commands) == [b"5", "ack/f/1/2"]
    assert sent(run.frames(out(-1), ack(2))) == [None]


def test_what_waits_in_a_barrier_keeps_it_open():
    """The side on which it waits has ended, and the other one has not: its partner may come."""
    run = Run("let main : (!int, !int) -> !(int, int) = plumb(i, j, o) { (i * j) ; barrier ; o }\n")
    run(Start())
    run(entering("i", b"1", 1))
    assert run(InputClosed("i")) == []
    assert delivered(run(entering("j", b"2", 2))) == [b"[1,2]"]
    assert run(InputClosed("j"))[-1] == Finish(0, LossReport())


def test_a_barrier_without_anything_that_waits_on_an_ended_side_ends():
    """It will never fire again; what waits on the other side is told."""
    run = Run("let main : (!int, !int) -> !(int, int) = plumb(i, j, o) { (i * j) ; barrier ; o }\n")
    run(Start())
    run(entering("j", b"2", 1))
    run(InputClosed("i"))
    assert [note.event for note in run.notes] == ["barrier.unpaired"]
    assert run(InputClosed("j"))[-1] == Finish(0, LossReport(unpaired=1))


def test_what_goes_round_goes_before_what_enters():
    """What stops at a merge of the loop takes the place that has become free, not what waits outside."""
    run = Run(
        WORKER + "let m : !int -> !int = id\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; f ; m\n  m ; filter(value > 99) ; map(value - 99) ; m\n"
        "  m ; filter(value > 0 && value < 99) ; f\n  m ; filter(value = 0) ; o\n}\n"
    ).started()
    run(Input("i", [(ticket, b"%d" % ticket) for ticket in range(1, LOOP_ADMITTED_MAX + 2)]))
    assert sent(run.frames(out(50), ack(1))) == [b"50", f"ack/f/1/{LOOP_ADMITTED_MAX + 1}"]
    assert sent(run.frames(out(0), ack(2))) == [b"17", f"ack/f/1/{LOOP_ADMITTED_MAX + 2}"]
