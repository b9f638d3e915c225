"""Who may see and do what over HTTP, literally: requests as bytes, to a site whose session is made up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from http_client import say
from trio.testing import MockClock

from fabric.runtime.connection import Inquiry
from fabric.runtime.http_answers import Served, Watched
from fabric.runtime.http_routes import Site
from fabric.runtime.http_server import Answer, HttpServer
from fabric.runtime.service_protocol import Request

TOKEN = "a-token-of-some-length"
SECRET = b"what nobody may see"


class Showing:
    """What a site shows: something that nobody without the token may see, behind every route that has messages."""

    serves = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def page(self, _accept: str) -> tuple[str, bytes]:
        return "text/plain", b"metrics\n"

    def missing(self) -> tuple[str, ...]:
        return ()

    async def show(self, what: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {what: SECRET.decode() if what == "approvals" else "open"}

    async def letters(self, _after: int, _count_max: int) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"dead_letters": [SECRET.decode()]}

    async def drop(self, _number: int) -> bool:
        await trio.lowlevel.checkpoint()
        self.asked.append("drop")
        return True

    async def do(self, request: Request) -> Answer:
        await trio.lowlevel.checkpoint()
        self.asked.append(request.do)
        return Answer(200, b"{}")


@asynccontextmanager
async def site(*, local: bool = True) -> AsyncIterator[tuple[trio.SocketListener, Showing]]:
    """Give a listener on which a site is served, and what it shows."""
    shown: Any = Showing()
    there = Site(shown, TOKEN, local=local)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

    def broke(failure: Exception) -> None:
        raise failure

    async with trio.open_nursery() as nursery:
        nursery.start_soon(HttpServer(there.refuse, there.handle, broke).serve, listener)
        yield listener, shown
        nursery.cancel_scope.cancel()


async def ask(listener: trio.SocketListener, target: str, method: str = "GET", *, token: bool = False) -> bytes:
    said = f"Authorization: Bearer {TOKEN}\r\n" if token else ""
    return await say(listener, f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{said}\r\n".encode())


def status(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


@pytest.mark.parametrize("what", ["dead_letters", "approvals"])
@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/{}",
        "api/v1/{}",
        "//api/v1/{}",
        "/api//v1/{}",
        "/api/v1//{}",
        "/api/v1/{}/",
        "/api/v1/./{}",
        "/api/v1/status/../{}",
        "/./api/v1/{}",
        "/%61pi/v1/{}",
        "/api/v1/%64ead_letters",
        "/api/v1/%61pprovals",
        "/api%2Fv1%2F{}",
        "/api/v1%2f{}",
        "%2Fapi/v1/{}",
        "http://127.0.0.1/api/v1/{}",
        "http://localhost/api/v1/{}",
        "HTTP://localhost/api/v1/{}",
        "/http://localhost/api/v1/{}",
        "/api/v1/{};",
        "/api/v1/{};a=b",
        "/api/v1;/{}",
        "/api/v1/{}?",
        "/api/v1/{}?after=0",
        "?/api/v1/{}",
        "/?/api/v1/{}",
        "/API/v1/{}",
        "/api/V1/{}",
        "/api/v1/{}#",
        "\\api\\v1\\{}",
        "/api\\v1\\{}",
        "*",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_no_way_of_writing_a_target_shows_messages_without_the_token(what: str, target: str, method: str):
    """It is refused, whatever it looks like."""
    async with site() as (listener, _):
        answer = await ask(listener, target.format(what), method)
    assert status(answer) in (400, 401, 404)
    assert SECRET not in answer


@pytest.mark.parametrize("what", ["dead_letters", "approvals"])
async def test_messages_are_shown_with_the_token(what: str):
    """So the targets above lead to something."""
    async with site() as (listener, _):
        assert SECRET in await ask(listener, f"/api/v1/{what}", token=True)


@pytest.mark.parametrize(
    "target", ["api/v1/dead_letters", "metrics", "http://127.0.0.1/api/v1/dead_letters", "*", "?/metrics"]
)
async def test_a_target_that_does_not_begin_with_a_slash_is_no_request_of_ours(target: str):
    """With the token, too."""
    async with site() as (listener, _):
        assert status(await ask(listener, target, token=True)) == 400


CHANGES = [
    "workers/w/stop",
    "workers/w/start",
    "workers/w/restart",
    "approvals/1",
    "dead_letters/1/drop",
    "down",
]


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("start", ["/api/v1/", "api/v1/", "//api/v1/", "http://127.0.0.1/api/v1/"])
async def test_nothing_is_changed_without_the_token(what: str, start: str):
    """However the target is written."""
    async with site() as (listener, shown):
        assert status(await ask(listener, start + what, "POST")) in (400, 401)
    assert shown.asked == []


@pytest.mark.parametrize(
    ("local", "target", "code"),
    [
        (True, "/metrics", 200),
        (True, "/api/v1/status", 200),
        (True, "/api/v1/nothing", 404),
        (False, "/metrics", 200),
        (False, "/livez", 200),
        (False, "/readyz", 200),
        (False, "/api/v1/status", 401),
        (False, "/api/v1/nothing", 401),
        (False, "api/v1/dead_letters", 400),
    ],
)
async def test_what_is_open_depends_on_who_reaches_it(local: bool, target: str, code: int):
    """From elsewhere, only metrics and whether it is ready."""
    async with site(local=local) as (listener, _):
        assert status(await ask(listener, target)) == code


class Crowded:
    """A session in which there is never room, and that notes what it is asked for all the same."""

    def __init__(self, *, room: bool) -> None:
        self._room = room
        self.ordered: list[str] = []

    async def wait_for_room(self) -> bool:
        if not self._room:
            await trio.sleep_forever()
        return True

    async def ask(self, coordinator: Crowded, request: Request) -> Inquiry:
        """As a service does: a retry waits for room before it is ordered; and nothing is ever answered."""
        if request.do == "retry":
            await coordinator.wait_for_room()
        self.ordered.append(request.do)
        await trio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize(
    ("room", "do", "code", "ordered"),
    [
        (False, "retry", 503, []),
        (True, "retry", 202, ["retry"]),
        (False, "stop", 202, ["stop"]),
    ],
)
async def test_only_what_was_ordered_is_accepted(
    room: bool,
    do: Any,
    code: int,
    ordered: list[str],
    autojump_clock: MockClock,
):
    """A retry that has waited for room in vain is not done later."""
    crowded: Any = Crowded(room=room)
    nothing: Any = None
    watched = Watched(nothing, nothing, crowded, Served(crowded, nothing, nothing))
    answer = await watched.do(Request(1, b"1", do=do, worker="w", letter=1))
    assert (answer.status, crowded.ordered) == (code, ordered)
    assert (json.loads(answer.body).get("code") == "no_room") is (code == 503)
