"""One attempt over HTTP: what httpx2 does for us, and what its errors mean to the caller.

httpx2 takes 70 ms to import, and a worker may wait for its first message for a long time. So this module is loaded by
the first attempt, unless the process that workers are forked from loaded it for all of them.
"""

from __future__ import annotations

__all__ = ["Endpoint", "read_answer"]

import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress

import httpcore2  # noqa: F401 - httpx2 loads it when a client is made, which is behind the fork
import httpx2
import trio

from plumb_agent.messages import Reply, Request
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.dialect import (
    ERROR_BYTES_MAX,
    EVENT_BYTES_MAX,
    REPLY_BYTES_MAX,
    Dialect,
    Timeouts,
    malformed,
    refused,
)
from plumb_agent.providers.sse import EventTooLarge, SseDecoder

KEEP_ALIVE_S = 30.0
"""How long an idle connection is kept: less than servers do, which is a minute or more."""

DRAIN_S = 0.5
"""How long the end of a stream is waited for whose message has ended, so that its connection can be used again."""


class Endpoint:
    """A provider's server, and the connection to it. Made inside of the trio loop that uses it.

    The environment may name a proxy (``HTTPS_PROXY``, ``NO_PROXY``) and whom to trust (``SSL_CERT_FILE``), as usual.

    Args:
        url: to post to.
        headers: of every request.
        timeouts: of every attempt; the total one is the caller's.

    Raises:
        ProviderFailed: what the environment names cannot be used.

    Attributes:
        first_chunk_s: from the last request to the first piece of its answer; ``None`` if that did not stream.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeouts: Timeouts) -> None:
        try:
            self._client = _open_client(url, headers, timeouts)
        except (ImportError, ValueError, OSError) as error:
            text = f"what the environment says of proxies or of certificates cannot be used: {error}"
            raise ProviderFailed(text, code="provider_unavailable") from None
        self._url = url
        self.first_chunk_s: float | None = None

    async def post(self, dialect: Dialect, request: Request) -> Reply:
        """Ask once.

        Raises:
            ProviderFailed: there is no reply.
        """
        body = dialect.body(request)
        self.first_chunk_s, asked_s = None, trio.current_time()

        def begun() -> None:
            self.first_chunk_s = trio.current_time() - asked_s

        try:
            async with self._client.stream("POST", self._url, content=body) as response:
                return await read_answer(response, dialect, request, begun)
        except httpx2.HTTPError as error:  # before the answer began
            raise _unreachable(dialect.provider, error) from None
        except (httpx2.InvalidURL, UnicodeError):
            text = f"{dialect.provider} cannot be reached: its 'endpoint' names a host that cannot be one"
            raise ProviderFailed(text, code="provider_unavailable") from None

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def _open_client(url: str, headers: Mapping[str, str], timeouts: Timeouts) -> httpx2.AsyncClient:
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)  # the lines below that have headers in them
    return httpx2.AsyncClient(
        headers={
            "user-agent": "plumb-agent",
            "content-type": "application/json",
            "accept": "text/event-stream, application/json",
            "accept-encoding": "identity",  # compression would hold events back
            **headers,
        },
        timeout=httpx2.Timeout(
            connect=timeouts.connect_s, pool=timeouts.connect_s, read=timeouts.idle_s, write=timeouts.idle_s
        ),
        limits=httpx2.Limits(max_connections=2, keepalive_expiry=KEEP_ALIVE_S),
        verify=_certificates(url),
        follow_redirects=False,
    )


def _certificates(url: str) -> ssl.SSLContext:
    """Return whom to trust. It takes 30 ms to load; where it is not needed, nobody is trusted."""
    return httpx2.create_ssl_context() if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def read_answer(
    response: httpx2.Response, dialect: Dialect, request: Request, begun: Callable[[], None] = lambda: None
) -> Reply:
    """Read a response to its end, whatever it is; ``begun`` is called when the first piece of a stream is there.

    Raises:
        ProviderFailed: it is not a reply.
    """
    provider = dialect.provider
    compressed = response.headers.get("content-encoding", "identity").lower() != "identity"
    if not 200 <= response.status_code < 300:
        body = b"" if compressed else await _read_body(response, ERROR_BYTES_MAX)
        raise refused(provider, response.status_code, response.headers, body, time.time())
    if compressed:
        raise malformed(provider, f"it is compressed, {response.headers['content-encoding']}, which nobody asked for")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "text/event-stream":
            return await _read_stream(response, dialect, request, begun)
        if kind == "application/json" or kind.endswith("+json"):
            return await _read_whole(response, dialect, request)
    except httpx2.TimeoutException:
        text = f"{provider} sent nothing for too long, in the middle of its answer"
        raise ProviderFailed(text, code="provider_timeout", transient=True, usage="all") from None
    except httpx2.HTTPError as error:
        text = f"{provider}'s answer was cut off before its end: {_reason(error)}"
        raise ProviderFailed(text, code="stream_cut", transient=True, usage="all") from None
    body = await _read_body(response, ERROR_BYTES_MAX)
    what = (
        f"content of the type {kind or 'nobody knows'} instead of events or JSON: {body[:200].decode(errors='replace')}"
    )
    raise malformed(provider, what)


async def _read_stream(
    response: httpx2.Response, dialect: Dialect, request: Request, begun: Callable[[], None]
) -> Reply:
    assembler = dialect.assembler(request)
    decoder = SseDecoder(EVENT_BYTES_MAX)
    size = 0

    def take(data: bytes) -> float | None:
        nonlocal size
        if not size:
            begun()
        size += len(data)
        if size > REPLY_BYTES_MAX:
            raise malformed(dialect.provider, f"more than {REPLY_BYTES_MAX} bytes of events")
        try:
            for kind, text in decoder.feed(data):
                assembler.feed(kind, text)
        except EventTooLarge as error:
            raise malformed(dialect.provider, str(error)) from None
        return DRAIN_S if assembler.done else None

    try:
        await _each(response.aiter_raw(), take)
    except httpx2.HTTPError:
        if not assembler.done:
            raise
    return assembler.reply()


async def _read_whole(response: httpx2.Response, dialect: Dialect, request: Request) -> Reply:
    data = bytearray()
    await _each(response.aiter_raw(), _collect(data, REPLY_BYTES_MAX))
    if len(data) > REPLY_BYTES_MAX:
        raise malformed(dialect.provider, f"more than {REPLY_BYTES_MAX} bytes of JSON")
    return dialect.whole(request, bytes(data))


async def _read_body(response: httpx2.Response, limit: int) -> bytes:
    """Return the beginning of a body, as far as it comes."""
    data = bytearray()
    with suppress(httpx2.HTTPError):  # the status says more than the rest of the text would
        await _each(response.aiter_raw(), _collect(data, limit))
    return bytes(data[:limit])


def _collect(data: bytearray, limit: int) -> Callable[[bytes], float | None]:
    def take(chunk: bytes) -> float | None:
        data.extend(chunk)
        return 0.0 if len(data) > limit else None

    return take


async def _each(items: AsyncIterator[bytes], take: Callable[[bytes], float | None]) -> None:
    """Hand over each piece until there are no more, or until ``take`` has enough.

    httpx2's iterators are generators inside of generators, which trio cannot clean up when they are dropped halfway. So
    they are never dropped: who has enough has the rest cancelled.

    Args:
        items: of httpx2.
        take: returns after how many seconds the rest is not waited for, ``None`` to go on.
    """
    failure: ProviderFailed | None = None
    enough = False
    with trio.CancelScope() as scope:
        async for item in items:
            if enough:
                continue
            try:
                rest_s = take(item)
            except ProviderFailed as error:
                failure, rest_s = error, 0.0
            if rest_s is not None:
                enough = True
                scope.deadline = trio.current_time() + rest_s
    if failure is not None:
        raise failure


def _unreachable(provider: str, error: httpx2.HTTPError) -> ProviderFailed:
    """Return the failure of an attempt that no answer came to."""
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        text = f"no connection to {provider} in time"
        return ProviderFailed(text, code="provider_timeout", transient=True)
    if isinstance(error, httpx2.TimeoutException):
        text = f"{provider} did not answer in time"
        return ProviderFailed(text, code="provider_timeout", transient=True, usage="all")
    text = f"{provider} cannot be reached: {_reason(error)}"
    return ProviderFailed(text, code="provider_unavailable", transient=True)


def _reason(error: BaseException) -> str:
    """Return why, from the outermost and the innermost error that say something."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts += [str(cause)] if str(cause) else []
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
    return ": ".join(dict.fromkeys([texts[0], texts[-1]])) if texts else type(error).__name__
