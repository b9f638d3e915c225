"""The transport in memory: one process, no sockets, deterministic under ``trio.testing.MockClock``."""

from __future__ import annotations

__all__ = ["MemoryTransport"]

from collections import defaultdict, deque

import trio

from fabric.errors import ConfigError, TransportClosed
from fabric.transport.ports import BATCH_FRAMES_MAX, check_size


class _Pipe:
    """What lies between the two ends of an endpoint. Keeps frames that were sent before the reader came."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.readers = trio.lowlevel.ParkingLot()
        self.bound = False


class _End:
    def __init__(self, endpoint: str, pipe: _Pipe, *, bind: bool) -> None:
        if bind and pipe.bound:
            raise ConfigError(f"cannot bind {endpoint}: it is bound already")
        pipe.bound |= bind
        self._binds = bind
        self._endpoint = endpoint
        self._pipe = pipe
        self._closed = False

    def close(self) -> None:
        if self._binds and not self._closed:
            self._pipe.bound = False
        self._closed = True


class _Sender(_End):
    def send_nowait(self, raw: bytes) -> None:
        if self._closed:
            raise TransportClosed(self._endpoint)
        check_size(raw)
        self._pipe.frames.append(raw)
        self._pipe.readers.unpark()

    async def wait_sent(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_stranger(self) -> None:
        await trio.sleep_forever()  # all are of one process


class _Receiver(_End):
    async def receive(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        frames = self._pipe.frames
        while not frames and not self._closed:
            await self._pipe.readers.park()
        if self._closed:
            raise TransportClosed(self._endpoint)
        return [frames.popleft() for _ in range(min(BATCH_FRAMES_MAX, len(frames)))]

    async def wait_broken(self) -> None:
        await trio.sleep_forever()  # nothing can break

    def close(self) -> None:
        super().close()
        self._pipe.readers.unpark_all()


class MemoryTransport:
    """Endpoints are any strings. Each may be bound once, as with ZeroMQ, but here a second bind is refused."""

    def __init__(self) -> None:
        self._pipes: defaultdict[str, _Pipe] = defaultdict(_Pipe)

    def sender(self, endpoint: str, *, bind: bool, watch: bool = False) -> _Sender:
        """Open the writing end."""
        return _Sender(endpoint, self._pipes[endpoint], bind=bind)

    def receiver(self, endpoint: str, *, bind: bool, frames_max: int = 0) -> _Receiver:
        """Open the reading end."""
        return _Receiver(endpoint, self._pipes[endpoint], bind=bind)
