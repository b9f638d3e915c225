"""RPC mode: a process that serves one invocation after the other, over HTTP on a socket that it inherits.

It writes all or nothing: its output is the body of an answer, and that says how long it is, by Content-Length or in
chunks. The end of a connection is no end of an answer: the kernel makes one for whoever is killed half-way.

Who dies, hangs or does not serve is started anew for the next invocation, with a new socket, so nothing of the past is
waiting there.
"""

from __future__ import annotations

__all__ = ["RpcHandler", "serve_rpc"]

import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from urllib.parse import urlencode

import h11
import trio

from fabric.errors import HandlerFailed
from fabric.handlers.command import NOT_ENDED, NOT_STARTED, ending, shell_status
from fabric.handlers.invocation import Call, Ended, serving_environment
from fabric.handlers.processes import HandlerProcess, Said, start_process
from fabric.handlers.records import OUTPUT_BYTES_MAX
from fabric.launch.guarding import Guard

HOST = "127.0.0.1"

START_S = 30.0
"""From its start to its first answer: it imports what it needs."""

DEATH_S = 0.5
"""From a connection that broke to the status of the process that broke it."""

BACKLOG = 8

CHUNK_BYTES = 64 * 1024

_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
"""What can stand in a header: ASCII that can be seen, with blanks inside."""


class _Serving(NamedTuple):
    process: HandlerProcess
    port: int


class _Answer(NamedTuple):
    status: int
    body: bytes
    measured: bool
    """Whether it says how long it is."""


_UNMEASURED = "nobody knows whether its answer came to its end: it has no Content-Length, and is not in chunks"


class RpcHandler:
    """Made by :func:`serve_rpc`; the arguments are those of :class:`~fabric.handlers.command.CommandHandler`."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        timeout_s: float,
        guard: Guard | None,
        show: Callable[[bytes], None],
        nursery: trio.Nursery,
        directory: str | None = None,
    ) -> None:
        self._command = tuple(command)
        self._environment = environment
        self._timeout_s = timeout_s
        self._guard = guard
        self._said = Said(show)
        self._nursery = nursery
        self._directory = directory
        self._serving: _Serving | None = None

    async def invoke(self, call: Call) -> Ended:
        """Ask it once; see :class:`~fabric.handlers.invocation.Handler`."""
        self._said.clear()
        try:
            serving = self._serving or await self._start()
        except HandlerFailed as error:
            return Ended(exit=NOT_STARTED, reason=str(error), stderr=self._said.text)
        query = urlencode({"agent": call.agent, "session": call.session, "snapshot": call.base})
        headers = [
            ("X-Pugmark-Session-Metadata", call.metadata_text),
            ("X-Fabric-Invocation-Id", call.id),
            *self._trace(),
        ]
        try:
            with trio.fail_after(self._timeout_s):
                answer = await _ask(serving.port, "POST", f"/?{query}", headers, call.input)
        except trio.TooSlowError:
            await self._stop(serving)
            reason = f"it did not answer within {self._timeout_s:g} s"
            return Ended(exit=NOT_ENDED, reason=reason, stderr=self._said.text)
        except (HandlerFailed, OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            return await self._broke(serving, f"the connection broke: {error}")
        serving.process.drain_said(self._said.write)  # it said this before it answered
        if answer.status != 200:
            first = answer.body.decode(errors="replace").strip().partition("\n")[0][:200]
            return Ended(exit=1, reason=f"it answered with status {answer.status}: {first}", stderr=self._said.text)
        if not answer.measured:
            return await self._broke(serving, _UNMEASURED)
        return Ended(exit=0, output=answer.body, stderr=self._said.text)

    def _trace(self) -> list[tuple[str, str]]:
        """Return the headers of the trace that the environment names. What no header can hold is none."""
        told = ((name, self._environment.get(name.upper(), "")) for name in ("traceparent", "tracestate"))
        return [(name, value) for name, value in told if _HEADER_VALUE.fullmatch(value)]

    async def _start(self) -> _Serving:
        """Start a process, and wait until it serves."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
            listening.bind((HOST, 0))
            listening.listen(BACKLOG)
            port = listening.getsockname()[1]
            descriptor = listening.fileno()
            environment = serving_environment(self._environment, descriptor)
            process = await start_process(
                self._command, environment, self._guard, directory=self._directory, serving=True, keep=[descriptor]
            )
        serving = self._serving = _Serving(process, port)
        self._nursery.start_soon(self._look_after, serving)
        try:
            with trio.fail_after(min(START_S, self._timeout_s)):
                status = (await _ask(port, "GET", "/", [], b"")).status
        except trio.TooSlowError:
            await self._stop(serving)
            raise HandlerFailed(
                f"it does not serve: no answer to GET / within {min(START_S, self._timeout_s):g} s; a handler in RPC"
                " mode serves HTTP on the socket that PUGMARK_RPC_URL names"
            ) from None
        except (HandlerFailed, OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            ended = await self._broke(serving, f"it does not serve: {error}")
            raise HandlerFailed(ended.reason) from None
        if status != 200:
            await self._stop(serving)
            raise HandlerFailed(f"it does not serve: GET / gave status {status}, expected 200")
        return serving

    async def _look_after(self, serving: _Serving) -> None:
        """Show what it says, and see it end. It ends with us."""
        process = serving.process
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(process.read_said, self._said.write)
                await process.wait()
        finally:
            if self._serving is serving:
                self._serving = None
            with trio.CancelScope(shield=True):
                await process.end()

    async def _broke(self, serving: _Serving, why: str) -> Ended:
        """Say how it ended, if it has; otherwise end it, for nobody knows what it is at."""
        status: int | None = None
        with trio.move_on_after(DEATH_S):
            status = await serving.process.wait()
        await self._stop(serving)
        if status:
            return Ended(exit=shell_status(status), reason=ending(status), stderr=self._said.text)
        return Ended(exit=1, reason=why if status is None else "it ended before it answered", stderr=self._said.text)

    async def _stop(self, serving: _Serving) -> None:
        if self._serving is serving:
            self._serving = None
        await serving.process.end()
        with suppress(OSError):
            serving.process.drain_said(self._said.write)


@asynccontextmanager
async def serve_rpc(
    command: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float,
    guard: Guard | None,
    show: Callable[[bytes], None],
    *,
    directory: str | None = None,
) -> AsyncIterator[RpcHandler]:
    """Give a handler that is started when it is first invoked, and ended with the block."""
    async with trio.open_nursery() as nursery:
        yield RpcHandler(command, environment, timeout_s, guard, show, nursery, directory)
        nursery.cancel_scope.cancel()


async def _ask(port: int, method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes) -> _Answer:
    """Return an answer. A connection for each: the SDK's server keeps none."""
    http = h11.Connection(h11.CLIENT)
    said = [("Host", f"{HOST}:{port}"), ("Connection", "close"), ("Content-Length", str(len(body))), *headers]
    raw = http.send(h11.Request(method=method, target=target, headers=said)) or b""
    raw += http.send(h11.Data(data=body)) or b""
    raw += http.send(h11.EndOfMessage()) or b""
    async with await trio.open_tcp_stream(HOST, port) as stream:
        with suppress(trio.BrokenResourceError):  # it may have answered without reading
            await stream.send_all(raw)
        status, answer, measured = 0, bytearray(), False
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some(CHUNK_BYTES)))
            elif isinstance(event, h11.Response):
                status = event.status_code
                measured = any(name in (b"content-length", b"transfer-encoding") for name, _ in event.headers)
            elif isinstance(event, h11.Data):
                answer += event.data
                if len(answer) > OUTPUT_BYTES_MAX:
                    raise HandlerFailed(f"it wrote more than {OUTPUT_BYTES_MAX} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return _Answer(status, bytes(answer), measured)
            elif isinstance(event, h11.ConnectionClosed):
                raise HandlerFailed("it closed the connection without an answer")
