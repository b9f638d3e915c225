"""What both transports promise. Every test here runs over memory and over ZeroMQ (ipc)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count, pairwise
from typing import TypeAlias

import pytest
import trio
import trio.testing

from fabric.errors import ConfigError, LocalProtocolError, TransportClosed
from fabric.transport.memory import MemoryTransport
from fabric.transport.ports import BATCH_FRAMES_MAX, Receiver, Sender, Transport
from fabric.transport.sockets import open_sockets
from fabric.wire.codec import FRAME_BYTES_MAX

Open: TypeAlias = Callable[[], AbstractAsyncContextManager[Transport]]
Pair: TypeAlias = tuple[Sender, Receiver]


@asynccontextmanager
async def open_memory():
    yield MemoryTransport()


@pytest.fixture(params=["memory", "zmq"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Open a transport."""
    return open_memory if request.param == "memory" else open_sockets


@pytest.fixture
def endpoints() -> Iterator[Iterator[str]]:
    """Addresses, fresh ones each time. A socket's path has 107 bytes at most, so pytest's directory will not do."""
    with tempfile.TemporaryDirectory(prefix="t") as directory:
        yield (f"ipc://{directory}/{number}" for number in count())


@pytest.fixture(params=["sender binds", "receiver binds"])
def pair(request: pytest.FixtureRequest, endpoints: Iterator[str]) -> Callable[[Transport], Pair]:
    """Open both ends of an endpoint; whoever binds, binds first."""

    def open_pair(transport: Transport) -> Pair:
        endpoint = next(endpoints)
        if request.param == "sender binds":
            sender: Sender = transport.sender(endpoint, bind=True)
            return sender, transport.receiver(endpoint, bind=False)
        receiver = transport.receiver(endpoint, bind=True)
        return transport.sender(endpoint, bind=False), receiver

    return open_pair


async def receive(receiver: Receiver, number: int) -> list[bytes]:
    """Return so many frames."""
    frames: list[bytes] = []
    while len(frames) < number:
        frames += await receiver.receive()
    return frames


def numbered(number: int) -> list[bytes]:
    return [b"%d" % i for i in range(number)]


async def test_20_000_frames_keep_their_order(opened: Open, pair: Callable[[Transport], Pair]):
    """And none is lost, though most were sent before the peer was there."""
    async with opened() as transport:
        sender, receiver = pair(transport)
        frames = numbered(20_000)
        for frame in frames:
            sender.send_nowait(frame)
        with trio.fail_after(20):
            assert await receive(receiver, 20_000) == frames


async def test_a_batch_has_at_most_16_frames_and_at_least_one(opened: Open, pair: Callable[[Transport], Pair]):
    """So a flooded channel leaves others their turn."""
    async with opened() as transport:
        sender, receiver = pair(transport)
        for frame in numbered(1_000):
            sender.send_nowait(frame)
        received, sizes = 0, set()
        with trio.fail_after(20):
            while received < 1_000:
                batch = await receiver.receive()
                received += len(batch)
                sizes.add(len(batch))
        assert min(sizes) >= 1
        assert max(sizes) == BATCH_FRAMES_MAX == 16


async def test_what_was_sent_before_the_reader_came_arrives(opened: Open, endpoints: Iterator[str]):
    """A bound sender keeps it, without waiting."""
    async with opened() as transport:
        endpoint = next(endpoints)
        sender = transport.sender(endpoint, bind=True)
        for frame in numbered(100):
            sender.send_nowait(frame)
        receiver = transport.receiver(endpoint, bind=False)
        with trio.fail_after(20):
            assert await receive(receiver, 100) == numbered(100)


@pytest.mark.parametrize("binder", ["sender", "receiver"])
async def test_who_connects_may_come_before_who_binds(binder: str, opened: Open, endpoints: Iterator[str]):
    """The coordinator opens its ends before the worker is started."""
    async with opened() as transport:
        endpoint = next(endpoints)
        if binder == "sender":
            receiver = transport.receiver(endpoint, bind=False)
            sender = transport.sender(endpoint, bind=True)
        else:
            sender = transport.sender(endpoint, bind=False)
            receiver = transport.receiver(endpoint, bind=True)
        sender.send_nowait(b"1")
        with trio.fail_after(20):
            assert await receiver.receive() == [b"1"]


async def test_closing_a_receiver_wakes_who_waits_on_it(opened: Open, endpoints: Iterator[str]):
    """The waiting one learns that the owner closed it."""
    async with opened() as transport:
        receiver = transport.receiver(next(endpoints), bind=False)

        async def wait() -> None:
            with pytest.raises(TransportClosed):
                await receiver.receive()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                receiver.close()


async def test_a_closed_port_says_so(opened: Open, pair: Callable[[Transport], Pair]):
    """Each time; closing again is nothing."""
    async with opened() as transport:
        sender, receiver = pair(transport)
        for port in (sender, receiver, sender, receiver):
            port.close()
        for _ in range(2):
            with pytest.raises(TransportClosed):
                sender.send_nowait(b"1")
            with pytest.raises(TransportClosed):
                await receiver.receive()


async def test_a_cancelled_receive_loses_nothing(opened: Open, pair: Callable[[Transport], Pair]):
    """Cancelled while it waits, before it begins, and in a race with a frame that arrives."""
    async with opened() as transport:
        sender, receiver = pair(transport)
        received: list[bytes] = []

        async def read(scope: trio.CancelScope) -> None:
            with scope:
                while True:
                    received.extend(await receiver.receive())

        with trio.fail_after(30):
            for frame in numbered(300):
                async with trio.open_nursery() as nursery:
                    scope = trio.CancelScope()
                    nursery.start_soon(read, scope)
                    if int(frame) % 3 == 0:
                        await trio.testing.wait_all_tasks_blocked()
                    sender.send_nowait(frame)
                    if int(frame) % 3 == 1:
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            received += await receive(receiver, 300 - len(received))
        assert received == numbered(300)


async def test_nothing_is_kept_back_once_wait_sent_returns(opened: Open, endpoints: Iterator[str]):
    """At once where a peer is there; else when it has come."""
    async with opened() as transport:
        endpoint = next(endpoints)
        sender = transport.sender(endpoint, bind=True)
        with trio.fail_after(20):
            await sender.wait_sent()  # nothing was sent
            sender.send_nowait(b"1")
            sender.send_nowait(b"2")
            receiver = transport.receiver(endpoint, bind=False)
            await sender.wait_sent()
            sender.send_nowait(b"3")
            await sender.wait_sent()
            assert await receive(receiver, 3) == [b"1", b"2", b"3"]


async def test_closing_a_sender_ends_the_wait_for_it(opened: Open, endpoints: Iterator[str]):
    """What it kept back is dropped."""
    async with opened() as transport:
        sender = transport.sender(next(endpoints), bind=True)
        sender.send_nowait(b"1")
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.wait_sent)
                await trio.testing.wait_all_tasks_blocked()
                sender.close()


async def test_an_oversize_frame_is_not_sent(opened: Open, pair: Callable[[Transport], Pair]):
    """The largest one is; the channel goes on."""
    async with opened() as transport:
        sender, receiver = pair(transport)
        largest = bytes(FRAME_BYTES_MAX)
        sender.send_nowait(largest)
        with pytest.raises(LocalProtocolError, match="frame of 16777217 bytes; at most 16777216"):
            sender.send_nowait(largest + b"1")
        sender.send_nowait(b"end")
        with trio.fail_after(20):
            assert await receive(receiver, 2) == [largest, b"end"]


async def test_an_endpoint_that_was_given_up_may_be_bound_again(opened: Open, endpoints: Iterator[str]):
    """By either kind of port."""
    async with opened() as transport:
        endpoint = next(endpoints)
        transport.sender(endpoint, bind=True).close()
        transport.receiver(endpoint, bind=True).close()
        sender = transport.sender(endpoint, bind=True)
        receiver = transport.receiver(endpoint, bind=False)
        sender.send_nowait(b"1")
        with trio.fail_after(20):
            assert await receiver.receive() == [b"1"]


async def test_several_pairs_at_once_keep_their_orders(opened: Open, pair: Callable[[Transport], Pair]):
    """Eight chains of three relays, 500 frames each, all in one loop."""

    async def pass_on(source: Receiver, sink: Sender) -> None:
        passed = 0
        while passed < 500:
            for frame in await source.receive():
                sink.send_nowait(frame)
                passed += 1

    async def drain(source: Receiver, into: list[bytes]) -> None:
        into += await receive(source, 500)

    results: list[list[bytes]] = [[] for _ in range(8)]
    async with opened() as transport:
        with trio.fail_after(40):
            async with trio.open_nursery() as nursery:
                for result in results:
                    hops = [pair(transport) for _ in range(4)]
                    for (_, source), (sink, _) in pairwise(hops):
                        nursery.start_soon(pass_on, source, sink)
                    nursery.start_soon(drain, hops[-1][1], result)
                    for frame in numbered(500):
                        hops[0][0].send_nowait(frame)
    assert results == [numbered(500)] * 8


# --- Where a second bind is refused --------------------------------------------------------------------------------


def test_the_memory_refuses_a_second_bind():
    """ZeroMQ lets a second binder take an ipc address away in silence; so the simulation is stricter."""
    transport = MemoryTransport()
    transport.sender("a", bind=True)
    with pytest.raises(ConfigError, match="cannot bind a: it is bound already"):
        transport.receiver("a", bind=True)
    transport.receiver("a", bind=False)


async def test_zmq_refuses_a_second_bind_of_a_tcp_port():
    """And an endpoint that it does not understand."""
    async with open_sockets() as transport:
        probe = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = probe[0].socket.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot bind tcp://127.0.0.1:{port}: Address already in use"):
            transport.sender(f"tcp://127.0.0.1:{port}", bind=True)
        await probe[0].aclose()
        with pytest.raises(ConfigError, match="cannot connect to nonsense: Invalid argument"):
            transport.receiver("nonsense", bind=False)
