"""A server that records what real models answer, and answers with it later, without a network and without a key.

    with cassette("tests/cassettes/review.jsonl") as tape:
        outputs = fabric.call_sync("review.plumb", "draft", env=tape.env)

With ``FABRIC_CASSETTE=record`` in the environment the requests go to the real providers, with the keys that are there,
and the file is written anew. It stays as it was if nothing was answered, a key was refused, or the test interrupted. A
request that was not recorded is answered with an error that shows the nearest one, and fails the test at the end. Keys,
headers that say who asks, and cookies are never written.
"""

from __future__ import annotations

__all__ = ["Cassette", "CassetteMismatch", "Mode", "cassette", "locate"]

import ipaddress
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias, get_args
from urllib.parse import urlsplit, urlunsplit

import trio

from fabric.errors import ConfigError
from fabric.settings import with_dotenv
from fabric.testing.answers import ModelRequest
from fabric.testing.endpoint import AGENT_HEADER, PLACEHOLDER_KEYS, ModelServer
from fabric.testing.recordings import (
    Matched,
    Recording,
    Tape,
    data_of,
    leaks,
    matched,
    read_tape,
    text_of,
    written_tape,
)
from fabric.testing.script import shown
from fabric.testing.server import Exchange

if TYPE_CHECKING:
    import httpx2

Mode: TypeAlias = Literal["replay", "record", "once"]
"""``replay`` answers from the file; ``record`` writes it anew; ``once`` records if there is no file."""

MODE_VARIABLE = "FABRIC_CASSETTE"

HOMES = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com"}

ANSWER_S = 900.0
"""How long a provider may take, as for an agent."""

FINISH_S = 5.0
"""How long answers that are still coming are waited for at the end of a recording."""

_SECRET_HEADERS = ("x-api-key", "authorization", "api-key", "cookie", "proxy-authorization")

_NOT_FORWARDED = ("host", "content-length", "connection", "transfer-encoding", "accept-encoding", AGENT_HEADER)

_KEPT = ("content-type", "retry-after", "retry-after-ms")
"""Of the headers of a response. Others name an account, or change each time."""


_KEY_REFUSED = (401, 403)
"""No answer of a model. Replayed, it would say for ever that a key is wrong which nobody needs."""


class CassetteMismatch(AssertionError):
    """A request was not recorded, or could not be. Raised when the test ends."""


class Cassette(ModelServer):
    """Made by :func:`cassette`; runs inside of its ``with`` block.

    Attributes:
        path: of the file.
        mode: what it does: ``replay`` or ``record``.
        requests: those that it got and could read, in the order in which they came.
    """

    failure: ClassVar[type[AssertionError]] = CassetteMismatch

    def __init__(self, path: Path, mode: Mode, endpoints: Mapping[str, str], match: Matched) -> None:
        self.path = path
        self.mode: Literal["replay", "record"] = (
            "record" if mode == "record" or (mode == "once" and not path.exists()) else "replay"
        )
        super().__init__(FINISH_S if self.mode == "record" else 0.0)
        self._endpoints = endpoints
        self._match = match
        self._tape = Tape([], match, str(path))
        self._recordings: list[Recording] = []
        self._secrets: set[str] = set()
        self._refused_keys: set[str] = set()
        self._interrupted = False
        self._client: httpx2.AsyncClient | None = None

    @property
    def env(self) -> dict[str, str]:
        """What a program has to find in its environment. To record, it needs its keys besides."""
        found = super().env
        return {name: found[name] for name in found if self.mode == "replay" or name not in PLACEHOLDER_KEYS}

    @property
    def unused(self) -> list[str]:
        """Which lines have answered nothing so far. Nobody minds, unless a test does: ``assert tape.unused == []``."""
        return self._tape.unused

    def note(self, error: BaseException) -> None:
        """Add what there is to raise to an error; one by which the test was interrupted has nothing written."""
        self._interrupted = self._interrupted or _interrupts(error)
        super().note(error)

    def __enter__(self) -> Self:
        if self.mode == "replay" and self.path.exists():
            self._tape = Tape(read_tape(self.path.read_bytes(), str(self.path)), self._match, str(self.path))
        return super().__enter__()

    def _stopped(self, error: BaseException | None) -> None:
        self._interrupted = self._interrupted or (error is not None and _interrupts(error))
        if self.mode == "record":  # also of a test that failed: what was recorded was paid for
            self._write()

    def _write(self) -> None:
        """Write what was recorded, unless it is worth less than what is there."""
        if self._interrupted or self._refused_keys:
            return
        kept = []
        for recording in self._recordings:
            if leaks(recording, self._secrets):
                self._problems.append(f"an answer to {recording.path} says the key; it was not written")
            elif recording.status:
                kept.append(recording)
        if kept:
            _write(self.path, written_tape(kept, self._secrets))

    async def _answer(self, exchange: Exchange, request: ModelRequest, home: str) -> None:
        if self.mode == "record":
            await self._record(exchange, request, home)
        else:
            await self._replay(exchange, request)

    # --- replay ---

    async def _replay(self, exchange: Exchange, request: ModelRequest) -> None:
        recording = self._tape.take(exchange.path, request.body, request.agent)
        if recording is None:
            there = self.path.exists()
            why = self._tape.refusal(exchange.path, request.body) if there else f"there is no {self.path}"
            hint = f"record it with {MODE_VARIABLE}=record"
            await self._refuse(exchange, f"no answer is recorded for {shown(request)}: {why}\n  {hint}")
            return
        data = data_of(recording.response)
        sizes = {} if recording.cut else {"content-length": str(len(data))}
        await exchange.start(recording.status, recording.headers | sizes)
        await exchange.send(data)
        if not recording.cut:
            await exchange.end()

    # --- record ---

    async def _record(self, exchange: Exchange, request: ModelRequest, home: str) -> None:
        import httpx2

        secrets = (exchange.headers.get(name, "") for name in _SECRET_HEADERS)
        self._secrets.update(word for secret in secrets for word in secret.split())
        recording = Recording(request.agent, exchange.path, request.body)
        self._recordings.append(recording)
        url = locate(home or self._endpoints[request.provider], exchange.path)
        headers = {name: value for name, value in exchange.headers.items() if name not in _NOT_FORWARDED}
        headers["accept-encoding"] = "identity"
        if AGENT_HEADER in exchange.headers and _is_local(url):  # as the agent itself does
            headers[AGENT_HEADER] = exchange.headers[AGENT_HEADER]
        try:
            async with self._open().stream("POST", url, content=exchange.body, headers=headers) as response:
                await _pass_on(response, exchange, recording)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            if recording.status:  # it is known how far it came
                return
            what = f"{request.provider} cannot be reached at {url}: {error or type(error).__name__}"
            await self._refuse(exchange, what, 502)
        finally:
            if recording.status in _KEY_REFUSED and request.provider not in self._refused_keys:
                self._refused_keys.add(request.provider)
                what = f"{request.provider} refused the key (status {recording.status}); nothing is written"
                self._problems.append(f"{what} to {self.path}")

    def _open(self) -> httpx2.AsyncClient:
        """Return the client. It is made in the loop that uses it."""
        import httpx2

        if self._client is None:
            self._client = httpx2.AsyncClient(timeout=httpx2.Timeout(ANSWER_S), follow_redirects=False)
            self._server.at_end(self._client.aclose)
        return self._client


def _interrupts(error: BaseException) -> bool:
    """Whether somebody ended the test before its end. What pytest fails and skips by is no interruption."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_interrupts, error.exceptions))
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)


async def _pass_on(response: httpx2.Response, exchange: Exchange, recording: Recording) -> None:
    """Hand a response over as it comes, and keep it. One whose reader has gone is read to its end all the same."""
    headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
    recording.headers = headers
    data = bytearray()
    recording.cut = True
    gone = False
    try:
        recording.status = response.status_code
        await exchange.start(response.status_code, headers)
        async for piece in response.aiter_bytes():
            data += piece
            if not gone:
                gone = not await _sent(exchange, piece)
        recording.cut = False
    finally:
        recording.response = text_of(headers, bytes(data))
    if not gone:
        await exchange.end()


async def _sent(exchange: Exchange, piece: bytes) -> bool:
    try:
        await exchange.send(piece)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    return True


def locate(endpoint: str, path: str) -> str:  # twice: the fabric does not import the agent, which has the rules
    """Return the URL of a request at a provider's endpoint, as an agent would find it.

    Args:
        endpoint: base URL, with or without ``/v1``, or the whole URL.
        path: of the request: ``/v1/messages`` or ``/v1/chat/completions``.
    """
    url = urlsplit(endpoint)
    base, end = url.path.rstrip("/"), path.removeprefix("/v1")
    if not base.endswith(end):
        based = base.endswith("/v1") or (base and end == "/chat/completions")
        base += end if based else path
    return urlunsplit((url.scheme, url.netloc, base, url.query, ""))


def _is_local(url: str) -> bool:  # as above
    """Whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def cassette(
    path: str | os.PathLike[str],
    mode: Mode = "replay",
    *,
    endpoints: Mapping[str, str] | None = None,
    match: Matched = matched,
) -> Cassette:
    """Return a cassette, for a ``with`` block.

    Args:
        path: of its file, lines of JSON.
        mode: what it does, unless ``FABRIC_CASSETTE`` says something else.
        endpoints: where the providers are, by name, to record from; if not given ``PLUMB_ENDPOINT``, which may be in
            ``.env`` as for a program, or their own. An agent whose endpoint the program says is recorded from there.
        match: takes the body of a request and returns what of it has to be the same; by default all but who asks.

    Raises:
        ConfigError: there is no such mode, or no such provider; ``.env`` is wrong.
    """
    said = os.environ.get(MODE_VARIABLE) or mode
    if said not in get_args(Mode):
        raise ConfigError(f"a cassette has the modes {', '.join(get_args(Mode))}; got {said!r}")
    unknown = sorted((endpoints or {}).keys() - HOMES.keys())
    if unknown:
        raise ConfigError(f"there is no provider {unknown[0]!r} to record from; there are {' and '.join(HOMES)}")
    given = with_dotenv(Path.cwd(), os.environ).get("PLUMB_ENDPOINT")
    homes = {name: given or home for name, home in HOMES.items()} | dict(endpoints or {})
    chosen: Any = said
    return Cassette(Path(path), chosen, homes, match)
