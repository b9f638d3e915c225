"""A server that plays literal bytes, for what no other peer would send; and what such bytes look like.

    with playing(sse(...), json_answer(429, ...)) as server:
        ...  # server.url, server.requests

The first request gets the first answer, and so on; the last answer is for all that come after it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

HANG = object()
"""Send nothing more, and keep the connection."""

RESET = object()
"""End the connection without a word."""

Answer = tuple[Any, ...]
"""Bytes to send, one after the other; a number is a pause in seconds; at last ``HANG``, ``RESET`` or neither."""


@dataclass
class Recorded:
    """A request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A server that runs. ``connections`` counts those that were made; ``asked`` is set by the first request."""

    url: str
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0
    asked: threading.Event = field(default_factory=threading.Event)


@contextmanager
def playing(*answers: Answer) -> Iterator[Server]:
    """Run a server in a thread of its own, so that clients of any kind can ask it."""
    started: list[Any] = []
    ready = threading.Event()

    def run() -> None:
        trio.run(_serve, answers, started, ready)

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    server, token, scope = started
    try:
        yield server
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(10)


async def _serve(answers: tuple[Answer, ...], started: list[Any], ready: threading.Event) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = Server(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")

    async def handle(stream: trio.SocketStream) -> None:
        server.connections += 1
        try:
            while (request := await _read_request(stream)) is not None:
                server.requests.append(request)
                server.asked.set()
                if not await _play(stream, answers[min(len(server.requests), len(answers)) - 1]):
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has enough

    with trio.CancelScope() as scope:
        started += [server, trio.lowlevel.current_trio_token(), scope]
        ready.set()
        await trio.serve_listeners(handle, [listener])


async def _play(stream: trio.SocketStream, answer: Answer) -> bool:
    """Send an answer and return whether the connection goes on."""
    for piece in answer:
        if piece is RESET:
            return False
        if piece is HANG:
            await trio.sleep_forever()
        elif isinstance(piece, bytes):
            await stream.send_all(piece)
        else:
            await trio.sleep(piece)
    return True


async def _read_request(stream: trio.SocketStream) -> Recorded | None:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some(65536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += await stream.receive_some(65536)
    return Recorded(first.split()[1], headers, body)


# --- Answers ------------------------------------------------------------------------------------------------------


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} So\r\n{lines}\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def answer(status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a response with its length."""
    sizes = {"content-type": kind, "content-length": str(len(body))}
    return (head(status, sizes | dict(headers or {})), body)


def json_answer(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
    return answer(status, "application/json", json.dumps(value).encode(), headers)


def stream(*pieces: Any, kind: str = "text/event-stream") -> Answer:
    """Return a response in chunks; bytes among the pieces are chunks. It is cut off if the last is ``RESET``."""
    parts = [chunk(piece) if isinstance(piece, bytes) else piece for piece in pieces]
    end = [] if parts and parts[-1] in (RESET, HANG) else [LAST_CHUNK]
    return (head(200, {"content-type": kind, "transfer-encoding": "chunked"}), *parts, *end)


def anthropic_text(events: Iterable[Mapping[str, Any]]) -> bytes:
    """Return a stream of the Messages API: each event is named by its type."""
    return b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def openai_text(chunks: Iterable[Mapping[str, Any]], *, done: bool = True) -> bytes:
    """Return a stream of Chat Completions."""
    lines = b"".join(b"data: %s\n\n" % json.dumps(c).encode() for c in chunks)
    return lines + (b"data: [DONE]\n\n" if done else b"")
