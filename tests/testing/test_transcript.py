"""Events as lines, and back."""

from __future__ import annotations

import pytest

from fabric.session import history
from fabric.session.events import (
    Answered,
    Approval,
    ApprovalOver,
    AskApproval,
    Asked,
    BadInput,
    Buried,
    CallServer,
    CancelCall,
    Command,
    Continue,
    DeadLetter,
    Decided,
    Deliver,
    Event,
    Exited,
    Finish,
    Frames,
    Heard,
    Input,
    InputClosed,
    Interrupted,
    Launch,
    Launched,
    LaunchFailed,
    LookAfter,
    LossReport,
    Note,
    Observed,
    Opened,
    Output,
    OutputBroken,
    Record,
    Refuse,
    Release,
    Retry,
    Seen,
    Send,
    Served,
    SetTimer,
    Settled,
    Signal,
    Start,
    Tap,
    Tapped,
    TimerFired,
    Told,
    Traced,
)
from fabric.testing.transcript import read_event, written, written_command, written_event
from fabric.tracing.span import Span
from fabric.wire.codec import encode, join
from fabric.wire.frame import Data, Eof, Marker, Provenance

ODD = b'{"a b": ["<x> end", "\\" 1:2"]}'
EVENTS: dict[str, Event] = {
    "start": Start(),
    "launched f 7": Launched("f", 7),
    "launched f null": Launched("f", None),
    'launch_failed f "no such file"': LaunchFailed("f", "no such file"),
    'from f output 10 <ack/f/1/1> "end" end': Frames(
        "f",
        "output",
        [encode(frame) for frame in (Data("f", b"10"), Marker("f", "ack/f/1/1"), Data("f", b'"end"'), Eof("f"))],
    ),
    f"from f output {ODD.decode()}": Frames("f", "output", [encode(Data("f", ODD))]),
    "exited f -9": Exited("f", -9),
    'exited f 1 "one" "two \\" three"': Exited("f", 1, ("one", 'two " three')),
    f"input i 1:10 2:{ODD.decode()} 3:null": Input("i", [(1, b"10"), (2, ODD), (3, b"null")]),
    "close": InputClosed(),
    "close i": InputClosed("i"),
    "continue": Continue(),
    "look_after": LookAfter(),
    "ask f restart 3": Asked("f", "restart", 3),
    'tell f 4:{"pause":true}': Told("f", b'{"pause":true}', 4),
    "retry f 5:10": Retry("f", b"10", 5),
    "timer grace f": TimerFired(("grace", "f")),
    "tap 0 2": Tap(frozenset({0, 2})),
    'bad_input 6 "no JSON"': BadInput("no JSON", 6),
    'output_broken "broken pipe"': OutputBroken("broken pipe"),
    "interrupted 2": Interrupted(2),
    'decided 1-0a2b3c 7 granted always ""': Decided("1-0a2b3c", True, 7, always=True),
    'decided 1-0a2b3c 7 denied once "not now"': Decided("1-0a2b3c", False, 7, reason="not now"),
    'served -3 {"a": 1}': Served(-3, b'{"a": 1}'),
    'served -3 error "it is gone"': Served(-3, None, "it is gone"),
}


@pytest.mark.parametrize("line", EVENTS)
def test_an_event_is_written_and_read_again(line: str):
    """Nothing of it is lost but what only a frame has: its provenance."""
    assert written_event(EVENTS[line]) == line
    assert read_event(f"1.5 {line}") == (1.5, EVENTS[line])


def test_every_event_and_every_command_has_a_form():
    """A new one has to get its own."""
    assert {type(event) for event in EVENTS.values()} == set(Event.__args__)
    assert {type(command) for command in COMMANDS.values()} == set(Command.__args__)


TRACED = Data("i", b"10", Provenance(bytes(16), bytes(8), 1))
COMMANDS: dict[str, Command] = {
    "launch f 2": Launch("f", 2),
    "to f input 10 <ack/f/1/1>": Send(
        "f", "input", next(iter(join([encode(TRACED), encode(Marker("fabric", "ack/f/1/1"))])))
    ),
    "release f": Release("f"),
    'record {"event":"finished","exit_code":0} {"event":"emitted","count":3}': Record(
        (history.Finished(0), history.Emitted(3))
    ),
    "signal f TERM": Signal("f", "TERM"),
    "opened": Opened(),
    "deliver o 10 | deliver p 11": Deliver([Output("o", b"10", (1,)), Output("p", b"11", (1,))]),
    'refuse expr_eval map@1 "division by zero" [1]': Refuse("expr_eval", "division by zero", "map@1", (1,)),
    "settled 1 2": Settled([1, 2]),
    'answered 3 {"kind":"pause_ack"}': Answered(3, reply=b'{"kind":"pause_ack"}'),
    'answered 3 error "has ended"': Answered(3, "has ended"),
    'ask_approval 1-0a2b3c w write {"path":"x"}': AskApproval(
        Approval("1-0a2b3c", "w", "write", '{"path":"x"}', 12, "0f", 1.0, 301.0)
    ),
    "approval_over 1-0a2b3c denied": ApprovalOver("1-0a2b3c", "denied"),
    'call_server -3 time now {"zone":"UTC"}': CallServer(-3, "time", "now", b'{"zone":"UTC"}'),
    "cancel_call -3": CancelCall(-3),
    'bury worker="f" payload="10" cause="poison" detail="no" attempts=2 tickets=[1]': Buried(
        DeadLetter("f", b"10", "poison", "no", 2, (), bytes(16), (1,))
    ),
    "tapped 0 10": Tapped([Seen(0, b"10", bytes(16))]),
    "heard f.telemetry f {}": Observed([Heard("f.telemetry", "f", b"{}")]),
    "span invoke_agent f | span chat failed": Traced(
        (
            Span("invoke_agent f", bytes(16), bytes(8), b"", 1.0, 2.0),
            Span("chat", bytes(16), bytes(8), b"", 1.0, 2.0, error="timeout"),
        )
    ),
    "set_timer grace f 10.5": SetTimer(("grace", "f"), 10.5),
    'note info worker.spawned worker="f" pid=7': Note("info", "worker.spawned", {"worker": "f", "pid": 7}),
    "finish 0": Finish(0, LossReport()),
    'finish 1 lost=2 child_died "it died"': Finish(1, LossReport(lost=2), ("child_died", "it died")),
}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_written(line: str):
    """In words; a batch as the frames that are in it."""
    assert written_command(COMMANDS[line]) == line


def test_what_follows_from_an_event_stands_below_it():
    """Indented, in order."""
    text = written(0.1 + 0.2, InputClosed(), [Opened(), Settled([1])])
    assert text == "0.3 close\n  opened\n  settled 1"


@pytest.mark.parametrize("line", ["", "0", "0 hello", "start"])
def test_what_is_no_event_is_refused(line: str):
    """With the words that there are."""
    with pytest.raises(ValueError, match=r"could not convert|expected a time and one of ask, bad_input"):
        read_event(line)
