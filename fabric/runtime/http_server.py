"""A small HTTP/1.1 server: h11 on trio, for a handful of clients that ask for little.

It runs beside a session and must not hurt it, whoever connects: all that a client may take is bounded. A request has
to be there in time; a client that does not read what it asked for is left; where all places are taken, who has said
nothing for longest makes room, and new ones are let in slowly. Not taken: hypercorn. It is an extra, and a hundred
times what is needed here.
"""

from __future__ import annotations

__all__ = ["Answer", "Ask", "Head", "HttpServer", "Limits", "error"]

import errno
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeAlias

import h11
import trio

from fabric.wire.payload import encode_json

HEAD_BYTES_MAX = 16 * 1024
"""Of a request's line and headers, as in h11, which names its reasons."""

BODY_BYTES_MAX = 1024 * 1024

CONNECTIONS_MAX = 64
"""A Prometheus has one, a browser six."""

IDLE_S = 75.0
"""That a connection may wait for its next request. Prometheus asks every 15 to 60 seconds, and keeps its connection."""

REQUEST_S = 10.0
"""From the first byte of a request to the last."""

ANSWER_S = 40.0
"""That an answer may take; the longest is that of a worker that is being stopped."""

WRITE_S = 10.0
"""That a client may take to read it."""

LINGER_S = 0.5
"""That we wait for what a client still sends whom we leave, so that it gets to read why."""

FULL_PAUSE_S = 0.01
"""Between new connections where all places are taken: a flood gets a hundred a second, and a hundredth of the time."""

CHUNK_BYTES = 16 * 1024

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Limits(NamedTuple):
    """What clients may take. As it is, for those who watch a session.

    Attributes:
        connections: at a time; see ``CONNECTIONS_MAX``.
        answer_s: that an answer may take; see ``ANSWER_S``.
        write_s: that a client may take to read it; see ``WRITE_S``.
    """

    connections: int = CONNECTIONS_MAX
    answer_s: float = ANSWER_S
    write_s: float = WRITE_S


class Head(NamedTuple):
    """What a request begins with.

    Attributes:
        path, query: of its target, as they were sent.
        headers: by name in small letters; of one that came several times all values.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, tuple[str, ...]]

    def header(self, name: str) -> str:
        """Return the values of a header as one; empty if there is none."""
        return ", ".join(self.headers.get(name, ()))


class Ask(NamedTuple):
    """A whole request."""

    head: Head
    body: bytes


class Answer(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Refuse: TypeAlias = Callable[[Head], Answer | None]
Handle: TypeAlias = Callable[[Ask], Awaitable[Answer]]
_Stream: TypeAlias = trio.abc.HalfCloseableStream


def error(status: int, code: str, text: str, *headers: tuple[str, str]) -> Answer:
    """Return an answer that says why there is none."""
    return Answer(status, encode_json({"error": text, "code": code}) + b"\n", headers=headers)


class HttpServer:
    """Serves until cancelled.

    Args:
        refuse: says from the head of a request why it is refused; its body is not read then.
        handle: answers the others.
        broke: hears of an exception of these, which is a bug: its request is answered with 500, and the session that
            is watched goes on.
        limits: for other clients than those who watch.
    """

    def __init__(
        self, refuse: Refuse, handle: Handle, broke: Callable[[Exception], None], limits: Limits | None = None
    ) -> None:
        self._refuse = refuse
        self._handle = handle
        self._broke = broke
        self._limits = limits or Limits()
        self._open = 0
        self._waiting: dict[_Client, None] = {}

    async def serve(self, listener: trio.abc.Listener[_Stream]) -> None:
        """Serve a listening socket, for ever. It is closed then."""
        async with listener, trio.open_nursery() as nursery:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as failure:
                    if failure.errno not in _EXHAUSTED:
                        raise
                    await trio.sleep(FULL_PAUSE_S)
                    continue
                self._open += 1
                nursery.start_soon(self._serve, _Client(stream, self._limits))
                while self._open >= self._limits.connections:
                    if self._waiting:
                        next(iter(self._waiting)).given_up.cancel()
                    await trio.sleep(FULL_PAUSE_S)

    async def _serve(self, client: _Client) -> None:
        try:
            async with client.stream:
                with client.given_up:
                    await self._converse(client)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it has left
        finally:
            self._waiting.pop(client, None)
            self._open -= 1

    async def _converse(self, client: _Client) -> None:
        """Answer one request after the other, in their order."""
        while True:
            self._waiting[client] = None
            try:
                answer = await self._ask(client)
            except h11.RemoteProtocolError as failure:
                status = failure.error_status_hint
                code = "headers_too_large" if status == 431 else "bad_request"
                answer = error(status, code, f"this is no request: {failure}")
            if answer is None:
                return
            self._waiting.pop(client, None)
            if not await client.answer(answer):
                return

    async def _ask(self, client: _Client) -> Answer | None:
        """Return the answer to the next request; ``None``: there is none."""
        head = await client.read_head()
        if head is None:
            return None
        refused = self._refuse(head)
        if refused is not None:
            return refused
        body = await client.read_body()
        if body is None:
            return error(413, "too_large", f"a request has at most {BODY_BYTES_MAX} bytes")
        self._waiting.pop(client, None)
        with trio.move_on_after(self._limits.answer_s):
            try:
                return await self._handle(Ask(head, body))
            except Exception as failure:  # noqa: BLE001 - who watches must not end what is watched
                self._broke(failure)
                return error(500, "internal_error", "this is a bug; the log of the service says more")
        return error(
            504,
            "timeout",
            f"there was no answer within {self._limits.answer_s:g} s; what was asked for may still be done",
        )


class _Client:
    """One connection."""

    def __init__(self, stream: _Stream, limits: Limits) -> None:
        self.stream = stream
        self._limits = limits
        self.given_up = trio.CancelScope()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._is_head = False

    async def read_head(self) -> Head | None:
        """Return the head of the next request; ``None``: the client has left, or said nothing in time."""
        self._is_head = False
        with trio.move_on_after(IDLE_S) as waiting:
            event = await self._event(waiting)
            if not isinstance(event, h11.Request):
                return None
            self._is_head = event.method == b"HEAD"
            path, _, query = event.target.decode("latin-1").partition("?")
            headers: dict[str, tuple[str, ...]] = {}
            for name, value in event.headers:
                text = name.decode("latin-1")
                headers[text] = (*headers.get(text, ()), value.decode("latin-1"))
            return Head(event.method.decode("latin-1"), path, query, headers)
        return None

    async def read_body(self) -> bytes | None:
        """Return what belongs to the request; ``None`` if that is too large, or does not come in time."""
        body = bytearray()
        with trio.move_on_after(REQUEST_S):
            while True:
                event = await self._event()
                if isinstance(event, h11.EndOfMessage):
                    return bytes(body)
                if not isinstance(event, h11.Data):
                    raise trio.BrokenResourceError
                body += event.data
                if len(body) > BODY_BYTES_MAX:
                    return None
        raise trio.BrokenResourceError

    async def _event(self, waiting: trio.CancelScope | None = None) -> h11.Event | type[h11.PAUSED]:
        """Return what comes next. Who waits, waits less long for what has begun to come."""
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type) or event is h11.PAUSED
                return event
            if self._http.they_are_waiting_for_100_continue:
                await self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
            data = await self.stream.receive_some(CHUNK_BYTES)
            if waiting is not None and data:
                waiting.deadline = min(waiting.deadline, trio.current_time() + REQUEST_S)
                waiting = None
            self._http.receive_data(bytes(data))

    async def answer(self, answer: Answer) -> bool:
        """Write an answer; return whether there may be another request."""
        ended = self._http.their_state is h11.DONE
        headers = [
            ("content-type", answer.media_type),
            ("content-length", str(len(answer.body))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            *answer.headers,
            *([] if ended else [("connection", "close")]),
        ]
        raw = self._http.send(h11.Response(status_code=answer.status, headers=headers)) or b""
        if not self._is_head:
            raw += self._http.send(h11.Data(data=answer.body)) or b""
        raw += self._http.send(h11.EndOfMessage()) or b""
        await self._write(raw)
        if ended and self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        await self._leave()
        return False

    async def _write(self, raw: bytes | None) -> None:
        with trio.move_on_after(self._limits.write_s) as writing:
            await self.stream.send_all(raw or b"")
        if writing.cancelled_caught:
            raise trio.BrokenResourceError

    async def _leave(self) -> None:
        """End our side; what the client still sends would otherwise take the answer with it."""
        await self.stream.send_eof()
        left = HEAD_BYTES_MAX + BODY_BYTES_MAX
        with trio.move_on_after(LINGER_S):
            while left > 0 and (data := await self.stream.receive_some(CHUNK_BYTES)):
                left -= len(data)
