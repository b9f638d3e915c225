"""What only the transport in memory can do: frames that are on their way for a while, and those that are cut."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from fabric.errors import TransportClosed
from fabric.transport.memory import MemoryTransport


async def test_a_frame_arrives_after_its_delay(autojump_clock: MockClock):
    """Not before, whoever waits."""
    transport = MemoryTransport(lambda endpoint: 2.5)
    transport.sender("e", bind=True).send_nowait(b"a")
    assert await transport.receiver("e", bind=False).receive() == [b"a"]
    assert trio.current_time() == 2.5


async def test_no_frame_overtakes_another(autojump_clock: MockClock):
    """One that is sent later and would be faster comes with the one before it."""
    delays_s = iter([3.0, 1.0, 2.0, 9.0])
    transport = MemoryTransport(lambda endpoint: next(delays_s))
    sender, receiver = transport.sender("e", bind=True), transport.receiver("e", bind=False)
    for raw in (b"a", b"b", b"c", b"d"):
        sender.send_nowait(raw)
    assert await receiver.receive() == [b"a", b"b", b"c"]
    assert trio.current_time() == 3
    assert await receiver.receive() == [b"d"]
    assert trio.current_time() == 9


async def test_a_reader_that_waits_for_a_late_frame_is_woken_by_the_close(autojump_clock: MockClock):
    """As one that waits for nothing."""
    transport = MemoryTransport(lambda endpoint: 100.0)
    transport.sender("e", bind=True).send_nowait(b"a")
    receiver = transport.receiver("e", bind=False)
    async with trio.open_nursery() as nursery:

        async def close() -> None:
            await trio.sleep(1)
            receiver.close()

        nursery.start_soon(close)
        with pytest.raises(TransportClosed):
            await receiver.receive()
    assert trio.current_time() == 1


async def test_of_what_was_on_its_way_the_first_frames_may_be_kept():
    """The rest is gone, and what was read was read; other endpoints keep theirs."""
    transport = MemoryTransport()
    sender, receiver = transport.sender("e", bind=True), transport.receiver("e", bind=False)
    transport.sender("f", bind=True).send_nowait(b"x")
    sender.send_nowait(b"a")
    assert await receiver.receive() == [b"a"]
    for raw in (b"b", b"c", b"d"):
        sender.send_nowait(raw)
    asked = []

    def keeps(frames: int) -> int:
        asked.append(frames)
        return 1

    assert transport.cut("e", keeps) == 2
    assert asked == [3]
    assert await receiver.receive() == [b"b"]
    assert await transport.receiver("f", bind=False).receive() == [b"x"]
