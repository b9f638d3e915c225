"""The coordinator's side of the tool host: starts it, has it open the servers of a plan, and passes calls on.

The host is a process of its own (:mod:`fabric.tool_host`). If it dies, what was under way is answered with an error,
and the next call starts another one.
"""

from __future__ import annotations

__all__ = ["ToolHost", "open_tool_host"]

import math
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import msgspec
import trio

from fabric.errors import ConfigError, ServerFailed, ValueRejected
from fabric.launch.environment import server_environment
from fabric.launch.inherited import kept_from_forks
from fabric.launch.stderr import read_lines
from fabric.plan.make import MODULE
from fabric.plan.plan import Plan, ServerPlan
from fabric.plan.servers import listed
from fabric.runtime.coordinator import Report
from fabric.session.events import CallServer, Level, Note, Served
from fabric.session.failure import STDERR_LINES_KEPT
from fabric.tool_host.protocol import (
    LINE_BYTES_MAX,
    Call,
    Cancel,
    Done,
    Failed,
    NotOpened,
    Open,
    Opened,
    ToHost,
    ToolListing,
    Wrote,
    read_from_host,
    write,
)
from fabric.wire.lines import LineSplitter
from fabric.wire.payload import encode_json
from fabric.wire.spec import PARENT_FD_VARIABLE

HOST_S = 10.0
"""How long the host itself may take to load what it needs (half a second), beyond the time that servers have."""

END_S = 5.0
"""How long it may take to end. A server has three seconds, and all end at once."""

MISSING = "the program names MCP servers, and the library for these is not installed: pip install 'plumb-fabric[mcp]'"


class ToolHost:
    """The host of one session. Made by :func:`open_tool_host`.

    Args:
        plan: whose servers it opens.
        environment: the coordinator's.
        report: hears what servers write on stderr, and what goes wrong.
        ready_timeout_s: how long a server may take until it has said which tools it has.
        liveness_fd: the end of a pipe; the host dies when its other end is closed.

    Attributes:
        plan: the same, with the tools of its servers, once they are open.
    """

    def __init__(
        self,
        plan: Plan,
        environment: Mapping[str, str],
        report: Report,
        ready_timeout_s: float,
        liveness_fd: int,
    ) -> None:
        self.plan = plan
        self._environment = environment
        self._report = report
        self._ready_timeout_s = ready_timeout_s
        self._liveness_fd = liveness_fd
        self._served: Callable[[Served], None]
        self._listings: dict[str, list[ToolListing]] = {}
        self._refused: dict[str, str] = {}
        self._settled = trio.Event()
        self._under_way: dict[int, str] = {}
        self._needed = trio.Event()
        self._last_lines: deque[str] = deque(maxlen=STDERR_LINES_KEPT)
        # The host takes what comes at once. One that hangs and does not die lets this grow, by a call and its
        # cancellation for each that a worker gives up; how many of them may be under way is bounded there.
        self._to_write, self._written = trio.open_memory_channel[ToHost](math.inf)

    # --- see fabric.runtime.coordinator.Servers ---

    def listen(self, served: Callable[[Served], None]) -> None:
        """Say who takes what came of calls."""
        self._served = served

    def call(self, command: CallServer) -> None:
        """Have a call done."""
        self._under_way[command.call] = command.server
        arguments = msgspec.Raw(command.arguments)
        what = command.server, command.tool, arguments, command.traceparent, command.key
        self._to_write.send_nowait(Call(command.call, *what))
        self._needed.set()

    def cancel(self, call: int) -> None:
        """Nobody waits for a call any more."""
        if self._under_way.pop(call, None) is not None:
            self._to_write.send_nowait(Cancel(call))

    # --- its life ---

    async def opened(self) -> None:
        """Wait until all servers are open, write down their tools for the agents.

        Raises:
            ServerFailed: one could not be opened, or the host did not come up, or a signal came meanwhile.
        """
        with trio.move_on_after(self._ready_timeout_s + HOST_S):
            async with trio.open_nursery() as nursery:
                if threading.current_thread() is threading.main_thread():  # who has others obeys them there
                    nursery.start_soon(_obey_signals)
                await self._settled.wait()
                nursery.cancel_scope.cancel()
        missing = self.plan.servers.keys() - self._listings.keys() - self._refused.keys()
        if self._refused or missing:
            late = {name: f"the tool host did not open MCP server '{name}' in time" for name in sorted(missing)}
            raise ServerFailed("\n".join((self._refused | late).values()))
        tools = {key: tuple(tool.name for tool in found) for key, found in self._listings.items()}
        repeatable = {
            key: frozenset(tool.name for tool in found if tool.repeatable) for key, found in self._listings.items()
        }
        self.plan = listed(self.plan, tools, repeatable)
        for worker in self.plan.workers:
            if worker.servers:
                _write_down(Path(worker.mcp_tools), {name: self._listings[key] for name, key in worker.servers.items()})

    async def run(self) -> None:
        """Run a host, and another one whenever one has died and is needed. Until cancelled."""
        while True:
            status = await self._run_one()
            died = f"the tool host {_how(status)}"
            self._note("error", "tool_host.exited", status=status)
            if not self._settled.is_set():
                self._refused["tool host"] = "".join([died, *(f"\n  | {line}" for line in self._last_lines)])
                self._settled.set()
                return
            self._needed = trio.Event()
            while True:  # what was for it
                try:
                    self._written.receive_nowait()
                except trio.WouldBlock:
                    break
            under_way, self._under_way = self._under_way, {}
            for call in under_way:
                self._served(Served(call, None, f"{died} during the call, which may have had its effect"))
            await self._needed.wait()

    async def _run_one(self) -> int:
        """Run a host to its end; return its status."""
        process = await self._start()
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert isinstance(stdin, trio.lowlevel.FdStream)
        assert isinstance(stdout, trio.lowlevel.FdStream)
        assert isinstance(stderr, trio.lowlevel.FdStream)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, stderr)
                nursery.start_soon(self._write, stdin)
                await self._read(stdout)
                _kill(process)  # it says no more
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await stdin.aclose()
                with trio.move_on_after(END_S):
                    await process.wait()
                _kill(process)
                await process.wait()
        return await process.wait()

    async def _start(self) -> trio.Process:
        nothing = ServerPlan("", "")
        environment = server_environment(nothing, self._environment)
        environment[PARENT_FD_VARIABLE] = str(self._liveness_fd)
        pipe = subprocess.PIPE
        return await trio.lowlevel.open_process(
            [sys.executable, *MODULE, "fabric.tool_host"],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=environment,
            pass_fds=[self._liveness_fd],
            start_new_session=True,
        )

    # --- its pipes ---

    async def _write(self, stdin: trio.lowlevel.FdStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the end of its stdout tells
            for server in self.plan.servers.values():
                environment = server_environment(server, self._environment)
                await stdin.send_all(write(Open(server, environment, self._ready_timeout_s)))
            async for message in self._written:
                await stdin.send_all(write(message))

    async def _read(self, stdout: trio.lowlevel.FdStream) -> None:
        splitter = LineSplitter(LINE_BYTES_MAX)
        with suppress(ValueRejected, trio.BrokenResourceError):  # it is killed for that
            async for chunk in stdout:
                for line in splitter.feed(bytes(chunk)):
                    self._hear(line)

    async def _listen(self, stderr: trio.lowlevel.FdStream) -> None:
        async for line in read_lines(stderr):
            self._last_lines.append(line)
            self._note("info", "tool_host.wrote", line=line)

    def _hear(self, line: bytes) -> None:
        match read_from_host(line):
            case Done(call, content):
                self._answered(Served(call, bytes(content)))
            case Failed(call, error):
                self._answered(Served(call, None, error))
            case Opened(server, tools):
                self._note("info", "server.opened", server=server, tools=len(tools))
                self._listings.setdefault(server, tools)
                self._look()
            case NotOpened(server, error):
                self._note("warning", "server.not_opened", server=server, error=error)
                self._refused[server] = error
                self._look()
            case Wrote(server, text):
                self._note("info", "server.wrote", server=server, line=text)

    def _answered(self, served: Served) -> None:
        self._under_way.pop(served.call, None)
        self._served(served)

    def _look(self) -> None:
        """See whether something is known of all servers."""
        if self.plan.servers.keys() <= self._listings.keys() | self._refused.keys():
            self._settled.set()

    def _note(self, level: Level, event: str, **fields: object) -> None:
        self._report.noted(Note(level, event, fields))


async def _obey_signals() -> None:
    """Raise ServerFailed when somebody wants an end."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            error = ServerFailed("ended before the MCP servers were open")
            error.code, error.exit_code = "stopped", 128 + number
            raise error


def _write_down(path: Path, servers: Mapping[str, list[ToolListing]]) -> None:
    """Write the tools of a worker's servers into a file that only its user can read."""
    tools = [
        {"name": f"{name}.{tool.name}", "description": tool.description, "inputSchema": tool.input_schema}
        for name, found in servers.items()
        for tool in found
    ]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(encode_json({"tools": tools}))


def _how(status: int) -> str:
    return f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}"


def _kill(process: trio.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@asynccontextmanager
async def open_tool_host(
    plan: Plan, environment: Mapping[str, str], report: Report, ready_timeout_s: float
) -> AsyncIterator[ToolHost]:
    """Give a host whose servers are open; end it with them afterwards. See :class:`ToolHost`.

    Raises:
        ConfigError: the MCP library is not installed.
        ServerFailed: a server could not be opened.
    """
    if find_spec("mcp") is None:
        raise ConfigError(MISSING)
    liveness_fd, keep_alive_fd = os.pipe()
    try:
        with kept_from_forks(keep_alive_fd):
            async with trio.open_nursery() as nursery:
                host = ToolHost(plan, environment, report, ready_timeout_s, liveness_fd)
                nursery.start_soon(host.run)
                await host.opened()
                yield host
                nursery.cancel_scope.cancel()
    finally:
        os.close(keep_alive_fd)
        os.close(liveness_fd)
