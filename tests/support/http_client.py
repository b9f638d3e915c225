"""Literal HTTP: bytes out, bytes in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from fabric.runtime.http_server import Answer, Ask, Head, HttpServer, error


async def echo(ask: Ask) -> Answer:
    """Tell what was asked; break where that is wanted."""
    await trio.lowlevel.checkpoint()
    if ask.head.path == "/break":
        raise ZeroDivisionError("as it was wanted")
    if ask.head.path == "/hang":
        await trio.sleep_forever()
    return Answer(200, f"{ask.head.method} {ask.head.path} {ask.body.decode()}".encode(), "text/plain")


def refuse(head: Head) -> Answer | None:
    return error(403, "refused", "as it was wanted") if head.path == "/refused" else None


class Offered(trio.abc.Listener[Any]):
    """A listener to which one client comes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def accept(self) -> Any:
        stream, self._stream = self._stream, None
        if stream is None:
            await trio.sleep_forever()
        return stream

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def served(broke: Any = lambda _: None) -> AsyncIterator[trio.SocketListener]:
    """Give a listener on which an echo is served."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HttpServer(refuse, echo, broke).serve, listener)
        yield listener
        nursery.cancel_scope.cancel()


async def connect(listener: trio.SocketListener) -> trio.SocketStream:
    return await trio.open_tcp_stream(*listener.socket.getsockname()[:2])


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Return what comes until the other side ends."""
    data = bytearray()
    try:
        while chunk := await stream.receive_some():
            data += chunk
    except trio.BrokenResourceError:
        pass  # it is the end as well
    return bytes(data)


async def say(listener: trio.SocketListener, raw: bytes, *, end: bool = True) -> bytes:
    """Send bytes, and return all that comes."""
    async with await connect(listener) as stream:
        await stream.send_all(raw)
        if end:
            await stream.send_eof()
        return await read_all(stream)
