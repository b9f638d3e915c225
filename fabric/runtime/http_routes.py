"""What is served over HTTP: metrics, whether a service lives and is ready, how it stands; and what may be asked of it.

==================================================  ===============================================================
``GET /metrics /livez /readyz``                     open to whoever reaches the address
``GET /api/v1/{status,graph,workers,channels}``     open on a loopback address, else with the token
``GET /api/v1/{dead_letters,approvals}``            with the token: they have messages in them
``POST /api/v1/workers/NAME/{stop,start,restart}``  with the token
``POST /api/v1/approvals/ID``                       with the token; ``{"granted": true}``, ``reason``, ``always``
``POST /api/v1/dead_letters/N/{retry,drop}``        with the token
``POST /api/v1/down``                               with the token; ``{"grace_s": 10}`` or nothing
==================================================  ===============================================================

What is asked for is done by the service, as if it had been asked on its socket.

A page in a browser of this machine may send requests here, too. It says where it is from in ``Origin``, and that is
refused whatever it says: nothing here is made for pages. A name that somebody made point to this machine (DNS
rebinding) is in ``Host``, so on a loopback address that has to be a name of this machine. On others any name will do:
probes and scrapers use addresses of their own, and nothing but metrics is open there.
"""

from __future__ import annotations

__all__ = ["Site"]

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Literal, NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qs, unquote

import msgspec
import trio
from msgspec import Meta

from fabric.errors import ConfigError
from fabric.runtime.http_answers import Watched
from fabric.runtime.http_server import Answer, Ask, Head, error
from fabric.runtime.service_protocol import Request

_LOCAL = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_ANY = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)

_API = "/api/v1/"

LETTERS_MAX = 1_000
"""Dead letters that are shown at a time; the next are behind ``?after=``."""


class _Decision(msgspec.Struct, forbid_unknown_fields=True):
    granted: bool
    reason: Annotated[str, Meta(max_length=2000)] = ""
    always: bool = False


class _Down(msgspec.Struct, forbid_unknown_fields=True):
    grace_s: Annotated[float, Meta(ge=0)] | None = None


_T = TypeVar("_T")
_Done: TypeAlias = Callable[[Ask], Awaitable[Answer]]


class _Route(NamedTuple):
    """A path that there is.

    Attributes:
        does: what, by method.
        open_to: whom without the token: ``all``, ``looks``: who looks from this machine and changes nothing, ``none``.
    """

    does: Mapping[str, _Done]
    open_to: Literal["all", "looks", "none"] = "none"


_NO_ROUTE = _Route({}, "looks")
"""Of a path that there is not. On other addresses only who has the token is told so."""


class Site:
    """The routes of one session.

    Args:
        watched: gives and does what is asked for.
        token: has to be said for what is not open; empty: nobody can.
        local: whether only this machine reaches it.
    """

    def __init__(self, watched: Watched, token: str, *, local: bool) -> None:
        self._watched = watched
        self._token = token
        self._local = local

    # --- who may ---

    def refuse(self, head: Head) -> Answer | None:
        """Return why a request is refused before its body is looked at, or ``None``."""
        hosts = head.headers.get("host", ())
        if len(hosts) != 1 or not (_LOCAL if self._local else _ANY).fullmatch(hosts[0]):
            names = "localhost, 127.0.0.1 or [::1]" if self._local else "one name or address"
            return error(421, "wrong_host", f"Host: expected {names}, with or without a port")
        if "origin" in head.headers:
            return error(403, "from_a_page", "Origin: expected none; pages in a browser may not ask for anything here")
        if not head.path.startswith("/"):
            return error(400, "bad_request", f"expected a path that begins with /, got {head.path[:200]!r}")
        route = self._route(head.path)
        if not self._open(route, head.method) and not self._authorized(head):
            return error(
                401,
                "unauthorized",
                "expected Authorization: Bearer TOKEN; fabric ps --format json says where the token is",
                ("www-authenticate", "Bearer"),
            )
        if not route.does:
            text = f"there is no {head.path[:200]}; there is /metrics, /livez, /readyz"
            return error(404, "not_found", f"{text}, {_API}status" if self._watched.serves else text)
        if head.method not in route.does and not (head.method == "HEAD" and "GET" in route.does):
            known = ", ".join(route.does)
            return error(405, "wrong_method", f"{head.path[:200]} takes {known}", ("allow", known))
        return None

    def _open(self, route: _Route, method: str) -> bool:
        if route.open_to == "all":
            return True
        return route.open_to == "looks" and self._local and method in ("GET", "HEAD")

    def _authorized(self, head: Head) -> bool:
        scheme, _, said = head.header("authorization").partition(" ")
        known = scheme.lower() == "bearer" and bool(self._token)
        return hmac.compare_digest(said.strip().encode(), self._token.encode()) and known

    # --- what there is ---

    def _route(self, path: str) -> _Route:
        """Return what a path is. It is compared as it was sent: no two ways of writing mean the same."""
        watched = self._watched
        match path.split("/"):
            case ["", "metrics"]:
                return _Route({"GET": self._metrics}, "all")
            case ["", "livez"]:
                return _Route({"GET": _livez}, "all")
            case ["", "readyz"]:
                return _Route({"GET": self._readyz}, "all")
            case ["", "api", "v1", *rest] if watched.serves:
                return self._api(rest)
        return _NO_ROUTE

    def _api(self, rest: list[str]) -> _Route:
        match rest:
            case ["status" | "graph" | "workers" | "channels" as what]:
                return _Route({"GET": partial(self._show, what)}, "looks")
            case ["approvals"]:
                return _Route({"GET": partial(self._show, "approvals")})
            case ["dead_letters"]:
                return _Route({"GET": self._letters})
            case ["workers", name, "stop" | "start" | "restart" as wish]:
                return _Route({"POST": self._do(Request(1, do=wish, worker=unquote(name)))})
            case ["approvals", id_]:
                return _Route({"POST": partial(self._decide, unquote(id_))})
            case ["dead_letters", number, "retry"] if number.isdecimal() and number.isascii():
                return _Route({"POST": partial(self._retry, int(number[:18]))})
            case ["dead_letters", number, "drop"] if number.isdecimal() and number.isascii():
                return _Route({"POST": partial(self._drop, int(number[:18]))})
            case ["down"]:
                return _Route({"POST": self._down})
        return _NO_ROUTE

    async def handle(self, ask: Ask) -> Answer:
        """Answer a request that was not refused."""
        does = self._route(ask.head.path).does
        return await does["GET" if ask.head.method == "HEAD" else ask.head.method](ask)

    async def _metrics(self, ask: Ask) -> Answer:
        media_type, page = self._watched.page(ask.head.header("accept"))
        return Answer(200, page, media_type)

    async def _readyz(self, _: Ask) -> Answer:
        missing = self._watched.missing()
        body = {"v": 1, "ready": not missing, "missing": missing}
        return _json(503 if missing else 200, body)

    async def _show(self, what: str, _: Ask) -> Answer:
        return _json(200, await self._watched.show(what))

    async def _letters(self, ask: Ask) -> Answer:
        after = parse_qs(ask.head.query).get("after", ["0"])[-1]
        if not (after.isdecimal() and after.isascii() and len(after) < 19):
            return error(400, "bad_request", "?after=: expected the number of a dead letter")
        return _json(200, await self._watched.letters(int(after), LETTERS_MAX))

    # --- what may be changed ---

    def _do(self, request: Request) -> _Done:
        async def do(_: Ask) -> Answer:
            return await self._watched.do(request)

        return do

    async def _decide(self, id_: str, ask: Ask) -> Answer:
        said = _read(ask.body, _decision)
        if isinstance(said, Answer):
            return said
        request = Request(1, do="deny", approval=id_, always=said.always, reason=said.reason)
        if said.granted:
            request.do = "approve"
        return await self._watched.do(request)

    async def _retry(self, number: int, _: Ask) -> Answer:
        try:
            letter = await self._watched.letter(number)
        except ConfigError as failure:
            return error(500, failure.code, str(failure))
        if letter is None:
            return _no_letter(number)
        return await self._watched.do(Request(1, letter.payload, do="retry", worker=letter.worker, letter=number))

    async def _drop(self, number: int, _: Ask) -> Answer:
        try:
            dropped = await self._watched.drop(number)
        except OSError as failure:
            return error(500, "not_done", f"cannot write the dead letters: {failure.strerror}")
        return _json(200, {"v": 1, "dropped": number}) if dropped else _no_letter(number)

    async def _down(self, ask: Ask) -> Answer:
        said = _read(ask.body or b"{}", _down)
        if isinstance(said, Answer):
            return said
        return await self._watched.do(Request(1, do="drain", grace_s=said.grace_s))


async def _livez(_: Ask) -> Answer:
    await trio.lowlevel.checkpoint()
    return _json(200, {"v": 1, "alive": True})


_decision = msgspec.json.Decoder(_Decision)
_down = msgspec.json.Decoder(_Down)


def _read(body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T | Answer:
    """Return what a body says, or why that cannot be meant."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as failure:
        return error(400, "bad_request", f"the body: {failure}")


def _no_letter(number: int) -> Answer:
    return error(404, "unknown_name", f"there is no dead letter {number}")


def _json(status: int, body: object) -> Answer:
    return Answer(status, msgspec.json.encode(body) + b"\n")
