"""A small HTTP server on this machine, in a thread and a loop of its own: for clients of any kind, in any test.

HTTP/1.1 is read and written by h11. A handler that returns without having ended its response cuts the connection.
"""

from __future__ import annotations

__all__ = ["Exchange", "Handler", "LocalServer"]

import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import h11
import trio

from fabric.errors import sole

BODY_BYTES_MAX = 64 << 20
"""Of a request. The largest are conversations with pictures in them; providers take 32 MB."""

CHUNK_BYTES = 64 << 10

START_S = 30.0
"""For a hang, not a measurement."""


class Exchange:
    """A request, and the response to it.

    Attributes:
        method, path: of the request; the path without a query.
        headers: names in small letters.
        body: of the request.
    """

    def __init__(self, connection: _Connection, request: h11.Request, body: bytes) -> None:
        self._connection = connection
        self.method = request.method.decode()
        self.path = request.target.decode("latin-1").partition("?")[0]
        self.headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        self.body = body

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin the response; :meth:`send` its body, then :meth:`end` it."""
        fields = [(name, value) for name, value in headers.items()]
        await self._connection.send(h11.Response(status_code=status, headers=fields))

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        await self._connection.send(h11.Data(data=data))

    async def end(self) -> None:
        """End the response."""
        await self._connection.send(h11.EndOfMessage())

    async def respond(self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole response."""
        sizes = {"content-type": kind, "content-length": str(len(body))}
        await self.start(status, sizes | dict(headers or {}))
        await self.send(body)
        await self.end()


Handler: TypeAlias = Callable[[Exchange], Awaitable[None]]


class LocalServer:
    """A server that runs from :meth:`start` to :meth:`stop`.

    Args:
        handle: called for each request, in the server's loop.
        finish_s: how long requests that are being answered may take when it is stopped.
    """

    def __init__(self, handle: Handler, finish_s: float = 0.0) -> None:
        self._handle = handle
        self._finish_s = finish_s
        self._busy = 0
        self._at_end: list[Callable[[], Awaitable[object]]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fabric.testing server", daemon=True)
        self._stop: Callable[[], object] = lambda: None
        self._error: BaseException | None = None
        self.url = ""

    def start(self) -> None:
        """Start it; it listens when this returns."""
        self._thread.start()
        if not self._ready.wait(START_S):
            raise RuntimeError(f"the server of fabric.testing did not start in {START_S:g} s")
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End it with all its connections.

        Raises:
            BaseException: what its handler raised.
        """
        self._stop()
        self._thread.join()
        if self._error is not None:
            raise sole(self._error)

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 - whoever stops it gets it
            self._error = error
        finally:
            self._ready.set()

    def at_end(self, close: Callable[[], Awaitable[object]]) -> None:
        """Have something closed in the server's loop, when it ends. Only a handler may call this."""
        self._at_end.append(close)

    async def _serve(self) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        asked = trio.Event()
        self._idle = trio.Event()
        async with trio.open_nursery() as nursery:
            self._stop = partial(_set, trio.lowlevel.current_trio_token(), asked)
            nursery.start_soon(trio.serve_listeners, self._talk, [listener])
            self._ready.set()
            await asked.wait()
            with trio.move_on_after(self._finish_s):
                while self._busy:
                    self._idle = trio.Event()
                    await self._idle.wait()
            nursery.cancel_scope.cancel()
        for close in self._at_end:
            await close()

    async def _answer(self, exchange: Exchange) -> None:
        self._busy += 1
        try:
            await self._handle(exchange)
        finally:
            self._busy -= 1
            self._idle.set()

    async def _talk(self, stream: trio.SocketStream) -> None:
        connection = _Connection(stream)
        try:
            while (exchange := await connection.receive_request()) is not None:
                await self._answer(exchange)
                if not connection.start_next_cycle():
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has enough
        except h11.RemoteProtocolError as error:
            await connection.refuse(error)


def _set(token: trio.lowlevel.TrioToken, event: trio.Event) -> None:
    with suppress(trio.RunFinishedError):  # it has ended by itself, and stop() says why
        token.run_sync_soon(event.set)


class _Connection:
    """h11 on a stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._machine = h11.Connection(h11.SERVER)

    async def receive_request(self) -> Exchange | None:
        """Return the next request, ``None`` if there is none."""
        request = await self._event()
        if not isinstance(request, h11.Request):
            return None
        body = bytearray()
        while isinstance(piece := await self._event(), h11.Data):
            body += piece.data
            if len(body) > BODY_BYTES_MAX:
                raise h11.RemoteProtocolError(f"a request of more than {BODY_BYTES_MAX} bytes", error_status_hint=413)
        return Exchange(self, request, bytes(body))

    async def _event(self) -> Any:
        while True:
            if self._machine.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            event = self._machine.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._machine.receive_data(await self._stream.receive_some(CHUNK_BYTES))

    async def send(self, event: h11.Event) -> None:
        """Send an event of a response."""
        data = self._machine.send(event)
        if data:
            await self._stream.send_all(data)

    def start_next_cycle(self) -> bool:
        """Whether the connection goes on."""
        if self._machine.our_state is not h11.DONE or self._machine.their_state is not h11.DONE:
            return False
        self._machine.start_next_cycle()
        return True

    async def refuse(self, error: h11.RemoteProtocolError) -> None:
        """Say that what came is no HTTP."""
        if self._machine.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = str(error).encode()
            headers = [("content-length", str(len(body))), ("connection", "close")]
            try:
                await self.send(h11.Response(status_code=error.error_status_hint, headers=headers))
                await self.send(h11.Data(data=body))
                await self.send(h11.EndOfMessage())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
