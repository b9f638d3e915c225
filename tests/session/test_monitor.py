"""The monitor of a session wire: what is said in, what becomes of it out."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import module_of, plan_of

from fabric.lang.typed import Way, Wire
from fabric.plan.plan import Plan
from fabric.session.events import (
    Command,
    Deliver,
    Event,
    Exited,
    Finish,
    Frames,
    Input,
    InputClosed,
    LossReport,
    Note,
    Refuse,
    Send,
    Settled,
    Start,
)
from fabric.session.monitor import Monitor, Passed, Swallowed, Violation
from fabric.session.session import Session, Settings
from fabric.session.snapshot import waits_on
from fabric.session.stall import waited_for
from fabric.wire.codec import decode, encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Eof, Marker
from fabric.wire.payload import encode_json

SHELF = (
    "protocol P = { fetch: send string . recv json . loop, store: send (string, json) . recv bool . loop, quit: end }\n"
)
MAIN = "let main : !int -> !int = id\n"


def monitor_of(text: str, tags: tuple[Way, ...] = (), swallows: tuple[Way, ...] = ()) -> Monitor:
    """Return the monitor of protocol P between 'asker' and 'shelf'."""
    return Monitor(Wire(module_of(text + "\n" + MAIN).protocols["P"], tags, swallows, "asker", "shelf"))


def said(monitor: Monitor, *messages: tuple[Way, bytes]) -> list[object]:
    return [monitor.take(way, payload) for way, payload in messages]


def test_what_the_protocol_has_next_is_passed_on_as_it_is():
    """The bytes are the same ones."""
    monitor = monitor_of("protocol P = send string . recv int . end")
    question, answer = b'"tea"', b"3"
    passed = said(monitor, ("there", question), ("back", answer))
    assert passed == [Passed(question), Passed(answer)]
    assert (monitor.step, monitor.unfinished) == (2, False)


def test_a_number_is_normalised_as_everywhere():
    """``3.0`` is an int, and goes on as ``3``."""
    assert said(monitor_of("protocol P = send int . end"), ("there", b"3.0")) == [Passed(b"3")]


def test_a_choice_is_made_by_what_is_said():
    """By the first message of a branch, or by its label."""
    monitor = monitor_of(SHELF)
    passed = said(
        monitor,
        ("there", b'"tea"'),
        ("back", b'{"grams":3}'),
        ("there", b'["tea",null]'),
        ("back", b"true"),
        ("there", b'{"label":"quit"}'),
    )
    assert all(isinstance(verdict, Passed) for verdict in passed)
    assert monitor.step == 5
    assert not monitor.unfinished


def test_an_offered_choice_is_made_by_the_other_side():
    """``offer``: the declaring side hears which."""
    monitor = monitor_of("protocol P = offer { more: recv int . loop, enough: end }")
    assert isinstance(monitor.take("there", b"1"), Violation)
    assert said(monitor, ("back", b"1"), ("back", b'{"label":"enough"}')) == [
        Passed(b"1"),
        Passed(b'{"label":"enough"}'),
    ]


@pytest.mark.parametrize(
    ("text", "before", "message", "violation"),
    [
        (
            "protocol P = send string . recv int . end",
            [],
            ("back", b"1"),
            "protocol P, step 0: expected string from 'asker' (send), got 1 from 'shelf'",
        ),
        (
            "protocol P = send string . recv int . end",
            [("there", b'"tea"')],
            ("there", b'"milk"'),
            "protocol P, step 1: expected int from 'shelf' (recv), got \"milk\" from 'asker'",
        ),
        (
            "protocol P = send string . recv { n: int } . loop",
            [("there", b'"tea"'), ("back", b'{"n":1}'), ("there", b'"tea"')],
            ("back", b'{"n":"one"}'),
            "protocol P, step 3: expected { n: int } from 'shelf' (recv), got {\"n\":\"one\"} from 'shelf':"
            ' expected int, got string "one" at $.n',
        ),
        (
            SHELF,
            [],
            ("there", b'{"label":"stop"}'),
            'protocol P, step 0: expected one of { fetch: string, store: (string, json), quit: {"label": "quit"} }'
            " from 'asker' (send), got {\"label\":\"stop\"} from 'asker'",
        ),
        (
            SHELF,
            [("there", b'{"label":"quit"}')],
            ("back", b"true"),
            "protocol P, step 1: expected nothing more, it has ended, got true from 'shelf'",
        ),
        (
            "protocol P = send int . end",
            [],
            ("there", b'"' + b"x" * 200 + b'"'),
            "protocol P, step 0: expected int from 'asker' (send), got \"" + "x" * 116 + "... from 'asker'",
        ),
    ],
    ids=["wrong direction", "twice", "wrong type", "unknown label", "after the end", "a long message is clipped"],
)
def test_what_is_out_of_turn_is_a_violation(
    text: str, before: list[tuple[Way, bytes]], message: tuple[Way, bytes], violation: str
):
    """It names protocol and step, what was expected of whom, and what came."""
    monitor = monitor_of(text)
    assert all(isinstance(verdict, Passed) for verdict in said(monitor, *before))
    assert monitor.take(*message) == Violation(violation)


def test_messages_of_an_agent_are_told_with_their_step():
    """Counted in both directions, from 0."""
    monitor = monitor_of("protocol P = send int . recv json . loop", tags=("back",))
    passed = said(monitor, ("there", b"7"), ("back", b'{"a":1}'), ("there", b"8"), ("back", b"null"))
    assert passed == [
        Passed(b"7"),
        Passed(b'{"__step":1,"payload":{"a":1}}'),
        Passed(b"8"),
        Passed(b'{"__step":3,"payload":null}'),
    ]


def test_acknowledgements_after_the_end_are_dropped_and_counted():
    """Only on the way of the agent, and only after the end."""
    monitor = monitor_of("protocol P = send int . end", swallows=("back",))
    assert isinstance(monitor.take("back", b"1"), Violation)
    verdicts = said(monitor, ("there", b"1"), ("back", b"1"), ("back", b"2"), ("there", b"2"))
    assert verdicts[1:3] == [Swallowed(), Swallowed()]
    assert isinstance(verdicts[3], Violation)
    assert monitor.swallowed == 2


def test_a_message_that_never_comes_is_a_violation_unless_nobody_waits_for_it():
    """An acknowledgement after the end would have been dropped."""
    monitor = monitor_of("protocol P = send int . end", swallows=("back",))
    assert isinstance(monitor.missed("back", "expected int, got null"), Violation)
    monitor = monitor_of("protocol P = send int . end", swallows=("back",))
    monitor.take("there", b"1")
    assert monitor.missed("back", "expected int, got null") is None


def test_a_conversation_is_unfinished_between_its_start_and_its_end():
    """Where a protocol begins anew, also one that another goes on as, nothing is cut short."""
    monitor = monitor_of("protocol P = send string . Q\nprotocol Q = send int . recv int . loop")
    seen = [monitor.waits_for]
    for way, payload in (("there", b'"hello"'), ("there", b"1"), ("back", b"2")):
        monitor.take(way, payload)
        seen.append(monitor.waits_for)
    assert seen == ["", "", "protocol P, step 2: expected int from 'shelf' (recv)", ""]


# --- Any protocol -------------------------------------------------------------------------------------------------

TYPES: dict[str, Any] = {"string": "a", "int": 1, "bool": True, "unit": None, "{ x: int }": {"x": 1}, "[int]": [1]}
"""Disjoint types, each with a value."""

WAYS: dict[str, Way] = {"send": "there", "recv": "back", "select": "there", "offer": "back"}

Node = tuple[Any, ...]
"""A session: ``("send", type, then)``, ``("select", [(label, session)])``, ``("end",)`` or ``("loop",)``."""


@st.composite
def sessions(draw: st.DrawFn, depth: int = 4, *, first: bool = True) -> Node:
    kinds = (["send", "recv", "select", "offer"] if depth else []) + ([] if first and depth else ["end", "loop"])
    word = draw(st.sampled_from(kinds))
    if word in ("send", "recv"):
        return word, draw(st.sampled_from(sorted(TYPES))), draw(sessions(depth - 1, first=False))
    if word in ("end", "loop"):
        return (word,)
    taken: set[str] = set()
    branches = []
    for label in draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)):
        branch = draw(sessions(depth - 1, first=False))
        if branch[0] in ("send", "recv") and WAYS[branch[0]] == WAYS[word]:
            if branch[1] in taken:
                branch = ("end",)
            else:
                taken.add(branch[1])
        branches.append((label, branch))
    return word, branches


def text_of(node: Node) -> str:
    match node:
        case (word, list() as branches):
            return f"{word} {{ {', '.join(f'{label}: {text_of(branch)}' for label, branch in branches)} }}"
        case (word, type_, then):
            return f"{word} {type_} . {text_of(then)}"
    return str(node[0])


def moves(node: Node, root: Node) -> list[tuple[Way, bytes, Node]]:
    """Return what may be said next, read off the text."""
    node = root if node == ("loop",) else node
    match node:
        case (word, list() as branches):
            found = []
            for label, branch in branches:
                if WAYS.get(branch[0]) == WAYS[word] and branch[0] in ("send", "recv"):
                    found += moves(branch, root)
                else:
                    found.append((WAYS[word], encode_json({"label": label}), branch))
            return found
        case (word, type_, then):
            return [(WAYS[word], encode_json(TYPES[type_]), then)]
    return []


@given(sessions(), st.randoms(use_true_random=False), st.integers(0, 20))
def test_a_walk_through_a_protocol_is_accepted_and_a_stray_step_is_not(root: Node, rng: random.Random, length: int):
    """What the text has next passes; anything else is a violation that names the step, and changes nothing."""
    monitor = monitor_of(f"protocol P = {text_of(root)}")
    anything = [encode_json(value) for value in TYPES.values()] + [encode_json({"label": label}) for label in "abcde"]
    node = root
    for step in range(length):
        allowed = moves(node, root)
        said_next = {(way, payload) for way, payload, _ in allowed}
        stray = [(way, p) for way in ("there", "back") for p in anything if (way, p) not in said_next]
        verdict = monitor.take(*rng.choice(stray))
        assert isinstance(verdict, Violation)
        assert verdict.text.startswith(f"protocol P, step {step}: expected ")
        if not allowed:
            break
        way, payload, node = rng.choice(allowed)
        assert monitor.take(way, payload) == Passed(payload)


# --- In a session -------------------------------------------------------------------------------------------------

DESK = (
    "protocol Ask = { ask: send string . recv int . loop, quit: end }\n"
    "let desk : (!string, !int) -> (!(string | { label: string }), !int) = plumb(order, answer, ask, report) {\n"
    '  order ; filter(value != "quit") ; ask\n'
    '  order ; filter(value = "quit") ; map({ label: value }) ; ask\n'
    "  answer ; report\n"
    "}\n"
    'let shelf : !(string | { label: string }) -> !json = python { call: "m:f" }\n'
    "let main : !string -> !int = plumb(i, o) {\n"
    "  i ; desk@order\n"
    "  desk@report ; o\n"
    "  desk@(ask, answer) <-> shelf : Ask\n"
    "}\n"
)
KEEPER = (
    "protocol Pause = send { pause: bool } . recv json . send { resume: bool } . end\n"
    "type Control = { pause: bool } | { resume: bool }\n"
    "let writer : (!string, !Control) -> !string = agent { }\n"
    "let keeper : (!string, !json) -> !Control = plumb(order, ctrl_out, ctrl_in) {\n"
    "  order ; map({ pause: true }) ; ctrl_in\n"
    "  ctrl_out ; filter(__step = 1) ; map({ resume: true }) ; ctrl_in\n"
    "}\n"
    "let main : (!string, !string) -> !string = plumb(i, orders, o) {\n"
    "  i ; writer ; o\n"
    "  orders ; keeper@order\n"
    "  keeper <-> writer : Pause\n"
    "}\n"
)


class Run:
    """A session with one worker; notes are kept apart."""

    def __init__(self, text: str, worker: str) -> None:
        self.plan: Plan = plan_of(text.replace("agent { }", 'agent { provider: "eliza" }'))
        self.session = Session(self.plan, Settings(), random.Random(1))
        self.notes: list[Note] = []
        self.worker = worker
        self(Start())
        self.frames(Data(worker, READY), port="ctrl_out")
        self.frames(Marker(worker, f"probe/{worker}/1"))

    def __call__(self, event: Event) -> list[Command]:
        commands = self.session.handle(event, 0.0)
        self.notes += [command for command in commands if isinstance(command, Note)]
        return [command for command in commands if not isinstance(command, Note)]

    def frames(self, *frames: Data | Marker | Eof, port: str = "output") -> list[Command]:
        return self(Frames(self.worker, port, [encode(frame) for frame in frames]))

    def answers(self, seq: int, *payloads: bytes) -> list[Command]:
        """Answer message ``seq``."""
        answers = [Data(self.worker, payload) for payload in payloads]
        return self.frames(*answers, Marker(self.worker, f"ack/{self.worker}/1/{seq}"))

    def ended(self) -> Finish:
        """Let the worker end in order."""
        self.frames(Eof(self.worker), port="ctrl_out")
        self.frames(Eof(self.worker))
        (finish,) = (c for c in self(Exited(self.worker, 0)) if isinstance(c, Finish))
        return finish


def sent(commands: list[Command], port: str = "input") -> list[bytes]:
    frames = [decode(command.raw) for command in commands if isinstance(command, Send) and command.port == port]
    return [frame.payload for frame in frames if isinstance(frame, Data)]


def delivered(commands: list[Command]) -> list[bytes]:
    return [output.payload for command in commands if isinstance(command, Deliver) for output in command.outputs]


def test_a_conversation_goes_through_a_session():
    """What one end says comes to the other; the input settles when its answer is out; the session drains."""
    run = Run(DESK, "shelf")
    assert sent(run(Input("i", [(1, b'"tea"')]))) == [b'"tea"']
    assert delivered(run.answers(1, b"3")) == [b"3"]
    assert sent(run(Input("i", [(2, b'"quit"')]))) == [b'{"label":"quit"}']
    run.answers(2)
    run(InputClosed())
    assert run.ended().exit_code == 0
    assert not [note for note in run.notes if note.event.startswith("protocol.")]


def test_a_violation_fails_the_session_and_nothing_is_delivered_afterwards():
    """What is said out of turn is lost, and with it what was under way."""
    run = Run(DESK, "shelf")
    run(Input("i", [(1, b'"tea"')]))
    commands = run.answers(1, b"3", b'"more"', b"4")
    assert delivered(commands) == []
    finish = run.ended()
    assert finish.exit_code == 1
    assert finish.error == (
        "protocol_violation",
        'protocol Ask, step 2: expected one of { ask: string, quit: {"label": "quit"} } from \'desk\' (send),'
        " got \"more\" from 'shelf'",
    )
    assert finish.losses.lost == 3


def test_an_input_whose_answer_fails_the_session_does_not_settle():
    """Its client would take the silence for the answer; inputs that come too late are refused and settle."""
    run = Run(DESK, "shelf")
    run(Input("i", [(1, b'"tea"')]))
    commands = run.answers(1, b'"three"')
    assert not [command for command in commands if isinstance(command, Settled)]
    late = run(Input("i", [(2, b'"milk"')]))
    assert [type(command) for command in late] == [Refuse, Settled]
    assert late[1] == Settled([2])


def test_what_comes_behind_a_violation_is_lost_also_in_the_same_breath():
    """What came before it is delivered."""
    run = Run(
        "protocol Once = send int . end\n"
        'let f : !int -> !({ say: int } | { out: int }) = python { call: "m:f" }\n'
        "let sayer : (!int, !json) -> (!int, !int) = plumb(order, heard, say, out) {\n"
        "  order ; f\n  f ; filter(say = say).say ; say\n  f ; filter(out = out).out ; out\n  heard ; discard\n}\n"
        "let ear : !int -> !int = filter(value < 0)\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; sayer@order\n  sayer@out ; o\n  sayer@(say, heard) <-> ear : Once\n}\n",
        "sayer.f",
    )
    run(Input("i", [(1, b"0")]))
    commands = run.answers(1, b'{"out":1}', b'{"say":2}', b'{"say":3}', b'{"out":4}')
    assert delivered(commands) == [b"1"]
    assert run.ended().losses.lost == 3


@pytest.mark.parametrize(
    ("text", "answers", "violation"),
    [
        (
            DESK.replace("recv int", "recv json"),
            [b'"three"'],
            "protocol Ask, step 1: 'shelf' (recv) sent what 'desk' does not take: expected int, got string \"three\"",
        ),
        (
            DESK.replace("-> !json", "-> !int"),
            [b'"three"'],
            "protocol Ask, step 1: expected int from 'shelf' (recv), got what 'shelf' may not send:"
            ' expected int, got string "three"',
        ),
    ],
    ids=["by its reader", "by the port it was sent on"],
)
def test_a_refusal_on_a_wire_fails_the_session(text: str, answers: list[bytes], violation: str):
    """Who waits for the message would wait for ever."""
    run = Run(text, "shelf")
    run(Input("i", [(1, b'"tea"')]))
    assert delivered(run.answers(1, *answers)) == []
    finish = run.ended()
    assert (finish.exit_code, finish.error) == (1, ("protocol_violation", violation))
    assert finish.losses == LossReport(lost=1)


def test_the_step_of_a_refused_message_is_its_own():
    """Not that of what was passed on behind it, in the same breath."""
    text = DESK.replace("ask: send string . recv int . loop", "ask: send string . recv json . recv json . loop")
    run = Run(text, "shelf")
    run(Input("i", [(1, b'"tea"')]))
    run.answers(1, b'"three"', b"4")
    error = run.ended().error
    assert error is not None
    assert error[1].startswith("protocol Ask, step 1: 'shelf' (recv) sent")


def test_input_that_is_refused_before_the_wire_is_refused_alone():
    """It was not said: the next one is."""
    run = Run(DESK, "shelf")
    commands = run(Input("i", [(1, b"7")]))
    assert [command.code for command in commands if isinstance(command, Refuse)] == ["input_type_mismatch"]
    assert sent(run(Input("i", [(2, b'"tea"')]))) == [b'"tea"']


def test_a_second_question_before_the_answer_is_a_violation():
    """The protocol allows one at a time."""
    run = Run(DESK, "shelf")
    run(Input("i", [(1, b'"tea"'), (2, b'"milk"')]))
    assert run.ended().error == (
        "protocol_violation",
        "protocol Ask, step 1: expected int from 'shelf' (recv), got \"milk\" from 'desk'",
    )


def test_an_unfinished_protocol_is_told_at_the_end():
    """A warning: nothing was lost."""
    run = Run(DESK, "shelf")
    run(Input("i", [(1, b'"tea"')]))
    run.answers(1)
    assert run.session.snapshot().monitors == {"Ask@11": "protocol Ask, step 1: expected int from 'shelf' (recv)"}
    run(InputClosed())
    waits = ("protocol Ask, step 1: expected int from 'shelf' (recv)",)
    assert run.ended() == Finish(0, LossReport(unfinished=waits))
    assert [note.fields for note in run.notes if note.event == "protocol.unfinished"] == [
        {"node": "Ask@11", "detail": "protocol Ask, step 1: expected int from 'shelf' (recv)"}
    ]


def test_a_supervisor_and_an_agent_talk_to_the_end():
    """The input has ended, and the agent still has to acknowledge; what it says after the end is dropped."""
    run = Run(KEEPER, "writer")
    assert sent(run(Input("orders", [(1, b'"now"')])), "ctrl_in") == [b'{"pause":true}']
    assert run(InputClosed()) == []
    commands = run.frames(Data("writer", b'{"kind":"pause_ack"}'), port="ctrl_out")
    assert sent(commands, "ctrl_in") == [b'{"resume":true}']
    done = [Marker("writer", f"ctl/writer/1/{number}") for number in (1, 2)]
    assert run.frames(done[0], port="ctrl_out") == []
    end = run.frames(Data("writer", b'{"kind":"resume_ack"}'), done[1], port="ctrl_out")[0]
    assert isinstance(end, Send)
    assert (end.port, decode(end.raw)) == ("input", Eof("fabric"))
    assert run.ended().exit_code == 0
    assert [note.event for note in run.notes if note.event.startswith("protocol.")] == ["protocol.swallowed"]


def test_the_ends_of_a_wire_in_a_nested_body_have_their_full_names():
    """Several bodies may have the same wire; each has a conversation of its own."""
    run = Run(
        DESK.replace("let main", "let office") + "let other : !string -> !int = office\n"
        "let main : !string -> !int = plumb(i, o) {\n  i ; office ; o\n  i ; filter(false) ; other ; o\n}\n",
        "office.shelf",
    )
    run(Input("i", [(1, b'"tea"')]))
    run(Input("i", [(2, b'"milk"')]))
    (failed,) = (note for note in run.notes if note.event == "session.failed")
    assert failed.fields["message"] == (
        "protocol Ask, step 1: expected int from 'office.shelf' (recv), got \"milk\" from 'office.desk'"
    )


def test_what_is_waited_for_is_told():
    """An answer that does not come is named with its protocol and step."""
    run = Run(KEEPER, "writer")
    run(Input("orders", [(1, b'"now"')]))
    assert waited_for(run.plan, run.session.snapshot(), 60.0) == (
        "protocol Pause, step 1: expected json from 'writer' (recv)"
    )


def test_a_worker_behind_a_wire_waits_on_the_other_end():
    """Not on itself, though the monitor hears it too."""
    run = Run(DESK, "shelf")
    assert waits_on(run.plan, run.session.snapshot(), "shelf") == ("i",)
