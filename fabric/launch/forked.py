"""The launchers' side of the zygote: workers that are forked instead of spawned. Several launchers may share one."""

from __future__ import annotations

__all__ = ["ForkedWorker", "Forker"]

import array
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Literal

import trio

from fabric.errors import WorkerFailed
from fabric.launch.preload import ZygoteProcess
from fabric.launch.stderr import read_lines
from fabric.launch.zygote import PACKET_BYTES_MAX, Exited, Fork, Forked, ForkFailed, Signal, decode_from_zygote, encode

ANSWER_S = 20.0
"""How long the zygote may take to fork, or to tell that a killed worker is gone: milliseconds, and its imports before
its first answer. One that takes longer was stopped, and will never answer."""


class ForkedWorker:
    """A worker of the zygote's. It speaks on sockets: there is nothing on its stdin, and its stdout is its stderr.

    Attributes:
        pid: its process, once ``answered`` is set, unless it could not be forked: ``refusal`` says why.
    """

    def __init__(self, forker: Forker, number: int, output: trio.lowlevel.FdStream) -> None:
        self._forker = forker
        self._number = number
        self._output = output
        self._read = False
        self._status = 0
        self._gone = trio.Event()
        self.pid: int | None = None
        self.refusal: str | None = None
        self.answered = trio.Event()

    # --- what the zygote says ---

    def forked(self, pid: int) -> None:
        """It is a process now."""
        self.pid = pid
        self.answered.set()

    def refused(self, reason: str) -> None:
        """It never was one."""
        self.refusal = reason
        self.answered.set()
        self._gone.set()

    def exited(self, status: int) -> None:
        """It is gone, and reaped."""
        self._status = status
        self._gone.set()

    async def close(self) -> None:
        """Give its output up, unless somebody reads it."""
        if not self._read:
            await self._output.aclose()

    async def end(self) -> None:
        """Kill it, if it is left of a session that was broken off, and wait until it is gone."""
        await self.answered.wait()
        self.signal("KILL")
        await self.wait()
        await self.close()

    # --- see fabric.launch.launcher.Worker ---

    async def wait(self) -> int:
        """Return its exit status, or the negative number of the signal that ended it."""
        await self._gone.wait()
        return self._status

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        """Have it signalled with all that it started; one that is gone: nothing."""
        if not self._gone.is_set():
            self._forker.signal(self._number, name, self._gone)

    def left(self) -> None:
        """Nothing: its exit is seen."""

    async def stderr_lines(self) -> AsyncIterator[str]:
        """Give the lines of its stdout and stderr; a last one if it fell with the zygote."""
        self._read = True
        async for line in read_lines(self._output):
            yield line
        await self._gone.wait()
        if self._forker.obituary is not None:
            yield self._forker.obituary

    def stdout_lines(self) -> AsyncIterator[bytes]:
        """Not there."""
        raise AssertionError("it speaks on sockets")

    async def write_stdin(self, data: bytes) -> None:
        """Not there."""
        raise AssertionError("it speaks on sockets")

    async def close_stdin(self) -> None:
        """Not there."""
        raise AssertionError("it speaks on sockets")


class Forker:
    """Has workers forked, and hears of their ends. Used while :meth:`run` runs, by any number of launchers.

    Attributes:
        obituary: how the zygote ended, if it did. Its workers ended with it, and it forks no others.
    """

    def __init__(self, zygote: ZygoteProcess, nursery: trio.Nursery) -> None:
        self._zygote = zygote
        self._nursery = nursery
        self._channel = trio.socket.from_stdlib_socket(zygote.channel)
        self._saying = trio.Lock()  # one task at a time may wait until there is room
        self._workers: dict[int, ForkedWorker] = {}
        self._forks = 0
        self.obituary: str | None = None

    async def run(self, until: trio.CancelScope) -> None:
        """Hear what the zygote says, to its end. Not to be cancelled while a worker is left."""
        with until:
            while packet := await self._hear():
                match decode_from_zygote(packet):
                    case Forked(number, pid):
                        self._workers[number].forked(pid)
                    case ForkFailed(number, error):
                        self._workers.pop(number).refused(error)
                    case Exited(number, status):
                        self._workers.pop(number).exited(status)
            self._bury()

    async def _hear(self) -> bytes:
        try:
            return await self._channel.recv(PACKET_BYTES_MAX)
        except ConnectionResetError:  # it ended with something unread
            return b""

    def _bury(self) -> None:
        self.obituary = f"the process that forks workers ended with status {self._zygote.wait()}; its workers with it"
        for worker in self._workers.values():
            if worker.answered.is_set():
                worker.exited(-signal.SIGKILL)
            else:
                worker.refused(self.obituary)
        self._workers.clear()

    async def fork(
        self, name: str, module: str, header_bytes: int, spec_fd: int, owned: Callable[[ForkedWorker], None]
    ) -> ForkedWorker:
        """Start a worker; see :class:`fabric.launch.zygote.Fork`.

        Args:
            spec_fd: its file; stays ours.
            owned: given the worker before it is asked for: it may be a process even if the caller is cancelled, and
                whoever owns it ends it (:meth:`ForkedWorker.end`).

        Raises:
            WorkerFailed: the system refused, or the zygote is gone.
        """
        self._forks += 1
        number = self._forks
        try:
            reading_fd, writing_fd = os.pipe()
        except OSError as error:  # no descriptor is left
            raise WorkerFailed(f"{module}: {error.strerror}") from None
        worker = self._workers[number] = ForkedWorker(self, number, trio.lowlevel.FdStream(reading_fd))
        owned(worker)
        if self.obituary is not None:  # nobody hears any more
            self._workers.pop(number).refused(self.obituary)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [spec_fd, writing_fd]))
        try:
            async with self._saying:
                self._expect(worker.answered)
                with suppress(BrokenPipeError, ConnectionResetError):  # run() hears of it
                    packet = encode(Fork(number, name, module, header_bytes))
                    await self._channel.sendmsg([packet], [rights])
        except trio.Cancelled:
            self._refuse(number, "it was not asked for")
            raise
        except OSError as error:  # too many descriptors are on their way
            self._refuse(number, error.strerror or str(error))
        finally:
            os.close(writing_fd)
        await worker.answered.wait()
        if worker.refusal is not None:
            await worker.close()
            raise WorkerFailed(f"{module}: {worker.refusal}")
        return worker

    def _refuse(self, number: int, reason: str) -> None:
        worker = self._workers.pop(number, None)
        if worker is not None:  # it may have fallen with the zygote
            worker.refused(reason)

    def signal(self, number: int, name: Literal["TERM", "KILL"], gone: trio.Event) -> None:
        """Have a worker signalled. The zygote knows one that is gone, whatever has its process id by now."""
        packet = encode(Signal(number, name))
        with suppress(BrokenPipeError, ConnectionResetError):  # run() hears of it
            try:
                self._zygote.channel.send(packet)
            except BlockingIOError:  # hundreds of packets lie there: it was stopped, and the worker has to be
                if name == "KILL":
                    self._zygote.kill()
        if name == "KILL":
            self._expect(gone)

    def _expect(self, answer: trio.Event) -> None:
        """Kill the zygote if it does not answer."""

        async def expect() -> None:
            with trio.move_on_after(ANSWER_S, shield=True) as waiting:
                await answer.wait()
            if waiting.cancelled_caught:
                self._zygote.kill()

        self._nursery.start_soon(expect)
