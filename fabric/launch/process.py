"""Workers as processes of this host.

Each lives in a session and process group of its own: Ctrl-C reaches the coordinator alone, and a signal to a worker
reaches what it started. None outlives the coordinator, however that ends: our own workers watch an inherited pipe, and
for programs that do not know of it a guard process does (:mod:`fabric.launch.guard`).
"""

from __future__ import annotations

__all__ = ["ProcessLauncher", "Workplace", "open_launcher"]

import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from typing import IO, Literal, NamedTuple

import msgspec
import trio

from fabric.errors import TransportClosed, WorkerFailed
from fabric.launch.environment import worker_environment
from fabric.launch.forked import ForkedWorker, Forker
from fabric.launch.guarding import Guard, open_guard
from fabric.launch.inherited import kept_from_forks
from fabric.launch.launcher import Worker
from fabric.launch.preload import ZygoteProcess, module_to_fork
from fabric.launch.stderr import read_lines
from fabric.launch.zygote import Header, encode
from fabric.plan.plan import WorkerPlan
from fabric.wire.lines import LineSplitter
from fabric.wire.spec import PARENT_FD_VARIABLE, SPEC_FD_VARIABLE


class Workplace(NamedTuple):
    """Where workers come to be, in a process that has several sessions.

    Attributes:
        forker: forks those that can be forked; it serves others, too, and outlives the launcher.
        directory: where they work; empty: where we do.
    """

    forker: Forker | None = None
    directory: str = ""


class _ProcessWorker:
    def __init__(self, process: trio.Process, output: trio.lowlevel.FdStream, guard: Guard | None) -> None:
        self._process = process
        self._output = output
        self._guard = guard
        self._over = False
        self._unread = {stream for stream in (output, process.stdout) if stream is not None}

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

    def left(self) -> None:
        pass  # its exit is seen

    async def stderr_lines(self) -> AsyncIterator[str]:
        self._unread.discard(self._output)
        async for line in read_lines(self._output):
            yield line

    async def stdout_lines(self) -> AsyncIterator[bytes]:
        stream = self._process.stdout
        assert stream is not None
        splitter = LineSplitter()
        self._unread.discard(stream)
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

    async def end(self) -> None:
        """Kill it, if it is left of a session that was broken off, and close what nobody has begun to read."""
        self.signal("KILL")
        await self.wait()
        for stream in self._unread:
            await stream.aclose()


class ProcessLauncher:
    """Starts programs. Made by :func:`open_launcher`."""

    def __init__(self, environment: Mapping[str, str], liveness_fd: int, workplace: Workplace) -> None:
        self._environment = environment
        self._directory = workplace.directory
        self._liveness_fd = liveness_fd
        self._forker = workplace.forker
        self._guard: Guard | None = None
        self._guard_lock = trio.Lock()
        self._workers: list[_ProcessWorker] = []
        self._forked: list[ForkedWorker] = []

    async def launch(self, worker: WorkerPlan) -> Worker:
        """Start one; see :class:`fabric.launch.launcher.Launcher`."""
        environment = worker_environment(worker, self._environment)
        module = module_to_fork(worker)
        # A zygote that has died is not started again: whoever is launched then is spawned, which is only slower.
        if self._forker is not None and self._forker.obituary is None and module is not None:
            try:
                return await self._fork(self._forker, worker, module, environment)
            except WorkerFailed:
                if self._forker.obituary is None:  # else it has died of something that is not this worker's
                    raise
        return await self._spawn(worker, environment)

    async def _fork(
        self, forker: Forker, worker: WorkerPlan, module: str, environment: Mapping[str, str]
    ) -> ForkedWorker:
        variables = {os.fsencode(name): os.fsencode(environment[name]) for name in environment}
        header = encode(Header(variables, os.fsencode(self._directory)))
        with _temporary_file(worker) as file:
            file.write(header + msgspec.json.encode(worker.spec))
            file.seek(0)
            return await forker.fork(worker.name, module, len(header), file.fileno(), self._forked.append)

    async def _spawn(self, worker: WorkerPlan, environment: dict[str, str]) -> _ProcessWorker:
        watcher = None if worker.ours else await self._open_guard()
        environment[PARENT_FD_VARIABLE] = str(self._liveness_fd)
        lines = subprocess.PIPE if worker.transport == "stdio" else None
        try:
            reading_fd, writing_fd = os.pipe()
        except OSError as error:  # no descriptor is left
            raise WorkerFailed(f"{worker.command[0]!r}: {error.strerror}") from None
        output = trio.lowlevel.FdStream(reading_fd)
        with _temporary_file(worker) as spec:
            spec.write(msgspec.json.encode(worker.spec))
            spec.seek(0)
            environment[SPEC_FD_VARIABLE] = str(spec.fileno())
            descriptors = [self._liveness_fd, spec.fileno()]
            try:
                process = await trio.lowlevel.open_process(
                    worker.command,
                    stdin=lines or subprocess.DEVNULL,
                    stdout=lines or writing_fd,  # what a worker on sockets prints is for people to read
                    stderr=writing_fd,
                    env=environment,
                    pass_fds=descriptors,
                    start_new_session=True,
                    cwd=self._directory or None,
                )
            except trio.Cancelled:
                output.close()
                raise
            except (OSError, ValueError) as error:  # ValueError: a zero byte in an argument or a variable
                output.close()
                why = error.strerror if isinstance(error, OSError) else error
                raise WorkerFailed(f"{worker.command[0]!r}: {why}") from None
            finally:
                os.close(writing_fd)
        if watcher is not None:
            watcher.watch(process.pid)
        self._workers.append(_ProcessWorker(process, output, watcher))
        return self._workers[-1]

    async def _open_guard(self) -> Guard:
        async with self._guard_lock:
            if self._guard is None:
                self._guard = await open_guard()
            return self._guard

    async def close(self) -> None:
        """End what is left: workers of a session that was broken off, and the guard."""
        for forked in self._forked:
            if forked.answered.is_set():
                forked.signal("KILL")
        for worker in self._workers:
            worker.signal("KILL")
        for forked in self._forked:
            await forked.end()
        for worker in self._workers:
            await worker.end()
        if self._guard is not None:
            await self._guard.close()


@asynccontextmanager
async def open_launcher(
    environment: Mapping[str, str], zygote: ZygoteProcess | None = None, *, workplace: Workplace | None = None
) -> AsyncIterator[ProcessLauncher]:
    """Give a launcher; at its end, or with this process, the pipe ends that keeps workers alive.

    Args:
        environment: the coordinator's; workers get the part of it that they need.
        zygote: forks the workers that can be forked; without it every worker is spawned.
        workplace: what is shared with other launchers, instead of a zygote of its own.
    """
    async with AsyncExitStack() as stack:
        if workplace is None:
            workplace = Workplace(None if zygote is None else await stack.enter_async_context(_hear(zygote)))
        liveness_fd, keep_alive_fd = os.pipe()
        launcher = ProcessLauncher(environment, liveness_fd, workplace)
        try:
            with kept_from_forks(keep_alive_fd):
                yield launcher
        finally:
            os.close(keep_alive_fd)
            os.close(liveness_fd)
            with trio.CancelScope(shield=True):
                await launcher.close()


@contextmanager
def _temporary_file(worker: WorkerPlan) -> Iterator[IO[bytes]]:
    """Give a file for a worker's spec. Raises WorkerFailed: there can be none."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
        except OSError as error:
            raise WorkerFailed(f"worker '{worker.name}': no temporary file: {error.strerror}") from None
        yield file


@asynccontextmanager
async def _hear(zygote: ZygoteProcess) -> AsyncIterator[Forker]:
    """Give a forker that hears what its zygote says until the body has ended, cancelled or not."""
    async with trio.open_nursery() as nursery:
        forker = Forker(zygote, nursery)
        hearing = trio.CancelScope(shield=True)  # it has to hear of the ends that are waited for
        nursery.start_soon(forker.run, hearing)
        try:
            yield forker
        finally:
            hearing.cancel()
            nursery.cancel_scope.cancel()
