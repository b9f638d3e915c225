"""Calls of tools with effects: what waits, who decides, and what follows."""

from __future__ import annotations

import hashlib
import json
import random
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of

from fabric.errors import ValueRejected
from fabric.session.approvals import (
    ARGUMENTS_CHARS_MAX,
    OUTCOMES_KEPT,
    PENDING_MAX,
    TIMER,
    Approvals,
    Denied,
    Granted,
    Waits,
    canonical,
    describe,
)
from fabric.session.causes import is_stuck, why_stuck
from fabric.session.events import (
    Answered,
    Approval,
    ApprovalOver,
    AskApproval,
    Command,
    Continue,
    Decided,
    Event,
    Exited,
    Finish,
    Frames,
    Input,
    InputClosed,
    Interrupted,
    Launched,
    Note,
    Send,
    SetTimer,
    Start,
    TimerFired,
)
from fabric.session.outbox import Outbox
from fabric.session.session import Session
from fabric.session.settings import Settings
from fabric.session.snapshot import waits_on
from fabric.session.stall import waited_for
from fabric.wire.codec import decode, encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Eof, Frame, Marker

# --- the machine ------------------------------------------------------------------------------------------------------


class Asking:
    """Approvals, and what they command."""

    def __init__(self, **settings: Any) -> None:
        self.out = Outbox()
        self.approvals = Approvals(Settings(**settings), random.Random(7), self.out)
        self.calls = 0

    def ask(self, worker: str = "w", tool: str = "write", arguments: bytes = b"1", now_s: float = 0.0) -> Any:
        self.calls -= 1
        return self.approvals.asked(self.calls, worker, tool, arguments, now_s)

    def decide(self, id_: str, *, granted: bool = True, always: bool = False, reason: str = "") -> Any:
        return self.approvals.decided(id_, granted=granted, always=always, reason=reason)

    def commands(self) -> list[Command]:
        return [command for command in self.out.take() if not isinstance(command, Note)]

    def notes(self) -> list[Note]:
        return [command for command in self.out.take() if isinstance(command, Note)]

    @property
    def ids(self) -> list[str]:
        return [approval.id for approval in self.approvals.pending]


def test_a_call_waits_and_is_shown_with_all_that_it_is_bound_to():
    """Worker, tool, arguments and a digest of them; an id that nobody can guess; an end."""
    asking = Asking()
    assert asking.ask(arguments=b'{"path":"x"}', now_s=5.0) == Waits()
    ask, timer = asking.commands()
    digest = hashlib.sha256(b'["w","write"]{"path":"x"}').hexdigest()
    approval = Approval("1-ID", "w", "write", '{"path":"x"}', 12, digest, 5.0, 305.0)
    approval = msgspec.structs.replace(approval, id=asking.ids[0])
    assert (ask, timer) == (AskApproval(approval), SetTimer(TIMER, 305.0))
    assert asking.approvals.pending == (approval,)
    assert re.fullmatch("1-[0-9a-f]{6}", approval.id)


def test_a_call_in_doubt_says_so_in_its_question():
    """And who decides sees that."""
    asking = Asking()
    asking.approvals.asked(-1, "w", "write", b"{}", 0.0, in_doubt=True)
    ask, _ = asking.commands()
    assert isinstance(ask, AskApproval)
    assert describe(ask.approval).endswith(
        "worker 'w' asks to call once more, though it may have been run already, write with {}"
    )


def test_a_decision_is_for_one_call_and_counts_once():
    """A second answer is an error, and so is an id that never was."""
    asking = Asking()
    asking.ask()
    asking.ask()
    first, second = asking.ids
    assert asking.decide(first) == [Granted(-1)]
    assert asking.decide(second, granted=False, reason="no") == [
        Denied(-2, "write has effects and was not approved: it was denied: no")
    ]
    assert asking.decide(first) == (f"approval {first} is already answered: it was granted", "already_answered")
    assert asking.decide(second)[1] == "already_answered"
    assert asking.decide("3-000000") == (
        "there is no approval 3-000000; fabric approve lists what waits",
        "unknown_approval",
    )
    assert [command for command in asking.commands() if isinstance(command, ApprovalOver)] == [
        ApprovalOver(first, "granted"),
        ApprovalOver(second, "denied"),
    ]
    assert asking.approvals.denied == 1


@pytest.mark.parametrize("granted", [True, False])
def test_always_decides_what_waits_and_what_comes_of_one_tool_and_worker(granted: bool):
    """Not for another tool, or another worker."""
    asking = Asking()
    asking.ask()
    asking.ask()
    asking.ask(tool="exec")
    asking.ask(worker="v")
    verdicts = asking.decide(asking.ids[0], granted=granted, always=True)
    assert [(type(verdict), verdict.call) for verdict in verdicts] == [
        (Granted if granted else Denied, -1),
        (Granted if granted else Denied, -2),
    ]
    assert isinstance(asking.ask(), Granted if granted else Denied)
    assert [(approval.worker, approval.tool) for approval in asking.approvals.pending] == [
        ("w", "exec"),
        ("v", "write"),
    ]


def test_what_nobody_decides_in_time_is_denied():
    """What came later goes on waiting."""
    asking = Asking(approval_timeout_s=10.0)
    asking.ask(now_s=0.0)
    asking.ask(now_s=4.0)
    first, second = asking.ids
    asking.commands()
    assert asking.approvals.timer(10.0) == [
        Denied(-1, "write has effects and was not approved: nobody decided within 10 s")
    ]
    assert asking.commands() == [ApprovalOver(first, "expired"), SetTimer(TIMER, 14.0)]
    assert asking.decide(first) == (f"approval {first} is already answered: nobody decided in time", "already_answered")
    assert asking.ids == [second]


def test_what_nobody_waits_for_is_withdrawn():
    """Its answer comes too late; it was not denied."""
    asking = Asking()
    asking.ask()
    (id_,) = asking.ids
    asking.approvals.withdrawn([-1, -9])
    assert asking.decide(id_)[1] == "already_answered"
    assert (asking.ids, asking.approvals.denied) == ([], 0)


def test_with_nobody_to_ask_calls_are_denied_at_once():
    """Said once; the others are counted."""
    asking = Asking(approval="refuse")
    for _ in range(2):
        denied = asking.ask()
    assert denied == Denied(
        -2,
        "write has effects and was not approved: there is nobody to approve it; who runs this can allow it with"
        " --auto-approve",
    )
    assert [note.level for note in asking.notes()] == ["warning", "debug"]
    assert asking.approvals.denied == 2


def test_few_calls_of_one_worker_wait():
    """Further ones are refused, which is no denial; another worker's wait."""
    asking = Asking()
    for _ in range(PENDING_MAX):
        assert asking.ask() == Waits()
    refused = asking.ask()
    assert isinstance(refused, Denied)
    assert refused.why == f"{PENDING_MAX} of your calls wait for approval: call write again when one is decided"
    assert asking.ask(worker="v") == Waits()
    assert asking.approvals.denied == 0


def test_ids_are_never_used_again_and_decisions_are_remembered_for_long():
    """Not for ever."""
    asking = Asking()
    seen = []
    for _ in range(OUTCOMES_KEPT + 1):
        asking.ask()
        seen += asking.ids
        asking.decide(asking.ids[0])
    assert len(set(seen)) == len(seen)
    assert asking.decide(seen[0])[1] == "unknown_approval"
    assert asking.decide(seen[1])[1] == "already_answered"


def test_ids_differ_from_those_of_another_session():
    """A late decision must not meet a call of the next one."""
    ids = set()
    for seed in range(100):
        approvals = Approvals(Settings(), random.Random(seed), Outbox())
        approvals.asked(-1, "w", "write", b"1", 0.0)
        ids.add(approvals.pending[0].id)
    assert len(ids) == 100


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("w", "write", b"1"), ("v", "write", b"1")),
        (("w", "write", b"1"), ("w", "edit", b"1")),
        (("w", "write", b"1"), ("w", "write", b"2")),
    ],
)
def test_the_digest_is_of_worker_tool_and_arguments(one: Any, other: Any):
    """And of nothing else."""
    digests = []
    for worker, tool, arguments in (one, one, other):
        asking = Asking()
        asking.ask(worker, tool, arguments)
        digests.append(asking.approvals.pending[0].digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ('{"a":"äöü €"}', '{"a":"äöü €"}'),
        ('{"a":"\u202etxt.exe"}', '{"a":"\\u202etxt.exe"}'),
        ('"\u200b\u00a0\ue000"', '"\\u200b\\u00a0\\ue000"'),
        ('"\x7f\x9b31m"', '"\\u007f\\u009b31m"'),
        ('"\U000e0041"', '"\\udb40\\udc41"'),
    ],
)
def test_what_cannot_be_seen_in_arguments_is_escaped(arguments: str, shown: str):
    """Also what turns text around, or moves the cursor."""
    asking = Asking()
    asking.ask(arguments=arguments.encode())
    assert asking.approvals.pending[0].arguments == shown


def test_of_long_arguments_both_ends_are_shown():
    """And how much is between them."""
    asking = Asking()
    asking.ask(arguments=b'"begin' + b"x" * 100_000 + b'end"')
    (approval,) = asking.approvals.pending
    assert approval.arguments.startswith('"beginxxx')
    assert approval.arguments.endswith('xend"')
    assert "[... 98010 characters left out ...]" in approval.arguments
    assert len(approval.arguments) < ARGUMENTS_CHARS_MAX + 50
    assert approval.size_bytes == 100_010


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.booleans())
def test_one_text_stands_for_arguments(value: Any, spaced: bool):
    """However they were written; it means the same."""
    indent = 2 if spaced else None
    found = canonical(json.dumps(value, indent=indent, ensure_ascii=spaced).encode())
    assert json.loads(found) == value
    assert canonical(found) == found
    assert found == canonical(json.dumps(value, sort_keys=True).encode())


def test_of_equal_keys_the_last_counts_and_the_first_is_not_run():
    """What is shown is what the tool gets."""
    assert canonical(b' {"b": 1, "path": "shown", "path": "run", "a": 2} ') == b'{"a":2,"b":1,"path":"run"}'
    with pytest.raises(ValueRejected):
        canonical(b'{"a": NaN}')


# --- in a session -----------------------------------------------------------------------------------------------------

TEXT = """
type Text = { path: string, text: string }
let write : Text -> unit = tool { builtin: "fs.write" }
let look : { path: string } -> string = tool { builtin: "fs.read" }
let w : !int -> !int = worker { command: ["./w"], tools: [write, look] }
let main : !int -> !int = plumb(i, o) { i ; w ; o }
"""
ARGUMENTS = {"path": "x", "text": "y"}


class Run:
    """A session of which every worker runs, and ``w`` has a message."""

    def __init__(self, **settings: Any) -> None:
        self.session = Session(plan_of(TEXT), Settings(**settings), random.Random(1))
        self.notes: list[Note] = []
        self(Start())
        for worker in self.session.plan.workers:
            self.start(worker.name)
        self(Input("i", [(1, b"1")]))

    def __call__(self, event: Event, now_s: float = 0.0) -> list[Command]:
        commands = self.session.handle(event, now_s)
        while self.session.has_work:
            commands += self.session.handle(Continue(), now_s)
        self.notes += [command for command in commands if isinstance(command, Note)]
        return [command for command in commands if not isinstance(command, Note)]

    def start(self, worker: str, incarnation: int = 1) -> None:
        self(Launched(worker, 7))
        self.say(worker, "ctrl_out", Data(worker, READY))
        self.say(worker, "output", Marker(worker, f"probe/{worker}/{incarnation}"))

    def say(self, worker: str, port: str, *frames: Frame, now_s: float = 0.0) -> list[Command]:
        return self(Frames(worker, port, [encode(frame) for frame in frames]), now_s)

    def call(self, name: str = "write", arguments: Any = ARGUMENTS, id_: int = 1, now_s: float = 0.0) -> list[Command]:
        request = {"id": id_, "name": name, "arguments": arguments}
        return self.say("w", "tool_req", Data("w", json.dumps(request).encode()), now_s=now_s)

    def decide(self, id_: str, *, granted: bool, always: bool = False, reason: str = "") -> list[Command]:
        return self(Decided(id_, granted, 9, always, reason))

    @property
    def ids(self) -> list[str]:
        return [approval.id for approval in self.session.snapshot().approvals]


def sent(commands: list[Command], worker: str, port: str) -> list[Any]:
    """Return the messages that a worker is sent."""
    frames = [
        decode(command.raw)
        for command in commands
        if isinstance(command, Send) and (command.worker, command.port) == (worker, port)
    ]
    return [json.loads(frame.payload) for frame in frames if isinstance(frame, Data)]


def test_a_call_with_effects_reaches_its_tool_when_it_is_granted():
    """And not before."""
    run = Run()
    commands = run.call()
    assert sent(commands, "write", "input") == []
    assert [type(command) for command in commands] == [AskApproval, SetTimer]
    (id_,) = run.ids
    commands = run.decide(id_, granted=True)
    assert commands[0] == ApprovalOver(id_, "granted")
    assert Answered(9) in commands
    assert sent(commands, "write", "input") == [ARGUMENTS]
    assert [note.event for note in run.notes if note.event.startswith("tool.")] == [
        "tool.called",
        "tool.approval_requested",
        "tool.approved",
    ]


def test_a_denied_call_is_an_error_for_its_caller():
    """It reaches nothing, and nothing is lost."""
    run = Run()
    run.call()
    commands = run.decide(run.ids[0], granted=False, reason="not that file")
    error = "write has effects and was not approved: it was denied: not that file"
    assert sent(commands, "w", "tool_resp") == [{"id": 1, "error": error}]
    assert sent(commands, "write", "input") == []
    assert run.session.snapshot().lost == 0


def test_a_second_decision_is_an_error():
    """It changes nothing."""
    run = Run()
    run.call()
    (id_,) = run.ids
    run.decide(id_, granted=False)
    error = f"approval {id_} is already answered: it was denied"
    assert run.decide(id_, granted=True) == [Answered(9, error, code="already_answered")]


def test_what_is_granted_is_what_is_run():
    """Of keys that are given twice, one; the tool does not get to choose."""
    run = Run()
    raw = b'{"id":1,"name":"write","arguments":{"path":"shown","text":"y",  "path":"run"}}'
    run.say("w", "tool_req", Data("w", raw))
    (approval,) = run.session.snapshot().approvals
    assert approval.arguments == '{"path":"run","text":"y"}'
    (frame,) = sent(run.decide(approval.id, granted=True), "write", "input")
    assert frame == json.loads(approval.arguments)


def test_a_call_without_effects_and_an_automatic_approval_ask_nobody():
    """The call goes on at once."""
    assert sent(Run().call("look", {"path": "x"}), "look", "input") == [{"path": "x"}]
    run = Run(approval="grant")
    assert sent(run.call(), "write", "input") == [ARGUMENTS]
    assert run.ids == []


def test_a_worker_that_dies_or_ends_waits_for_nothing_any_more():
    """Its successor gets the message once more, and asks anew."""
    run = Run()
    run.call()
    (id_,) = run.ids
    commands = run(Exited("w", -9))
    assert ApprovalOver(id_, "withdrawn") in commands
    run(TimerFired(("restart", "w")), 0.5)
    run.start("w", 2)
    run.call(now_s=1.0)
    (again,) = run.ids
    assert again != id_
    commands = run.say("w", "output", Eof("w"))
    assert ApprovalOver(again, "withdrawn") in commands


def test_time_decides_when_nobody_does():
    """The caller is told."""
    run = Run(approval_timeout_s=5.0)
    run.call(now_s=1.0)
    commands = run(TimerFired(TIMER), 6.0)
    error = "write has effects and was not approved: nobody decided within 5 s"
    assert sent(commands, "w", "tool_resp") == [{"id": 1, "error": error}]


def test_a_session_that_is_asked_to_end_waits_for_decisions_no_longer_than_its_grace():
    """Silence is not its worker's fault; but who ends a session will not wait for minutes."""
    run = Run(grace_s=1.0)
    run.call()
    (id_,) = run.ids
    assert SetTimer(TIMER, 3.0) in run(Interrupted(2), 2.0)
    assert [type(command) for command in run(TimerFired(("grace", "w")), 2.5)] == [SetTimer]
    commands = run(TimerFired(TIMER), 3.0)
    assert ApprovalOver(id_, "expired") in commands
    error = "write has effects and was not approved: nobody decided within 1 s"
    assert sent(commands, "w", "tool_resp") == [{"id": 1, "error": error}]


def test_who_insists_on_the_end_waits_for_no_decision():
    """One that comes afterwards meets a session that is ending."""
    run = Run(grace_s=1.0)
    run.call()
    (id_,) = run.ids
    run(Interrupted(2), 0.0)
    assert ApprovalOver(id_, "withdrawn") in run(Interrupted(2), 0.5)
    assert run.decide(id_, granted=True) == [Answered(9, "the session is ending")]


@pytest.mark.parametrize(("refusal_ends", "exit_code"), [(True, 6), (False, 0)])
def test_a_run_in_which_a_call_was_not_approved_ends_with_its_own_code(refusal_ends: bool, exit_code: int):
    """If all else went well, and only where one run is one command."""
    run = Run(refusal_ends=refusal_ends)
    run.call()
    run.decide(run.ids[0], granted=False)
    run.say("w", "output", Data("w", b"1"), Marker("w", "ack/w/1/1"))
    run(InputClosed())
    commands: list[Command] = []
    for worker in ("w", "write", "look"):
        run.say(worker, "output", Eof(worker))
        for port in ("ctrl_out", "telemetry", "tool_req") if worker == "w" else ("ctrl_out",):
            run.say(worker, port, Eof(worker))
        commands += run(Exited(worker, 0))
    assert [command.exit_code for command in commands if isinstance(command, Finish)] == [exit_code]


def test_who_looks_sees_what_a_worker_waits_for():
    """In the list, in the chain, and in the line after ten seconds; with what to do."""
    run = Run()
    run.call()
    run.call(id_=2)
    first, second = run.ids
    snapshot, plan = run.session.snapshot(), run.session.plan
    assert waits_on(plan, snapshot, "w") == (f"approval {first}", f"approval {second}")
    (chain,) = why_stuck(plan, snapshot, 12.0)
    assert (chain.root.cause, chain.root.name, chain.root.for_s) == ("approval", "w", 12.0)
    assert is_stuck(chain)
    said = f"worker 'w' waits for approval of write, and 1 more; fabric approve {first}"
    assert waited_for(plan, snapshot, 12.0) == said
