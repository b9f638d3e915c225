"""Workers as processes of this host.

Each lives in a session and process group of its own: Ctrl-C reaches the coordinator alone, and a signal to a worker
reaches what it started. None outlives the coordinator, however that ends: our own workers watch an inherited pipe, and
for programs that do not know of it a guard process does (:mod:`fabric.launch.guard`).
"""

from __future__ import annotations

__all__ = ["ProcessLauncher", "open_launcher"]

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Literal

import msgspec
import trio

from fabric.errors import TransportClosed, WorkerFailed
from fabric.launch import guard
from fabric.launch.environment import worker_environment
from fabric.plan.plan import WorkerPlan
from fabric.wire.spec import PARENT_FD_VARIABLE, SPEC_FD_VARIABLE

LINE_BYTES_MAX = 16 * 1024 * 1024
"""A longer line is cut into several: a program that never ends its line must not fill the memory."""


class _ProcessWorker:
    def __init__(self, process: trio.Process, guard: _Guard | None) -> None:
        self._process = process
        self._guard = guard

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        status = await self._process.wait()
        self._group("KILL")  # what it started and left behind
        if self._guard is not None:
            self._guard.forget(self.pid)
        if self._process.stdin is not None:
            await self._process.stdin.aclose()
        return status

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        if self._process.returncode is None:
            self._group(name)
            if name == "TERM":
                self._group("CONT")  # a stopped process could not act on it

    def _group(self, name: str) -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left in it
            os.killpg(self.pid, getattr(signal, f"SIG{name}"))

    async def stderr_lines(self) -> AsyncIterator[str]:
        assert self._process.stderr is not None
        async for line in _lines(self._process.stderr):
            yield line.decode(errors="replace")

    async def stdout_lines(self) -> AsyncIterator[bytes]:
        assert self._process.stdout is not None
        async for line in _lines(self._process.stdout):
            yield line

    async def write_stdin(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("stdin") from None

    async def close_stdin(self) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.aclose()


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[bytes]:
    """Split a stream into lines, and close it at its end; a last one without a line end counts."""
    parts: list[bytes | bytearray] = []  # of the line that has not ended yet; joined once: linear in its length
    size_bytes = 0
    async for chunk in stream:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            yield b"".join([*parts, line])
            parts, size_bytes = [], 0
        parts.append(rest)
        size_bytes += len(rest)
        if size_bytes > LINE_BYTES_MAX:
            yield b"".join(parts)
            parts, size_bytes = [], 0
    await stream.aclose()
    if size_bytes:
        yield b"".join(parts)


class _Guard:
    """The process that ends the groups of foreign programs if the coordinator dies."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        self._pipe = process.stdin

    def watch(self, pid: int) -> None:
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        # A few bytes into a pipe that the guard reads at once; less than PIPE_BUF is written whole. If the guard is
        # gone, workers still end in order; only a crash of ours would leave them behind.
        with suppress(OSError):
            os.write(self._pipe.fileno(), line.encode())  # type: ignore[attr-defined]


class ProcessLauncher:
    """Starts programs. Made by :func:`open_launcher`."""

    def __init__(self, environment: Mapping[str, str], liveness_fd: int) -> None:
        self._environment = environment
        self._liveness_fd = liveness_fd
        self._guard: _Guard | None = None
        self._guard_process: trio.Process | None = None
        self._guard_lock = trio.Lock()

    async def launch(self, worker: WorkerPlan) -> _ProcessWorker:
        """Start one; see :class:`fabric.launch.launcher.Launcher`."""
        watcher = None if worker.ours else await self._open_guard()
        environment = worker_environment(worker, self._environment)
        environment[PARENT_FD_VARIABLE] = str(self._liveness_fd)
        lines = subprocess.PIPE if worker.transport == "stdio" else None
        with tempfile.TemporaryFile() as spec:
            spec.write(msgspec.json.encode(worker.spec))
            spec.seek(0)
            descriptors = [self._liveness_fd]
            if worker.ours:
                environment[SPEC_FD_VARIABLE] = str(spec.fileno())
                descriptors.append(spec.fileno())
            try:
                process = await trio.lowlevel.open_process(
                    worker.command,
                    stdin=lines or subprocess.DEVNULL,
                    stdout=lines or sys.stderr.fileno(),  # what a worker prints is for people to read
                    stderr=subprocess.PIPE,
                    env=environment,
                    pass_fds=descriptors,
                    start_new_session=True,
                )
            except OSError as error:
                raise WorkerFailed(f"{worker.command[0]!r}: {error.strerror}") from None
            except ValueError as error:  # a zero byte in an argument or a variable
                raise WorkerFailed(f"{worker.command[0]!r}: {error}") from None
        if watcher is not None:
            watcher.watch(process.pid)
        return _ProcessWorker(process, watcher)

    async def _open_guard(self) -> _Guard:
        async with self._guard_lock:
            if self._guard is None:
                self._guard_process = await trio.lowlevel.open_process(
                    # Not -m: in the user's working directory may lie another folder of the name fabric.
                    [sys.executable, "-I", guard.__file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
                self._guard = _Guard(self._guard_process)
            return self._guard

    async def close(self) -> None:
        """End the guard."""
        if self._guard_process is not None:
            assert self._guard_process.stdin is not None
            await self._guard_process.stdin.aclose()
            await self._guard_process.wait()


@asynccontextmanager
async def open_launcher(environment: Mapping[str, str]) -> AsyncIterator[ProcessLauncher]:
    """Give a launcher; at its end, or with this process, the pipe ends that keeps workers alive.

    Args:
        environment: the coordinator's; workers get the part of it that they need.
    """
    liveness_fd, keep_alive_fd = os.pipe()
    launcher = ProcessLauncher(environment, liveness_fd)
    try:
        yield launcher
    finally:
        os.close(keep_alive_fd)
        os.close(liveness_fd)
        with trio.CancelScope(shield=True):
            await launcher.close()
