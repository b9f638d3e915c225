"""What a transport offers; :mod:`~fabric.transport.sockets` and :mod:`~fabric.transport.memory` both do.

A port has one owner. Sending never waits: what the peer cannot take yet is kept in order, and its amount is bounded by
the windows of the session, which sends nothing that is not asked for.

A *peer* is a connection whose handshake has succeeded; where there are keys, one that has the right one. Who gets
through no handshake gets no frame, gives none, and is nobody here: neither a stranger nor a peer that is lost. A
connection that is lost comes back by itself, if its other side is still there or comes again; what had been sent and
not read is lost with it, on both sides.
"""

from __future__ import annotations

__all__ = [
    "BATCH_FRAMES_MAX",
    "Receiver",
    "Security",
    "Sender",
    "ServerSide",
    "Transport",
    "check_size",
    "fail_on_stranger",
    "is_tcp",
]

from typing import Any, NoReturn, Protocol, TypeAlias

import msgspec

from fabric.errors import LocalProtocolError, Stranger
from fabric.wire.codec import FRAME_BYTES_MAX
from fabric.wire.spec import WorkerKey


class ServerSide(msgspec.Struct, frozen=True):
    """The fabric's side of an endpoint with keys, whether it binds or connects.

    Attributes:
        secret: the fabric's secret key, as Z85 text.
        domain: the worker whose endpoint it is; only its key is let in.
    """

    secret: str
    domain: str

    def __repr__(self) -> str:
        """A secret is not to be read in a traceback."""
        return f"ServerSide(domain={self.domain!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for who prints in colours."""
        return [("domain", self.domain)]


Security: TypeAlias = ServerSide | WorkerKey
"""Keys of an endpoint: the fabric's side, or the worker's."""

BATCH_FRAMES_MAX = 16
"""Frames handed over at once. More is faster and less fair: beside a flooded channel a quiet one's p99 was 0.5 ms at
16 and 3.3 ms at 64, for 294k and 336k frames a second."""


class Sender(Protocol):
    """The writing end of a channel."""

    def send_nowait(self, raw: bytes) -> None:
        """Send, or keep until the peer is there.

        Raises:
            TransportClosed: after :meth:`close`.
            LocalProtocolError: more than ``FRAME_BYTES_MAX``. The peer's socket would cut the link for good.
        """
        ...

    async def wait_sent(self) -> None:
        """Return when nothing is kept back any more. Proves nothing about the peer."""
        ...

    async def wait_peer(self) -> None:
        """Return when a peer has come. Frames sent from now on go to it.

        Called again, return when one more has. For one waiter, and only where it is watched (:meth:`Transport.sender`).

        Raises:
            TransportClosed: it was closed.
        """
        ...

    async def wait_stranger(self) -> None:
        """Return when a peer has come while another was there: frames that one should get may be with the other.

        Called again, return when one more has. For one waiter, and only where it is watched (:meth:`Transport.sender`).
        A peer that comes after the last one has gone is no stranger.

        Raises:
            TransportClosed: it was closed.
        """
        ...

    async def wait_broken(self) -> None:
        """Return when a peer that was there has gone, whoever ended it: frames sent to it may be lost.

        What is sent from now on until the next one has come (:meth:`wait_peer`) is kept for that one; but what was sent
        just before this returned, and in the moment behind it, may have gone after the one that is lost.

        Called again, return when one more has. For one waiter, and only where it is watched.

        Raises:
            TransportClosed: it was closed.
        """
        ...

    @property
    def renewed(self) -> bool:
        """Whether more than one peer has come so far: what came from the second may stand behind a gap.

        Told before any frame of the second is received. Only where it is watched.
        """
        ...

    def close(self) -> None:
        """Give the endpoint up; frames kept back are dropped. Idempotent."""
        ...


class Receiver(Protocol):
    """The reading end of a channel."""

    async def receive(self) -> list[bytes]:
        """Wait for frames; return between 1 and ``BATCH_FRAMES_MAX``, in order. Raises TransportClosed."""
        ...

    async def wait_broken(self) -> None:
        """Return when the connection to a peer that was there has ended, whoever ended it.

        Called again, return when one more has. For one waiter, and only where it is watched
        (:meth:`Transport.receiver`). A frame over the limit ends it for good: the receiver cuts it, and a peer that
        binds does not come back.

        Raises:
            TransportClosed: it was closed.
        """
        ...

    @property
    def renewed(self) -> bool:
        """Whether more than one peer has come so far: what came from the second may stand behind a gap.

        Told before any frame of the second is received. Only where it is watched.
        """
        ...

    def close(self) -> None:
        """Give the endpoint up and wake a waiting :meth:`receive`. Idempotent."""
        ...


class Transport(Protocol):
    """Makes ports and closes those that are left."""

    def sender(self, endpoint: str, *, bind: bool, watch: bool = False, security: Security | None = None) -> Sender:
        """Open a PUSH end. Raises ConfigError if the endpoint cannot be bound.

        Args:
            endpoint: its address.
            bind: whether it binds, or connects.
            watch: whether it is to be noticed who comes and goes. On TCP it always is.
            security: keys; ``None``: whoever reaches the endpoint may use it.
        """
        ...

    def receiver(
        self,
        endpoint: str,
        *,
        bind: bool,
        watch: bool = False,
        frames_max: int = 0,
        security: Security | None = None,
    ) -> Receiver:
        """Open a PULL end. Raises ConfigError if the endpoint cannot be bound.

        Args:
            endpoint, bind, watch, security: as of a sender.
            frames_max: how many may wait here until they are received; the peer keeps the rest. 0: any number. If more
                do when the peer is gone, what lies between the two is lost, its last end of channel included.
        """
        ...


async def fail_on_stranger(sender: Sender, worker: str, port: str) -> NoReturn:
    """Wait for a second peer of a port that a worker binds.

    Raises:
        Stranger: it is there.
    """
    await sender.wait_stranger()
    raise Stranger(f"worker '{worker}': a stranger connected to {port}, and may have taken some of what was sent there")


def is_tcp(endpoint: str) -> bool:
    """Whether an endpoint is reached over TCP, and so perhaps by others than this host."""
    return endpoint.startswith("tcp://")


def check_size(raw: bytes) -> None:
    """Refuse a frame that no receiver takes. Raises LocalProtocolError; nothing was sent."""
    if len(raw) > FRAME_BYTES_MAX:
        raise LocalProtocolError(f"frame of {len(raw)} bytes; at most {FRAME_BYTES_MAX}")
