"""A server that speaks the providers' APIs and answers from a script, so that a program is tested as it is.

    with scripted_model({"judge": [{"ok": False}, {"ok": True}]}) as model:
        outputs = fabric.call_sync("review.plumb", "draft", env=model.env)
    assert [request.prompt for request in model.requests] == […]

Nothing in the program changes: its agents ask ``anthropic`` or ``openai`` as ever, and ``env`` says where these are. A
request that nobody scripted is answered with an error that says so, and fails the test at the end, whatever the program
made of it.
"""

from __future__ import annotations

__all__ = ["ScriptedModel", "UnscriptedRequest", "answered", "scripted_model"]

from typing import Any, ClassVar, Self

import msgspec

from fabric.testing.answers import Failure, ModelRequest, Reply, Turn
from fabric.testing.endpoint import ModelServer, format_of
from fabric.testing.script import Rule, Script
from fabric.testing.server import Exchange


class UnscriptedRequest(AssertionError):
    """A model was asked what the test did not script, or the script failed. Raised when the test ends."""


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


class ScriptedModel(ModelServer):
    """Made by :func:`scripted_model`; runs inside of its ``with`` block.

    Attributes:
        requests: those that it got and could read, in the order in which they came.
    """

    failure: ClassVar[type[AssertionError]] = UnscriptedRequest

    def __init__(self, script: Any = None) -> None:
        super().__init__()
        self._script = Script(script)

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
    def unused(self) -> list[str]:
        """Which scripted lists have answers left. Nobody minds, unless a test does: ``assert model.unused == []``."""
        return self._script.unused

    def asked(self, agent: str) -> list[ModelRequest]:
        """Return the requests of one agent."""
        mine = Rule(None, agent)
        return [request for request in self.requests if mine.fits(request)]

    async def _answer(self, exchange: Exchange, request: ModelRequest, home: str) -> None:
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


def scripted_model(script: Any = None) -> ScriptedModel:
    """Return a model that answers from a script, for a ``with`` block.

    Args:
        script: answers for any agent, or a mapping of agents' names to theirs, ``"*"`` for any. A list is used up, one
            answer for each request; anything else is answered each time. An answer is a JSON value, ``Text``,
            ``Thinking``, ``Call`` (or a list of them), ``Answer``, ``Failure``, ``Cut``, or a function of the request.
    """
    return ScriptedModel(script)
