"""The control side in memory: what is acknowledged, what is refused, what is forwarded."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from fabric.errors import LeftOver
from fabric.transport.memory import MemoryTransport
from fabric.wire.codec import decode, encode
from fabric.wire.frame import Data, Eof, Frame, Marker
from fabric.worker.control import Control, run_control


async def said(*asked: Any, control: Control | None = None) -> list[Any]:
    """Return what the worker says to these objects and frames, up to the end that follows them."""
    transport = MemoryTransport()
    ctrl_in, ctrl_out = transport.sender("in", bind=True), transport.sender("out", bind=True)
    for message in asked:
        frame = message if isinstance(message, Marker) else Data("fabric", json.dumps(message).encode())
        ctrl_in.send_nowait(encode(frame))
    ctrl_in.send_nowait(encode(Eof("fabric")))
    await run_control(transport.receiver("in", bind=False), ctrl_out, "f", control or Control())
    receiver = transport.receiver("out", bind=False)
    frames: list[Frame] = []
    while not frames or not isinstance(frames[-1], Eof):
        frames += map(decode, await receiver.receive())
    return [json.loads(f.payload) if isinstance(f, Data) else f.id for f in frames if not isinstance(f, Eof)]


@pytest.mark.parametrize(("marks_all", "more"), [(False, []), (True, ["mark_all_ports"])])
async def test_it_announces_what_it_can_do(marks_all: bool, more: list[str]):
    """One that has telemetry forwards markers on every port."""
    assert await said(control=Control(marks_all=marks_all, incarnation=7)) == [
        {"status": "ready", "features": ["batches", "numbered", *more], "incarnation": 7}
    ]


async def test_it_announces_itself_again_when_it_is_asked():
    """Whoever heard it before may be gone; the number says that it is the same process."""
    announcement = {"status": "ready", "features": ["batches", "numbered"], "incarnation": 7}
    asked: list[object] = [{"announce": True}, {"announce": False}, {"announce": 1}]
    assert await said(*asked, control=Control(incarnation=7)) == [announcement, announcement]


async def test_one_that_has_ended_its_output_fails_when_it_is_asked_who_it_is():
    """Nobody is left who would end its ctrl_in; who started it is to start another."""
    control = Control()
    control.output_ended = True
    with pytest.raises(LeftOver):
        await said({"announce": True}, control=control)


async def test_it_acknowledges_and_forwards_markers_in_order():
    """Several fields of one object, too."""
    control = Control()
    replies = (await said({"pause": True}, Marker("", "ctl/f/1/1"), {"resume": True, "new": 1}, control=control))[1:]
    assert replies == [{"kind": "pause_ack"}, "ctl/f/1/1", {"kind": "resume_ack"}]
    assert (control.paused, control.stopping) == (False, False)


@pytest.mark.parametrize("message", [{"stop": True, "pause": "yes"}, {"stop": 1}, [True], "stop", {"pause": None}])
async def test_what_has_a_field_of_the_wrong_type_is_refused_whole(message: Any):
    """Nothing of it is done, and it has no reply."""
    control = Control()
    assert (await said(message, control=control))[1:] == []
    assert (control.paused, control.stopping) == (False, False)


async def test_the_end_of_control_ends_a_pause():
    """Nobody could resume any more."""
    control = Control()
    await said({"pause": True}, control=control)
    assert control.paused is False


async def test_markers_of_the_data_side_come_before_the_end():
    """From another thread, however late they are seen."""
    control = Control(marks_all=True)
    transport = MemoryTransport()
    ctrl_in, ctrl_out = transport.sender("in", bind=True), transport.sender("out", bind=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_control, transport.receiver("in", bind=False), ctrl_out, "f", control)
        await trio.testing.wait_all_tasks_blocked()

        def forward() -> None:
            for number in range(100):
                control.forward(f"ack/f/1/{number}")

        await trio.to_thread.run_sync(forward)
        ctrl_in.send_nowait(encode(Eof("fabric")))
    receiver = transport.receiver("out", bind=False)
    frames: list[Frame] = []
    while not frames or not isinstance(frames[-1], Eof):
        frames += map(decode, await receiver.receive())
    assert [f.id for f in frames if isinstance(f, Marker)] == [f"ack/f/1/{number}" for number in range(100)]


def test_who_forwards_behind_the_end_of_control_is_not_hurt():
    """A failure of one side is not to hide what the other has to say."""
    control = Control(marks_all=True)
    trio.run(lambda: said(control=control))
    control.forward("ack/f/1/1")
