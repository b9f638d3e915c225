"""What a transport offers; :mod:`~fabric.transport.sockets` and :mod:`~fabric.transport.memory` both do.

A port has one owner. Sending never waits: what the peer cannot take yet is kept in order, and its amount is bounded by
the windows of the session, which sends nothing that is not asked for.
"""

from __future__ import annotations

__all__ = ["BATCH_FRAMES_MAX", "Receiver", "Sender", "Transport", "check_size", "fail_on_stranger"]

from typing import NoReturn, Protocol

from fabric.errors import LocalProtocolError, Stranger
from fabric.wire.codec import FRAME_BYTES_MAX

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

    async def wait_stranger(self) -> None:
        """Return when a second peer has connected to a bound end: frames that the first should get may be with it.

        For one waiter, and only where :meth:`Transport.sender` was told to ``watch``.
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

        A frame over the limit ends it for good: the receiver cuts it, and a peer that binds does not come back.
        """
        ...

    def close(self) -> None:
        """Give the endpoint up and wake a waiting :meth:`receive`. Idempotent."""
        ...


class Transport(Protocol):
    """Makes ports and closes those that are left."""

    def sender(self, endpoint: str, *, bind: bool, watch: bool = False) -> Sender:
        """Open a PUSH end. Raises ConfigError if the endpoint cannot be bound.

        Args:
            endpoint: its address.
            bind: whether it binds, or connects.
            watch: whether a second peer is to be noticed.
        """
        ...

    def receiver(self, endpoint: str, *, bind: bool, frames_max: int = 0) -> Receiver:
        """Open a PULL end. Raises ConfigError if the endpoint cannot be bound.

        Args:
            endpoint: its address.
            bind: whether it binds, or connects.
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


def check_size(raw: bytes) -> None:
    """Refuse a frame that no receiver takes. Raises LocalProtocolError; nothing was sent."""
    if len(raw) > FRAME_BYTES_MAX:
        raise LocalProtocolError(f"frame of {len(raw)} bytes; at most {FRAME_BYTES_MAX}")
