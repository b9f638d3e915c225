"""Whole sessions of callers and tools, in memory."""

from __future__ import annotations

import json
from typing import Any

import functions
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import plan_of
from three_ways import RUNNERS
from trio.testing import MockClock

from fabric.session.settings import Settings
from fabric.testing import Simulated, simulate
from fabric.transport.ports import Transport
from fabric.wire.codec import decode, encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Eof, Marker
from fabric.wire.spec import WorkerSpec

TEXT = """
let inc : !int -> !int = python { call: "functions:increment" }
let bad : !int -> !int = python { call: "functions:fails" }
let pair : (!int, !number) -> !(int, number) = barrier
let both : !int -> !(int, number) = plumb(i, o) {
  i ; inc ; pair@input_0
  i ; map(10 / value) ; pair@input_1
  pair ; o
}
let talk : !string -> !string = agent { provider: "eliza" }
let t_inc : int -> int = tool { process: inc }
let t_bad : int -> int = tool { process: bad }
let t_both : int -> (int, number) = tool { process: both }
let t_talk : string -> string = tool { process: talk }
let caller : !json -> !json = worker { command: ["./caller"], tools: [t_inc, t_bad, t_both, t_talk] }
let other : !json -> !json = worker { command: ["./other"], tools: [t_both] }
let main : !json -> !json = plumb(i, o) { i ; caller ; other ; o }
"""
assert functions.increment(1) == 2  # they are found by their name


async def caller(spec: WorkerSpec, transport: Transport, endpoints: dict[str, str]) -> int:
    """Make the calls of each message, all at once; answer with what comes back, in the order of the calls.

    ``{"later": CALL}`` is passed on as the call: the next caller makes it.
    """
    ports = {port: transport.receiver(endpoints[port], bind=False) for port in ("input", "ctrl_in", "tool_resp")}
    ports_out = {port: transport.sender(endpoints[port], bind=True) for port in ("output", "ctrl_out", "tool_req")}

    def say(port: str, frame: Data | Marker | Eof) -> None:
        ports_out[port].send_nowait(encode(frame))

    say("ctrl_out", Data(spec.name, READY))
    names = {tool.name for tool in spec.tools}
    waiting: list[bytes] = []
    while True:
        waiting = waiting or list(await ports["input"].receive())
        frame = decode(waiting.pop(0))
        if isinstance(frame, Marker):
            say("output", frame)
        elif isinstance(frame, Eof):
            say("output", Eof(spec.name))
            break
        else:
            assert isinstance(frame, Data)
            calls = json.loads(frame.payload)
            mine = [number for number, call in enumerate(calls) if isinstance(call, list) and call[0] in names]
            for number in mine:
                name, arguments = calls[number]
                request = {"id": number, "name": name, "arguments": arguments}
                say("tool_req", Data(spec.name, json.dumps(request).encode()))
            heard = 0
            while heard < len(mine):
                for raw in await ports["tool_resp"].receive():
                    response = decode(raw)
                    assert isinstance(response, Data)
                    found = json.loads(response.payload)
                    calls[found["id"]] = found.get("content", {"error": found.get("error")})
                    heard += 1
            later = [call["later"] if isinstance(call, dict) and "later" in call else call for call in calls]
            say("output", Data(spec.name, json.dumps(later).encode()))
    ended = False
    while not ended:
        ended = any(isinstance(decode(raw), Eof) for raw in await ports["ctrl_in"].receive())
    for port in ("ctrl_out", "tool_req"):
        say(port, Eof(spec.name))
    return 0


def simulated(inputs: list[Any]) -> Simulated:
    async def work() -> Simulated:
        plan = plan_of(TEXT)
        messages = [("i", json.dumps(value).encode()) for value in inputs]
        return await simulate(plan, messages, runners=RUNNERS | {"worker": caller}, settings=Settings())

    return trio.run(work, clock=MockClock(autojump_threshold=0))


def test_a_caller_gets_what_its_tools_give_and_why_they_do_not():
    """A function, one that fails, a body whose two branches meet, an agent; the session ends by itself."""
    done = simulated([[["t_inc", 1], ["t_bad", 1], ["t_both", 5], ["t_both", 0], ["t_talk", "I feel sad"]]])
    assert (done.finish.exit_code, done.finish.losses.lost, done.refusals) == (0, 0, ())
    ((_, payload),) = done.outputs
    answers = json.loads(payload)
    assert answers[0] == 2
    assert answers[1]["error"].endswith("functions:fails raised ValueError: boom")
    assert answers[2] == [6, 2.0]
    assert answers[3]["error"].endswith("division by zero")
    assert isinstance(answers[4], str)


def expected(call: tuple[str, int]) -> Any:
    name, value = call
    if name == "t_inc":
        return value + 1
    if name == "t_bad" or value == 0:
        return "error"
    return [value + 1, 10 / value]


CALLS = st.lists(st.tuples(st.sampled_from(["t_inc", "t_bad", "t_both"]), st.integers(-2, 2)), max_size=12)


@settings(max_examples=25, deadline=None)
@given(st.lists(CALLS, max_size=5))
def test_every_call_gets_its_own_result(inputs: list[list[tuple[str, int]]]):
    """However many are under way, and whatever becomes of those around them."""
    done = simulated([[list(call) for call in calls] for calls in inputs])
    assert (done.finish.exit_code, done.finish.error) == (0, None)
    found = [
        ["error" if isinstance(answer, dict) else answer for answer in json.loads(payload)]
        for _, payload in done.outputs
    ]
    assert found == [[expected(call) for call in calls] for calls in inputs]


def test_two_callers_share_a_tool():
    """Both at the same time: each hears of its own calls."""
    first = [["t_both", 2], {"later": ["t_both", 1]}] * 20
    done = simulated([first, first])
    assert [json.loads(payload) for _, payload in done.outputs] == [[[3, 5.0], [2, 10.0]] * 20] * 2
