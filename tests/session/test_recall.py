"""Durable runs: a call is in the log before it is run, its response before it goes back, and neither happens twice."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
from plans import plan_of

from fabric.plan.servers import listed
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
    Record,
    Send,
    Served,
    SetTimer,
    Start,
    TimerFired,
)
from fabric.session.history import Called, History, Intended, Paid
from fabric.session.outbox import Outbox
from fabric.session.recall import Recall
from fabric.session.session import Session
from fabric.session.settings import Settings
from fabric.wire.calls import RECALL, Request
from fabric.wire.codec import decode, encode
from fabric.wire.control import MEMORY, ready
from fabric.wire.frame import Data, Frame, Marker, Provenance

TEXT = """
let f : !int -> !int = python { call: "m:f" }
let t : int -> int = tool { process: f }
let again : int -> int = tool { process: f, idempotent: true }
let a : !int -> !int = agent { provider: "eliza", tools: [t, again], mcp: [{ name: "bank", command: "bank" }] }
let main : !int -> !int = plumb(i, o) { i ; a ; o }
"""
USAGE = {"kind": "usage", "prompt_tokens": 7, "completion_tokens": 1, "model": "m"}
GONE = "bank.pay is in doubt (it may have been run already) and was not approved: "


class Run:
    """A durable session of which every worker runs, and agent ``a`` has a message.

    Args:
        log: what an earlier run has recorded.
    """

    def __init__(self, log: list[History] | None = None, **settings: Any) -> None:
        plan = listed(plan_of(TEXT), {"bank": ("pay", "look")}, {"bank": frozenset({"look"})})
        settings = {"approval": "grant", "in_doubt": "refuse", "tool_timeout_s": 10.0, "backoff_s": 0.0} | settings
        self.session = Session(plan, Settings(**settings), random.Random(1), durable="s1")
        self.log = list(log or [])
        self.notes: list[Note] = []
        self.session.relive(self.log)
        self(Start())
        commands = [command for worker in plan.workers for command in self.start(worker.name)]
        self.message = self.given(commands if log else self(Input("i", [(1, b"1")])))

    @property
    def calls(self) -> list[History]:
        """What is recorded of calls."""
        return [entry for entry in self.log if isinstance(entry, Intended | Called)]

    def __call__(self, event: Event, now_s: float = 0.0) -> list[Command]:
        commands = self.session.handle(event, now_s)
        while self.session.has_work:
            commands += self.session.handle(Continue(), now_s)
        self.notes += [command for command in commands if isinstance(command, Note)]
        self.log += [entry for command in commands if isinstance(command, Record) for entry in command.entries]
        return [command for command in commands if not isinstance(command, Note | SetTimer)]

    def start(self, worker: str, incarnation: int = 1) -> list[Command]:
        self(Launched(worker, 7))
        self.say(worker, "ctrl_out", Data(worker, ready(MEMORY)))
        return self.say(worker, "output", Marker(worker, f"probe/{worker}/{incarnation}"))

    def again(self, worker: str = "a") -> None:
        """Its process is killed, and another one is there."""
        self(Exited(worker, -9))
        self(TimerFired(("restart", worker)))
        assert self.given(self.start(worker, 2)) == self.message

    def given(self, commands: list[Command]) -> bytes:
        """Return the span of the message that ``a`` is given."""
        found = [decode(c.raw) for c in commands if isinstance(c, Send) and (c.worker, c.port) == ("a", "input")]
        (span,) = (f.provenance.span_id for f in found if isinstance(f, Data) and f.provenance is not None)
        return span

    def say(self, worker: str, port: str, *frames: Frame) -> list[Command]:
        return self(Frames(worker, port, [encode(frame) for frame in frames]))

    def call(self, name: str = "bank.pay", arguments: Any = 1, id_: str = "x", **more: Any) -> list[Command]:
        request = bytes(raw({"id": id_, "name": name, "arguments": arguments, **more}))
        return self.say("a", "tool_req", Data("a", request, Provenance(b"t" * 16, b"r" * 8, 1, self.message)))

    def noted(self, event: str) -> list[dict[str, Any]]:
        return [note.fields for note in self.notes if note.event == event]


def heard(commands: list[Command]) -> list[Any]:
    """Return the responses that the caller is sent."""
    frames = [decode(command.raw) for command in commands if isinstance(command, Send) and command.port == "tool_resp"]
    return [json.loads(frame.payload) for frame in frames if isinstance(frame, Data)]


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value, separators=(",", ":")).encode())


def answer(n: int, says: str = "pay", digest: str = "d") -> dict[str, Any]:
    return {"n": n, "digest": digest, "usage": {"kind": "usage", "prompt_tokens": n}, "reply": says}


def kinds(commands: list[Command]) -> list[type]:
    return [type(command) for command in commands]


# What is recorded


def test_a_call_is_recorded_before_it_is_run_and_its_response_before_it_goes_back():
    """With the message for which it is made, and what the model said."""
    run = Run()
    commands = run.call(answers=[answer(1)])
    message = run.message.hex()
    intent = Intended("a", message, raw("x"), "bank.pay", raw(1), raw([answer(1)]))
    assert commands[0] == Record((intent,))
    assert [type(command) for command in commands[1:]] == [CallServer]
    came = Called("a", message, raw("x"), raw({"id": "x", "content": "done"}))
    first, second = run(Served(-1, b'"done"'))
    assert first == Record((came,))
    assert heard([second]) == [{"id": "x", "content": "done"}]


def test_a_call_of_a_tool_in_the_graph_is_recorded_as_one():
    """What comes to its worker has a span that follows from the call, so that a function can know it again."""
    first, second = Run(), Run()
    commands = first.call("t", 7)
    assert kinds(commands)[:1] == [Record]
    (frame,) = (decode(c.raw) for c in commands if isinstance(c, Send) and c.worker == "t.f" and b"ack/" not in c.raw)
    (other,) = (
        decode(c.raw) for c in second.call("t", 7) if isinstance(c, Send) and c.worker == "t.f" and b"ack/" not in c.raw
    )
    assert isinstance(frame, Data)
    assert isinstance(other, Data)
    assert frame.provenance is not None
    assert other.provenance is not None
    assert frame.provenance.span_id == other.provenance.span_id
    commands = first.say("t.f", "output", Data("t.f", b"8"), Marker("t.f", "ack/t.f/1/1"))
    assert [type(entry) for entry in first.calls] == [Intended, Called]
    assert heard(commands) == [{"id": "x", "content": 8}]


def test_a_call_that_waits_for_approval_is_recorded_as_such():
    """And once more when it is about to be run; one that is denied, with the response."""
    run = Run(approval="ask")
    assert kinds(run.call(answers=[answer(1)])) == [AskApproval, Record]
    (approval,) = run.session.snapshot().approvals
    commands = run(Decided(approval.id, True, 9))
    assert [type(c) for c in commands if isinstance(c, Record | CallServer)] == [Record, CallServer]
    waits, runs = run.calls
    assert isinstance(waits, Intended)
    assert runs == msgspec.structs.replace(waits, waits=False, answer=msgspec.Raw(b"null"))
    run.call(id_="y")
    (approval,) = run.session.snapshot().approvals
    run(Decided(approval.id, False, 9))
    assert [type(entry) for entry in run.calls[2:]] == [Intended, Called]


def test_a_call_that_cannot_be_made_is_recorded_with_why():
    """At once, so that it is never in doubt."""
    run = Run()
    commands = run.call("bank.steal")
    assert kinds(commands) == [Record, Send]
    assert [type(entry) for entry in run.calls] == [Intended, Called]


def test_answers_that_cannot_be_read_are_noted_and_left_out():
    """The call is made all the same."""
    run = Run()
    run.call(answers=[{"n": 0}])
    assert run.noted("recall.misread")
    assert isinstance(run.calls[0], Intended)
    assert run.calls[0].answer == msgspec.Raw(b"null")


def test_a_session_that_is_not_durable_records_nothing():
    """And knows of no recall."""
    plan = listed(plan_of(TEXT), {"bank": ("pay",)})
    assert Session(plan, Settings(), random.Random(1)).recall is None


# A worker that is gone


def test_a_response_that_is_recorded_is_given_to_the_next_process():
    """The tool is not run again."""
    run = Run()
    run.call()
    run(Served(-1, b'"done"'))
    run.again()
    assert heard(run.call()) == [{"id": "x", "content": "done"}]
    assert [type(entry) for entry in run.calls] == [Intended, Called]
    assert run.noted("tool.recalled") == [{"worker": "a", "tool": "bank.pay"}]


def test_a_call_that_is_under_way_goes_on_for_the_next_process():
    """It is not called off; the next process hears what comes of it, whether it asks before or behind that."""
    run = Run()
    run.call()
    assert not any(isinstance(command, CancelCall) for command in run(Exited("a", -9)))
    run(TimerFired(("restart", "a")))
    run.start("a", 2)
    assert run.call(id_="y") == []
    assert heard(run(Served(-1, b'"done"'))) == [{"id": "y", "content": "done"}]
    run = Run()
    run.call()
    run(Exited("a", -9))
    assert kinds(run(Served(-1, b'"done"'))) == [Record]
    run(TimerFired(("restart", "a")))
    run.start("a", 2)
    assert heard(run.call(id_="y")) == [{"id": "y", "content": "done"}]


def test_a_worker_that_numbers_its_calls_anew_is_understood():
    """Two alike are two; a third is new."""
    run = Run()
    for id_, number in (("1", -1), ("2", -2)):
        run.call(id_=id_)
        run(Served(number, json.dumps(id_).encode()))
    run.again()
    assert heard(run.call(id_="7")) == [{"id": "7", "content": "1"}]
    assert heard(run.call(id_="8")) == [{"id": "8", "content": "2"}]
    assert kinds(run.call(id_="9")) == [Record, CallServer]


def test_another_call_is_another_call():
    """Of another tool, or with other arguments; how keys are ordered makes no difference."""
    run = Run()
    run.call(arguments={"a": 1, "b": 2})
    run(Served(-1, b'"done"'))
    run.again()
    assert heard(run.call(arguments={"b": 2, "a": 1})) == [{"id": "x", "content": "done"}]
    assert kinds(run.call(arguments={"a": 2, "b": 2})) == [Record, CallServer]


def test_the_next_process_is_told_what_the_model_has_answered():
    """Also what was told with a call that nothing was recorded of yet; for another message nothing is known."""
    run = Run(approval="ask")
    run.call(answers=[answer(1), answer(2)])
    run.again()
    assert heard(run.call(RECALL, None, "r")) == [{"id": "r", "content": [answer(1), answer(2)]}]
    run.message = b"other..."
    run.session.recall.over("a", "0" * 16)
    assert run.session.recall.of("a", "0" * 16) == ()


def test_what_the_model_was_asked_once_more_replaces_what_followed():
    """From the answer on that is told again."""
    run = Run()
    run.call(answers=[answer(1), answer(2)])
    run.again()
    run.call(id_="y", arguments=2, answers=[answer(2, "look")])
    known = heard(run.call(RECALL, None, "r"))[0]["content"]
    assert known == [answer(1), answer(2, "look")]


# A run that was killed


def resumed(before: Run, **settings: Any) -> Run:
    return Run(before.log, **settings)


def test_a_run_that_is_brought_back_knows_the_answers_and_the_responses():
    """The model is not asked again, the tool not run again."""
    before = Run()
    before.call(answers=[answer(1)])
    before(Served(-1, b'"done"'))
    run = resumed(before)
    assert run.message == before.message
    assert heard(run.call(RECALL, None, "r")) == [{"id": "r", "content": [answer(1)]}]
    assert heard(run.call()) == [{"id": "x", "content": "done"}]
    assert run.calls == before.calls


def test_a_call_in_doubt_is_denied_where_nobody_can_be_asked():
    """The caller is told; that is recorded, and no later run asks again."""
    before = Run()
    before.call()
    run = resumed(before)
    assert run.session.recall.in_doubt[0].intent.tool == "bank.pay"
    commands = run.call()
    assert kinds(commands) == [Record, Send]
    error = GONE + "there is nobody to approve it; who runs this can allow it with --approve-in-doubt"
    assert heard(commands) == [{"id": "x", "error": error}]
    assert run.noted("tool.in_doubt") == [{"worker": "a", "tool": "bank.pay", "repeatable": False}]
    assert heard(resumed(run).call()) == [{"id": "x", "error": error}]


def test_a_call_in_doubt_is_asked_for_even_if_all_calls_are_approved_beforehand():
    """The question says what it is about; when it is granted, the tool is run with the key that it had."""
    before = Run()
    (first,) = (command for command in before.call() if isinstance(command, CallServer))
    run = resumed(before, in_doubt="ask")
    (ask,) = run.call()
    assert isinstance(ask, AskApproval)
    assert ask.approval.in_doubt
    assert run(Decided(ask.approval.id, True, 9))[-2] == first
    assert first.key
    assert run.calls == before.calls  # the intent stands
    assert heard(run(Served(-1, b'"done"'))) == [{"id": "x", "content": "done"}]


def test_who_says_so_gets_calls_in_doubt_run_again():
    """With the setting for just that."""
    before = Run()
    before.call()
    assert kinds(resumed(before, in_doubt="grant").call()) == [CallServer]


def test_a_call_that_may_be_run_twice_is_run_again():
    """A tool of the program that is declared so, and one of a server that says so; with the key that it had."""
    before = Run()
    (first,) = (command for command in before.call("bank.look") if isinstance(command, CallServer))
    assert resumed(before).call("bank.look") == [first]
    before = Run()
    before.call("again", 7)
    assert [c.worker for c in resumed(before).call("again", 7) if isinstance(c, Send)][:1] == ["again.f"]
    before = Run()
    before.call("t", 7)
    assert "in doubt" in heard(resumed(before).call("t", 7))[0]["error"]


def test_a_call_that_may_be_run_twice_still_needs_its_approval():
    """It may not have been approved, for all that anybody knows."""
    before = Run()
    before.call("bank.look")
    (ask,) = resumed(before, approval="ask").call("bank.look")
    assert isinstance(ask, AskApproval)
    assert not ask.approval.in_doubt


def test_a_call_that_waited_for_approval_is_not_in_doubt():
    """It was not run. It waits again."""
    before = Run(approval="ask")
    before.call(answers=[answer(1)])
    run = resumed(before, approval="ask")
    assert run.session.recall.in_doubt == ()
    (ask,) = run.call()
    assert isinstance(ask, AskApproval)
    assert not ask.approval.in_doubt
    assert run.calls == before.calls
    commands = run(Decided(ask.approval.id, True, 9))
    assert [type(command) for command in commands if isinstance(command, Record | CallServer)] == [Record, CallServer]
    assert kinds(resumed(run, approval="ask", in_doubt="refuse").call()) == [Record, Send]


def test_an_earlier_always_does_not_hold_for_a_call_in_doubt():
    """It was not about doing it twice; a denial is."""
    before = Run()
    before.call()
    run = resumed(before, approval="ask", in_doubt="ask")
    run.call("bank.pay", 5, "z")
    (other,) = run.session.snapshot().approvals
    run(Decided(other.id, True, 9, always=True))
    (ask,) = run.call()
    assert isinstance(ask, AskApproval)


def test_every_prefix_of_a_run_is_finished_with_each_effect_once():
    """Killed behind any number of durable entries: what was run before and what is run behind is together once."""
    whole = Run()
    for number, id_ in enumerate(("x", "y", "z"), 1):
        whole.call("bank.look" if id_ == "z" else "bank.pay", number, id_, answers=[answer(number)])
        whole(Served(-number, id_.encode().join([b'"', b'"'])))
    assert len(whole.calls) == 6
    for length in range(1, len(whole.log) + 1):
        run = Run(whole.log[:length], in_doubt="refuse")
        known = heard(run.call(RECALL, None, "r"))[0]["content"]
        intents = [entry for entry in whole.log[:length] if isinstance(entry, Intended)]
        assert known == [answer(number) for number in range(1, len(intents) + 1)]
        paid = [entry.call for entry in intents if entry.tool == "bank.pay"]
        for number, id_ in enumerate(("x", "y", "z"), 1):
            told = [answer(number)] if number > len(known) else []
            commands = run.call("bank.look" if id_ == "z" else "bank.pay", number, id_, answers=told)
            for call in (command for command in commands if isinstance(command, CallServer)):
                paid += [raw(id_)] * (call.tool == "pay")
                run(Served(call.call, b'"' + id_.encode() + b'"'))
        assert sorted(map(bytes, paid)) == [b'"x"', b'"y"'], length
        assert len(run.session.recall.of("a", run.message.hex())) == 3


# What was paid


def test_what_was_paid_for_is_an_entry_once_even_if_telemetry_did_not_come_in_time():
    """Of each answer that is known. What was told is not told again, and two alike are two."""
    for told in range(3):
        before = Run()
        usage = raw(USAGE)
        frame = Data("a", bytes(usage), Provenance(b"t" * 16, b"u" * 8, 1, before.message))
        for _ in range(told):
            before.say("a", "telemetry", frame)
        before.call(answers=[{**answer(1), "usage": USAGE}, {**answer(2), "usage": USAGE}])
        run = resumed(before)
        (row,) = run.session.snapshot().usage
        assert (row.calls, row.prompt_tokens) == (2, 14)
        assert [entry for entry in run.log if isinstance(entry, Paid)] == [Paid("a", usage, run.message.hex())] * 2
        assert resumed(run).session.snapshot().usage == (row,)


def test_what_was_recalled_is_not_counted_again():
    """The agent says so."""
    run = Run()
    run.say("a", "telemetry", Data("a", bytes(raw({**USAGE, "recalled": True}))))
    assert run.session.snapshot().usage == ()


def test_a_turn_that_is_recorded_needs_no_record_of_its_parts():
    """Nobody will ask for them."""
    run = Run()
    run.call(answers=[answer(1)])
    run(Served(-1, b'"done"'))
    run.say("a", "output", Data("a", b"7"), Marker("a", "ack/a/1/1"))
    recall = run.session.recall
    assert recall is not None
    assert (recall.untold, recall.in_doubt, recall.of("a", run.message.hex())) == ((), (), ())
    late = Data("a", bytes(raw(USAGE)), Provenance(b"t" * 16, b"u" * 8, 1, run.message))
    run.say("a", "telemetry", late)
    session = Session(run.session.plan, Settings(), random.Random(1), durable="s1")
    session.relive(run.log)
    again = session.recall
    assert again is not None
    assert (type(run.log[-1]), recall.under_way, again.under_way) == (Paid, 0, 0)


def test_what_a_worker_calls_and_does_not_wait_for_is_recorded_as_far_as_anybody_may_ask():
    """Its message is done: the result is of no use any more."""
    run = Run()
    run.call()
    run.say("a", "output", Data("a", b"7"), Marker("a", "ack/a/1/1"))
    assert heard(run(Served(-1, b'"done"'))) == [{"id": "x", "content": "done"}]
    assert [type(entry) for entry in run.calls] == [Intended]


# Keys


def key(session: str = "s", call: str = '"x"', tool: str = "bank.pay", arguments: str = '{"to":"ann","sum":1}') -> str:
    recall = Recall(session, {"a": "a"}, lambda entry: None, Outbox())
    return recall.planned("a", "00" * 8, Request(call.encode(), tool, arguments.encode())).key


def test_the_key_of_a_call_is_of_all_that_it_is():
    """Whoever knows it again gives the old result: so another tool, argument or session has another one."""
    others = [key("t"), key(call='"y"'), key(tool="bank.look"), key(arguments='{"to":"bob","sum":1}')]
    assert len({key(), *others}) == 5
    assert key(arguments='{ "sum": 1, "to": "ann" }') == key()


def test_a_call_that_a_fork_inherits_is_the_ancestors_with_its_key():
    """It may have been run already; what the fork calls itself has a key of its own."""
    run = Run()
    run.call()
    (intent,) = (entry for entry in run.log if isinstance(entry, Intended))
    keys = []
    for session in ("s1", "fork"):
        recall = Recall(session, {"a": "a"}, lambda entry: None, Outbox())
        recall.relived(intent, "s1")
        (call,) = recall.in_doubt
        keys.append(call.key)
    assert keys[0] == keys[1]
