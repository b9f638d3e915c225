"""Where a program asks instead of its providers: a server on this machine that speaks their APIs, and fails a test."""

from __future__ import annotations

__all__ = ["AGENT_HEADER", "PLACEHOLDER_KEYS", "ModelServer", "format_of", "read_exchange"]

from abc import ABC, abstractmethod
from types import ModuleType, TracebackType
from typing import ClassVar, Self
from urllib.parse import unquote

import msgspec

from fabric.testing import anthropic_format, openai_format
from fabric.testing.answers import ModelRequest
from fabric.testing.server import Exchange, LocalServer

_PLACEHOLDER_KEY = "placeholder-key-of-fabric-testing"
"""What stands for a key. It is no word of any answer, since agents take their key out of all that they say."""

PLACEHOLDER_KEYS = {"ANTHROPIC_API_KEY": _PLACEHOLDER_KEY, "OPENAI_API_KEY": _PLACEHOLDER_KEY}

AGENT_HEADER = "x-plumb-agent"
"""In which our agents say their name to a server of this machine, and to no other."""

UNKNOWN_STATUS = 404
"""Clients neither try again nor leave out parameters behind it, as they do behind others."""

_KEPT_HEADERS = ("anthropic-version", "anthropic-beta", "content-type", "user-agent")

_FORMATS = {"/messages": anthropic_format, "/chat/completions": openai_format}


def format_of(path: str) -> ModuleType | None:
    """Return which API a path belongs to."""
    return next((module for end, module in _FORMATS.items() if path.endswith(end)), None)


def read_exchange(path: str, headers: dict[str, str], body: bytes) -> ModelRequest:
    """Read a request of any of the APIs.

    Raises:
        ValueError: it is none, and why.
    """
    dialect = format_of(path)
    if dialect is None:
        raise ValueError(f"{path} is no path of a model; there are {' and '.join(f'/v1{end}' for end in _FORMATS)}")
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(f"the body of the request is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("the body of the request is no JSON object")
    kept = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
    request: ModelRequest = dialect.read_request(value, kept, unquote(headers.get(AGENT_HEADER, "")))
    return request


_DETOUR = "/for/"


def _without_detour(path: str) -> tuple[str, str]:
    """Return the path of a request as it is at home, and the agent's own endpoint; see ``detoured`` of the plan."""
    if not path.startswith(_DETOUR):
        return path, ""
    home, _, rest = path.removeprefix(_DETOUR).partition("/")
    return "/v1/" + rest.removeprefix("v1/"), unquote(home)


class ModelServer(ABC):
    """A server that runs inside of a ``with`` block. Whoever inherits it says what it answers.

    Args:
        finish_s: how long answers that are still coming are waited for at the end.

    Attributes:
        failure: what is raised of its problems.
        requests: those that it got and could read, in the order in which they came.
    """

    failure: ClassVar[type[AssertionError]]

    def __init__(self, finish_s: float = 0.0) -> None:
        self.requests: list[ModelRequest] = []
        self._problems: list[str] = []
        self._server = LocalServer(self._handle, finish_s)

    @property
    def url(self) -> str:
        """Where it is: base URL of a client of Anthropic's; ``url + "/v1"`` is that of OpenAI's."""
        return self._server.url

    @property
    def env(self) -> dict[str, str]:
        """What a program has to find in its environment to ask this server."""
        return {"PLUMB_ENDPOINT": self.url, "FABRIC_TEST_ENDPOINT": self.url, **PLACEHOLDER_KEYS}

    def check(self) -> None:
        """Raise what there is to raise, once; the end of the ``with`` block does it, too.

        Raises:
            AssertionError: a request had no answer; it is ``failure``.
        """
        problems, self._problems = self._problems, []
        if problems:
            raise self.failure("\n".join(problems))

    def note(self, error: BaseException) -> None:
        """Add what there is to raise to an error that the test fails of anyway: most likely because of this."""
        problems, self._problems = self._problems, []
        for problem in problems:
            error.add_note(problem)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self._stopped(error)
        if error is None:
            self.check()
        else:
            self.note(error)

    def _stopped(self, error: BaseException | None) -> None:  # noqa: B027 - not everybody has something to do
        """Do what is to be done when nobody asks any more."""

    async def _handle(self, exchange: Exchange) -> None:
        exchange.path, home = _without_detour(exchange.path)
        try:
            request = read_exchange(exchange.path, exchange.headers, exchange.body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            await self._refuse(exchange, f"a request that cannot be read: {exchange.method} {exchange.path}: {error}")
            return
        self.requests.append(request)
        await self._answer(exchange, request, home)

    @abstractmethod
    async def _answer(self, exchange: Exchange, request: ModelRequest, home: str) -> None:
        """Answer a request. It is the last one of ``requests``, as long as nothing was waited for.

        Args:
            exchange: with it.
            request: what it asks.
            home: the endpoint that the program itself says for the agent; empty: none.
        """

    async def _refuse(self, exchange: Exchange, problem: str, status: int = UNKNOWN_STATUS) -> None:
        self._problems.append(problem)
        dialect = format_of(exchange.path) or openai_format
        body = msgspec.json.encode(dialect.error_body(status, f"fabric.testing: {problem}"))
        await exchange.respond(status, "application/json", body)
