"""What a worker sends and cannot be right: refused and counted, or the fault of its process. Literal events."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from plans import plan_of

from fabric.session.delivery import OUTPUTS_PER_INPUT_MAX
from fabric.session.events import (
    Command,
    Deliver,
    Event,
    Exited,
    Finish,
    Frames,
    Input,
    InputClosed,
    Launched,
    LossReport,
    Note,
    Send,
    SetTimer,
    Signal,
    Start,
    TimerFired,
)
from fabric.session.losses import REASONS
from fabric.session.session import Session, Settings
from fabric.session.snapshot import Snapshot
from fabric.wire.codec import FRAME_BYTES_MAX, decode, encode
from fabric.wire.control import BATCHES, MARK_ALL_PORTS, NUMBERED, ready
from fabric.wire.frame import Data, Eof, Frame, Marker, Provenance

ONE = 'let f : !int -> !int = python { call: "m:f" }\nlet main : !int -> !int = plumb(i, o) { i ; f ; o }\n'
HEARD = (
    'let f : !int -> !int = agent { provider: "scripted" script: "m:f" }\n'
    "let main : !int -> (!int, !json) = plumb(i, o, t) { i ; f ; o\n f@telemetry ; t }\n"
)


class Run:
    """A session with worker ``f``."""

    def __init__(self, text: str = ONE) -> None:
        self.session = Session(plan_of(text), Settings(), random.Random(1))
        self.given: list[Command] = []
        self(Start())
        self(Launched("f", 7))

    def __call__(self, event: Event, now_s: float = 0.0) -> list[Command]:
        return self.session.handle(event, now_s)

    def raw(self, *frames: bytes, port: str = "output", now_s: float = 0.0) -> list[Command]:
        return self(Frames("f", port, list(frames)), now_s)

    def frames(self, *frames: Frame, port: str = "output", now_s: float = 0.0) -> list[Command]:
        return self.raw(*map(encode, frames), port=port, now_s=now_s)

    def announced(self, *features: str) -> Run:
        self.frames(Data("f", ready(*features)), port="ctrl_out")
        return self

    def running(self, *features: str) -> Run:
        self.announced(*features).frames(Marker("f", "probe/f/1"))
        return self

    def give(self, *values: int) -> Run:
        self(Input("i", [(value, b"%d" % value) for value in values]))
        return self

    @property
    def rejected(self) -> dict[str, int]:
        return self.snapshot.rejected.get("f", {})

    @property
    def snapshot(self) -> Snapshot:
        return self.session.snapshot()


def out(value: int, seq: int | None = None) -> Data:
    return Data("f", b"%d" % value, None if seq is None else Provenance(bytes(16), bytes(8), seq))


def ack(seq: int) -> Marker:
    return Marker("f", f"ack/f/1/{seq}")


def batch_of(*frames: Frame) -> bytes:
    return b"\0\0\0\0\x03" + b"".join(struct.pack(">I", len(raw)) + raw for raw in map(encode, frames))


def delivered(commands: list[Command]) -> list[bytes]:
    return [output.payload for command in commands if isinstance(command, Deliver) for output in command.outputs]


def notes(commands: list[Command]) -> list[tuple[object, object]]:
    """Return reason and count of what was noted as refused."""
    told = [command for command in commands if isinstance(command, Note) and command.event == "frame.rejected"]
    return [(note.fields["reason"], note.fields["count"]) for note in told]


def ended(run: Run) -> Finish:
    """End a worker that is at work and has answered everything, and return how the session ended."""
    run(InputClosed())
    if "output" not in run.session._workers["f"].ended_ports:
        run.frames(Eof("f"))
    (finish,) = [command for command in run(Exited("f", 0)) if isinstance(command, Finish)]
    return finish


# --- What is refused ----------------------------------------------------------------------------------------------

MALFORMED = [
    ("short", b""),
    ("short", b"\0\0\0"),
    ("short", b"\0\0\0\1f\2"),
    ("short", encode(out(1, 1))[:20]),
    ("topic", b"\0\0\0\1"),
    ("topic", b"\xff\xff\xff\xfff"),
    ("topic", b"\0\0\0\1\xff1"),
    ("oversize", bytes(FRAME_BYTES_MAX + 1)),
    ("marker_id", b"\0\0\0\1f\1\xff"),
    ("batch", b"\0\0\0\1f\3"),
    ("batch", b"\0\0\0\0\3\0"),
    ("batch", b"\0\0\0\0\3" + bytes(4 * 10_001)),
    ("batch", batch_of(ack(9), ack(9))[:-1]),
]


@pytest.mark.parametrize("port", ["output", "ctrl_out", "telemetry"])
@pytest.mark.parametrize(("reason", "raw"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_frame_is_refused_and_counts_as_lost(reason: str, raw: bytes, port: str):
    """It may have been a message. What is right before and behind it is unharmed."""
    run = Run().running().give(1)
    run.frames(out(10))
    assert notes(run.raw(raw, port=port)) == [(reason, 1)]
    assert delivered(run.frames(out(11), ack(1))) == [b"10", b"11"]
    assert ended(run) == Finish(5, LossReport(lost=1, rejected={reason: 1}))


@pytest.mark.parametrize(
    "marker",
    [
        "ack/f/1/3",
        "ack/f/1/0",
        "ack/f/1/" + "9" * 5_000,
        "ack/f/0/1",
        "ack/f/2/1",
        "ack/g/1/1",
        "probe/f/1",
        "probe/f/0",
        "probe/g/1",
        "ctl/f/1/1",
        "ctl/f/1/" + "9" * 5_000,
        "some merge",
        "",
    ],
    ids=lambda marker: marker[:20],
)
def test_a_marker_that_is_not_on_its_way_is_refused(marker: str):
    """Of another process, another worker, nobody; or back already, as the probe. It was no message."""
    run = Run().running().give(1, 2)
    assert notes(run.frames(Marker("f", marker))) == [("marker", 1)]
    assert delivered(run.frames(out(10), ack(1), out(20), ack(2))) == [b"10", b"20"]
    assert ended(run) == Finish(0, LossReport(rejected={"marker": 1}))


def test_what_is_acknowledged_twice_is_done_once():
    """The second marker is refused, also within one batch, and the next message is not taken for done by it."""
    run = Run().running(BATCHES).give(1, 2)
    assert delivered(run.raw(batch_of(out(10, 1), ack(1), ack(1)))) == [b"10"]
    run.frames(ack(1))
    assert run.rejected == {"marker": 2}
    assert run.snapshot.workers[0].unacknowledged == 1
    assert delivered(run.frames(out(20), ack(2))) == [b"20"]
    assert ended(run) == Finish(0, LossReport(rejected={"marker": 2}))


def test_an_output_that_nobody_asked_for_is_refused():
    """No input is in flight. It counts as lost: it was meant for somebody."""
    run = Run().running().give(1)
    run.frames(out(10), ack(1))
    assert delivered(run.frames(out(11))) == []
    run.raw(batch_of(out(12, 1), out(13, 2)))
    assert run.rejected == {"unasked": 3}
    run.give(2)
    assert delivered(run.frames(out(20), ack(2))) == [b"20"]
    assert ended(run) == Finish(5, LossReport(lost=3, rejected={"unasked": 3}))


def test_nothing_is_taken_behind_the_end_of_a_port():
    """A message is lost, a marker or a second end is not. Other ports go on."""
    run = Run(HEARD).running().give(1)
    run.frames(out(10), ack(1))
    run(InputClosed())
    run.frames(Eof("f"), out(11), ack(1), Eof("f"))
    assert run.rejected == {"after_eof": 3}
    assert delivered(run.frames(Data("f", b"7"), port="telemetry")) == [b"7"]
    run.frames(Eof("f"), Data("f", b"8"), port="telemetry")
    run.frames(Eof("f"), Eof("f"), port="ctrl_out")
    assert ended(run) == Finish(5, LossReport(lost=2, rejected={"after_eof": 5}))


def test_a_message_on_a_port_that_is_not_open_is_refused():
    """A program on lines may write any name; it does not get into what is counted by."""
    run = Run().running()
    assert notes(run.frames(Data("f", b"1"), port="outptu")) == [("port", 1)]
    (note,) = [c for c in run.frames(Data("f", b"1"), port="x" * 10_000, now_s=1.0) if isinstance(c, Note)]
    assert len(note.fields["detail"]) < 200
    assert ended(run) == Finish(5, LossReport(lost=2, rejected={"port": 2}))


def test_an_end_of_channel_inside_of_a_batch_is_refused():
    """Who looks for an end need not open batches."""
    run = Run().running()
    run.raw(batch_of(Eof("f"), Eof("f")))
    assert run.rejected == {"batch": 2}
    assert ended(run).exit_code == 0


def test_before_it_is_ready_a_worker_can_say_nothing_else():
    """Neither on ctrl_out, nor answers, nor its end, nor a probe that it has not got."""
    run = Run()
    run.frames(Data("f", b'{"kind":"pause_ack"}'), port="ctrl_out")
    run.frames(out(1), Eof("f"), Marker("f", "probe/f/1"))
    assert run.rejected == {"unannounced": 1, "unasked": 1, "lifecycle": 1, "marker": 1}
    run.announced().frames(out(1), Eof("f"), ack(1))
    assert run.rejected == {"unannounced": 1, "unasked": 2, "lifecycle": 2, "marker": 2}
    run.frames(Marker("f", "probe/f/1"))
    run.give(1)
    assert delivered(run.frames(out(10), ack(1))) == [b"10"]
    assert ended(run).losses.lost == 3


def test_a_second_announcement_is_refused():
    """It changes nothing, is passed on to nobody, and was no message."""
    run = Run().running().give(1)
    assert run.frames(Data("f", ready(MARK_ALL_PORTS)), port="ctrl_out")[0].fields["reason"] == "announced"  # type: ignore[union-attr]
    assert delivered(run.frames(out(10), ack(1))) == [b"10"]
    assert ended(run) == Finish(0, LossReport(rejected={"announced": 1}))


def test_a_worker_that_says_that_it_returns_no_markers_returns_none():
    """One that it made up would commit what it has not done."""
    run = Run(ONE.replace('python { call: "m:f" }', 'worker { command: ["f"] compat: true }')).announced().give(1)
    run.frames(ack(1))
    assert run.rejected == {"marker": 1}
    assert delivered(run.frames(out(10))) == [b"10"]
    assert ended(run).exit_code == 0


def test_a_flood_of_rubbish_is_counted_and_noted_once_a_second():
    """By worker and reason."""
    run = Run().running()
    bad = [b"\xff"] * 5
    assert [notes(run.raw(*bad, now_s=now_s)) for now_s in (1.0, 1.5, 2.0)] == [[("short", 1)], [], [("short", 11)]]
    assert notes(run.frames(out(1), now_s=2.1)) == [("unasked", 1)]


def test_rubbish_does_not_put_off_the_end_of_a_worker():
    """Only what is taken is a sign of life."""
    run = Run().running().give(1)
    assert SetTimer(("grace", "f"), 10.0) in run(InputClosed()) + run.frames(out(1), ack(1))
    run.frames(ack(1), Marker("f", "x"), now_s=9.0)
    run.raw(b"", now_s=9.0)
    assert Signal("f", "TERM") in run(TimerFired(("grace", "f")), 10.0)
    run = Run().running()
    run(InputClosed())
    run.frames(Data("f", b"{}"), port="telemetry", now_s=9.0)
    assert run(TimerFired(("grace", "f")), 10.0) == [SetTimer(("grace", "f"), 19.0)]


def test_what_is_refused_is_in_the_snapshot_by_worker():
    """For whoever looks while the session runs."""
    run = Run().running()
    run.frames(out(1), ack(1))
    assert run.snapshot.rejected == {"f": {"unasked": 1, "marker": 1}}
    assert run.snapshot.lost == 1


# --- What is the worker's fault -----------------------------------------------------------------------------------


KILLED = Signal("f", "KILL")


def starts_again(run: Run) -> Run:
    """The process that was killed is gone, and another is there."""
    assert SetTimer(("restart", "f"), 0.5) in run(Exited("f", -9))
    run(TimerFired(("restart", "f")), 0.5)
    run(Launched("f", 8), 0.5)
    run.announced()
    run.given = run.frames(Marker("f", "probe/f/2"), now_s=0.6)
    return run


def many(run: Run) -> list[Command]:
    return run.frames(*[out(1)] * (OUTPUTS_PER_INPUT_MAX + 1))


def many_in_batches(run: Run) -> list[Command]:
    return [c for _ in range(3) for c in run.raw(batch_of(*[out(1, 1)] * 4_000))]


FAULTS: dict[str, Callable[[Run], list[Command]]] = {
    "a later one is acknowledged before an earlier one": lambda run: run.frames(out(1), ack(2)),
    "the same in a batch": lambda run: run.raw(batch_of(out(1, 1), ack(2))),
    "more outputs of one input than may be held": many,
    "the same in batches": many_in_batches,
    "more bytes than may be held": lambda run: run.frames(*[Data("f", b"1" * 16_000_000)] * 5),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_shows_that_something_is_missing_is_the_fault_of_the_process(fault: Callable[[Run], list[Command]]):
    """It is killed; what it had goes to the next, whose answers come out, and once."""
    run = Run().running(BATCHES).give(1, 2)
    commands = fault(run)
    assert KILLED in commands
    assert delivered(commands) == delivered(run.frames(ack(1), ack(2))) == []
    run = starts_again(run)
    sent = [frame.payload for c in run.given if isinstance(c, Send) and isinstance(frame := decode(c.raw), Data)]
    assert sent == [b"1"]  # one at a time: it may be the one to blame
    run.frames(ack(1), out(9))  # a marker of the process before: it commits nothing of this one
    assert delivered(run.frames(Marker("f", "ack/f/2/1"))) == [b"9"]
    assert delivered(run.frames(out(10), Marker("f", "ack/f/2/2"))) == [b"10"]
    assert ended(run) == Finish(0, LossReport(rejected={"marker": 1}))


def test_nothing_is_taken_from_a_worker_behind_its_fault():
    """Not even what came with it."""
    run = Run().running(BATCHES).give(1, 2)
    commands = run.raw(batch_of(ack(2), ack(1)), batch_of(out(10, 1), ack(1)))
    assert KILLED in commands
    assert delivered(commands) == []


# --- Numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [False, True])
def test_a_message_with_a_number_that_was_used_is_refused(batched: bool):
    """It is the same one again, as far as anybody can tell."""
    run = Run().running(BATCHES, NUMBERED).give(1, 2)
    frames = out(10, 1), ack(1), out(10, 1), out(20, 2), ack(2)
    commands = run.raw(batch_of(*frames)) if batched else run.frames(*frames)
    assert delivered(commands) == [b"10", b"20"]
    assert ended(run) == Finish(5, LossReport(lost=1, rejected={"replayed": 1}))


@pytest.mark.parametrize("batched", [False, True])
def test_a_number_that_is_missing_is_the_fault_of_the_process(batched: bool):
    """A stranger on its data_out got an answer, and we got the marker behind it."""
    run = Run().running(BATCHES, NUMBERED).give(1, 2)
    frames = ack(1), out(20, 2), ack(2)
    commands = run.raw(batch_of(*frames)) if batched else run.frames(*frames)
    assert KILLED in commands
    assert b"20" not in delivered(commands)


@pytest.mark.parametrize("numbers", [(0, 0, 0), (None, None, None), (1, 1, 1), (7, 3, 9)])
def test_numbers_mean_nothing_unless_the_worker_says_that_they_do(numbers: tuple[int | None, ...]):
    """Many write none, or the same everywhere."""
    run = Run().running(BATCHES).give(1)
    assert delivered(run.frames(*(out(10, number) for number in numbers), ack(1))) == [b"10"] * 3
    assert ended(run).exit_code == 0


def test_telemetry_that_is_faster_than_the_announcement_is_not_missing():
    """They come on two sockets."""
    run = Run(HEARD)
    run.frames(out(1, 1), port="telemetry")
    run.running(MARK_ALL_PORTS, NUMBERED)
    assert delivered(run.frames(out(2, 2), port="telemetry")) == [b"2"]


def test_telemetry_between_two_messages_belongs_to_none():
    """The marker on telemetry may be back while that on output is still on its way: nobody did anything wrong."""
    run = Run(HEARD).running(MARK_ALL_PORTS).give(1)
    run.frames(Data("f", b"7"), ack(1), Data("f", b"8"), port="telemetry")
    assert delivered(run.frames(out(10), ack(1))) == [b"10", b"7"]
    assert run.rejected == {}


def test_every_reason_is_one_of_the_words_that_are_counted_by():
    """And each of the words was met above, but for those that are no frame's."""
    met = {reason for reason, _ in MALFORMED}
    assert met <= REASONS
    assert REASONS - met == {
        "unasked", "decline", "replayed", "after_eof", "port", "unannounced", "announced", "lifecycle", "marker",
        "past"
    }  # fmt: skip


# --- Windows ------------------------------------------------------------------------------------------------------


def test_a_worker_that_never_answers_gets_its_window_and_no_more():
    """The rest waits here, and when enough does, no more input is welcome."""
    run = Run().running()
    sent = []
    ticket = 0
    while run.session.wants_input:
        ticket += 1
        sent += [c for c in run(Input("i", [(ticket, b"1")])) if isinstance(c, Send)]
    assert [frame.payload for command in sent if isinstance(frame := decode(command.raw), Data)] == [b"1"] * 64
    assert ticket == 1_000


def test_one_at_fault_gets_nothing_more():
    """It is being killed; what comes for it meanwhile waits for the next, and is not what it died of."""
    run = Run().running().give(1, 2)
    assert KILLED in run.frames(Marker("f", "ack/f/1/2"))
    assert not [command for command in run(Input("i", [(3, b"3")])) if isinstance(command, Send)]
    assert run.snapshot.workers[0].waiting == 1
