"""Processes of handlers: each in a session and process group of its own, with three pipes that are served at once.

A pipe holds 64 KiB, so whoever waits for one pipe while a handler waits for another hangs. What a handler wrote before
it ended is in the pipes then, and is read; what it has started and left behind is killed, and is not waited for, even
where it keeps a pipe open.
"""

from __future__ import annotations

__all__ = ["GRACE_S", "STDERR_BYTES_MAX", "HandlerProcess", "Said", "start_process"]

import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import trio

from fabric.errors import HandlerFailed
from fabric.launch.guarding import Guard

STDERR_BYTES_MAX = 64 * 1024
"""What is kept of what a handler says; a traceback has a few KiB."""

GRACE_S = 2.0
"""From SIGTERM to SIGKILL. Nothing that a handler could still write counts, so it is for what it keeps elsewhere."""

CHUNK_BYTES = 64 * 1024


class Said:
    """The last of what a handler said; all of it is passed on."""

    def __init__(self, show: Callable[[bytes], None]) -> None:
        self._show = show
        self._kept = bytearray()

    def write(self, data: bytes) -> None:
        """Add what was said."""
        self._show(data)
        self._kept += data
        del self._kept[:-STDERR_BYTES_MAX]

    def clear(self) -> None:
        """Begin anew."""
        self._kept.clear()

    @property
    def text(self) -> str:
        """What is kept."""
        return self._kept.decode(errors="replace")


class HandlerProcess:
    """A process and all that is in its group. Made by :func:`start_process`."""

    def __init__(self, process: trio.Process, guard: Guard | None) -> None:
        said = process.stderr or process.stdout
        assert said is not None
        self._process = process
        self._said = said
        self._guard = guard
        self._exited = trio.Event()
        self._reading: list[trio.CancelScope] = []

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end; return its status, negative for a signal. What is left of its group is killed."""
        status = await self._process.wait()
        if not self._exited.is_set():
            self._exited.set()
            self._signal(signal.SIGKILL)
            if self._guard is not None:
                self._guard.forget(self.pid)
            for scope in self._reading:
                scope.cancel()
        return status

    async def end(self, grace_s: float = GRACE_S) -> int:
        """End it and its group, whatever they do."""
        if self._exited.is_set():  # the number may be somebody else's by now
            return await self.wait()
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a stopped process could not act on it
        with trio.move_on_after(grace_s):
            return await self.wait()
        self._signal(signal.SIGKILL)
        return await self.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left in it
            os.killpg(self.pid, number)

    async def feed(self, data: bytes) -> None:
        """Write to its stdin, and close that. A handler need not read it."""
        stream = self._process.stdin
        assert stream is not None
        with self._until_its_end(), suppress(trio.BrokenResourceError):
            await stream.send_all(data)
        await stream.aclose()

    async def read_output(self, write: Callable[[bytes], None]) -> None:
        """Pass on what it writes, to its end."""
        assert self._process.stdout is not None
        await self._read(self._process.stdout, write)

    async def read_said(self, write: Callable[[bytes], None]) -> None:
        """Pass on what it says, to its end."""
        await self._read(self._said, write)

    def drain_said(self, write: Callable[[bytes], None]) -> None:
        """Pass on what it has said so far."""
        with suppress(ValueError):  # it is read to its end, and closed
            _drain(self._said, write)

    async def _read(self, stream: trio.abc.ReceiveStream, write: Callable[[bytes], None]) -> None:
        async with stream:
            with self._until_its_end():
                while data := await stream.receive_some(CHUNK_BYTES):
                    write(bytes(data))
                return
            _drain(stream, write)

    def _until_its_end(self) -> trio.CancelScope:
        scope = trio.CancelScope()
        if self._exited.is_set():
            scope.cancel()
        self._reading.append(scope)
        return scope


def _drain(stream: trio.abc.ReceiveStream, write: Callable[[bytes], None]) -> None:
    """Read what is in a pipe now, and no more: somebody who holds its other end might never stop writing."""
    descriptor: int = stream.fileno()  # type: ignore[attr-defined]  # of an FdStream: trio makes these of pipes
    (left,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))
    while left > 0:
        data = os.read(descriptor, left)
        left -= len(data)
        write(data)


async def start_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    guard: Guard | None,
    *,
    directory: str | None = None,
    serving: bool = False,
    keep: Iterable[int] = (),
) -> HandlerProcess:
    """Start a handler.

    Args:
        guard: ends it if we are killed.
        directory: where it works; ``None``: where we do.
        serving: it is not fed, and what it prints is shown with what it says.
        keep: descriptors that it inherits.

    Raises:
        HandlerFailed: there is no such program, or it cannot be run.
    """
    try:
        process = await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.DEVNULL if serving else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if serving else subprocess.PIPE,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
            pass_fds=tuple(keep),
        )
    except OSError as error:
        raise HandlerFailed(f"cannot start {command[0]!r}: {error.strerror or error}") from None
    except ValueError as error:  # a NUL, or what no encoding knows, in what it is told
        raise HandlerFailed(f"cannot start {command[0]!r}: an argument or a variable cannot be told: {error}") from None
    if guard is not None:
        guard.watch(process.pid)
    return HandlerProcess(process, guard)
