"""Who only looks at a port changes nothing of what a session does."""

from __future__ import annotations

import random

import pytest
import trio
from plans import plan_of
from three_ways import RUNNERS
from trio.testing import MockClock

from fabric.session.events import (
    Command,
    Deliver,
    Event,
    Exited,
    Finish,
    Frames,
    Heard,
    Input,
    InputClosed,
    Launched,
    LossReport,
    Note,
    Observed,
    Opened,
    Output,
    Send,
    Settled,
    Start,
)
from fabric.session.session import Session, Settings
from fabric.testing import simulate
from fabric.wire.codec import encode
from fabric.wire.control import MARK_ALL_PORTS, ready
from fabric.wire.frame import Data, Eof, Marker

WORKER = 'let f : (!int, !json) -> (!int, !json) = worker { command: ["./f"] }\n'
TEXT = WORKER + "let main : !int -> !int = plumb(i, o) { i ; f ; o }\n"
AGENT = 'let main : !string -> !string = agent { provider: "eliza" }\n'


class Run:
    """A session with worker ``f``, observed on both of its side ports; notes are left out."""

    def __init__(self, *observed: str) -> None:
        self.session = Session(plan_of(TEXT, observed), Settings(refusal_ends=True), random.Random(1))
        self(Start())
        self(Launched("f", 7))
        self.said(Data("f", ready(MARK_ALL_PORTS)), port="ctrl_out")
        assert self.said(Marker("f", "probe/f/1")) == [Opened()]

    def __call__(self, event: Event) -> list[Command]:
        return [command for command in self.session.handle(event, 0.0) if not isinstance(command, Note)]

    def said(self, *frames: Data | Marker | Eof, port: str = "output") -> list[Command]:
        return self(Frames("f", port, [encode(frame) for frame in frames]))


@pytest.mark.parametrize("port", ["telemetry", "ctrl_out"])
def test_what_is_heard_is_told_at_once_and_under_the_name_of_the_worker(port: str):
    """It is no output, and belongs to no input."""
    run = Run("telemetry", "ctrl_out")
    assert run.said(Data("f", b'{"a":1}'), port=port) == [Observed([Heard(port, "f", b'{"a":1}')])]


def test_an_answer_is_committed_without_the_observed_port():
    """Though the worker could return its marker there too."""
    run = Run("telemetry")
    run(Input("i", [(1, b"5")]))
    run.said(Data("f", b"1"), port="telemetry")
    commands = run.said(Data("f", b"6"), Marker("f", "ack/f/1/1"))
    assert [c for c in commands if not isinstance(c, Send)] == [Deliver([Output("o", b"6", (1,))]), Settled([1])]


def test_what_is_no_json_is_noted_and_refuses_nothing():
    """Neither does the input end, nor is anything lost."""
    run = Run("telemetry")
    *_, note = run.session.handle(Frames("f", "telemetry", [encode(Data("f", b"{nope"))]), 0.0)
    assert isinstance(note, Note)
    assert (note.level, note.event, note.fields["worker"]) == ("warning", "observed.malformed", "f")
    assert run.said() == []
    assert run.session.wants_input


def test_a_port_that_the_program_reads_is_none_that_is_observed():
    """Though nothing comes of what it reads, and another port is observed."""
    text = TEXT.replace("f ; o", "f ; o\n f@telemetry ; filter(n > 0) ; discard\n")
    plain, observed = (Session(plan_of(text, ports), Settings(), random.Random(1)) for ports in ((), ["ctrl_out"]))
    for session in (plain, observed):
        session.handle(Start(), 0.0)
        session.handle(Launched("f", 7), 0.0)
        session.handle(Frames("f", "ctrl_out", [encode(Data("f", ready(MARK_ALL_PORTS)))]), 0.0)
        session.handle(Frames("f", "output", [encode(Marker("f", "probe/f/1"))]), 0.0)
    bad = Frames("f", "telemetry", [encode(Data("f", b"{nope"))])
    assert plain.handle(bad, 0.0) == observed.handle(bad, 0.0)
    assert plain.snapshot().lost == observed.snapshot().lost == 1


def test_the_session_ends_though_the_observed_port_never_did():
    """With its worker, and with nothing lost."""
    run = Run("telemetry", "ctrl_out")
    run(InputClosed())
    run.said(Eof("f"))
    assert run(Exited("f", 0))[-1] == Finish(0, LossReport())


def test_an_observed_agent_gives_the_same_and_is_heard():
    """In memory, from end to end."""
    messages = [("input", b'"I feel sad today"'), ("input", b'"My mother hates me"')]

    def simulated(*observed: str):
        clock = MockClock(autojump_threshold=0)
        return trio.run(lambda: simulate(plan_of(AGENT, observed), messages, runners=RUNNERS), clock=clock)

    plain, observed = simulated(), simulated("telemetry")
    assert (observed.outputs, observed.finish) == (plain.outputs, plain.finish)
    assert plain.heard == ()
    assert {(heard.label, heard.topic) for heard in observed.heard} == {("telemetry", "main")}
    assert sum(b'"kind":"output"' in heard.payload for heard in observed.heard) == 2
