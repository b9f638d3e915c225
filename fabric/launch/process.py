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
from fabric.wire.lines import LineSplitter
from fabric.wire.spec import PARENT_FD_VARIABLE, SPEC_FD_VARIABLE

STDERR_FD = 2

STDERR_LINE_BYTES_MAX = 1024 * 1024
"""What is longer of a line on stderr is left out: a program that never ends its line must not fill the memory."""


class _ProcessWorker:
    def __init__(self, process: trio.Process, guard: _Guard | None) -> None:
        self._process = process
        self._guard = guard
        self._over = False

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        status = await self._process.wait()
        if self._over:  # the number may be somebody else's by now
            return status
        self._over = True
        self._group("KILL")  # what it started and left behind
        if self._guard is not None:
            self._guard.forget(self.pid)
        if self._process.stdin is not None:
            await self._process.stdin.aclose()
        return status

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        if not self._over:
            self._group(name)
            if name == "TERM":
                self._group("CONT")  # a stopped process could not act on it

    def _group(self, name: str) -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left in it
            os.killpg(self.pid, getattr(signal, f"SIG{name}"))

    async def stderr_lines(self) -> AsyncIterator[str]:
        stream = self._process.stderr
        assert stream is not None
        line = bytearray()
        async with stream:
            async for chunk in stream:
                *ends, rest = chunk.split(b"\n")
                for end in ends:
                    yield (line + end)[:STDERR_LINE_BYTES_MAX].decode(errors="replace")
                    line.clear()
                line += rest
                del line[STDERR_LINE_BYTES_MAX:]
            if line:
                yield line.decode(errors="replace")

    async def stdout_lines(self) -> AsyncIterator[bytes]:
        stream = self._process.stdout
        assert stream is not None
        splitter = LineSplitter()
        async with stream:
            more = True
            while more:
                chunk = await stream.receive_some()
                more = bool(chunk)
                for line in splitter.feed(bytes(chunk)):
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
        self._workers: list[_ProcessWorker] = []

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
                    stdout=lines or STDERR_FD,  # what a worker prints is for people to read
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
        self._workers.append(_ProcessWorker(process, watcher))
        return self._workers[-1]

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
        """End what is left: workers of a session that was broken off, and the guard."""
        for worker in self._workers:
            worker.signal("KILL")
            await worker.wait()
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
