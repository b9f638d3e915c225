"""The host: hears the coordinator, and has its servers do what it says."""

from __future__ import annotations

__all__ = ["host"]

import trio

from fabric.launch.guarding import Guard, open_guard
from fabric.tool_host.protocol import LINE_BYTES_MAX, Call, Cancel, Done, Failed, FromHost, Open, read_to_host, write
from fabric.tool_host.server import Server
from fabric.wire.lines import LineSplitter

UNWRITTEN_MAX = 64
"""Lines that wait to be written. The coordinator reads at once; if not, servers wait."""


async def host(stdin_fd: int, stdout_fd: int) -> None:
    """Serve a coordinator until it closes our stdin; then end the servers."""
    to_write, written = trio.open_memory_channel[FromHost](UNWRITTEN_MAX)
    guard = await open_guard()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_write, written, trio.lowlevel.FdStream(stdout_fd))
            await _Host(nursery, guard, to_write).hear(trio.lowlevel.FdStream(stdin_fd))
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await guard.close()


async def _write(lines: trio.MemoryReceiveChannel[FromHost], stdout: trio.lowlevel.FdStream) -> None:
    async for message in lines:
        await stdout.send_all(write(message))


class _Host:
    def __init__(self, nursery: trio.Nursery, guard: Guard, to_write: trio.MemorySendChannel[FromHost]) -> None:
        self._nursery = nursery
        self._guard = guard
        self._to_write = to_write
        self._servers: dict[str, Server] = {}
        self._server_of: dict[int, Server] = {}

    async def hear(self, stdin: trio.lowlevel.FdStream) -> None:
        """Do what comes, to its end."""
        splitter = LineSplitter(LINE_BYTES_MAX)
        async with stdin:
            async for chunk in stdin:
                for line in splitter.feed(bytes(chunk)):
                    match read_to_host(line):
                        case Open() as how:
                            server = self._servers[how.server.key] = Server(how, self._guard, self._say)
                            self._nursery.start_soon(server.run)
                        case Call() as call:
                            self._server_of[call.call] = self._servers[call.server]
                            await self._servers[call.server].call(call)
                        case Cancel(number) if number in self._server_of:
                            self._server_of.pop(number).cancel(number)

    async def _say(self, message: FromHost) -> None:
        if isinstance(message, Done | Failed):
            self._server_of.pop(message.call, None)
        await self._to_write.send(message)
