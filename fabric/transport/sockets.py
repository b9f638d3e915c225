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

__all__ = ["SOCKETS_OF_A_WORKER_MAX", "ZmqTransport", "libzmq_can", "libzmq_version", "open_sockets"]

import errno
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import trio
import zmq

from fabric.errors import AddressInUse, ConfigError, TransportClosed
from fabric.transport.ports import BATCH_FRAMES_MAX, check_size
from fabric.wire.codec import FRAME_BYTES_MAX

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


class _Socket:
    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        kind: int,
        endpoint: str,
        *,
        bind: bool,
        watch: bool = False,
        frames_max: int = 0,
    ) -> None:
        self.endpoint = endpoint
        self._monitor: zmq.Socket[bytes] | None = None
        try:
            self._socket = context.socket(kind)
            if watch:  # before there are peers: each is told of once
                self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
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
        self._closed = False

    async def _changed(self, event: int) -> None:
        """Wait until the socket may be ready for ``event``; return at once if it says that it is."""
        if self._closed:
            raise TransportClosed(self.endpoint)
        if cast("int", self._socket.get(zmq.EVENTS)) & event:
            return
        try:
            await trio.lowlevel.wait_readable(self._fd)
        except trio.ClosedResourceError:
            raise TransportClosed(self.endpoint) from None

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self, linger_ms: int) -> None:
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._fd)
            self._end_monitor()
            self._socket.close(linger_ms)

    def _end_monitor(self) -> None:
        if self._monitor is not None:
            trio.lowlevel.notify_closing(cast("int", self._monitor.get(zmq.FD)))
            self._socket.disable_monitor()
            self._monitor.close(0)  # disabling leaves that to the garbage collector, and the context waits for it


async def _wait_event(monitor: zmq.Socket[bytes]) -> None:
    """Wait until a monitor has something to tell."""
    descriptor = cast("int", monitor.get(zmq.FD))
    while not cast("int", monitor.get(zmq.EVENTS)) & zmq.POLLIN:
        await trio.lowlevel.wait_readable(descriptor)


class _Receiver(_Socket):
    _turn_ends_s = 0.0

    async def wait_broken(self) -> None:
        """See :class:`fabric.transport.ports.Receiver`."""
        monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            await _wait_event(monitor)
        finally:
            trio.lowlevel.notify_closing(cast("int", monitor.get(zmq.FD)))
            if not self._closed:
                self._socket.disable_monitor()
            monitor.close(0)  # disabling leaves that to the garbage collector, and the context waits for it

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

    def close(self, linger_ms: int = 0) -> None:
        super().close(linger_ms)


class _Sender(_Socket):
    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, nursery: trio.Nursery, *, bind: bool, watch: bool
    ) -> None:
        super().__init__(context, zmq.PUSH, endpoint, bind=bind, watch=watch)
        # Not zmq.Socket.send: that looks for options which we never use, at twice the price of sending.
        self._send = super(zmq.Socket, self._socket).send
        self._nursery = nursery
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

    async def wait_stranger(self) -> None:
        """See :class:`fabric.transport.ports.Sender`."""
        assert self._monitor is not None, "not watched"
        for _ in range(2):
            try:
                await _wait_event(self._monitor)
            except trio.ClosedResourceError:
                raise TransportClosed(self.endpoint) from None
            self._monitor.recv_multipart(_NOBLOCK)

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


class ZmqTransport:
    """Opens sockets in one ZeroMQ context. Made by :func:`open_sockets`."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], nursery: trio.Nursery) -> None:
        self._context = context
        self._nursery = nursery
        self._ports: list[_Sender | _Receiver] = []
        self._look_at = PORTS_KEPT

    def sender(self, endpoint: str, *, bind: bool, watch: bool = False) -> _Sender:
        """Open a PUSH socket. To watch it costs two descriptors."""
        self._forget_closed()
        sender = _Sender(self._context, endpoint, self._nursery, bind=bind, watch=watch)
        self._ports.append(sender)
        return sender

    def receiver(self, endpoint: str, *, bind: bool, frames_max: int = 0) -> _Receiver:
        """Open a PULL socket."""
        self._forget_closed()
        receiver = _Receiver(self._context, zmq.PULL, endpoint, bind=bind, frames_max=frames_max)
        self._ports.append(receiver)
        return receiver

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


@asynccontextmanager
async def open_sockets(*, linger_ms: int = 0, sockets_max: int = SOCKETS_MAX) -> AsyncIterator[ZmqTransport]:
    """Give a transport, and at the end close its sockets and destroy its context.

    Args:
        linger_ms: how long frames that were sent may still travel after the body has ended without an error; -1: until
            the peer has them. A worker says -1, since its last end-of-channel has no other proof. After an error: none.
        sockets_max: how many it has to be able to open.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, min(sockets_max, context.get(zmq.SOCKET_LIMIT)))
    linger_at_end_ms = 0
    try:
        async with trio.open_nursery() as nursery:
            transport = ZmqTransport(context, nursery)
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


def libzmq_can() -> dict[str, bool]:
    """Return whether the library that is loaded was built with what is not in every build of it."""
    return {name: bool(zmq.has(name)) for name in ("ipc", "curve")}


def libzmq_version() -> str:
    """Return the version of the library that is loaded."""
    return zmq.zmq_version()
