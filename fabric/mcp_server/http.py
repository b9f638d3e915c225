"""Streamable HTTP on this machine: POST to /mcp, each request by itself.

What comes here may be sent by any page in a browser of this machine. A browser says from where in Origin, and by which
name it reached us in Host; both have to be names of this machine, else somebody else's page speaks, maybe under a name
that it made point here (DNS rebinding). Source: MCP specification 2025-03-26, transports, security warning.

A client that leaves ends what it asked for: there is nobody to give it to, and nothing else would.
"""

from __future__ import annotations

__all__ = ["HOST", "PATH", "answer_of", "listen", "serve_http"]

import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from fabric.errors import ConfigError
from fabric.mcp_server.lines import MESSAGE_BYTES_MAX

HOST = "127.0.0.1"
PATH = "/mcp"

GRACE_S = 2.0
"""How long requests under way may take when the server is to end."""

_NAMES = r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?"
_OF_US = re.compile(_NAMES, re.ASCII | re.IGNORECASE)
_FROM_US = re.compile(r"https?://" + _NAMES, re.ASCII | re.IGNORECASE)

_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]


class Refusal(NamedTuple):
    """An answer that is given before anybody looks into a request."""

    status: int
    text: str
    headers: Mapping[str, str] = {}


def answer_of(method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Refusal | None:
    """Return why a request is refused, or ``None``."""
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
    if len(hosts) != 1 or not _OF_US.fullmatch(hosts[0]):
        return Refusal(421, "Host: expected localhost, 127.0.0.1 or [::1], with or without a port")
    if not all(_FROM_US.fullmatch(origin) for origin in origins):
        return Refusal(403, "Origin: expected none, or localhost, 127.0.0.1 or [::1] by http or https")
    if path != PATH:
        return Refusal(404, f"there is only {PATH}")
    if method != "POST":
        return Refusal(405, "only POST: no session is kept, and nothing is said unasked", {"allow": "POST"})
    return None


def listen(port: int) -> socket.socket:
    """Return a socket that listens; port 0: on any that is free.

    Raises:
        ConfigError: the port is taken.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(64)
    except OSError as error:
        listening.close()
        raise ConfigError(f"cannot listen on {HOST}:{port}: {error.strerror}") from None
    return listening


async def serve_http(server: Server[Any], listening: socket.socket, stop: trio.Event) -> None:
    """Serve until told to stop. The socket is closed then."""
    manager = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=MESSAGE_BYTES_MAX)
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = GRACE_S
    config.errorlog = None
    config.include_server_header = False
    async with manager.run():

        async def app(scope: Any, receive: _Receive, send: _Send) -> None:
            if scope["type"] == "lifespan":
                await _live(receive, send)
            elif scope["type"] == "http":
                await _answer(manager, scope, receive, send)

        await serve(app, config, shutdown_trigger=stop.wait, mode="asgi")


async def _live(receive: _Receive, send: _Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


async def _answer(manager: StreamableHTTPSessionManager, scope: Any, receive: _Receive, send: _Send) -> None:
    refusal = answer_of(scope["method"], scope["path"], scope["headers"])
    if refusal is not None:
        await _refuse(refusal, send)
        return
    left = trio.Event()
    to_read, reading = trio.open_memory_channel[Any](1)

    async def watch(scope: trio.CancelScope) -> None:
        """Pass on what comes; when the client has left, end what it asked for."""
        while (message := await receive())["type"] != "http.disconnect":
            await to_read.send(message)
        left.set()
        scope.cancel()

    async def read() -> Any:
        if left.is_set():
            return {"type": "http.disconnect"}
        return await reading.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        await manager.handle_request(scope, read, send)
        nursery.cancel_scope.cancel()


async def _refuse(refusal: Refusal, send: _Send) -> None:
    body = refusal.text.encode() + b"\n"
    headers = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **refusal.headers}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})
