"""The transport in memory: one process, no sockets, deterministic under ``trio.testing.MockClock``."""

from __future__ import annotations

__all__ = ["MemoryTransport"]

from collections import deque

import trio

from fabric.errors import ConfigError, TransportClosed
from fabric.transport.ports import BATCH_FRAMES_MAX


class _Pipe:
    """What lies between the two ends of an endpoint. Keeps frames that were sent before the reader came."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.readers = trio.lowlevel.ParkingLot()


class _Sender:
    def __init__(self, endpoint: str, pipe: _Pipe) -> None:
        self._endpoint = endpoint
        self._pipe = pipe
        self._closed = False

    def send_nowait(self, raw: bytes) -> None:
        if self._closed:
            raise TransportClosed(self._endpoint)
        self._pipe.frames.append(raw)
        self._pipe.readers.unpark()

    async def wait_sent(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._closed = True


class _Receiver:
    def __init__(self, endpoint: str, pipe: _Pipe) -> None:
        self._endpoint = endpoint
        self._pipe = pipe
        self._closed = False

    async def receive(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        frames = self._pipe.frames
        while not frames and not self._closed:
            await self._pipe.readers.park()
        if self._closed:
            raise TransportClosed(self._endpoint)
        return [frames.popleft() for _ in range(min(BATCH_FRAMES_MAX, len(frames)))]

    def close(self) -> None:
        self._closed = True
        self._pipe.readers.unpark_all()


class MemoryTransport:
    """Endpoints are any strings. Each may be bound once, as with ZeroMQ, but here a second bind is refused."""

    def __init__(self) -> None:
        self._pipes: dict[str, _Pipe] = {}
        self._bound: set[str] = set()

    def _pipe(self, endpoint: str, bind: bool) -> _Pipe:
        if bind:
            if endpoint in self._bound:
                raise ConfigError(f"cannot bind {endpoint}: it is bound already")
            self._bound.add(endpoint)
        return self._pipes.setdefault(endpoint, _Pipe())

    def sender(self, endpoint: str, *, bind: bool) -> _Sender:
        """Open the writing end."""
        return _Sender(endpoint, self._pipe(endpoint, bind))

    def receiver(self, endpoint: str, *, bind: bool) -> _Receiver:
        """Open the reading end."""
        return _Receiver(endpoint, self._pipe(endpoint, bind))
