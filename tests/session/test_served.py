"""Calls of servers' tools, and calls that take too long."""

from __future__ import annotations

import json
import random
from typing import Any

from plans import plan_of

from fabric.plan.servers import listed
from fabric.session.causes import why_stuck
from fabric.session.events import (
    AskApproval,
    CallServer,
    CancelCall,
    Command,
    Continue,
    Decided,
    Event,
    Exited,
    Frames,
    Input,
    Launched,
    Note,
    Send,
    Served,
    SetTimer,
    Start,
    TimerFired,
)
from fabric.session.session import Session
from fabric.session.settings import Settings
from fabric.session.snapshot import waits_on
from fabric.wire.codec import decode, encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Frame, Marker

TIMER = ("calls", "tool")
TEXT = """
let f : !int -> !int = python { call: "m:f" }
let t : int -> int = tool { process: f }
let a : !int -> !int = agent {
  provider: "eliza", tools: [t], mcp: [{ name: "clock", command: "clock" }, { name: "t", command: "t" }]
}
let main : !int -> !int = plumb(i, o) { i ; a ; o }
"""


class Run:
    """A session of which every worker runs, and agent ``a`` has a message."""

    def __init__(self, **settings: Any) -> None:
        plan = listed(plan_of(TEXT), {"clock": ("now", "far.away"), "t": ("x",)})
        settings = {"approval": "grant", "tool_timeout_s": 10.0} | settings
        self.session = Session(plan, Settings(**settings), random.Random(1))
        self.notes: list[Note] = []
        self(Start())
        for worker in plan.workers:
            self(Launched(worker.name, 7))
            self.say(worker.name, "ctrl_out", Data(worker.name, READY))
            self.say(worker.name, "output", Marker(worker.name, f"probe/{worker.name}/1"))
        self(Input("i", [(1, b"1")]))

    def __call__(self, event: Event, now_s: float = 0.0) -> list[Command]:
        commands = self.session.handle(event, now_s)
        while self.session.has_work:
            commands += self.session.handle(Continue(), now_s)
        self.notes += [command for command in commands if isinstance(command, Note)]
        return [command for command in commands if not isinstance(command, Note)]

    def say(self, worker: str, port: str, *frames: Frame, now_s: float = 0.0) -> list[Command]:
        return self(Frames(worker, port, [encode(frame) for frame in frames]), now_s)

    def call(self, name: str, arguments: Any = 1, id_: int = 1, now_s: float = 0.0) -> list[Command]:
        request = {"id": id_, "name": name, "arguments": arguments}
        return self.say("a", "tool_req", Data("a", json.dumps(request).encode()), now_s=now_s)

    def noted(self, event: str) -> list[dict[str, Any]]:
        return [note.fields for note in self.notes if note.event == event]


def heard(commands: list[Command]) -> list[Any]:
    frames = [decode(command.raw) for command in commands if isinstance(command, Send) and command.port == "tool_resp"]
    return [json.loads(frame.payload) for frame in frames if isinstance(frame, Data)]


def test_a_call_goes_to_its_server_and_what_it_gives_comes_back():
    """By the name of the server and that of the tool, whatever dots are in it; an error as well."""
    run = Run()
    assert run.call("clock.now", {"zone": "UTC"}) == [
        SetTimer(TIMER, 10.0),
        CallServer(-1, "clock", "now", b'{"zone": "UTC"}'),
    ]
    assert run.call("clock.far.away", {}, 2) == [CallServer(-2, "clock", "far.away", b"{}")]
    assert heard(run(Served(-2, None, "no such place"))) == [{"id": 2, "error": "no such place"}]
    assert heard(run(Served(-1, b'"noon"'))) == [{"id": 1, "content": "noon"}]
    assert run.session.snapshot().calls == ()


def test_a_tool_that_the_server_does_not_have_is_refused_at_once():
    """Nobody is asked to approve it; what there is is named."""
    run = Run(approval="ask")
    (answer,) = heard(run.call("clock.nwo"))
    assert answer["error"] == (
        "there is no tool 'clock.nwo' for you; there are: clock.far.away, clock.now, t, t.x. Did you mean 'clock.now'?"
    )


def test_every_tool_of_a_server_wants_approval():
    """The server gets the arguments as they were shown."""
    run = Run(approval="ask")
    commands = run.call("clock.now", {"b": 1, "a": 2})
    assert [type(command) for command in commands] == [AskApproval, SetTimer]
    (approval,) = run.session.snapshot().approvals
    assert (approval.tool, approval.arguments) == ("clock.now", '{"a":2,"b":1}')
    commands = run(Decided(approval.id, True, 1), 4.0)
    assert CallServer(-1, "clock", "now", b'{"a":2,"b":1}') in commands
    assert SetTimer(TIMER, 14.0) in commands


def test_a_server_that_takes_too_long_is_told_and_what_it_still_says_is_dropped():
    """Counted and noted; the next call is none the worse."""
    run = Run()
    run.call("clock.now")
    commands = run(TimerFired(TIMER), 10.0)
    error = "clock.now took longer than 10 s; what it still does is not waited for"
    assert heard(commands) == [{"id": 1, "error": error}]
    assert CancelCall(-1) in commands
    assert run(Served(-1, b'"late"'), 11.0) == []
    assert run.noted("tool.result_dropped") == [{"reason": "nobody waits for it any more", "count": 1}]
    run.call("clock.now", id_=1, now_s=12.0)
    assert heard(run(Served(-2, b'"noon"'))) == [{"id": 1, "content": "noon"}]


def test_a_tool_of_the_program_that_takes_too_long_is_not_waited_for():
    """It goes on, for it may have other calls; its late result is dropped."""
    run = Run()
    run.call("t", 7)
    assert heard(run(TimerFired(TIMER), 10.0))[0]["error"].startswith("t took longer than 10 s")
    commands = run.say("t.f", "output", Data("t.f", b"8"), Marker("t.f", "ack/t.f/1/1"), now_s=11.0)
    assert heard(commands) == []
    assert run.noted("tool.result_dropped") == [
        {"worker": "a", "tool": "t", "reason": "nobody waits for it any more", "count": 1}
    ]
    assert run.session.snapshot().lost == 0


def test_an_agent_that_is_gone_waits_for_no_server():
    """Its calls are cancelled."""
    run = Run()
    run.call("clock.now")
    assert CancelCall(-1) in run(Exited("a", -9))
    assert run(Served(-1, b"1")) == []


def test_who_looks_sees_that_an_agent_waits_for_a_server():
    """In the list and in the chain."""
    run = Run()
    run.call("clock.now")
    snapshot, plan = run.session.snapshot(), run.session.plan
    assert waits_on(plan, snapshot, "a") == ("tool clock.now",)
    (chain,) = why_stuck(plan, snapshot, 12.0)
    assert (chain.root.cause, chain.root.text) == ("tool", "worker 'a' waits for its tool 'clock.now'")
