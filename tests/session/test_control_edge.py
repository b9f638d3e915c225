"""What goes to ctrl_in, and when it counts as answered."""

from __future__ import annotations

import random

import pytest
from plans import plan_of

from fabric.errors import RemoteProtocolError
from fabric.session.control_edge import ControlEdge
from fabric.session.delivery import Message
from fabric.session.events import Frames, Input, InputClosed, Launched, Send, Start
from fabric.session.session import Session, Settings
from fabric.wire.codec import decode, encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Marker

PAUSE = Message(b'{"pause":true}', (), bytes(16), bytes(8), b"", "c")


def edge() -> ControlEdge:
    made = ControlEdge("f")
    made.begin(3)
    made.marks = True
    return made


def test_a_marker_goes_behind_each_message_and_its_return_makes_the_edge_idle():
    """The marker names worker, process and number."""
    control = edge()
    data, marker = map(decode, control.send(control.frame(PAUSE)))
    assert (data.payload, marker.id) == (b'{"pause":true}', "ctl/f/3/1")
    assert not control.idle
    assert control.owns("ctl/f/3/1")
    control.returned("ctl/f/3/1")
    assert control.idle


def test_a_worker_that_does_not_return_markers_gets_none_and_is_not_waited_for():
    """As one written by others, whose replies may never come."""
    control = ControlEdge("f")
    assert len(control.send(control.frame(PAUSE))) == 1
    assert control.idle


def test_a_new_process_answers_nothing_that_an_earlier_one_was_told():
    """Its markers have another number in their name."""
    control = edge()
    control.send(control.frame(PAUSE))
    control.begin(4)
    assert control.idle
    assert not control.owns("ctl/f/3/1")


@pytest.mark.parametrize("number", ["0", "2", "x", "\u00b2", "", "9" * 5_000])
def test_a_marker_that_was_not_sent_is_refused(number):
    """Also one that is returned twice: 1 is back already."""
    control = edge()
    control.send(control.frame(PAUSE))
    with pytest.raises(RemoteProtocolError):
        control.returned(f"ctl/f/3/{number}")
    control.returned("ctl/f/3/1")
    with pytest.raises(RemoteProtocolError):
        control.returned("ctl/f/3/1")


LOOP = """
let f : (!int, !json) -> !int = agent { provider: "scripted" script: "m:f" }
let main : (!int, !json) -> !int = plumb(i, c, o) {
  i ; f ; o
  c ; f@ctrl_in
  f@ctrl_out ; filter(kind = "pause_ack") ; map({ resume: true }) ; f@ctrl_in
}
"""


def test_a_loop_through_ctrl_out_ends_when_every_control_message_is_answered():
    """The reply makes another control message, and both are answered before the worker's input ends."""
    session = Session(plan_of(LOOP), Settings(), random.Random(1))

    def sends(*frames: Data | Marker, port: str = "ctrl_out") -> list[tuple[str, str | bytes | None]]:
        return of(session.handle(Frames("f", port, [encode(frame) for frame in frames]), 0.0))

    def of(commands) -> list[tuple[str, str | bytes | None]]:
        sent = [(c.port, decode(c.raw)) for c in commands if isinstance(c, Send)]
        return [(p, f.payload if isinstance(f, Data) else f.id if isinstance(f, Marker) else None) for p, f in sent]

    session.handle(Start(), 0.0)
    session.handle(Launched("f", 7), 0.0)
    sends(Data("f", READY))
    sends(Marker("f", "probe/f/1"), port="output")
    assert of(session.handle(Input("c", [(1, b'{"pause":true}')]), 0.0)) == [
        ("ctrl_in", b'{"pause":true}'),
        ("ctrl_in", "ctl/f/1/1"),
    ]
    assert of(session.handle(InputClosed(), 0.0)) == []
    assert sends(Data("f", b'{"kind":"pause_ack"}'), Marker("f", "ctl/f/1/1")) == [
        ("ctrl_in", b'{"resume":true}'),
        ("ctrl_in", "ctl/f/1/2"),
    ]
    assert sends(Data("f", b'{"kind":"resume_ack"}')) == []
    assert sends(Marker("f", "ctl/f/1/2")) == [("input", None)]
