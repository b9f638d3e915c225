"""A server that speaks the providers' APIs and answers from a script, so that a program is tested as it is.

    with scripted_model({"judge": [{"ok": False}, {"ok": True}]}) as model:
        outputs = fabric.call_sync("review.plumb", "draft", env=model.env)
    assert [request.prompt for request in model.requests] == […]

Nothing in the program changes: its agents ask ``anthropic`` or ``openai`` as ever, and ``env`` says where these are. A
request that nobody scripted is answered with an error that says so, and fails the test at the end, whatever the program
made of it.
"""

from __future__ import annotations

__all__ = ["PLACEHOLDER_KEY", "ScriptedModel", "UnscriptedRequest", "answered", "read_exchange", "scripted_model"]

from types import ModuleType, TracebackType
from typing import Any, Self
from urllib.parse import unquote

import msgspec

from fabric.testing import anthropic_format, openai_format
from fabric.testing.answers import Failure, ModelRequest, Reply, Turn
from fabric.testing.script import Rule, Script
from fabric.testing.server import Exchange, LocalServer

PLACEHOLDER_KEY = "placeholder-key-of-fabric-testing"
"""What stands for a key. It is no word of any answer, since agents take their key out of all that they say."""

AGENT_HEADER = "x-plumb-agent"
"""In which our agents say their name to a server of this machine, and to no other."""

UNSCRIPTED_STATUS = 404
"""Clients neither try again nor leave out parameters behind it, as they do behind others."""

_KEPT_HEADERS = ("anthropic-version", "anthropic-beta", "content-type", "user-agent")

_FORMATS = {"/messages": anthropic_format, "/chat/completions": openai_format}


class UnscriptedRequest(AssertionError):
    """A model was asked what the test did not script, or the script failed. Raised when the test ends."""


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


class Written(msgspec.Struct, frozen=True):
    """A response: its pieces, and whether it ends as it should."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]
    whole: bool = True


def answered(reply: Reply, request: ModelRequest, number: int) -> Written:
    """Return an answer in the words of the API that asked."""
    dialect = format_of("/messages" if request.provider == "anthropic" else "/chat/completions")
    assert dialect is not None
    if isinstance(reply, Failure):
        waits = {} if reply.retry_after_s is None else {"retry-after": f"{reply.retry_after_s:g}"}
        return _json(dialect.error_body(reply.status, reply.message), reply.status, waits)
    if not request.stream:
        written = _json(dialect.whole_body(reply, request, number), 200, {})
        if reply.cut is None:
            return written
        (body,) = written.pieces
        return msgspec.structs.replace(written, pieces=[body[: len(body) // 2]], whole=False)
    return _stream(dialect.stream_events(reply, request, number), reply)


def _json(body: dict[str, Any], status: int, headers: dict[str, str]) -> Written:
    data = msgspec.json.encode(body)
    return Written(status, {"content-type": "application/json", "content-length": str(len(data))} | headers, [data])


def _stream(events: list[bytes], turn: Turn) -> Written:
    headers = {"content-type": "text/event-stream"}
    if turn.cut is None:
        return Written(200, headers, events)
    last = len(events) // 2 if turn.cut < 0 else min(turn.cut, len(events) - 1)
    return Written(200, headers, events[:last], whole=False)


class ScriptedModel:
    """Made by :func:`scripted_model`; runs inside of its ``with`` block.

    Attributes:
        requests: those that it got and could read, in the order in which they came.
    """

    def __init__(self, script: Any = None) -> None:
        self.requests: list[ModelRequest] = []
        self._script = Script(script)
        self._problems: list[str] = []
        self._server = LocalServer(self._handle)

    def on(
        self,
        answers: Any,
        *,
        agent: str | None = None,
        model: str | None = None,
        prompt: str | None = None,
        system: str | None = None,
    ) -> Self:
        """Add answers for some requests, behind those that there are; see :class:`~fabric.testing.script.Rule`."""
        self._script.rules.append(Rule(answers, agent, model, prompt, system))
        return self

    @property
    def url(self) -> str:
        """Where it is: base URL of a client of Anthropic's; ``url + "/v1"`` is that of OpenAI's."""
        return self._server.url

    @property
    def env(self) -> dict[str, str]:
        """What a program has to find in its environment to ask this model."""
        keys = {"ANTHROPIC_API_KEY": PLACEHOLDER_KEY, "OPENAI_API_KEY": PLACEHOLDER_KEY}
        return {"PLUMB_ENDPOINT": self.url, **keys}

    @property
    def unused(self) -> list[str]:
        """Which scripted lists have answers left. Nobody minds, unless a test does: ``assert model.unused == []``."""
        return self._script.unused

    def asked(self, agent: str) -> list[ModelRequest]:
        """Return the requests of one agent."""
        mine = Rule(None, agent)
        return [request for request in self.requests if mine.fits(request)]

    def check(self) -> None:
        """Raise what there is to raise, once; the end of the ``with`` block does it, too.

        Raises:
            UnscriptedRequest: a request had no answer.
        """
        problems, self._problems = self._problems, []
        if problems:
            raise UnscriptedRequest("\n".join(problems))

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
        if error is None:
            self.check()
        else:
            self.note(error)

    async def _handle(self, exchange: Exchange) -> None:
        try:
            request = read_exchange(exchange.path, exchange.headers, exchange.body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            await self._refuse(exchange, f"a request that cannot be read: {exchange.method} {exchange.path}: {error}")
            return
        self.requests.append(request)
        number = len(self.requests)
        reply = self._script.answer(request)
        if isinstance(reply, str):
            await self._refuse(exchange, f"request {number}: {reply}")
            return
        written = answered(reply, request, number)
        await exchange.start(written.status, written.headers)
        for piece in written.pieces:
            await exchange.send(piece)
        if written.whole:
            await exchange.end()

    async def _refuse(self, exchange: Exchange, problem: str) -> None:
        self._problems.append(problem)
        dialect = format_of(exchange.path) or openai_format
        body = msgspec.json.encode(dialect.error_body(UNSCRIPTED_STATUS, f"fabric.testing: {problem}"))
        await exchange.respond(UNSCRIPTED_STATUS, "application/json", body)


def scripted_model(script: Any = None) -> ScriptedModel:
    """Return a model that answers from a script, for a ``with`` block.

    Args:
        script: answers for any agent, or a mapping of agents' names to theirs, ``"*"`` for any. A list is used up, one
            answer for each request; anything else is answered each time. An answer is a JSON value, ``Text``,
            ``Thinking``, ``Call`` (or a list of them), ``Answer``, ``Failure``, ``Cut``, or a function of the request.
    """
    return ScriptedModel(script)
