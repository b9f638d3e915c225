"""Where handlers fetch bodies: a server on this machine alone, below a path that nobody guesses.

Any user of the machine can connect to it, so the path is the secret. Bodies are given as they are stored; nothing is
decoded on the way. It belongs to a run, not to a handler: what a handler has started may fetch for as long as it lives.
"""

from __future__ import annotations

__all__ = ["ObjectServer", "serve_objects"]

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import unquote

import structlog
import trio

from fabric.errors import FabricError
from fabric.runtime.http_server import Answer, Ask, Head, HttpServer, Limits, error

HOST = "127.0.0.1"

BACKLOG = 512
"""A handler opens a connection for each body, and may do so from many threads at once."""

LIMITS = Limits(connections=512, answer_s=120.0, write_s=600.0)
"""It is our own handler that asks: where all places are taken, others wait. It may be slow, and so may the bucket."""

TOKEN_BYTES = 24

Load: TypeAlias = Callable[[], bytes]
Recall: TypeAlias = Callable[[str, str], bytes]

_BYTES = "application/octet-stream"


class ObjectServer:
    """What can be fetched. Made by :func:`serve_objects`.

    Args:
        root: the URL below which all of it is.
        path: the same without the host.
        recall: gives what is kept in a namespace of memory under a name; nothing, if there is nothing. Called in a
            thread.
    """

    def __init__(self, root: str, path: str, recall: Recall) -> None:
        self._root = root
        self._path = path
        self._recall = recall
        self._bodies: dict[str, bytes | Load] = {}
        self._namespaces: set[str] = set()

    def offer(self, digest: str, body: bytes | Load) -> str:
        """Return the URL of a body. One that has to be loaded is, in a thread, whenever somebody fetches it."""
        self._bodies[digest] = body
        return f"{self._root}o/{digest}"

    def namespace_url(self, namespace: str) -> str:
        """Return the URL that stands for a namespace such as ``agents/``: a name is simply put behind it."""
        self._namespaces.add(namespace)
        return f"{self._root}m/{namespace}"

    def refuse(self, head: Head) -> Answer | None:
        """Say why a request is refused, as it is by everybody who does not know the path."""
        known = secrets.compare_digest(head.path[: len(self._path)].encode(), self._path.encode())
        if not known:
            return error(404, "not_found", "there is nothing here")
        if head.method not in ("GET", "HEAD"):
            return error(405, "method_not_allowed", "objects are only read", ("allow", "GET, HEAD"))
        return None

    async def handle(self, ask: Ask) -> Answer:
        """Answer with the bytes of an object."""
        kind, _, name = ask.head.path[len(self._path) :].partition("/")
        body = self._bodies.get(name) if kind == "o" else None
        if kind == "m":
            body = self._remembered(f"{name}?{ask.head.query}" if ask.head.query else name)
        if body is None:
            return error(404, "not_found", "no such object was offered to this handler")
        try:
            return Answer(200, body if isinstance(body, bytes) else await trio.to_thread.run_sync(body), _BYTES)
        except FabricError as failure:
            return error(502, failure.code, str(failure))

    def _remembered(self, path: str) -> Load | None:
        namespace, slash, name = path.partition("/")
        if namespace + slash not in self._namespaces:
            return None

        def load() -> bytes:
            # Some clients quote names, some do not. Without a name there is nothing.
            return (self._recall(namespace, name) or self._recall(namespace, unquote(name))) if name else b""

        return load


@asynccontextmanager
async def serve_objects(recall: Recall) -> AsyncIterator[ObjectServer]:
    """Serve while the block runs; ``recall`` is that of :class:`ObjectServer`."""
    path = f"/{secrets.token_urlsafe(TOKEN_BYTES)}/"
    (listener,) = await trio.open_tcp_listeners(0, host=HOST, backlog=BACKLOG)
    port = listener.socket.getsockname()[1]
    server = ObjectServer(f"http://{HOST}:{port}{path}", path, recall)
    http = HttpServer(server.refuse, server.handle, _broke, LIMITS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.serve, listener)
        yield server
        nursery.cancel_scope.cancel()


def _broke(failure: Exception) -> None:
    structlog.get_logger().error("object_server_broke", error=str(failure), exc_info=failure)
