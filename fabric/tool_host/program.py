"""An MCP server that is a program of this host: JSON-RPC lines on its stdin and stdout.

The MCP library has such a transport, too. This one knows the program's process group, which a guard has to be told of,
hands its stderr over line by line, bounds its lines, and tells when it has ended.
"""

from __future__ import annotations

__all__ = ["LINE_BYTES_MAX", "Program"]

import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import trio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from fabric.errors import ValueRejected, WorkerFailed
from fabric.launch.guarding import Guard
from fabric.launch.stderr import read_lines
from fabric.plan.plan import ServerPlan
from fabric.session.failure import STDERR_LINES_KEPT
from fabric.wire.lines import LineSplitter

LINE_BYTES_MAX = 64 * 1024 * 1024
"""Of one message of a server: it may carry pictures, of which only the name goes on."""

END_S = 1.0
"""How long a program may take to end when its stdin has; after as much again it is killed."""

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class Program:
    """A program that is to be started; a transport for one MCP session.

    Args:
        plan: which.
        environment: all that it gets.
        guard: ends it if we die.
        wrote: takes lines of its stderr, and what it says that is no message.

    Attributes:
        ended: set when its stdout has ended: it says nothing any more.
        obituary: how it ended, once it has.
        last_lines: of its stderr.
    """

    def __init__(
        self,
        plan: ServerPlan,
        environment: dict[str, str],
        guard: Guard,
        wrote: Callable[[str], Awaitable[None]],
    ) -> None:
        self._plan = plan
        self._environment = environment
        self._guard = guard
        self._wrote = wrote
        self.ended = trio.Event()
        self.obituary = ""
        self.last_lines: deque[str] = deque(maxlen=STDERR_LINES_KEPT)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Streams]:
        """Start it, and give the streams of its messages; end it afterwards, with all that it started.

        Raises:
            WorkerFailed: it cannot be started.
        """
        process = await self._start()
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert isinstance(stdin, trio.abc.SendStream)
        assert isinstance(stdout, trio.abc.ReceiveStream)
        assert isinstance(stderr, trio.lowlevel.FdStream)
        heard, to_hear = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_say, said = anyio.create_memory_object_stream[SessionMessage](0)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, stdout, heard)
                nursery.start_soon(self._say, said, stdin)
                nursery.start_soon(self._listen, stderr)
                try:
                    yield to_hear, to_say
                finally:
                    to_hear.close()
                    to_say.close()
                    with trio.CancelScope(shield=True):
                        await self._end(process, stdin)
                    nursery.cancel_scope.cancel()
        finally:
            for stream in (heard, said):
                stream.close()

    async def _start(self) -> trio.Process:
        pipe = subprocess.PIPE
        command = self._plan.command
        try:
            process = await trio.lowlevel.open_process(
                command,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                env=self._environment,
                cwd=self._plan.directory,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a zero byte in an argument
            why = error.strerror if isinstance(error, OSError) else error
            raise WorkerFailed(f"{command[0]!r} cannot be started: {why}") from None
        self._guard.watch(process.pid)
        return process

    async def _end(self, process: trio.Process, stdin: trio.abc.SendStream) -> None:
        """End it: its stdin first, then by signals; then all that it has left behind."""
        await stdin.aclose()
        with trio.move_on_after(END_S):
            await process.wait()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.returncode is None:
                _kill_group(process.pid, number)
                with trio.move_on_after(END_S):
                    await process.wait()
        _kill_group(process.pid, signal.SIGKILL)
        self._guard.forget(process.pid)
        status = await process.wait()
        self.obituary = f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}"

    async def _hear(
        self, stdout: trio.abc.ReceiveStream, heard: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        """Pass its messages on until it says no more."""
        splitter = LineSplitter(LINE_BYTES_MAX)
        more = True
        async with heard:
            while more:
                try:
                    chunk = await stdout.receive_some()
                    more = bool(chunk)
                    for line in splitter.feed(bytes(chunk)):
                        await self._hear_line(line, heard)
                except (ValueRejected, anyio.BrokenResourceError, trio.BrokenResourceError) as error:
                    if isinstance(error, ValueRejected):
                        await self._wrote(f"(its stdout: {error})")
                    break
        self.ended.set()

    async def _hear_line(self, line: bytes, heard: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        if not line.strip():
            return
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:  # many print a greeting, and go on well
            text = line[:200].decode(errors="replace")
            self.last_lines.append(f"(on its stdout, where only messages belong) {text}")
            await self._wrote(self.last_lines[-1])
        else:
            await heard.send(SessionMessage(message))

    async def _say(self, said: MemoryObjectReceiveStream[SessionMessage], stdin: trio.abc.SendStream) -> None:
        """Write what it is to be told."""
        try:
            async for message in said:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await stdin.send_all(text.encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it has ended, or soon will: the end of its stdout tells

    async def _listen(self, stderr: trio.lowlevel.FdStream) -> None:
        async for line in read_lines(stderr):
            self.last_lines.append(line)
            await self._wrote(line)


def _kill_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left in it
        os.killpg(pid, number)
