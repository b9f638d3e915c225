"""Endpoints with keys, over TCP: who gets in, who does not, and what becomes of those who are in."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest
import trio
import trio.testing
import zmq
from ports import free_port

from fabric.transport.gate import Gate, Refusal
from fabric.transport.ports import Receiver, Sender, ServerSide
from fabric.transport.sockets import ZmqTransport, make_key_pair, open_sockets
from fabric.wire.spec import WorkerKey

FABRIC, WORKER, OTHER, NOBODY, FALSE = (make_key_pair() for _ in range(5))
SERVER = ServerSide(FABRIC[1], "w")
CLIENT = WorkerKey(*WORKER, FABRIC[0])
GATE = Gate({"w": WORKER[0], "other": OTHER[0]})


@pytest.fixture
def endpoint() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


Knock: TypeAlias = Callable[[int, str], "zmq.Socket[bytes]"]


@pytest.fixture
def stranger() -> Iterator[Knock]:
    """A socket of a kind, with what somebody has who comes in a way. He has no scruples, and no library of ours."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made: list[zmq.Socket[bytes]] = []

    def make(kind: int, way: str) -> zmq.Socket[bytes]:
        one = context.socket(kind)
        made.append(one)
        knock(one, way)
        return one

    yield make
    for one in made:
        one.close(0)
    context.term()


class Told(list[Refusal]):
    """Refusals, for who waits for them."""

    def __init__(self) -> None:
        self._more = trio.Event()

    def __call__(self, refusal: Refusal) -> None:
        self.append(refusal)
        self._more.set()
        self._more = trio.Event()

    async def wait(self, count: int) -> None:
        while len(self) < count:
            await self._more.wait()


@asynccontextmanager
async def fabric_side(told: Callable[[Refusal], None]) -> AsyncIterator[ZmqTransport]:
    async with open_sockets(gate=GATE, refused=told) as transport:
        yield transport


def knock(stranger: zmq.Socket[bytes], how: str) -> None:
    """Give a stranger's socket what he has."""
    keys = {"unlisted": NOBODY, "other": OTHER, "wrong server": WORKER}.get(how)
    if keys is not None:
        stranger.set(zmq.CURVE_PUBLICKEY, keys[0].encode())
        stranger.set(zmq.CURVE_SECRETKEY, keys[1].encode())
        stranger.set(zmq.CURVE_SERVERKEY, (FALSE if how == "wrong server" else FABRIC)[0].encode())
    if how == "poses as server":
        stranger.set(zmq.CURVE_SERVER, 1)
        stranger.set(zmq.CURVE_SECRETKEY, FALSE[1].encode())
    if how == "plain":
        stranger.set(zmq.PLAIN_USERNAME, b"w")
        stranger.set(zmq.PLAIN_PASSWORD, WORKER[0].encode())


WAYS = ["null", "plain", "unlisted", "other", "wrong server", "poses as server"]


async def pass_ten(sender: Sender, receiver: Receiver) -> None:
    """Send ten frames; they arrive, in order."""
    frames = [b"%d" % number for number in range(10)]
    for frame in frames:
        sender.send_nowait(frame)
    received: list[bytes] = []
    while len(received) < 10:
        received += await receiver.receive()
    assert received == frames


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("binds", ["fabric sends", "fabric receives"])
async def test_at_a_socket_of_the_fabric_only_the_worker_is_let_in(
    way: str, binds: str, endpoint: str, stranger: Knock
):
    """A stranger gets nothing, and nothing is got of him; he is told of; the worker gets all, in order."""
    told = Told()
    with trio.fail_after(30):
        async with fabric_side(told) as ours, open_sockets() as its:
            intruder = stranger(zmq.PULL if binds == "fabric sends" else zmq.PUSH, way)
            intruder.connect(endpoint)
            if binds == "fabric sends":
                sender: Sender = ours.sender(endpoint, bind=True, security=SERVER)
                await told.wait(1)
                receiver: Receiver = its.receiver(endpoint, bind=False, security=CLIENT)
            else:
                intruder.send(b"false")  # kept by his socket, which connects
                receiver = ours.receiver(endpoint, bind=True, security=SERVER)
                await told.wait(1)
                sender = its.sender(endpoint, bind=False, security=CLIENT)
            await pass_ten(sender, receiver)
            if binds == "fabric sends":
                with pytest.raises(zmq.Again):
                    intruder.recv(zmq.NOBLOCK)
    assert {refusal.domain for refusal in told} == {"w"}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "other"])
async def test_at_a_socket_of_a_worker_only_the_fabric_is_let_in(way: str, endpoint: str, stranger: Knock):
    """The worker holds no list: it believes him only who has the fabric's secret key."""
    told = Told()
    with trio.fail_after(30):
        async with fabric_side(Told()) as ours, open_sockets(refused=told) as its:
            intruder = stranger(zmq.PULL, way)
            sender = its.sender(endpoint, bind=True, security=CLIENT)
            intruder.connect(endpoint)
            await told.wait(1)
            receiver = ours.receiver(endpoint, bind=False, security=SERVER)
            await pass_ten(sender, receiver)
            with pytest.raises(zmq.Again):
                intruder.recv(zmq.NOBLOCK)


@pytest.mark.parametrize("way", WAYS)
async def test_who_sits_at_a_workers_address_is_not_believed_and_the_worker_finds_its_place_when_he_leaves(
    way: str, endpoint: str, stranger: Knock
):
    """The fabric goes on to connect, whatever he says; what he sends is not read, and nobody is lost with him."""
    told = Told()
    with trio.fail_after(30):
        async with fabric_side(told) as ours, trio.open_nursery() as nursery:
            intruder = stranger(zmq.PUSH, way)
            intruder.bind(endpoint)
            receiver = ours.receiver(endpoint, bind=False, security=SERVER)
            broken: list[str] = []

            async def watch() -> None:
                await receiver.wait_broken()
                broken.append("lost")

            nursery.start_soon(watch)
            await told.wait(2)  # it has come again
            intruder.close(0)
            async with open_sockets() as its:
                await pass_ten(await bound(its, endpoint), receiver)
                assert broken == []
            nursery.cancel_scope.cancel()
    assert {refusal.address for refusal in told} <= {endpoint, "127.0.0.1"}


async def bound(transport: ZmqTransport, endpoint: str) -> Sender:
    """Bind, once the library's thread has given the address up."""
    while True:
        try:
            return transport.sender(endpoint, bind=True, security=CLIENT)
        except Exception:  # noqa: BLE001
            await trio.lowlevel.checkpoint()


async def test_who_poses_as_the_fabric_gets_no_frame_of_the_worker_nor_is_heard(endpoint: str, stranger: Knock):
    """At the address where the fabric should be; when he has left, the worker finds the fabric there."""
    told = Told()
    with trio.fail_after(30):
        async with open_sockets(refused=told) as its:
            intruder = stranger(zmq.PUSH, "poses as server")
            intruder.bind(endpoint)
            receiver = its.receiver(endpoint, bind=False, security=CLIENT)
            await told.wait(2)
            intruder.close(0)
            async with fabric_side(Told()) as ours:
                while True:
                    try:
                        sender = ours.sender(endpoint, bind=True, security=SERVER)
                        break
                    except Exception:  # noqa: BLE001
                        await trio.lowlevel.checkpoint()
                await pass_ten(sender, receiver)


async def test_if_the_gate_fails_the_session_does_and_nobody_is_let_in(endpoint: str, stranger: Knock):
    """Its error ends what goes on behind it."""

    def fail(_: Refusal) -> None:
        raise RuntimeError("boom")

    with trio.fail_after(30), pytest.RaisesGroup(RuntimeError):
        async with fabric_side(fail) as ours:
            ours.sender(endpoint, bind=True, security=SERVER).send_nowait(b"secret")
            intruder = stranger(zmq.PULL, "unlisted")
            intruder.connect(endpoint)
            await trio.sleep_forever()
    with pytest.raises(zmq.Again):
        intruder.recv(zmq.NOBLOCK)


async def test_without_a_gate_a_key_of_ones_own_does_not_open_a_socket(endpoint: str, stranger: Knock):
    """The transport opens none with keys; the library, asked for one with the same settings, lets nobody in."""
    async with open_sockets() as transport:
        with pytest.raises(AssertionError):
            transport.sender(endpoint, bind=True, security=SERVER)


async def test_raw_bytes_and_silence_leave_nothing_behind(endpoint: str):
    """Two hundred connections that say nothing, or nonsense: the descriptors are back within the handshake's time."""
    told = Told()
    port = int(endpoint.rpartition(":")[2])
    with trio.fail_after(60):
        async with fabric_side(told) as ours, open_sockets() as its:
            sender = ours.sender(endpoint, bind=True, security=SERVER)
            receiver = its.receiver(endpoint, bind=False, security=CLIENT)
            await pass_ten(sender, receiver)
            before = len(os.listdir("/proc/self/fd"))
            junk = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
            for number, one in enumerate(junk):
                one.sendall([b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f\x03", bytes(100)][number % 4])
            await told.wait(200)
            for one in junk:
                one.close()
            await pass_ten(sender, receiver)
            assert len(os.listdir("/proc/self/fd")) <= before  # what others have left open may go meanwhile
    assert len(told) == 200


async def test_a_peer_that_comes_back_is_told_of_as_lost_and_as_no_stranger(endpoint: str):
    """While strangers knock all the time; a second one with its key is a stranger."""
    told = Told()
    with trio.fail_after(30):
        async with fabric_side(told) as ours, open_sockets() as its:
            sender = ours.sender(endpoint, bind=True, security=SERVER)
            strange = 0

            async def watch() -> None:
                nonlocal strange
                await sender.wait_stranger()
                strange += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                for _ in range(5):
                    receiver = its.receiver(endpoint, bind=False, security=CLIENT)
                    await sender.wait_peer()
                    await pass_ten(sender, receiver)
                    receiver.close()
                    await sender.wait_broken()
                assert strange == 0
                first = its.receiver(endpoint, bind=False, security=CLIENT)
                await sender.wait_peer()
                await pass_ten(sender, first)
                its.receiver(endpoint, bind=False, security=CLIENT)
            assert strange == 1


async def test_addresses_of_ipv6_are_understood():
    """In brackets."""
    endpoint = f"tcp://[::1]:{free_port('::1')}"
    with trio.fail_after(30):
        async with fabric_side(Told()) as ours, open_sockets() as its:
            receiver = ours.receiver(endpoint, bind=False, security=SERVER)
            await pass_ten(its.sender(endpoint, bind=True, security=CLIENT), receiver)


def test_no_secret_is_in_what_is_printed_of_keys():
    """As in a traceback."""
    assert FABRIC[1] not in repr(SERVER)
    assert WORKER[1] not in repr(CLIENT)
    assert WORKER[0] in repr(CLIENT)
