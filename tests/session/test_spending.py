"""A session with limits: what agents may call, what they report, and how it ends when a limit is reached."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from plans import plan_of

from fabric.session.budget import Limits
from fabric.session.causes import why_stuck
from fabric.session.events import (
    Asked,
    Buried,
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
from fabric.session.money import Rate
from fabric.session.session import Session
from fabric.session.settings import Settings
from fabric.session.snapshot import waits_on
from fabric.session.usage import Usage
from fabric.wire.calls import BUDGET_EXHAUSTED, RESERVE, SETTLE, decline
from fabric.wire.codec import decode, encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Decline, Eof, Frame, Marker

AGENT = 'let {0} : !string -> !string = agent {{ provider: "eliza" }}\n'
ONE = AGENT.format("a") + "let main : !string -> !string = plumb(i, o) { i ; a ; o }\n"
TWO = AGENT.format("a") + AGENT.format("b") + "let main : !string -> !string = plumb(i, o) { i ; a ; b ; o }\n"
PURE = "let main : !int -> !int = map(value + 1)\n"
TOOL = (
    AGENT.format("a")
    + "let t : string -> string = tool { process: a }\n"
    + 'let w : !string -> !string = worker { command: ["./w"], tools: [t] }\n'
    + "let main : !string -> !string = plumb(i, o) { i ; w ; o }\n"
)
PAIRED = (
    AGENT.format("a")
    + "let p : (!string, !string) -> !(string, string) = barrier\n"
    + "let main : !string -> !(string, string) = plumb(i, o) { i ; a ; p@input_0\n i ; p@input_1\n p ; o }\n"
)


def rate_of(provider: str, model: str, prompt_tokens: int) -> Rate | None:
    return None if model == "new" else Rate(1_000_000, 5_000_000, 0, 0)


class Run:
    """A session of which every worker runs."""

    def __init__(self, text: str, limits: Limits, *, refusal_ends: bool = False, metered: bool = True) -> None:
        settings = Settings(limits=limits, refusal_ends=refusal_ends)
        self.session = Session(plan_of(text, metered=metered), settings, random.Random(1), rate_of)
        self.commands: list[Command] = []
        self(Start())
        for worker in self.session.plan.workers:
            self(Launched(worker.name, 7))
            self.say(worker.name, "ctrl_out", Data(worker.name, READY))
            self.say(worker.name, "output", Marker(worker.name, f"probe/{worker.name}/1"))

    def __call__(self, event: Event, now_s: float = 0.0) -> list[Command]:
        commands = self.session.handle(event, now_s)
        while self.session.has_work:
            commands += self.session.handle(Continue(), now_s)
        self.commands += commands
        return [command for command in commands if not isinstance(command, Note)]

    def say(self, worker: str, port: str, *frames: Frame, now_s: float = 0.0) -> list[Command]:
        return self(Frames(worker, port, [encode(frame) for frame in frames]), now_s)

    def give(self, *texts: str) -> list[Command]:
        return self(Input("i", [(number, json.dumps(text).encode()) for number, text in enumerate(texts, 1)]))

    def ask(self, worker: str = "a", id_: str = "1", now_s: float = 0.0, **arguments: Any) -> dict[str, list[Any]]:
        """Let a worker reserve; return what everybody hears."""
        wanted = {"provider": "eliza", "model": "doctor", "prompt_tokens": 100, "max_tokens": 1000} | arguments
        return heard(self.tool_req(worker, {"id": id_, "name": RESERVE, "arguments": wanted}, now_s))

    def settle(self, used: Any, worker: str = "a", id_: str = "1") -> dict[str, list[Any]]:
        return heard(self.tool_req(worker, {"id": id_, "name": SETTLE, "arguments": used}))

    def tool_req(self, worker: str, request: Any, now_s: float = 0.0) -> list[Command]:
        return self.say(worker, "tool_req", Data(worker, json.dumps(request).encode()), now_s=now_s)

    def answer(self, text: str, seq: int = 1, worker: str = "a") -> list[Command]:
        return self.say(
            worker, "output", Data(worker, json.dumps(text).encode()), Marker(worker, f"ack/{worker}/1/{seq}")
        )

    def declines(self, seq: int = 1, worker: str = "a") -> list[Command]:
        declined = Decline(worker, decline(BUDGET_EXHAUSTED, "no more"))
        return self.say(worker, "output", declined, Marker(worker, f"ack/{worker}/1/{seq}"))

    def end(self, worker: str, *, now_s: float = 0.0) -> list[Command]:
        """Let a worker come to its end in order."""
        for port in ("output", "ctrl_out", "telemetry", "tool_req"):
            self.say(worker, port, Eof(worker), now_s=now_s)
        return self(Exited(worker, 0), now_s)

    @property
    def notes(self) -> list[str]:
        return [command.event for command in self.commands if isinstance(command, Note)]


def heard(commands: list[Command]) -> dict[str, list[Any]]:
    """Return the responses that workers are sent."""
    found: dict[str, list[Any]] = {}
    for command in commands:
        if isinstance(command, Send) and command.port == "tool_resp":
            frame = decode(command.raw)
            assert isinstance(frame, Data)
            found.setdefault(command.worker, []).append(json.loads(frame.payload))
    return found


def of_kind(commands: list[Command], kind: type) -> list[Any]:
    return [command for command in commands if isinstance(command, kind)]


GRANTED = {"a": [{"id": "1", "content": {"max_tokens": 1000}}]}
CALLS_USED_UP = "the budget of 1 call is used up: 1 call used, most of it by 'a' (1 call)"


# --- reserving ---


def test_a_reservation_is_answered_on_tool_resp_and_a_settlement_is_not():
    """They are no calls of tools."""
    run = Run(ONE, Limits(calls=5))
    assert run.ask() == GRANTED
    assert run.settle({"prompt_tokens": 90, "completion_tokens": 5}) == {}
    snapshot = run.session.snapshot()
    assert snapshot.budget is not None
    assert (snapshot.budget.calls, snapshot.budget.tokens, snapshot.called) == (1, 95, 0)


def test_who_waits_is_answered_when_another_has_settled():
    """Or has died: then all that it had counts."""
    run = Run(TWO, Limits(tokens=1_500))
    assert run.ask() == GRANTED
    assert run.ask("b") == {}
    assert run.settle(None) == {"b": [{"id": "1", "content": {"max_tokens": 1000}}]}
    assert run.ask(id_="2", max_tokens=400) == {}
    assert heard(run(Exited("b", -9))) == {"a": [{"id": "2", "content": {"max_tokens": 300}}]}
    snapshot = run.session.snapshot()
    assert snapshot.budget is not None
    assert (snapshot.budget.tokens, snapshot.budget.reserved_tokens) == (1_100, 400)


@pytest.mark.parametrize("arguments", [{"max_tokens": 0}, {"prompt_tokens": -1}, {"model": 3}])
def test_what_is_no_reservation_is_answered_with_what_is_wrong(arguments: dict[str, Any]):
    """Nothing is reserved."""
    (response,) = Run(ONE, Limits(calls=1)).ask(**arguments)["a"]
    assert response["error"].startswith("this is no reservation: ")


def test_a_settlement_that_cannot_be_read_counts_all_and_is_noted():
    """As one of nothing that was reserved is."""
    run = Run(ONE, Limits(tokens=5_000))
    run.ask()
    run.settle({"prompt_tokens": "many"})
    snapshot = run.session.snapshot()
    assert snapshot.budget is not None
    assert snapshot.budget.tokens == 1_100
    run.settle(None)
    assert run.notes.count("budget.misread") == 2


def test_who_is_not_metered_cannot_reserve():
    """It is a tool that there is not."""
    run = Run(TOOL, Limits(), metered=False)
    (response,) = run.ask("w")["w"]
    assert response["error"].startswith("there is no tool 'fabric.reserve' for you")


def test_metered_without_a_limit_everything_is_granted():
    """And counted."""
    run = Run(ONE, Limits())
    assert run.ask(max_tokens=10**9) == {"a": [{"id": "1", "content": {"max_tokens": 10**9}}]}


def test_a_limit_that_comes_near_is_noted_once():
    """At four fifths."""
    run = Run(ONE, Limits(calls=5))
    for number in range(5):
        run.ask(id_=str(number))
        run.settle(None, id_=str(number))
        assert run.notes.count("budget.warned") == (number >= 3)


def test_who_waits_for_the_budget_is_not_silent():
    """Its grace time does not run: others have to settle first."""
    run = Run(TWO, Limits(tokens=1_500))
    run.give("hello")
    run.answer("well")
    run.give("again")
    run.ask()
    run.ask("b")
    run(Interrupted(15), 1.0)
    assert of_kind(run(TimerFired(("grace", "b")), 11.0), Signal) == []
    assert run(TimerFired(("grace", "a")), 11.0)[0] == Signal("a", "TERM")


def test_what_is_granted_gives_time():
    """From then on its silence counts again."""
    run = Run(TWO, Limits(tokens=1_500))
    run.give("hello")
    run.answer("well")
    run.ask()
    run.ask("b")
    run(Interrupted(15), 1.0)
    run.tool_req("a", {"id": "1", "name": SETTLE, "arguments": None}, 10.5)
    assert of_kind(run(TimerFired(("grace", "b")), 11.0), Signal) == []


def test_who_has_ended_its_output_is_not_answered_any_more():
    """The channel on which it would be has ended."""
    run = Run(TWO, Limits(tokens=1_500))
    run.ask()
    run.ask("b")
    run.say("b", "output", Eof("b"))
    assert run.settle(None) == {}
    assert not run.session.snapshot().budget.waiting


def test_nobody_is_answered_when_the_session_has_failed():
    """But what they had counts."""
    run = Run(TWO, Limits(tokens=1_500))
    run.ask()
    run.ask("b")
    run(Interrupted(15))
    run(Interrupted(15))
    assert heard(run(Exited("a", -15))) == {}
    finish = run(Exited("b", -15))[-1]
    assert isinstance(finish, Finish)
    assert (finish.budget.tokens, finish.budget.reserved_tokens) == (1_100, 0)


def test_what_an_agent_thinks_is_known_from_its_program():
    """It need not say it each time."""
    text = ONE.replace('"eliza"', '"eliza", thinking_budget: 2000')
    (response,) = Run(text, Limits(tokens=2_300)).ask(max_tokens=4_000)["a"]
    assert "asked for 2 356 tokens" in response["error"]


# --- exhausted ---


def used_up(text: str = ONE, *, refusal_ends: bool = False) -> Run:
    """A session with two messages whose budget is used up by the first."""
    run = Run(text, Limits(calls=1), refusal_ends=refusal_ends)
    run.give("one", "two")
    run.ask()
    run.settle({"prompt_tokens": 1, "completion_tokens": 1})
    run.answer("ONE")
    return run


def test_when_it_is_used_up_no_input_is_taken_and_what_came_out_is_delivered():
    """What there was no call for is a dead letter; 3, and why."""
    run = used_up()
    assert not run.session.closing
    assert run.ask(id_="2") == {"a": [{"id": "2", "error": CALLS_USED_UP}]}
    assert run.session.closing
    why = f"the session takes no more input: {CALLS_USED_UP}"
    assert run(Input("i", [(9, b'"late"')])) == [Refuse("input_closed", why, "i", (9,)), Settled([9])]
    commands = run.declines(seq=2)
    (buried,) = of_kind(commands, Buried)
    assert (buried.letter.cause, buried.letter.payload, buried.letter.tickets) == ("budget", b'"two"', (2,))
    assert of_kind(commands, Settled) == [Settled([2])]
    assert [output.payload for deliver in of_kind(run.commands, Deliver) for output in deliver.outputs] == [b'"ONE"']
    finish = run.end("a")[-1]
    assert isinstance(finish, Finish)
    assert (finish.exit_code, finish.losses) == (3, LossReport(dead_lettered=1))
    assert finish.error == ("budget_exhausted", CALLS_USED_UP)
    assert run.notes.count("budget.exhausted") == 1


def test_what_was_declined_and_not_committed_goes_to_the_next_process():
    """It is a dead letter only when its marker is back, or there would be two."""
    run = used_up()
    run.ask(id_="2")
    run.say("a", "output", Decline("a", decline(BUDGET_EXHAUSTED, "no more")))
    assert of_kind(run(Exited("a", -9)), Buried) == []
    assert run.session.snapshot().dead_lettered == 0


def test_one_that_ends_its_output_behind_a_decline_leaves_a_dead_letter():
    """The end settles what the marker would have."""
    run = used_up()
    run.ask(id_="2")
    run.say("a", "output", Decline("a", decline(BUDGET_EXHAUSTED, "no more")))
    (buried,) = of_kind(run.say("a", "output", Eof("a")), Buried)
    assert buried.letter.cause == "budget"


def test_a_bad_line_is_worse_than_a_limit():
    """The exit code is the worst that has happened."""
    run = used_up(refusal_ends=True)
    run.ask(id_="2")
    run.declines(seq=2)
    finish = run.end("a")[-1]
    assert isinstance(finish, Finish)
    assert finish.exit_code == 3
    run = Run(ONE, Limits(calls=1), refusal_ends=True)
    run(Input("i", [(1, b'"x"'), (2, b"3")]))
    run.ask()
    run.ask(id_="2")
    run.declines()
    finish = run.end("a")[-1]
    assert isinstance(finish, Finish)
    assert (finish.exit_code, finish.error) == (1, None)


def test_a_barrier_parts_from_the_partner_of_what_had_no_call():
    """As from that of any dead letter."""
    run = Run(PAIRED, Limits(calls=1))
    run.give("one")
    run.ask(id_="0")
    run.ask()
    commands = run.declines()
    assert of_kind(commands, Settled) == [Settled([1])]
    finish = run.end("a")[-1]
    assert isinstance(finish, Finish)
    assert finish.losses == LossReport(dead_lettered=1, unpaired=1)


def test_a_declined_call_of_a_tool_is_an_error_to_its_caller():
    """It is told; nothing is lost."""
    run = Run(TOOL, Limits(calls=1))
    run.give("x")
    run.tool_req("w", {"id": 5, "name": "t", "arguments": "x"})
    assert heard(run.declines(worker="t.a")) == {"w": [{"id": 5, "error": "no more"}]}
    assert run.session.snapshot().dead_lettered == 0


def test_other_declines_of_a_metered_worker_are_refused():
    """It is part of no tool."""
    run = Run(ONE, Limits(calls=1))
    run.give("one")
    run.say("a", "output", Decline("a", decline("model_refused", "no")), Marker("a", "ack/a/1/1"))
    assert run.session.snapshot().rejected == {"a": {"decline": 1}}


def test_a_stopped_worker_does_not_keep_a_used_up_session_from_ending():
    """Nobody will start it any more, and says so."""
    run = used_up(TWO)
    run(Asked("b", "stop", 7))
    run.end("b")
    run.ask(id_="2")
    run.declines(seq=2)
    finish = run.end("a")[-1]
    assert isinstance(finish, Finish)
    assert (finish.exit_code, finish.losses.dead_lettered) == (3, 2)


def test_a_model_without_a_price_costs_one_message_and_not_the_session():
    """It may have been set by hand."""
    run = Run(ONE, Limits(usd=1.0))
    run.give("one", "two")
    (response,) = run.ask(model="new")["a"]
    assert response["error"].startswith("there is no price for the model 'new'")
    (buried,) = of_kind(run.declines(), Buried)
    assert buried.letter.cause == "budget"
    assert not run.session.closing
    assert run.ask() == GRANTED
    run.settle(None)
    run.answer("TWO", seq=2)
    run(InputClosed())
    finish = run.end("a")[-1]
    assert isinstance(finish, Finish)
    assert (finish.exit_code, finish.error) == (5, None)


# --- time ---


def test_the_time_begins_when_every_worker_is_ready():
    """What it takes to start processes is no matter of the program."""
    run = Run(ONE, Limits(wall_s=60.0), metered=False)
    (timer,) = [timer for timer in of_kind(run.commands, SetTimer) if timer.key[0] == "wall"]
    assert timer == SetTimer(("wall", ""), 60.0)


def test_when_the_time_is_over_a_graph_without_workers_ends():
    """With 3, at once: nothing is under way."""
    run = Run(PURE, Limits(wall_s=60.0))
    commands = run(TimerFired(("wall", "")), 60.0)
    finish = commands[-1]
    assert isinstance(finish, Finish)
    assert (finish.exit_code, finish.error) == (3, ("time_limit", "the time limit of 60 s is reached"))


def test_what_is_under_way_may_finish_within_the_grace_time():
    """With no further calls of models; those who wait for one are refused."""
    run = Run(TWO, Limits(tokens=1_500, wall_s=60.0))
    run.give("one")
    run.ask()
    run.ask("b")
    commands = run(TimerFired(("wall", "")), 60.0)
    assert heard(commands) == {"b": [{"id": "1", "error": "the time limit of 60 s is reached"}]}
    assert SetTimer(("overtime", ""), 70.0) in commands
    assert run.ask(id_="2", now_s=61.0) == {"a": [{"id": "2", "error": "the time limit of 60 s is reached"}]}
    run.answer("ONE")
    run.answer("TWO", worker="b")
    run.end("a", now_s=62.0)
    finish = run.end("b", now_s=62.0)[-1]
    assert isinstance(finish, Finish)
    assert (finish.exit_code, finish.losses) == (3, LossReport())


def test_after_the_grace_time_the_session_is_ended():
    """What had come out is delivered, what is left is lost; 3 all the same."""
    run = Run(ONE, Limits(wall_s=60.0), metered=False)
    run.give("one", "two")
    run.answer("ONE")
    run(TimerFired(("wall", "")), 60.0)
    assert run(TimerFired(("overtime", "")), 70.0)[0] == Signal("a", "TERM")
    finish = run(Exited("a", -15), 71.0)[-1]
    assert isinstance(finish, Finish)
    assert (finish.exit_code, finish.losses) == (3, LossReport(lost=1))
    text = "the time limit of 60 s is reached, and 10 s later not everything was done"
    assert finish.error == ("time_limit", text)
    assert of_kind(run.commands, Deliver)


# --- usage ---


def report(run: Run, worker: str = "a", **numbers: Any) -> None:
    run.say(worker, "telemetry", Data(worker, json.dumps({"kind": "usage", **numbers}).encode()))


def test_what_agents_report_is_counted_by_worker_and_model():
    """The model of the program, unless they say another."""
    run = Run(TWO, Limits(), metered=False)
    report(run, prompt_tokens=1_000, completion_tokens=100)
    report(run, prompt_tokens=1_000, completion_tokens=100, cache_read_tokens=500)
    report(run, "b", prompt_tokens=7, completion_tokens=1, model="new")
    run.say("a", "telemetry", Data("a", b'{"kind":"output","content":"usage"}'))
    assert run.session.snapshot().usage == (
        Usage("a", "eliza", "doctor", 2, 2_000, 200, 500, 0, pytest.approx(0.0025)),
        Usage("b", "eliza", "new", 1, 7, 1, 0, 0, None),
    )


def test_what_is_reported_while_the_session_fails_counts_too():
    """It was paid for; and the end has it."""
    run = Run(ONE, Limits(), metered=False)
    run(Interrupted(15))
    run(Interrupted(15))
    report(run, prompt_tokens=3)
    finish = run(Exited("a", -15))[-1]
    assert isinstance(finish, Finish)
    assert [row.prompt_tokens for row in finish.usage] == [3]


# --- how it stands ---


def test_who_waits_for_the_budget_is_said_to():
    """By what shows how things stand, and by what says why they do."""
    run = Run(TWO, Limits(tokens=1_500))
    run.give("hello")
    run.answer("well")
    run.give("again")
    run.ask()
    run.ask("b")
    snapshot = run.session.snapshot()
    assert waits_on(run.session.plan, snapshot, "b") == ("budget",)
    assert {chain.root.name: chain.root.cause for chain in why_stuck(run.session.plan, snapshot, 20.0)} == {
        "a": "silent",
        "b": "budget",
    }
