"""What a session counts for whoever measures, and what is made of it: by channel, by worker, by port."""

from __future__ import annotations

import random

import msgspec
import pytest
from plans import plan_of

from fabric.graph.ir import End
from fabric.plan.channels import channels
from fabric.plan.plan import Plan
from fabric.runtime.readiness import UNANSWERED_S, missing
from fabric.runtime.readings import ChannelReading, read_channels, read_session
from fabric.session.events import Command, Frames, Input, Launched, LookAfter, Send, Start
from fabric.session.session import Session, Settings
from fabric.wire.codec import decode, encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Marker

ONE = 'let f : !int -> !int = python { call: "m:f" }\nlet main : !int -> !int = plumb(i, o) { i ; f ; o }\n'
TWO = (
    'let f : !int -> !int = python { call: "m:f" }\n'
    "let main : (!int, !int) -> !int = plumb(i, j, o) { i ; f\n j ; f\n f ; o }\n"
)


def running(text: str, settings: Settings | None = None) -> tuple[Plan, Session]:
    """Return a session whose worker is ready, at the time 0."""
    plan = plan_of(text)
    session = Session(plan, settings or Settings(), random.Random(1))
    session.handle(Start(), 0.0)
    session.handle(Launched("f", 7), 0.0)
    session.handle(Frames("f", "ctrl_out", [encode(Data("f", READY))]), 0.0)
    session.handle(Frames("f", "output", [encode(Marker("f", "probe/f/1"))]), 0.0)
    return plan, session


def read(plan: Plan, session: Session, now_s: float) -> dict[str, ChannelReading]:
    found = read_channels(channels(plan), session.snapshot(), session.figures(now_s), now_s)
    return {channel.channel: channel for channel in found}


def answer(session: Session, seq: int, *outputs: bytes, now_s: float) -> None:
    frames = [*(encode(Data("f", output)) for output in outputs), encode(Marker("f", f"ack/f/1/{seq}"))]
    session.handle(Frames("f", "output", frames), now_s)


def markers(commands: list[Command]) -> list[bytes]:
    return [command.raw for command in commands if isinstance(command, Send) and command.port == "ctrl_in"]


def test_a_channel_counts_messages_and_bytes_and_what_is_not_done():
    """What its reader has and what waits for it; the age is that of the oldest."""
    plan, session = running(ONE)
    session.handle(Input("i", [(1, b"1"), (2, b"22")]), 1.0)
    session.handle(Input("i", [(3, b"333")]), 2.0)
    assert read(plan, session, 4.0)["i→f.input"] == ChannelReading("i→f.input", 3, 6, 3, 3.0, 0.0)
    answer(session, 1, b"4444", now_s=4.0)
    answer(session, 2, now_s=4.0)
    found = read(plan, session, 4.5)
    assert found["i→f.input"] == ChannelReading("i→f.input", 3, 6, 1, 2.5, 0.0)
    assert found["f.output→o"] == ChannelReading("f.output→o", 1, 4, 0, 0.0, 0.0)
    assert session.figures(4.5).latency["f"].total_s == 3.0, "the second had no output"


def test_what_waits_in_one_queue_is_told_by_who_sent_it():
    """Two channels lead to one worker."""
    plan, session = running(TWO)
    session.handle(Input("i", [(1, b"1")]), 1.0)
    session.handle(Input("j", [(2, b"2"), (3, b"3")]), 2.0)
    found = read(plan, session, 3.0)
    assert [(found[name].depth, found[name].oldest_age_s) for name in ("i→f.input", "j→f.input")] == [
        (1, 2.0),
        (2, 1.0),
    ]


def test_a_channel_is_blocked_while_its_place_is_full_and_input_has_to_wait():
    """From the input that filled it until something was taken out."""
    plan, session = running(ONE, Settings(queue=2))
    session.handle(Input("i", [(number, b"1") for number in range(66)]), 1.0)
    assert not session.wants_input
    assert read(plan, session, 5.0)["i→f.input"].blocked_s == 4.0
    answer(session, 1, now_s=6.0)
    assert read(plan, session, 9.0)["i→f.input"].blocked_s == 5.0


def test_what_is_refused_is_counted_by_port_and_reason():
    """And told by the channel that it would have come on."""
    plan, session = running(ONE)
    session.handle(Input("i", [(1, b'"no"'), (2, b"1")]), 1.0)
    answer(session, 1, b'"no"', now_s=1.0)
    session.handle(Frames("f", "output", [b"\xff", encode(Data("f", b"7"))]), 1.0)
    figures = session.figures(1.0)
    node = plan.inputs["i"]
    assert figures.invalid == {
        (End(node, "i"), "input_type_mismatch"): 1,
        (End("f", "output"), "output_type_mismatch"): 1,
        (End("f", "output"), "short"): 1,
        (End("f", "output"), "unasked"): 1,
    }
    samples = read_session(plan, "demo", channels(plan), session.snapshot(), figures, now_s=1.0, now=1.0)
    assert {one.labels: one.value for one in samples if one.name == "fabric_messages_invalid_total"} == {
        ("i→f.input", "type"): 1,
        ("f.output→o", "type"): 1,
        ("f.output→o", "decode"): 1,
        ("f.output→o", "protocol"): 1,
    }


def test_only_a_worker_with_a_message_is_asked_whether_it_moves():
    """Once, until it answers; an answer is no sign of life for what watches its silence."""
    _, session = running(ONE)
    assert markers(session.handle(LookAfter(), 1.0)) == []
    session.handle(Input("i", [(1, b"1")]), 1.0)
    (raw,) = markers(session.handle(LookAfter(), 2.0))
    assert markers(session.handle(LookAfter(), 3.0)) == []
    assert session.figures(3.0).unanswered_s == {"f": 2.0}
    before = session.snapshot()
    marker = decode(raw)
    assert isinstance(marker, Marker)
    assert session.handle(Frames("f", "ctrl_out", [encode(Marker("f", marker.id))]), 4.0) == []
    assert session.figures(4.0).unanswered_s == {}
    assert session.snapshot() == before


def test_a_service_is_unready_while_a_worker_with_a_message_does_not_answer():
    """And ready again as soon as it does."""
    plan, session = running(ONE)
    session.handle(Input("i", [(1, b"1")]), 0.0)
    (raw,) = markers(session.handle(LookAfter(), 1.0))

    def lacking(now_s: float) -> list[str]:
        found = missing(plan, session.snapshot(), session.figures(now_s), now_s, draining=False)
        return [one.reason for one in found]

    assert lacking(1.0 + UNANSWERED_S) == []
    assert lacking(1.1 + UNANSWERED_S) == ["not_answering"]
    marker = decode(raw)
    assert isinstance(marker, Marker)
    session.handle(Frames("f", "ctrl_out", [encode(Marker("f", marker.id))]), 5.0)
    assert lacking(5.0) == []


def test_a_worker_that_is_not_there_is_missing():
    """While it starts; and a service that takes no more input says so."""
    plan = plan_of(ONE)
    session = Session(plan, Settings(), random.Random(1))
    session.handle(Start(), 0.0)
    found = missing(plan, session.snapshot(), session.figures(0.0), 0.0, draining=True)
    assert [(one.reason, one.worker) for one in found] == [("draining", ""), ("starting", "f")]


@pytest.mark.parametrize(("lost", "state"), [((), "starting"), (("f",), "failed")])
def test_a_worker_that_is_awaited_again_has_failed(lost: tuple[str, ...], state: str):
    """One that was never there starts."""
    plan = plan_of(ONE)
    plan = msgspec.structs.replace(plan, workers=(msgspec.structs.replace(plan.workers[0], runner="external"),))
    session = Session(plan, Settings(), random.Random(1))
    session.handle(Start(), 0.0)
    session.handle(Launched("f", None), 0.0)
    found = read_session(plan, "demo", {}, session.snapshot(), session.figures(0.0), now_s=0.0, now=1.0, lost=lost)
    states = {one.labels[1]: one.value for one in found if one.name == "fabric_workers"}
    assert [name for name, count in states.items() if count] == [state]
