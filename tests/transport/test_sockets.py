"""What is particular to ZeroMQ."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator

import pytest
import trio
import trio.testing
import zmq
import zmq.utils.monitor

from fabric.errors import TransportClosed
from fabric.transport.sockets import libzmq_version, open_sockets
from fabric.wire.codec import FRAME_BYTES_MAX


@pytest.fixture
def endpoint() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="t") as directory:
        yield f"ipc://{directory}/x"


async def test_an_oversize_frame_of_a_stranger_is_cut_off_and_others_go_on(endpoint: str):
    """The receiver never sees it; the stranger's socket is disconnected."""
    context = zmq.Context()
    stranger, friend = context.socket(zmq.PUSH), context.socket(zmq.PUSH)
    try:
        async with open_sockets() as transport:
            receiver = transport.receiver(endpoint, bind=True)
            monitor = stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            assert monitor is not None
            stranger.connect(endpoint)
            stranger.send(bytes(FRAME_BYTES_MAX + 1))
            monitor.set(zmq.RCVTIMEO, 20_000)
            event = await trio.to_thread.run_sync(zmq.utils.monitor.recv_monitor_message, monitor)
            assert event["event"] == zmq.EVENT_DISCONNECTED
            friend.connect(endpoint)
            friend.send(b"hello")
            with trio.fail_after(20):
                assert await receiver.receive() == [b"hello"]
    finally:
        context.destroy(linger=0)


async def test_at_the_end_nothing_is_left_open(endpoint: str):
    """Neither descriptor nor file, though frames were waiting for a peer that never came."""

    async def use() -> None:
        async with open_sockets() as transport:
            sender = transport.sender(endpoint, bind=True, watch=True)
            transport.receiver(endpoint + "2", bind=True)
            sender.send_nowait(b"1")

    await use()  # what is opened once and for all
    gc.collect()  # what tests before this one have left
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        await use()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_second_peer_is_noticed_and_the_first_is_not(endpoint: str):
    """Whoever of them comes first; frames are shared out between them."""
    async with open_sockets() as ours, open_sockets() as theirs:
        sender = ours.sender(endpoint, bind=True, watch=True)
        peer = ours.receiver(endpoint, bind=False)
        sender.send_nowait(b"1")
        with trio.fail_after(20):
            assert await peer.receive() == [b"1"]
            async with trio.open_nursery() as nursery:
                noticed = trio.Event()

                async def watch() -> None:
                    await sender.wait_stranger()
                    noticed.set()

                nursery.start_soon(watch)
                await trio.testing.wait_all_tasks_blocked()
                assert not noticed.is_set()
                theirs.receiver(endpoint, bind=False)
                await noticed.wait()


async def test_closing_a_watched_sender_ends_the_watch(endpoint: str):
    """Its owner gives it up."""
    async with open_sockets() as transport:
        sender = transport.sender(endpoint, bind=True, watch=True)

        async def watch() -> None:
            with pytest.raises(TransportClosed):
                await sender.wait_stranger()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await trio.testing.wait_all_tasks_blocked()
                sender.close()


async def test_with_a_linger_the_end_waits_for_the_peer(endpoint: str):
    """A worker's last frames arrive, though it leaves at once, and before its peer is there."""
    received: list[bytes] = []

    async def leave() -> None:
        async with open_sockets(linger_ms=-1) as transport:
            sender = transport.sender(endpoint, bind=True)
            for i in range(2_000):
                sender.send_nowait(b"%d" % i)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, open_sockets() as transport:
            nursery.start_soon(leave)
            receiver = transport.receiver(endpoint, bind=False)
            while len(received) < 2_000:
                received += await receiver.receive()
    assert received == [b"%d" % i for i in range(2_000)]


async def test_after_an_error_nothing_lingers(endpoint: str):
    """The error comes out at once, though frames are kept back for ever."""
    with trio.fail_after(20), pytest.RaisesGroup(ValueError):
        async with open_sockets(linger_ms=-1) as transport:
            transport.sender(endpoint, bind=True).send_nowait(b"1")
            raise ValueError("boom")


async def test_a_socket_that_sends_without_a_peer_does_not_keep_others_from_working(endpoint: str):
    """Sending never waits."""
    async with open_sockets() as transport:
        lonely = transport.sender(endpoint, bind=True)
        busy = transport.sender(endpoint + "2", bind=True)
        reader = transport.receiver(endpoint + "2", bind=False)
        lonely.send_nowait(b"1")
        busy.send_nowait(b"2")
        with trio.fail_after(20):
            assert await reader.receive() == [b"2"]


async def test_more_sockets_than_the_default_allows(endpoint: str):
    """The library's default ends at 1,023."""
    async with open_sockets() as transport:
        receivers = [transport.receiver(endpoint, bind=False) for _ in range(1_100)]
        assert len(receivers) == 1_100


def test_the_library_says_its_version():
    """At least 4.3: older ones lack options that we set."""
    assert tuple(map(int, libzmq_version().split("."))) >= (4, 3)
