"""Calls of tools: a message with a trace of its own goes in, the one that comes out is the result."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from plans import plan_of

from fabric.session.calls import CALLS_MAX
from fabric.session.causes import why_stuck
from fabric.session.events import (
    Asked,
    Command,
    Continue,
    Deliver,
    Event,
    Exited,
    Finish,
    Frames,
    Input,
    InputClosed,
    Interrupted,
    Launched,
    LossReport,
    Note,
    Refuse,
    Send,
    SetTimer,
    Settled,
    Signal,
    Start,
    TimerFired,
)
from fabric.session.session import Session
from fabric.session.settings import Settings, WorkerSettings
from fabric.session.snapshot import waits_on
from fabric.session.stall import waited_for
from fabric.wire.codec import decode, encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Decline, Eof, Frame, Marker

CALLER = 'let w : !int -> !int = worker {{ command: ["./w"], tools: [{}] }}\n'
MAIN = "let main : !int -> !int = plumb(i, o) { i ; w ; o }\n"
FUNCTION = 'let f : !int -> !int = python { call: "m:f" }\n'
WORDS = FUNCTION + "let t : int -> int = tool { process: f }\n" + CALLER.format("t") + MAIN
"""A caller ``w``, and a tool that is a worker ``t.f``."""

DOUBLE = "let d : !int -> !int = map(value * 2)\nlet t : int -> int = tool { process: d }\n" + CALLER.format("t") + MAIN
"""A tool without a worker."""

PAIR = (
    FUNCTION
    + "let pair : (!int, !number) -> !(int, number) = barrier\n"
    + "let both : !int -> !(int, number) = plumb(i, o) {\n  i ; f ; pair@input_0\n"
    + "  i ; map(10 / value) ; pair@input_1\n  pair ; o\n}\n"
    + "let t : int -> (int, number) = tool { process: both }\n"
    + CALLER.format("t")
    + MAIN
)
"""A tool of two branches that meet again; the one without a worker has no value for 0."""


class Run:
    """A session of which every worker runs."""

    def __init__(self, text: str, settings: Settings | None = None) -> None:
        self.session = Session(plan_of(text), settings or Settings(), random.Random(1))
        self.notes: list[Note] = []
        self(Start())
        for worker in self.session.plan.workers:
            self.start(worker.name)

    def __call__(self, event: Event, now_s: float = 0.0) -> list[Command]:
        commands = self.session.handle(event, now_s)
        while self.session.has_work:
            commands += self.session.handle(Continue(), now_s)
        self.notes += [command for command in commands if isinstance(command, Note)]
        return [command for command in commands if not isinstance(command, Note)]

    def start(self, worker: str, incarnation: int = 1) -> list[Command]:
        self(Launched(worker, 7))
        self.say(worker, "ctrl_out", Data(worker, READY))
        return self.say(worker, "output", Marker(worker, f"probe/{worker}/{incarnation}"))

    def say(self, worker: str, port: str, *frames: Frame, now_s: float = 0.0) -> list[Command]:
        return self(Frames(worker, port, [encode(frame) for frame in frames]), now_s)

    def call(self, arguments: Any, name: str = "t", id_: Any = 1) -> list[Any]:
        """Let ``w`` call; return what it hears at once."""
        request = {"id": id_, "name": name, "arguments": arguments}
        return heard(self.say("w", "tool_req", Data("w", json.dumps(request).encode())))

    def answer(self, seq: int, *outputs: Any, worker: str = "t.f", incarnation: int = 1) -> list[Any]:
        """Let the tool's worker answer; return what ``w`` hears."""
        frames: list[Frame] = [Data(worker, json.dumps(output).encode()) for output in outputs]
        return heard(self.say(worker, "output", *frames, Marker(worker, f"ack/{worker}/{incarnation}/{seq}")))

    def noted(self, event: str) -> list[Note]:
        return [note for note in self.notes if note.event == event]


def heard(commands: list[Command]) -> list[Any]:
    """Return the responses that a caller is sent; ``None`` is the end."""
    frames = [decode(command.raw) for command in commands if isinstance(command, Send) and command.port == "tool_resp"]
    return [json.loads(frame.payload) if isinstance(frame, Data) else None for frame in frames]


def ended(commands: list[Command]) -> list[str]:
    """Return the workers whose input ends."""
    sends = [command for command in commands if isinstance(command, Send) and command.port == "input"]
    return [send.worker for send in sends if isinstance(decode(send.raw), Eof)]


def test_a_call_goes_through_the_tool_and_comes_back():
    """To the worker as any message; its answer is the result, when it is committed."""
    run = Run(WORDS)
    request = Data("w", b'{"id":"a","name":"t","arguments":7}')
    commands = run.say("w", "tool_req", request)
    given = [decode(command.raw) for command in commands if isinstance(command, Send)]
    assert isinstance(given[0], Data)
    assert (given[0].topic, given[0].payload) == ("w", b"7")
    assert heard(run.say("t.f", "output", Data("t.f", b"8"))) == []
    assert run.answer(1) == [{"id": "a", "content": 8}]
    assert (run.session.snapshot().called, run.session.snapshot().calls_failed) == (1, 0)


def test_a_tool_without_a_worker_answers_at_once():
    """Within the same event."""
    assert Run(DOUBLE).call(21) == [{"id": 1, "content": 42}]


def test_results_find_their_calls_whatever_their_order():
    """Each has a trace of its own; ids are the caller's."""
    text = (
        FUNCTION
        + "let t : int -> int = tool { process: f }\nlet u : int -> int = tool { process: f }\n"
        + CALLER.format("t, u")
        + MAIN
    )
    run = Run(text)
    run.call(1, "t", "first")
    run.call(2, "u", "second")
    assert run.answer(1, 20, worker="u.f") == [{"id": "second", "content": 20}]
    assert run.answer(1, 10) == [{"id": "first", "content": 10}]


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (b"nonsense", {"id": None, "error": "this is no call: expected {"}),
        (b'{"name":"t"}', {"id": None, "error": "this is no call: expected {"}),
        (b'{"id":1.5,"name":"t"}', {"id": None, "error": "this is no call: expected {"}),
        (b'{"id":1,"name":"tt","arguments":1}', {"id": 1, "error": "there is no tool 'tt' for you; there are: t. Did"}),
        (b'{"id":"x","name":"t","arguments":"7"}', {"id": "x", "error": 'arguments: expected int, got string "7"'}),
        (b'{"id":"x","name":"t"}', {"id": "x", "error": "arguments: expected int, got null"}),
    ],
)
def test_what_is_no_good_call_is_answered_with_why(request_: bytes, response: dict[str, Any]):
    """It is counted and noted, and nothing else comes of it: no refusal, no loss."""
    run = Run(WORDS)
    commands = run.say("w", "tool_req", Data("w", request_))
    (found,) = heard(commands)
    assert found["id"] == response["id"]
    assert found["error"].startswith(response["error"])
    assert [command for command in commands if not isinstance(command, Send | SetTimer)] == []
    assert [note.fields["error"] for note in run.noted("tool.failed")] == [found["error"]]
    assert run.session.snapshot().calls_failed == 1
    assert run.session.snapshot().lost == 0


def test_calls_that_fail_are_noted_once_a_second():
    """And counted each: a worker may make many."""
    run = Run(WORDS)
    for _ in range(3):
        run.call("x")
    run.say("w", "tool_req", Data("w", b"1"), now_s=1.0)
    assert [note.fields["count"] for note in run.noted("tool.failed")] == [1, 4]
    assert run.session.snapshot().calls_failed == 4


def test_a_worker_may_have_so_many_calls_under_way_and_each_with_an_id_of_its_own():
    """One more is refused until one is done."""
    run = Run(WORDS)
    assert run.call(0, id_=0) == []
    assert run.call(0, id_=0)[0]["error"] == "a call with the id 0 is under way: give each one of its own"
    for number in range(1, CALLS_MAX):
        assert run.call(number, id_=number) == []
    assert run.call(1, id_="more")[0]["error"] == f"{CALLS_MAX} of your calls are under way: wait for one of them"
    run.answer(1, 0)
    assert run.call(1, id_="more") == []


@pytest.mark.parametrize(
    ("outputs", "error"),
    [
        ((), "t gave no result: what it is made of has to answer each message exactly once"),
        ((1, 2), "t gave 2 results, not one: what it is made of has to answer each message exactly once"),
        (("x",), "'t.f': expected int, got string \"x\""),
    ],
)
def test_a_tool_gives_one_result(outputs: tuple[Any, ...], error: str):
    """Of its type."""
    run = Run(WORDS)
    run.call(1)
    assert run.answer(1, *outputs) == [{"id": 1, "error": error}]
    assert run.session.snapshot().lost == 0


def test_a_tool_that_gives_nothing_has_the_result_null():
    """A discard, when all is done."""
    text = "let d : !int -> !unit = discard\nlet t : int -> unit = tool { process: d }\n" + CALLER.format("t") + MAIN
    assert Run(text).call(1) == [{"id": 1, "content": None}]


def test_a_worker_of_a_tool_declines_a_message():
    """The call is answered with its words at once; what else it says of the message is nobody's."""
    run = Run(WORDS)
    run.call(1)
    declined = Decline("t.f", b'{"error":"no such thing","code":"x"}')
    assert heard(run.say("t.f", "output", declined)) == [{"id": 1, "error": "no such thing"}]
    assert run.answer(1, 5) == []
    run.call(2, id_=2)
    assert run.answer(2, 6) == [{"id": 2, "content": 6}]


def test_a_worker_of_no_tool_may_not_decline():
    """Its messages belong to somebody who waits for them elsewhere."""
    run = Run(WORDS)
    run(Input("i", [(1, b"1")]))
    run.say("w", "output", Decline("w", b"{}"))
    assert [note.fields["detail"] for note in run.noted("frame.rejected")] == [
        "worker 'w' declined on 'output', and is part of no tool"
    ]
    assert run.session.snapshot().lost == 1


def test_a_barrier_pairs_within_a_call():
    """Half of a call is refused on its way: the next call is not shifted by what is left of it."""
    run = Run(PAIR)
    (refused,) = run.call(0)
    assert refused["error"] == "'t.map@5': division by zero"
    assert run.call(5, id_=2) == []
    assert run.answer(1, 100) == []
    assert run.answer(2, 105) == [{"id": 2, "content": [105, 2.0]}]


def test_copy_gives_a_pair():
    """What a copy without a stream would give."""
    text = "let c : !int -> (!int, !int) = copy\nlet t : int -> (int, int) = tool { process: c }\n"
    assert Run(text + CALLER.format("t") + MAIN).call(3) == [{"id": 1, "content": [3, 3]}]


def test_what_a_tool_gives_is_held_against_what_it_declares():
    """A function that gives any JSON, in a tool that promises a number."""
    text = 'let f : !int -> !json = python { call: "m:f" }\nlet t : int -> int = tool { process: f }\n'
    run = Run(text + CALLER.format("t") + MAIN)
    run.call(1)
    assert run.answer(1, "no") == [{"id": 1, "error": "'t.result': expected int, got string \"no\""}]


def test_inputs_of_the_program_do_not_notice_calls():
    """Only their own tickets settle, when the caller has answered."""
    run = Run(WORDS)
    run(Input("i", [(5, b"1")]))
    run.call(1)
    run.answer(1, 2)
    commands = run.say("w", "output", Data("w", b"3"), Marker("w", "ack/w/1/1"))
    assert [type(command) for command in commands] == [Deliver, Settled]
    assert commands[1] == Settled([5])


# --- ends ---------------------------------------------------------------------------------------------------------


def end_output(run: Run) -> list[Command]:
    return run.say("w", "output", Eof("w"))


def test_a_tool_ends_when_its_callers_have():
    """Not with their input: they may call until they have ended their output."""
    run = Run(WORDS)
    assert ended(run(InputClosed())) == ["w"]
    assert run.call(1) == []
    assert run.answer(1, 2) == [{"id": 1, "content": 2}]
    assert heard(end_output(run)) == [None]
    assert ended(run.say("w", "ctrl_out", Eof("w"))) == []
    assert ended(run.say("w", "tool_req", Eof("w"))) == ["t.f"]
    run(Exited("w", 0))
    run.say("t.f", "output", Eof("t.f"))
    assert run(Exited("t.f", 0))[-1] == Finish(0, LossReport())


def test_a_caller_that_exits_without_a_word_has_ended_too():
    """Its process is gone."""
    run = Run(WORDS)
    run(InputClosed())
    end_output(run)
    assert ended(run(Exited("w", 0))) == ["t.f"]


def test_a_call_that_nobody_hears_is_finished_before_the_tool_ends():
    """Its result is dropped, with a word; later calls too."""
    run = Run(WORDS)
    run(InputClosed())
    run.call(1)
    end_output(run)
    assert [note.level for note in run.noted("tool.result_dropped")] == ["debug"]
    assert run.call(2) == []
    assert ended(run.say("w", "tool_req", Eof("w"))) == []
    commands = run.say("t.f", "output", Data("t.f", b"1"), Marker("t.f", "ack/t.f/1/1"))
    assert (heard(commands), ended(commands)) == ([], ["t.f"])


def test_an_unfinished_call_keeps_its_callers_input():
    """The input has ended, but the caller has a message until its tool has answered."""
    run = Run(WORDS)
    run(Input("i", [(1, b"1")]))
    run.call(1)
    assert ended(run(InputClosed())) == []
    run.answer(1, 2)
    assert ended(run.say("w", "output", Data("w", b"2"), Marker("w", "ack/w/1/1"))) == ["w"]


def test_a_tool_may_call_tools():
    """An agent within one is a caller, and ends before what it calls."""
    text = (
        FUNCTION
        + "let inner : int -> int = tool { process: f }\n"
        + 'let a : !int -> !int = worker { command: ["./a"], tools: [inner] }\n'
        + "let body : !int -> !int = plumb(i, o) { i ; a ; o }\n"
        + "let t : int -> int = tool { process: body }\n"
        + CALLER.format("t, inner")
        + MAIN
    )
    run = Run(text)
    assert run.session.plan.tools["inner"].callers == ("w", "t.a")
    run.call(1)
    request = Data("t.a", b'{"id":1,"name":"inner","arguments":5}')
    assert heard(run.say("t.a", "tool_req", request)) == []
    assert run.answer(1, 6, worker="inner.f") == [{"id": 1, "content": 6}]
    assert run.answer(1, 7, worker="t.a") == [{"id": 1, "content": 7}]
    run(InputClosed())
    end_output(run)
    assert ended(run.say("w", "tool_req", Eof("w"))) == ["t.a"]
    run.say("t.a", "output", Eof("t.a"))
    assert ended(run.say("t.a", "tool_req", Eof("t.a"))) == ["inner.f"]


# --- crashes and signals ------------------------------------------------------------------------------------------


def test_a_tools_worker_that_crashes_gets_the_call_once_more():
    """As any message that it had not acknowledged."""
    run = Run(WORDS)
    run.call(1)
    run(Exited("t.f", -9))
    run(TimerFired(("restart", "t.f")), 0.5)
    run.start("t.f", 2)
    assert run.answer(1, 2, incarnation=2) == [{"id": 1, "content": 2}]


def test_a_call_that_kills_its_worker_again_and_again_is_answered_with_that():
    """Its caller is told, so it is no dead letter, and nothing is lost."""
    run = Run(WORDS, Settings(redeliveries_max=1))
    run.call(1)
    commands = run(Exited("t.f", -11))
    error = "worker 't.f' was killed by signal 11 with 1 message unanswered"
    assert heard(commands) == [{"id": 1, "error": error}]
    assert run.session.snapshot().dead_lettered == 0


def test_what_a_worker_of_a_tool_fails_at_by_its_own_words_does_not_end_the_session():
    """Where a refused input would."""
    run = Run(WORDS, Settings(refusal_ends=True))
    run.call(1)
    commands = run(Exited("t.f", 1, ('{"error":"boom","code":"python_error"}',)))
    assert heard(commands) == [{"id": 1, "error": "worker 't.f' exited with status 1 with 1 message unanswered: boom"}]
    assert not run.session.closing


def test_a_caller_that_crashes_hears_nothing_of_what_it_had_called():
    """Its next process makes its own calls, with the same ids."""
    run = Run(WORDS)
    run(Input("i", [(1, b"1")]))
    run.call(1)
    run(Exited("w", -9))
    assert run.answer(1, 2) == []
    run(TimerFired(("restart", "w")), 0.5)
    run.start("w", 2)
    assert run.call(1) == []
    assert run.answer(2, 3) == [{"id": 1, "content": 3}]


def test_a_tools_worker_that_is_stopped_is_a_queue():
    """The call waits for its start."""
    run = Run(WORDS)
    run(Asked("t.f", "stop", 1))
    run.say("t.f", "output", Eof("t.f"))
    run(Exited("t.f", 0))
    assert run.call(1) == []
    run(Asked("t.f", "start", 2))
    run.start("t.f", 2)
    assert run.answer(1, 2, incarnation=2) == [{"id": 1, "content": 2}]


def test_a_call_for_which_there_is_no_room_is_refused_where_that_is_the_policy():
    """As a message would be a dead letter."""
    run = Run(WORDS, Settings(queue=1, policy="dead_letter"))
    run(Asked("t.f", "stop", 1))
    run.say("t.f", "output", Eof("t.f"))
    run(Exited("t.f", 0))
    assert run.call(1) == []
    assert run.call(2, id_=2) == [{"id": 2, "error": "worker 't.f' has 1 messages waiting for it already"}]
    assert run.session.snapshot().dead_lettered == 0


def test_a_call_to_a_worker_that_was_stopped_for_good_is_refused():
    """The session ends, and nobody will start it any more."""
    run = Run(WORDS)
    run(Asked("t.f", "stop", 1))
    run.say("t.f", "output", Eof("t.f"))
    run(Exited("t.f", 0))
    run.call(1)
    commands = run(Interrupted(2))
    assert heard(commands) == [{"id": 1, "error": "worker 't.f' was stopped"}]
    assert not [command for command in commands if isinstance(command, Refuse)]


def test_a_caller_that_waits_for_its_tool_is_not_silent():
    """After a first Ctrl-C silence counts; the one who is waited for is the tool's worker."""
    run = Run(WORDS, Settings(grace_s=10.0))
    run(Input("i", [(1, b"1")]))
    run.call(1)
    run(Interrupted(2))
    signals = {
        command.worker: command.signal
        for worker in ("w", "t.f")
        for command in run(TimerFired(("grace", worker)), 10.0)
        if isinstance(command, Signal)
    }
    assert signals == {"t.f": "TERM"}


def test_a_caller_that_waits_for_its_tool_has_not_stalled():
    """Its own time begins when it has its result; then it is ended as any other."""
    run = Run(WORDS, Settings(stall_s=60.0, workers={"w": WorkerSettings(idle_timeout_s=90.0)}))
    run(Input("i", [(1, b"1")]))
    run.call(1)
    assert run(TimerFired(("stall", "w")), 60.0) == [SetTimer(("stall", "w"), 120.0)]
    assert run(TimerFired(("stall", "w")), 120.0) == [SetTimer(("stall", "w"), 180.0)]
    frames = [encode(Data("t.f", b"2")), encode(Marker("t.f", "ack/t.f/1/1"))]
    assert heard(run(Frames("t.f", "output", frames), 150.0)) == [{"id": 1, "content": 2}]
    assert run(TimerFired(("stall", "w")), 180.0) == [SetTimer(("stall", "w"), 210.0)]
    run(TimerFired(("stall", "w")), 210.0)
    assert [note.fields["worker"] for note in run.noted("worker.stalled")] == ["w"]
    assert run(TimerFired(("stall", "w")), 240.0) == [Signal("w", "KILL")]


def test_who_waits_for_a_tool_is_not_the_first_cause():
    """The tool's worker is; without one it is told for which tool."""
    run = Run(WORDS)
    run(Input("i", [(1, b"1")]))
    run.call(1)
    said = waited_for(run.session.plan, run.session.snapshot(), 10.0)
    assert said == "worker 't.f' has 1 message and has been silent for 10 s (it has never answered anything)"
    (chain,) = why_stuck(run.session.plan, run.session.snapshot(), 10.0)
    assert [link.text for link in chain.links] == [
        "nothing came to output 'o'",
        "worker 'w' waits for its tool 't'",
        "worker 't.f' has 1 message and has been silent for 10 s (it has never answered anything)",
    ]
    assert waits_on(run.session.plan, run.session.snapshot(), "w") == ("tool t",)
    assert waits_on(run.session.plan, run.session.snapshot(), "t.f") == ("t.call",)


def test_a_session_wire_within_a_tool_has_one_call_at_a_time():
    """It is one conversation, which two would confuse."""
    text = (
        "protocol Ask = send int . recv int . loop\n"
        "let desk : (!int, !int) -> (!int, !int) = plumb(order, answer, ask, report) {\n"
        "  order ; ask\n  answer ; report\n}\n" + FUNCTION + "let office : !int -> !int = plumb(i, o) {\n"
        "  i ; desk@order\n  desk@report ; o\n  desk@(ask, answer) <-> f : Ask\n}\n"
        "let t : int -> int = tool { process: office }\n" + CALLER.format("t") + MAIN
    )
    run = Run(text)
    assert run.call(1, id_=1) == []
    assert run.call(2, id_=2) == []
    assert run.answer(1, 10) == [{"id": 1, "content": 10}]
    assert run.answer(2, 20) == [{"id": 2, "content": 20}]
    assert not run.session.closing
