"""ZeroMQ PUSH and PULL sockets under trio.

ZeroMQ's descriptor tells that something *changed*, once, until ``EVENTS`` is read; it does not tell that a socket is
readable. Waiting on it alone hangs. The rule that does not:

1. try without blocking;
2. on EAGAIN read ``EVENTS``; if it says ready, try again;
3. only then wait for the descriptor, and start over.

Each socket has one owner, because any operation by another task can consume the wake-up that the owner waits for.
A sending socket is used by :class:`_Sender` alone: by ``send_nowait`` while nothing is kept back, by the flushing task
while something is, never by both.

Measured: 1 KiB relay over ipc, this rule with batches 336k frames a second, one frame a wait 123k, ``zmq.asyncio`` 53k.
"""

from __future__ import annotations

__all__ = [
    "SOCKETS_OF_A_WORKER_MAX",
    "ZmqTransport",
    "libzmq_can",
    "libzmq_version",
    "make_key_pair",
    "open_sockets",
    "public_key_of",
]

import errno
import itertools
import secrets
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal, NamedTuple, cast

import trio
import zmq

from fabric.errors import AddressInUse, ConfigError, TransportClosed
from fabric.transport.gate import Gate, Refusal
from fabric.transport.peers import Happening, Peers
from fabric.transport.ports import BATCH_FRAMES_MAX, Security, ServerSide, check_size, is_tcp
from fabric.wire.codec import FRAME_BYTES_MAX
from fabric.wire.spec import WorkerKey

SOCKETS_MAX = 65_536
"""The library's default of 1,023 is used up by 146 workers."""

SOCKETS_OF_A_WORKER_MAX = 32
"""Each that there might be takes 12 bytes, which are written when the first is opened: 768 KiB for a coordinator."""

RECONNECT_MS = 5
RECONNECT_MAX_MS = 100
"""The coordinator connects before a worker binds. A forked one does milliseconds later, and would wait for the rest of
the library's 100 ms. Doubled with each attempt, so that a slow one is not asked much more often than that."""


TURN_S = 200e-6
"""How long one receiver goes on without letting other tasks have their turn, which costs as much as ten frames."""

_NOBLOCK = int(zmq.NOBLOCK)  # the enumeration costs a third of what receiving does


PORTS_KEPT = 64
"""Closed ports that are kept before anybody looks for them."""

HANDSHAKE_S = 2.0
"""How long somebody on TCP, or with keys, may take to say who he is. With the library's 30 s, 500 connections that say
nothing held 500 descriptors for so long."""

HEARTBEAT_S = 5.0
HEARTBEAT_TIMEOUT_S = 30.0
"""On TCP: how often a peer is asked whether it is there, and after how long a silence it is not. What a link that is
cut for some seconds has not delivered TCP sends again; a host that is gone says nothing, not even that."""

RECONNECT_MAX_TCP_MS = 500
CONNECT_TIMEOUT_S = 2.0
"""On TCP, where a worker may be away for long. The kernel would try for minutes, ever more rarely, and so would find a
healed link late."""

GIVEN_UP_S = 0.1
"""How long after a failed handshake the library has told whether it goes on. It gives up on who breaks the protocol,
and so would leave a worker's address to whoever came there first."""

EVENTS_TAKEN = 16
"""Of a monitor, before others have their turn."""

_HAPPENINGS: dict[int, Happening] = {
    zmq.EVENT_ACCEPTED: "began",
    zmq.EVENT_CONNECTED: "began",
    zmq.EVENT_HANDSHAKE_SUCCEEDED: "joined",
    zmq.EVENT_DISCONNECTED: "ended",
}
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
_WATCHED_WITH_KEYS = _WATCHED | _FAILED | zmq.EVENT_HANDSHAKE_FAILED_AUTH

_NO_KEY = "no ZMTP 3 with keys"
_REASONS = {0x11000001: "wrong key of the other side", 0x11000002: "no keys, or other ones (mechanism)"}
_EVENT = struct.Struct("=HI")

_monitors = itertools.count()


def make_key_pair() -> tuple[str, str]:
    """Return a new public and secret CURVE key, as Z85 text."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def public_key_of(secret: str) -> str:
    """Return the public key that belongs to a secret one."""
    return zmq.curve_public(secret.encode()).decode()


class _Socket:
    def __init__(
        self,
        owner: _Owner,
        kind: int,
        endpoint: str,
        *,
        bind: bool,
        watch: bool = False,
        frames_max: int = 0,
        security: Security | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._binds = bind
        self._refused = owner.refused
        self._security = security
        self._nursery = owner.nursery
        self._monitor: zmq.Socket[bytes] | None = None
        self._closed = False
        try:
            self._socket = owner.context.socket(kind)
            if watch or is_tcp(endpoint):  # before there are peers: each is told of once
                self._monitor = _open_monitor(owner.context, self._socket, self._events)
        except zmq.ZMQError as error:  # no more descriptors, or sockets
            raise ConfigError(f"cannot open a socket for {endpoint}: {error.strerror}") from None
        self._socket.set(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        self._socket.set(zmq.SNDHWM, 0)  # bounded by the session's windows instead
        # With the default of 1,000 libzmq stops reading there; if the peer, its linger over, goes meanwhile, what still
        # lies in the kernel's buffer is lost (of 2,000 frames sent at once by a worker that then left: 450 to 850).
        self._socket.set(zmq.RCVHWM, frames_max)
        # Before the socket gets connections: each keeps what was set when it came, and one whose peer leaves by itself
        # ends by that. With the default of -1, frames for a worker that had just left kept the context from ending.
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RECONNECT_IVL, RECONNECT_MS)
        self._socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        if is_tcp(endpoint):
            _set_up_tcp(self._socket, endpoint)
        if security is not None:
            _secure(self._socket, security)
        try:
            (self._socket.bind if bind else self._socket.connect)(endpoint)
        except zmq.ZMQError as error:
            self._end_monitor()
            self._socket.close(0)
            verb = "bind" if bind else "connect to"
            if error.errno == errno.EADDRINUSE:
                raise AddressInUse(f"cannot {verb} {endpoint}: {error.strerror}") from None
            raise ConfigError(f"cannot {verb} {endpoint}: {error.strerror}") from None
        self._fd = cast("int", self._socket.get(zmq.FD))
        self._peers = Peers()
        self._told_of = {"joined": 0, "doubled": 0, "left": 0}
        self._changes = trio.lowlevel.ParkingLot()
        self._failure = ""
        self._unauthorised = 0
        self._tries = 0
        if self._monitor is not None:
            self._nursery.start_soon(self._watch, self._monitor)

    async def _changed(self, event: int) -> None:
        """Wait until the socket may be ready for ``event``; return at once if it says that it is."""
        if self._closed:
            raise TransportClosed(self.endpoint)
        if cast("int", self._socket.get(zmq.EVENTS)) & event:
            return
        try:
            await trio.lowlevel.wait_readable(self._fd)
        except trio.ClosedResourceError:
            if self._closed:
                raise TransportClosed(self.endpoint) from None

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self, linger_ms: int = 0) -> None:
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._fd)
            self._changes.unpark_all()
            self._end_monitor()
            self._socket.close(linger_ms)

    # --- who is there ---

    @property
    def _events(self) -> int:
        events = _WATCHED if self._security is None else _WATCHED_WITH_KEYS
        return events if self._binds else events | zmq.EVENT_CONNECT_RETRIED

    def _end_monitor(self) -> None:
        if self._monitor is not None:
            trio.lowlevel.notify_closing(cast("int", self._monitor.get(zmq.FD)))
            self._socket.disable_monitor()
            self._monitor.close(0)  # disabling leaves that to the garbage collector, and the context waits for it

    async def wait_peer(self) -> None:
        """See :class:`fabric.transport.ports.Sender`."""
        await self._wait_one("joined")

    async def wait_stranger(self) -> None:
        """See :class:`fabric.transport.ports.Sender`."""
        await self._wait_one("doubled")

    async def wait_broken(self) -> None:
        """See :class:`fabric.transport.ports.Sender`, and ``Receiver``."""
        await self._wait_one("left")

    @property
    def renewed(self) -> bool:
        """See :class:`fabric.transport.ports.Sender`, and ``Receiver``."""
        assert self._monitor is not None, "not watched"
        # It has to be known now, so no other task has its turn meanwhile. Once it is known, the rest is left to them.
        while not self._closed and self._peers.joined <= 1 and self._hear_one(self._monitor):
            pass
        return self._peers.joined > 1

    def _hear_one(self, monitor: zmq.Socket[bytes]) -> bool:
        """Take in one thing that the monitor has to tell; return whether there was one."""
        try:
            event, value = _EVENT.unpack(monitor.recv_multipart(_NOBLOCK)[0])
        except zmq.Again:
            return False
        self._hear(event, value)
        return True

    async def _wait_one(self, count: Literal["joined", "doubled", "left"]) -> None:
        assert self._monitor is not None, "not watched"
        await trio.lowlevel.checkpoint()
        while getattr(self._peers, count) == self._told_of[count]:
            if self._closed:
                raise TransportClosed(self.endpoint)
            await self._changes.park()
        self._told_of[count] += 1

    async def _watch(self, monitor: zmq.Socket[bytes]) -> None:
        """Take in what the monitor tells, until the socket is closed."""
        taken = 0
        while not self._closed:
            if not self._hear_one(monitor):
                if not cast("int", monitor.get(zmq.EVENTS)) & zmq.POLLIN:
                    with suppress(trio.ClosedResourceError):
                        await trio.lowlevel.wait_readable(cast("int", monitor.get(zmq.FD)))
                continue
            taken += 1
            if taken % EVENTS_TAKEN == 0:
                await trio.lowlevel.checkpoint()

    def _hear(self, event: int, value: int) -> None:
        if event not in _HAPPENINGS:
            self._tries += event == zmq.EVENT_CONNECT_RETRIED
            self._unauthorised += event == zmq.EVENT_HANDSHAKE_FAILED_AUTH
            if event & _FAILED:
                self._failure = _reason(event, value)
            return
        left = self._peers.left
        self._peers.handle(_HAPPENINGS[event], value)
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._socket.get(zmq.EVENTS)  # takes in that the peer is there, and that one before it is gone
            self._wake()
        if event == zmq.EVENT_DISCONNECTED and left == self._peers.left:
            self._tell_refusal()
            if not self._binds:
                self._nursery.start_soon(self._come_back, self._tries)
        self._failure = ""
        self._changes.unpark_all()

    def _tell_refusal(self) -> None:
        """Tell of a handshake that has failed. A failure stands right before the end of its connection."""
        if self._security is None:
            return
        if not self._failure and self._unauthorised:
            self._unauthorised -= 1
            if isinstance(self._security, ServerSide):
                return  # the gate has told
            self._failure = "it refuses our key"
        whose = self._security.domain if isinstance(self._security, ServerSide) else self.endpoint
        self._refused(Refusal(whose, "" if self._binds else self.endpoint, self._failure or _NO_KEY))

    async def _come_back(self, tries: int) -> None:
        """Connect once more, if the library has given up."""
        await trio.sleep(GIVEN_UP_S)
        if self._closed or self._tries != tries:
            return
        with suppress(zmq.ZMQError):  # it has forgotten it
            self._socket.disconnect(self.endpoint)
        self._socket.connect(self.endpoint)
        self._wake()

    def _wake(self) -> None:
        """Let the owner look: whoever else uses the socket may have consumed what it waits for."""
        trio.lowlevel.notify_closing(self._fd)


def _open_monitor(context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes], events: int) -> zmq.Socket[bytes]:
    """Return a socket from which to read what happens to another.

    Its queue has no limit: behind one the library's thread would wait for us, and we, when we close, for it.
    """
    address = f"inproc://monitor-{next(_monitors)}"
    socket.monitor(address, events)
    monitor = context.socket(zmq.PAIR)
    monitor.set(zmq.RCVHWM, 0)
    monitor.set(zmq.LINGER, 0)
    monitor.connect(address)
    return monitor


def _set_up_tcp(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Set what holds for endpoints over TCP."""
    socket.set(zmq.IPV6, "[" in endpoint)
    socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_TCP_MS)
    socket.set(zmq.CONNECT_TIMEOUT, _milliseconds(CONNECT_TIMEOUT_S))
    socket.set(zmq.HANDSHAKE_IVL, _milliseconds(HANDSHAKE_S))
    socket.set(zmq.HEARTBEAT_IVL, _milliseconds(HEARTBEAT_S))
    socket.set(zmq.HEARTBEAT_TIMEOUT, _milliseconds(HEARTBEAT_TIMEOUT_S))
    socket.set(zmq.HEARTBEAT_TTL, _milliseconds(HEARTBEAT_TIMEOUT_S))


def _secure(socket: zmq.Socket[bytes], security: Security) -> None:
    """Give a socket its keys."""
    if isinstance(security, ServerSide):
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, security.secret.encode())
        # Without a domain, or with one that is not enforced, everybody with any key is let in when nobody is asked.
        socket.set(zmq.ZAP_DOMAIN, security.domain.encode())
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
    else:
        socket.set(zmq.CURVE_SERVERKEY, security.server.encode())
        socket.set(zmq.CURVE_PUBLICKEY, security.public.encode())
        socket.set(zmq.CURVE_SECRETKEY, security.secret.encode())
    socket.set(zmq.HANDSHAKE_IVL, _milliseconds(HANDSHAKE_S))


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _reason(event: int, value: int) -> str:
    """Say why a handshake has failed."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return "it broke off, or said nothing"
    return _REASONS.get(value, f"it breaks the protocol ({value:#x})")


async def _wait_readable(socket: zmq.Socket[bytes]) -> None:
    """Wait until a socket that only its one task uses has something to read."""
    descriptor = cast("int", socket.get(zmq.FD))
    while not cast("int", socket.get(zmq.EVENTS)) & zmq.POLLIN:
        await trio.lowlevel.wait_readable(descriptor)


class _Receiver(_Socket):
    _turn_ends_s = 0.0

    async def receive(self) -> list[bytes]:
        if time.perf_counter() > self._turn_ends_s:
            await trio.lowlevel.checkpoint()  # before the frames are taken: a cancellation must not lose them
            self._turn_ends_s = time.perf_counter() + TURN_S
        recv = self._socket.recv
        batch: list[bytes] = []
        while True:
            if self._closed:
                raise TransportClosed(self.endpoint)
            try:
                while len(batch) < BATCH_FRAMES_MAX:
                    batch.append(recv(_NOBLOCK))
            except zmq.Again:
                pass
            if batch:
                return batch
            await self._changed(zmq.POLLIN)
            self._turn_ends_s = time.perf_counter() + TURN_S


class _Sender(_Socket):
    def __init__(self, owner: _Owner, endpoint: str, *, bind: bool, watch: bool, security: Security | None) -> None:
        super().__init__(owner, zmq.PUSH, endpoint, bind=bind, watch=watch, security=security)
        # Not zmq.Socket.send: that looks for options which we never use, at twice the price of sending.
        self._send = super(zmq.Socket, self._socket).send
        self._kept: deque[bytes] = deque()
        self._sent = trio.Event()
        self._sent.set()

    def send_nowait(self, raw: bytes) -> None:
        if self._closed:
            raise TransportClosed(self.endpoint)
        if len(raw) > FRAME_BYTES_MAX:
            check_size(raw)
        if not self._kept:
            try:
                self._send(raw, _NOBLOCK)
            except zmq.Again:  # no peer has connected yet
                self._sent = trio.Event()
                self._nursery.start_soon(self._flush)
            else:
                return
        self._kept.append(raw)

    async def wait_sent(self) -> None:
        await self._sent.wait()

    async def _flush(self) -> None:
        while self._kept and not self._closed:
            try:
                self._send(self._kept[0], _NOBLOCK)
            except zmq.Again:
                try:
                    await self._changed(zmq.POLLOUT)
                except TransportClosed:
                    break
            else:
                self._kept.popleft()
        self._sent.set()

    def close(self, linger_ms: int = 0) -> None:
        self._kept.clear()
        super().close(linger_ms)


class _Owner(NamedTuple):
    """What the sockets of a transport share."""

    context: zmq.Context[zmq.Socket[bytes]]
    nursery: trio.Nursery
    refused: Callable[[Refusal], None]


class ZmqTransport:
    """Opens sockets in one ZeroMQ context. Made by :func:`open_sockets`."""

    def __init__(self, owner: _Owner, *, guarded: bool) -> None:
        self._owner = owner
        self._guarded = guarded
        self._ports: list[_Sender | _Receiver] = []
        self._look_at = PORTS_KEPT

    def sender(self, endpoint: str, *, bind: bool, watch: bool = False, security: Security | None = None) -> _Sender:
        """Open a PUSH socket. To watch it costs two descriptors."""
        self._check(security)
        self._forget_closed()
        sender = _Sender(self._owner, endpoint, bind=bind, watch=watch, security=security)
        self._ports.append(sender)
        return sender

    def receiver(
        self,
        endpoint: str,
        *,
        bind: bool,
        watch: bool = False,
        frames_max: int = 0,
        security: Security | None = None,
    ) -> _Receiver:
        """Open a PULL socket. To watch it costs two descriptors."""
        self._check(security)
        self._forget_closed()
        receiver = _Receiver(
            self._owner, zmq.PULL, endpoint, bind=bind, watch=watch, frames_max=frames_max, security=security
        )
        self._ports.append(receiver)
        return receiver

    def _check(self, security: Security | None) -> None:
        assert self._guarded or not isinstance(security, ServerSide), "nobody would be asked whom to let in"

    def _forget_closed(self) -> None:
        """Let go of what its owner has closed, now and then: workers may be started again for ever."""
        if len(self._ports) >= self._look_at:
            self._ports = [port for port in self._ports if not port.closed]
            self._look_at = 2 * len(self._ports) + PORTS_KEPT

    async def wait_sent(self) -> None:
        """Return when no sender keeps anything back."""
        for port in self._ports:
            if isinstance(port, _Sender):
                await port.wait_sent()

    def close(self, linger_ms: int) -> None:
        """Close every socket that is still open."""
        for port in self._ports:
            port.close(linger_ms)


def _ignore(_: Refusal) -> None: ...


@asynccontextmanager
async def open_sockets(
    *,
    linger_ms: int = 0,
    sockets_max: int = SOCKETS_MAX,
    gate: Gate | None = None,
    refused: Callable[[Refusal], None] = _ignore,
) -> AsyncIterator[ZmqTransport]:
    """Give a transport, and at the end close its sockets and destroy its context.

    Args:
        linger_ms: how long frames that were sent may still travel after the body has ended without an error; -1: until
            the peer has them. A worker says -1, since its last end-of-channel has no other proof. After an error: none.
        sockets_max: how many it has to be able to open.
        gate: decides whom to let in at sockets with keys of the server's side. If it fails the body is cancelled.
        refused: hears of everybody who was not let in, there or for want of keys. Must not wait.

    Raises:
        ConfigError: the gate lets strangers in; nothing was bound.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, min(sockets_max, context.get(zmq.SOCKET_LIMIT)))
    linger_at_end_ms = 0
    try:
        async with trio.open_nursery() as nursery:
            if gate is not None:
                await _open_gate(context, nursery, gate, refused)
            transport = ZmqTransport(_Owner(context, nursery, refused), guarded=gate is not None)
            try:
                yield transport
                if linger_ms:
                    await transport.wait_sent()
                    linger_at_end_ms = linger_ms
            finally:
                transport.close(linger_at_end_ms)
                nursery.cancel_scope.cancel()
    finally:
        # A context must never be destroyed before its sockets are closed. With a linger this waits for the peer.
        with trio.CancelScope(shield=True):
            if linger_at_end_ms:
                await trio.to_thread.run_sync(context.term)
            else:
                context.destroy(0)


GATE = "inproc://zeromq.zap.01"
"""Where the library asks whom to let in."""

TEST_S = 10.0
"""How long the test of the gate may take: two milliseconds, on a host with nothing else to do."""


async def _open_gate(
    context: zmq.Context[zmq.Socket[bytes]], nursery: trio.Nursery, gate: Gate, refused: Callable[[Refusal], None]
) -> None:
    """Have the library ask the gate, and see that it does. Raises ConfigError: somebody unknown was not refused."""
    tested = False

    async def serve(asked: zmq.Socket[bytes]) -> None:
        with asked:
            while True:
                try:
                    request = asked.recv_multipart(_NOBLOCK)
                except zmq.Again:
                    await _wait_readable(asked)
                    continue
                reply, refusal = gate.answer(request)
                asked.send_multipart(reply, _NOBLOCK)
                if refusal is not None and tested:
                    refused(refusal)

    asked = context.socket(zmq.REP)
    asked.set(zmq.LINGER, 0)
    asked.bind(GATE)
    nursery.start_soon(serve, asked)
    with trio.move_on_after(TEST_S):
        tested = await _refuses(context, gate.domain)
    if not tested:
        raise ConfigError("a stranger with a key of its own was let in at a socket with keys, or nobody was asked")


async def _refuses(context: zmq.Context[zmq.Socket[bytes]], domain: str) -> bool:
    """Knock with a key that nobody knows; return whether it was refused."""
    # Abstract: of no file, and of no port, so nothing is left and nobody is disturbed. Endpoints never are, because a
    # name without a file has no mode, and all users of the host may connect. Here nobody is harmed by that: the name
    # cannot be guessed, it lives for milliseconds, and nothing is ever sent over it.
    name = f"ipc://@fabric-{secrets.token_hex(16)}"
    server, (public, secret) = make_key_pair(), make_key_pair()
    ours, theirs = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    monitor = _open_monitor(context, ours, zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    try:
        _secure(ours, ServerSide(server[1], domain))
        _secure(theirs, WorkerKey(public, secret, server[0]))
        ours.bind(name)
        theirs.connect(name)
        await _wait_readable(monitor)
        event, _ = _EVENT.unpack(monitor.recv_multipart(_NOBLOCK)[0])
        return bool(event == zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    finally:
        ours.disable_monitor()
        for socket in (monitor, ours, theirs):
            socket.close(0)


def libzmq_can() -> dict[str, bool]:
    """Return whether the library that is loaded was built with what is not in every build of it."""
    return {name: bool(zmq.has(name)) for name in ("ipc", "curve")}


def libzmq_version() -> str:
    """Return the version of the library that is loaded."""
    return zmq.zmq_version()
