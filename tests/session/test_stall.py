"""What is said to be waited for when nothing moves."""

from __future__ import annotations

import random
import re

import pytest
import trio
from plans import plan_of
from three_ways import RUNNERS
from trio.testing import MockClock

from fabric.session.events import Asked, Exited, Frames, Input, InputClosed, Launched, Start
from fabric.session.session import Session, Settings
from fabric.session.stall import waited_for
from fabric.testing import simulate
from fabric.wire.codec import encode
from fabric.wire.control import BATCHES, ready
from fabric.wire.frame import Data, Eof, Marker

WORKERS = "".join(f'let {name} : !int -> !int = python {{ call: "m:f" }}\n' for name in "fgh")
LINE = WORKERS + "let main : !int -> !int = plumb(i, o) { i ; f ; g ; o }\n"
JOIN = "let main : (!int, !int) -> !(int, int) = plumb(a, b, o) { (%s * %s) ; barrier ; o }\n"


class Run:
    """A session whose workers answer when they are told to."""

    def __init__(self, text: str) -> None:
        self.plan = plan_of(text)
        self.session = Session(self.plan, Settings(), random.Random(1))
        self.session.handle(Start(), 0.0)
        self.marked = {worker.name: 0 for worker in self.plan.workers}

    def started(self) -> Run:
        for name in self.marked:
            self.session.handle(Launched(name, 7), 0.0)
            self.said(name, Data(name, ready(BATCHES)), port="ctrl_out")
            self.said(name, Marker(name, f"probe/{name}/1"))
        return self

    def said(self, name: str, *frames: Data | Marker | Eof, port: str = "output", now_s: float = 0.0) -> None:
        self.session.handle(Frames(name, port, [encode(frame) for frame in frames]), now_s)

    def send(self, port: str, count: int = 1, now_s: float = 0.0) -> None:
        self.session.handle(Input(port, [(1, b"1")] * count), now_s)

    def answer(self, name: str, *values: int) -> None:
        self.marked[name] += 1
        outputs = [Data(name, str(value).encode()) for value in values]
        self.said(name, *outputs, Marker(name, f"ack/{name}/1/{self.marked[name]}"))

    def stop(self, name: str) -> None:
        self.session.handle(Asked(name, "stop", 70), 0.0)
        self.said(name, Eof(name))
        self.session.handle(Exited(name, 0), 0.0)

    def waits(self, now_s: float = 10.0) -> str | None:
        """Return what is waited for; without the lines of the program that nodes are named after."""
        found = waited_for(self.plan, self.session.snapshot(), now_s)
        return found and re.sub(r"@\d+", "", found)


def test_who_has_nothing_to_do_waits_for_nothing():
    """Before the first message, and when all is answered."""
    run = Run(LINE).started()
    assert run.waits() is None
    run.send("i")
    run.answer("f")
    assert run.waits() is None


def test_a_worker_that_starts_is_waited_for():
    """Each of them."""
    words = "has not been ready since its start 10 s ago"
    assert Run(LINE).waits() == f"worker 'g' {words}; worker 'f' {words}"


def test_a_worker_with_a_message_is_the_cause_and_how_long_is_said():
    """From when it was given something, or said something, last."""
    run = Run(LINE).started()
    run.send("i", 2, now_s=30.0)
    assert run.waits(72.0) == "worker 'f' has 2 messages and has been silent for 42 s (it has never answered anything)"
    run.answer("f", 5)
    run.answer("f", 5)
    run.answer("g", 5)
    assert "worker 'g' has 1 message and" in str(run.waits())
    assert "(it answered 1 before)" in str(run.waits())


def test_a_paused_worker_is_told_as_such():
    """Until it goes on."""
    run = Run(LINE).started()
    run.said("f", Data("f", b'{"kind":"pause_ack"}'), port="ctrl_out")
    run.send("i")
    assert run.waits() == "worker 'f' is paused and holds 1 message; fabric ctl f resume"
    run.said("f", Data("f", b'{"kind":"other"}'), port="ctrl_out")
    assert "paused" in str(run.waits())
    run.said("f", Data("f", b'{"kind":"resume_ack"}'), port="ctrl_out")
    assert "silent" in str(run.waits())


def test_a_stopped_worker_is_waited_for_if_something_waits_for_it():
    """With what starts it."""
    run = Run(LINE).started()
    run.stop("f")
    assert run.waits() is None
    run.send("i", 3)
    assert run.session.snapshot().workers[1].waiting == 3
    assert run.waits() == "worker 'f' is stopped and 3 messages wait for it; fabric start f"


def test_a_worker_that_does_not_end_is_told_by_what_it_has_not_done():
    """Its output first, then its exit."""
    run = Run(LINE).started()
    run.session.handle(InputClosed(), 0.0)
    assert run.waits(12.0) == "worker 'f' was told to end 12 s ago and has not ended its output"
    run.said("f", Eof("f"))
    ended, told = "worker 'f' has ended its output and does not exit", "worker 'g' was told to end 12 s ago"
    assert run.waits(12.0) == f"{told} and has not ended its output; {ended}"


@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        ("a", "b", "input 'b': nothing has come"),
        ("a ; map(value + 1)", "b ; map(value + 1) ; f ; g", "input 'b': nothing has come"),
    ],
)
def test_a_barrier_waits_for_an_input_behind_whatever_is_idle(left: str, right: str, reason: str):
    """The chain is followed through steps and workers."""
    run = Run(WORKERS + JOIN % (left, right)).started()
    run.send("a", 2)
    assert run.waits() == f"barrier 'barrier' has 2 from 'a', waits on {reason}"


def test_a_barrier_behind_a_worker_that_has_a_message_is_no_cause():
    """The worker is, and alone is told."""
    run = Run(WORKERS + JOIN % ("a", "b ; f ; g")).started()
    run.send("a")
    run.send("b")
    assert str(run.waits()).startswith("worker 'f' has 1 message and")
    assert "barrier" not in str(run.waits())


def test_a_worker_that_answers_without_an_output_starves_a_barrier():
    """In figures."""
    run = Run(WORKERS + JOIN % ("a", "b ; f")).started()
    run.send("a", 2)
    run.send("b", 2)
    run.answer("f")
    run.answer("f")
    has = "barrier 'barrier' has 2 from 'a', waits on"
    assert run.waits() == f"{has} 'f.output': for 2 that it was given it sent nothing"
    run = Run(WORKERS + JOIN % ("a", "b ; f")).started()
    run.send("a", 2)
    run.send("b", 2)
    run.answer("f")
    run.answer("f", 3)
    assert str(run.waits()).endswith("'f.output': for 2 that it was given it sent 1")


def test_a_filter_that_lets_nothing_through_starves_a_barrier():
    """It is named."""
    run = Run(WORKERS + JOIN % ("a", "b ; f ; filter(value > 5)")).started()
    run.send("a", 2)
    run.send("b", 2)
    run.answer("f", 1)
    run.answer("f", 9)
    assert str(run.waits()).endswith("waits on 'f.output': of 2 that it sent, 1 passed 'filter'")


def test_of_two_barriers_in_a_row_the_root_is_told_once():
    """Both wait for the same."""
    text = "let main : (!int, !int, !int) -> !((int, int), int) = plumb(a, b, c, o) {\n"
    text += "  ((a * b) ; barrier * c) ; barrier ; o\n}\n"
    run = Run(WORKERS + text)
    run.send("c")
    run.send("a")
    assert str(run.waits()).count("input 'b': nothing has come") == 1


def test_many_causes_are_counted():
    """The line stays one line."""
    names = [f"w{number}" for number in range(5)]
    text = "".join(f'let {name} : !int -> !int = python {{ call: "m:f" }}\n' for name in names)
    run = Run(text + "let main : !int -> !int = plumb(i, o) {\n" + "".join(f"  i ; {n} ; o\n" for n in names) + "}\n")
    assert str(run.waits()).endswith("; and 2 more")


def test_a_loop_is_followed_once():
    """A worker that only it itself could feed."""
    text = "let main : (!int, !int) -> !(int, int) = plumb(a, b, o) {\n  b ; f\n  f ; filter(value > 0) ; f\n"
    run = Run(WORKERS + text + "  (a * f) ; barrier ; o\n}\n").started()
    run.send("a")
    assert run.waits() == "barrier 'barrier' has 1 from 'a', waits on input 'b': nothing has come"


def test_a_barrier_that_only_itself_could_feed_says_so():
    """It waits for ever. The checker finds such a barrier, unless it takes two silent inputs of a body to see it."""
    text = (
        "let first : !(int, int) -> !int = map(value[0])\n"
        "let two_of : (!int, !int, !int) -> !int = plumb(x, y, w, z) {\n"
        "  ((x * y) ; barrier * (y * w) ; barrier * (x * w) ; barrier) ; first ; z\n}\n"
        "let main : !int -> !int = plumb(a, o) {\n"
        "  a ; two_of@w\n  two_of ; (two_of@x * two_of@y)\n  two_of ; o\n}\n"
    )
    run = Run(text)
    run.send("a")
    assert "has 1 from 'a', and nothing can come to its '" in str(run.waits())


def test_it_is_said_once_after_ten_seconds_of_silence():
    """A worker that is slow is waited for once, whatever follows."""

    async def slow(spec: object, transport: object, endpoints: object) -> int:
        await trio.sleep(25)
        return 3

    done = trio.run(
        lambda: simulate(plan_of(LINE), [], runners=RUNNERS | {"python": slow}),
        clock=MockClock(autojump_threshold=0),
    )
    said = [note.fields for note in done.notes if note.event == "session.waiting"]
    words = "has not been ready since its start 10 s ago"
    assert said == [{"idle_s": 10.0, "reason": f"worker 'g' {words}; worker 'f' {words}"}]
