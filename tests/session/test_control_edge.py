"""What goes to ctrl_in, and when it counts as answered."""

from __future__ import annotations

import random

import pytest
from plans import plan_of

from fabric.errors import RemoteProtocolError
from fabric.session.control_edge import WAITING_MAX, ControlEdge
from fabric.session.delivery import Message
from fabric.session.events import Frames, Input, InputClosed, Launched, Send, Start
from fabric.session.session import Session, Settings
from fabric.wire.codec import decode, encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Eof, Marker

PAUSE = Message(b'{"pause":true}', (), bytes(16), bytes(8), b"", "c")
WARMER = Message(b'{"set_temp":0.5}', (), bytes(16), bytes(8), b"", "c")
ACK = b'{"kind":"pause_ack"}'
MEMORY = b'{"kind":"memory","messages":[]}'


def edge(*, marks: bool = True) -> ControlEdge:
    made = ControlEdge("f")
    made.begin(3)
    made.marks, made.may_send = marks, True
    return made


def read(frames: list[bytes]) -> list[str]:
    """Return payloads, and ids of markers."""
    return [f.payload.decode() if isinstance(f, Data) else f.id for f in map(decode, frames) if not isinstance(f, Eof)]


def test_a_marker_goes_behind_each_message_and_its_return_makes_the_edge_idle():
    """The marker names worker, process and number."""
    control = edge()
    control.tell(PAUSE)
    frames, answered = control.take()
    assert (read(frames), answered) == (['{"pause":true}', "ctl/f/3/1"], [])
    assert not control.idle
    assert control.owns("ctl/f/3/1")
    control.returned("ctl/f/3/1", busy=False)
    assert control.idle


def test_a_worker_that_does_not_return_markers_gets_none_and_is_not_waited_for():
    """As one written by others, whose replies may never come."""
    control = edge(marks=False)
    control.tell(PAUSE)
    assert read(control.take()[0]) == ['{"pause":true}']
    assert control.idle


def test_what_waits_for_a_worker_that_is_not_there_is_sent_when_it_is():
    """In order; beyond the bound it is refused."""
    control = edge()
    control.may_send = False
    assert [control.tell(WARMER) for _ in range(WAITING_MAX + 1)] == [True] * WAITING_MAX + [False]
    assert control.take() == ([], [])
    assert control.waiting == WAITING_MAX
    control.may_send = True
    assert len(control.take()[0]) == 2 * WAITING_MAX


def test_a_new_process_is_told_again_what_the_one_before_did_not_answer():
    """Under a marker of its own, ahead of what waits; what was answered is not repeated."""
    control = edge()
    control.tell(WARMER)
    control.tell(PAUSE)
    control.take()
    control.returned("ctl/f/3/1", busy=False)
    control.begin(4)
    assert not control.owns("ctl/f/3/2")
    control.tell(WARMER)
    control.marks = control.may_send = True
    assert read(control.take()[0]) == ['{"pause":true}', "ctl/f/4/1", '{"set_temp":0.5}', "ctl/f/4/2"]


def test_each_gets_the_reply_to_what_it_asked():
    """The graph paused first, an operator second; what nobody asked for is the graph's."""
    control = edge()
    control.tell(PAUSE)
    control.ask(b'{"pause":true}', 7)
    control.take()
    assert control.heard(ACK).asker == "graph"
    assert control.heard(ACK).asker == 7
    assert control.heard(ACK).asker == "graph"


def test_several_replies_to_one_request_are_one_answer():
    """As an array, when the last has come; the worker may send them in any order."""
    control = edge()
    control.ask(b'{"get_memory":true,"pause":true}', 7)
    control.take()
    assert not control.heard(ACK).complete
    assert control.heard(MEMORY).payload == b"[" + ACK + b"," + MEMORY + b"]"


def test_who_asks_for_no_reply_is_answered_when_it_was_sent():
    """A temperature is set, and that is all."""
    control = edge()
    control.ask(b'{"set_temp":0.2}', 7)
    assert control.take()[1] == [7]


def test_a_worker_that_understood_nothing_gives_no_reply():
    """Its marker is back, and it has no message: nothing will come. With one, what it says of its memory may."""
    control = edge()
    control.ask(b'{"set_memory":"nonsense"}', 7)
    control.take()
    assert control.returned("ctl/f/3/1", busy=True) == []
    control.ask(b'{"pause":true}', 8)
    control.take()
    assert control.returned("ctl/f/3/2", busy=False) == [7, 8]


def test_what_was_not_said_when_a_message_ended_will_not_be():
    """It had to come before the message's marker; of two requests for one place the second may have taken it."""
    control = edge()
    control.ask(b'{"get_memory":true}', 7)
    control.ask(b'{"set_memory":[]}', 8)
    control.take()
    assert control.message_ended() == []  # of a message that ended before the agent got them
    assert control.returned("ctl/f/3/2", busy=True) == []
    assert control.heard(b'{"kind":"memory_set","old_messages":0,"new_messages":0}').asker == 8
    assert control.message_ended() == [7]
    control.ask(b'{"get_memory":true}', 9)
    control.take()
    assert control.heard(MEMORY).asker == 9


def test_what_the_session_asks_stays_here():
    """And is not asked again of another process: that is restored in its own way."""
    control = edge()
    assert read(control.command({"get_memory": True})) == ['{"get_memory":true}', "ctl/f/3/1"]
    assert (control.awaited, control.remembering) == (True, True)
    assert control.heard(MEMORY).asker == "session"
    assert not control.awaited
    control.command({"get_memory": True})
    control.begin(4)
    assert control.idle


def test_what_a_worker_was_set_to_is_kept_for_the_next_process():
    """The last value of each."""
    control = edge()
    control.tell(WARMER)
    control.ask(b'{"set_temp":null,"set_model":"m","pause":true}', 7)
    assert control.settings == {"set_temp": None, "set_model": "m"}


def test_who_is_left_when_the_worker_ends():
    """Messages of the graph that wait, and operators that wait for a reply."""
    control = edge()
    control.ask(b'{"pause":true}', 7)
    control.take()
    control.may_send = False
    control.tell(PAUSE)
    control.ask(b'{"get_memory":true}', 8)
    assert control.give_up() == (1, [7, 8])
    assert control.waiting == 0


@pytest.mark.parametrize("number", ["0", "2", "x", "\u00b2", "", "9" * 5_000])
def test_a_marker_that_was_not_sent_is_refused(number):
    """Also one that is returned twice: 1 is back already."""
    control = edge()
    control.tell(PAUSE)
    control.take()
    with pytest.raises(RemoteProtocolError):
        control.returned(f"ctl/f/3/{number}", busy=False)
    control.returned("ctl/f/3/1", busy=False)
    with pytest.raises(RemoteProtocolError):
        control.returned("ctl/f/3/1", busy=False)


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
