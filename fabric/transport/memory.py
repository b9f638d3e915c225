"""The transport in memory: one process, no sockets, deterministic under ``trio.testing.MockClock``."""

from __future__ import annotations

__all__ = ["Link", "MemoryTransport"]

from collections import defaultdict, deque
from collections.abc import Callable

import trio

from fabric.errors import AddressInUse, TransportClosed
from fabric.transport.ports import BATCH_FRAMES_MAX, Security, check_size


class _Pipe:
    """What lies between the two ends of an endpoint. Keeps frames that were sent before the reader came.

    Attributes:
        frames: each with the time at which it arrives; these never fall, so that none overtakes another.
    """

    def __init__(self) -> None:
        self.frames: deque[tuple[float, bytes]] = deque()
        self.readers = trio.lowlevel.ParkingLot()
        self.watchers = trio.lowlevel.ParkingLot()
        self.bound = False
        self.link: Link | None = None


class Link:
    """What becomes of the frames between two ends that may lose each other, as over a network.

    Attributes:
        present: whether the worker is there.
        joined: how often it has connected.
        stands: nothing arrives: it was cut, and nobody has noticed yet.
        lost_until_s: until then the sender sends into a connection that is dead, and does not know.
        halves: the sender knows two connections, of which one is dead: each second frame goes there.
    """

    def __init__(self) -> None:
        self.present = False
        self.joined = 0
        self.stands = False
        self.lost_until_s = 0.0
        self.halves = False
        self._turn = False

    def swallows(self, now_s: float) -> bool:
        """Whether the frame that is sent now never arrives."""
        if now_s < self.lost_until_s:
            return True
        self._turn = self.halves and not self._turn
        return self._turn


class _End:
    def __init__(self, endpoint: str, pipe: _Pipe, *, bind: bool) -> None:
        if bind and pipe.bound:
            raise AddressInUse(f"cannot bind {endpoint}: it is bound already")
        pipe.bound |= bind
        self._binds = bind
        self._endpoint = endpoint
        self._pipe = pipe
        self._closed = False
        self._joined_before = 0 if pipe.link is None else pipe.link.joined - pipe.link.present

    @property
    def renewed(self) -> bool:
        """See :class:`fabric.transport.ports.Sender`, and ``Receiver``."""
        return self._pipe.link is not None and self._pipe.link.joined - self._joined_before > 1

    def close(self) -> None:
        if self._binds and not self._closed:
            self._pipe.bound = False
        self._closed = True


class _Sender(_End):
    def __init__(self, endpoint: str, pipe: _Pipe, *, bind: bool, delay_s: Callable[[str], float] | None) -> None:
        super().__init__(endpoint, pipe, bind=bind)
        self._delay_s = delay_s
        self._told = False

    def send_nowait(self, raw: bytes) -> None:
        if self._closed:
            raise TransportClosed(self._endpoint)
        check_size(raw)
        frames = self._pipe.frames
        arrives_s = trio.current_time()
        if self._pipe.link is not None and self._pipe.link.swallows(arrives_s):
            return
        if self._delay_s is not None:
            arrives_s += self._delay_s(self._endpoint)
        if frames:
            arrives_s = max(arrives_s, frames[-1][0])
        frames.append((arrives_s, raw))
        self._pipe.readers.unpark()

    async def wait_sent(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_peer(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._told:
            await trio.sleep_forever()
        self._told = True  # it is there as soon as anybody asks, and stays

    async def wait_stranger(self) -> None:
        await trio.sleep_forever()  # all are of one process

    async def wait_broken(self) -> None:
        await self._pipe.watchers.park()  # until somebody breaks it


class _Receiver(_End):
    async def receive(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        frames = self._pipe.frames
        while not self._closed and not (self._moves and frames and frames[0][0] <= trio.current_time()):
            if frames and self._moves:
                with trio.CancelScope(deadline=frames[0][0]):
                    await self._pipe.readers.park()
            else:
                await self._pipe.readers.park()
        if self._closed:
            raise TransportClosed(self._endpoint)
        now_s = trio.current_time()
        taken: list[bytes] = []
        while frames and frames[0][0] <= now_s and len(taken) < BATCH_FRAMES_MAX:
            taken.append(frames.popleft()[1])
        return taken

    @property
    def _moves(self) -> bool:
        return self._pipe.link is None or not self._pipe.link.stands

    async def wait_broken(self) -> None:
        await self._pipe.watchers.park()  # until somebody breaks it

    def close(self) -> None:
        super().close()
        self._pipe.readers.unpark_all()


class MemoryTransport:
    """Endpoints are any strings. Each may be bound once, as with ZeroMQ, but here a second bind is refused.

    Args:
        delay_s: tells for an endpoint how long the frame that is sent now is on its way. None overtakes another.
    """

    def __init__(self, delay_s: Callable[[str], float] | None = None) -> None:
        self._delay_s = delay_s
        self._pipes: defaultdict[str, _Pipe] = defaultdict(_Pipe)

    def sender(self, endpoint: str, *, bind: bool, watch: bool = False, security: Security | None = None) -> _Sender:
        """Open the writing end. Keys do not matter: all are of one process."""
        return _Sender(endpoint, self._pipes[endpoint], bind=bind, delay_s=self._delay_s)

    def receiver(
        self,
        endpoint: str,
        *,
        bind: bool,
        watch: bool = False,
        frames_max: int = 0,
        security: Security | None = None,
    ) -> _Receiver:
        """Open the reading end."""
        return _Receiver(endpoint, self._pipes[endpoint], bind=bind)

    def link(self, endpoint: str) -> Link:
        """Let the two ends of an endpoint lose each other; return the link between them."""
        pipe = self._pipes[endpoint]
        pipe.link = pipe.link or Link()
        return pipe.link

    def heal(self, endpoint: str) -> None:
        """What stood arrives."""
        self.link(endpoint).stands = False
        self._pipes[endpoint].readers.unpark_all()

    def sever(self, endpoint: str) -> None:
        """The reader notices that a connection is over."""
        self._pipes[endpoint].watchers.unpark_all()

    def cut(self, endpoint: str, keeps: Callable[[int], int]) -> int:
        """The process that wrote to an endpoint is gone, and with it the end of what nobody has read yet.

        Args:
            endpoint: its address.
            keeps: tells of so many frames how many arrive all the same, the first ones.

        Returns:
            how many do not.
        """
        frames = self._pipes[endpoint].frames
        lost = len(frames) - keeps(len(frames))
        for _ in range(lost):
            frames.pop()
        return lost

    def forget(self, endpoint: str, keeps: Callable[[int], int]) -> int:
        """The process that reads an endpoint is gone, and with it what was on its way; but for the last.

        Args:
            endpoint: its address.
            keeps: tells of so many frames how many arrive all the same, the last ones.

        Returns:
            how many do not arrive.
        """
        frames = self._pipes[endpoint].frames
        lost = len(frames) - keeps(len(frames))
        for _ in range(lost):
            frames.popleft()
        return lost
