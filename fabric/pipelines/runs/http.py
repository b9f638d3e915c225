"""Requests of ``http`` steps: what is sent, what is tried again, what is shown of what failed.

A network that fails and an answer from 500 to 599 are tried again; any other answer is final. What could be a secret is
shown nowhere: neither that of a header, nor that of an address, nor where a server repeats it in its answer.
"""

from __future__ import annotations

__all__ = ["RESPONSE_BYTES_MAX", "HttpPerformer", "open_client", "pause_after", "perform_http"]

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import trio

from fabric.pipelines.errors import StepExecutionError
from fabric.pipelines.runs.dumping import dumped, dumped_text
from fabric.pipelines.spec import HttpStep
from fabric.pipelines.work import Done, HttpWork

if TYPE_CHECKING:
    import httpx2

RESPONSE_BYTES_MAX = 64 * 1024 * 1024
"""Of one answer, unpacked: as much as the buffers of a commit have."""

CONNECTIONS_MAX = 100
"""Open at once: as many as httpx has if nobody says anything."""

BACKOFF_S_MAX = 60.0
"""The longest pause between two tries."""

PORT_MAX = 65_535

_SHOWN_CHARS_MAX = 500

_HIDDEN = "[REDACTED]"

_SECRET = re.compile(r"auth|api-?_?key|access-?_?key|cookie|token|secret|passw|signature|credential", re.IGNORECASE)
_SECRET_PARAMETERS = frozenset({"key", "sig", "pwd"})

_log = logging.getLogger("fabric.pipelines.runs.http")


@dataclass(frozen=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str]
    params: Mapping[str, str | list[str]]
    content: bytes | None


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    charset: str

    @property
    def text(self) -> str:
        try:
            return self.body.decode(self.charset, errors="replace")
        except LookupError:  # a server may name any charset
            return self.body.decode(errors="replace")


class _Again(Exception):
    """It may go better the next time; the text is what is said if there is none."""


def open_client() -> httpx2.AsyncClient:
    """Return a client for all requests of a run, or of many. Whoever opens it closes it.

    Loading the certificates takes 30 ms: open it when the first request is due.
    """
    import httpx2  # only here: most pipelines request nothing, and it takes a tenth of a second

    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)  # the lines below that have addresses and headers in them
    limits = httpx2.Limits(max_connections=CONNECTIONS_MAX)
    return httpx2.AsyncClient(follow_redirects=False, limits=limits)


class HttpPerformer:
    """Makes requests; opens its client with the first of them.

    Args:
        bytes_max: of one answer, unpacked.
    """

    def __init__(self, bytes_max: int = RESPONSE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._client: httpx2.AsyncClient | None = None

    async def perform(self, work: HttpWork) -> Done:
        """Make a request, as often as its step allows. Raises nothing but a cancellation."""
        if self._client is None:
            try:
                self._client = open_client()
            except (ImportError, ValueError, OSError) as error:
                text = f"what the environment says of proxies or of certificates cannot be used: {error}"
                return Done(error=_unfit(work.step, text))
        return await perform_http(work, self._client, self._bytes_max)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()


async def perform_http(work: HttpWork, client: httpx2.AsyncClient, bytes_max: int = RESPONSE_BYTES_MAX) -> Done:
    """Make a request, as often as its step allows. Raises nothing but a cancellation."""
    step = work.step
    try:
        request = _request_of(step, work.request)
        return Done(value=await _ask(step, request, client, bytes_max))
    except StepExecutionError as error:
        return Done(error=error)


async def _ask(step: HttpStep, request: _Request, client: httpx2.AsyncClient, bytes_max: int) -> Any:
    for tried in range(step.retries + 1):
        try:
            answer = await _send(step, request, client, bytes_max)
            return _value_of(step, request, answer)
        except _Again as again:
            if tried == step.retries:
                raise StepExecutionError(str(again)) from again.__cause__
            pause_s = pause_after(step, tried)
            _log.info("%s; trying again in %g s (%d of %d)", again, pause_s, tried + 1, step.retries)
            await trio.sleep(pause_s)
    raise AssertionError


def pause_after(step: HttpStep, tried: int) -> float:
    """Return how long to wait after so many tries, in seconds."""
    return min(step.backoff_s * 2.0 ** min(tried, 64), BACKOFF_S_MAX)


def _request_of(step: HttpStep, said: Mapping[str, Any]) -> _Request:
    url, method = said.get("url"), said.get("method") or step.method
    if not isinstance(url, str) or not url.strip():
        raise _unfit(step, f"its 'url' is {url!r}, and should be an address: https://...")
    if not isinstance(method, str) or not method.strip():
        raise _unfit(step, f"its 'method' is {method!r}, and should be one of HTTP: GET, POST, ...")
    headers = {name: _text_of(value) for name, value in _map_of(step, said, "headers").items()}
    params = {name: _texts_of(value) for name, value in _map_of(step, said, "params").items()}
    content = None
    if said.get("body") is not None:
        try:
            content = dumped_text(said["body"]).encode()
        except ValueError as error:
            raise _unfit(step, f"its 'body' cannot be sent: {error}") from None
        if not any(name.lower() == "content-type" for name in headers):
            headers["content-type"] = "application/json"
    return _Request(method.strip().upper(), url.strip(), headers, params, content)


def _map_of(step: HttpStep, said: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return headers or parameters; those without a value are not sent."""
    given = said.get(key)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _unfit(step, f"its {key!r} are of type {type(given).__name__}, and should be a map")
    return {str(name): value for name, value in given.items() if value is not None}


def _texts_of(value: object) -> str | list[str]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_text_of(each) for each in value]
    return _text_of(value)


def _text_of(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(dumped(value)) if value is not None else ""


async def _send(step: HttpStep, request: _Request, client: httpx2.AsyncClient, bytes_max: int) -> _Answer:
    import httpx2

    try:
        with trio.fail_after(step.timeout_s):  # of the whole: a server that sends a byte a second is slow, too
            asked = client.build_request(
                request.method,
                request.url,
                headers=request.headers,
                params=request.params or None,  # an empty map would take those away that stand in the address
                content=request.content,
                timeout=httpx2.Timeout(step.timeout_s),
            )
            if asked.url.port is not None and asked.url.port > PORT_MAX:
                raise httpx2.InvalidURL(f"there is no port {asked.url.port}")
            return await _read(step, request, await client.send(asked, stream=True), bytes_max)
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, UnicodeError) as error:
        raise _unfit(step, _without_secrets(request, f"its request cannot be sent: {error}")) from None
    except (trio.TooSlowError, httpx2.TimeoutException):
        raise _Again(_failure(step, request, f"took longer than {step.timeout_s:g} s")) from None
    except (httpx2.RequestError, OSError) as error:
        raise _Again(_failure(step, request, f"{type(error).__name__}: {error}")) from error


async def _read(step: HttpStep, request: _Request, response: httpx2.Response, bytes_max: int) -> _Answer:
    body = bytearray()
    try:
        # A generator of httpx2's that is dropped halfway is never cleaned up: who has enough has it cancelled.
        with trio.CancelScope() as rest:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > bytes_max:
                    rest.cancel()
    finally:
        with trio.CancelScope(shield=True):  # gives the connection back; waits for nothing
            await response.aclose()
    if len(body) > bytes_max:
        text = f"the answer has more than {bytes_max} bytes, which is the most that is read"
        raise StepExecutionError(_failure(step, request, text))
    return _Answer(response.status_code, dict(response.headers), bytes(body), response.charset_encoding or "utf-8")


def _value_of(step: HttpStep, request: _Request, answer: _Answer) -> Any:
    if not _expected(step, answer.status):
        text = _unexpected(step, request, answer)
        raise _Again(text) if 500 <= answer.status <= 599 else StepExecutionError(text)
    if step.response_format == "raw":
        return answer.text
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        if step.response_format == "json":
            text = f"the answer is not JSON: {error}; 'response_format: raw' takes any text"
            raise StepExecutionError(_failure(step, request, text, answer)) from None
        body = answer.text
    if step.response_format == "json":
        return body
    return {"status": answer.status, "headers": dict(answer.headers), "body": body}


def _expected(step: HttpStep, status: int) -> bool:
    return 200 <= status <= 299 if step.expected_status is None else status in step.expected_status


def _unexpected(step: HttpStep, request: _Request, answer: _Answer) -> str:
    wanted = "200 to 299" if step.expected_status is None else " or ".join(map(str, step.expected_status))
    text = f"status {answer.status}, expected {wanted}"
    if 300 <= answer.status <= 399 and "location" in answer.headers:
        text += f"; redirects are not followed, this one leads to {_shown_url(answer.headers['location'])}"
    return _failure(step, request, text, answer)


def _unfit(step: HttpStep, text: str) -> StepExecutionError:
    return StepExecutionError(f"http step {step.name!r}: {text}")


def _failure(step: HttpStep, request: _Request, what: str, answer: _Answer | None = None) -> str:
    """Say what failed, and for which request, without its secrets."""
    headers = {name: _HIDDEN if _SECRET.search(name) else value for name, value in request.headers.items()}
    text = f"http step {step.name!r} failed: {what}; method={request.method} url={_shown_url(request.url)}"
    if request.params:
        params = {name: _hidden(name, value) for name, value in request.params.items()}
        text += f" params={params}"
    text += f" headers={headers}"
    text = _without_secrets(request, text)
    if answer is not None:
        text += f" body={_without_secrets(request, answer.text)[:_SHOWN_CHARS_MAX]!r}"
    return text


def _hidden(name: str, value: Any) -> Any:
    return _HIDDEN if _SECRET.search(name) or name.lower() in _SECRET_PARAMETERS else value


def _shown_url(url: str) -> str:
    """Return an address without a password, and without the secrets of its query."""
    head, question, query = url.partition("?")
    head = re.sub(r"//[^/@]*@", f"//{_HIDDEN}@", head)
    pairs = (pair.partition("=") for pair in query.split("&"))
    return (
        head
        + question
        + "&".join(f"{name}{sign}{_hidden(name, value) if sign else value}" for name, sign, value in pairs)
    )


def _without_secrets(request: _Request, text: str) -> str:
    """Hide what the request keeps secret wherever it stands: servers repeat what they do not like."""
    for secret in sorted(_secrets_of(request), key=lambda each: (-len(each), each)):
        text = text.replace(secret, _HIDDEN)
    return text


def _secrets_of(request: _Request) -> set[str]:
    found = {value for name, value in request.headers.items() if _SECRET.search(name)}
    found |= {value.partition(" ")[2].strip() for value in found}  # Bearer SECRET
    for name, value in [*request.params.items(), *_query_of(request.url)]:
        if _hidden(name, None) == _HIDDEN:
            found |= {value} if isinstance(value, str) else set(value)
    return {secret for secret in found if len(secret) >= 6}  # shorter ones stand in any text by chance


def _query_of(url: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(urlsplit(url).query)
    except ValueError:
        return []
