"""Objects that handlers name by URI, and that we fetch: only from where the user allows it.

A handler decides what is fetched, and it may run elsewhere or do as a stranger's text told it. So nothing of this
machine is read, and no address is called, that was not allowed; a redirect has to be allowed, too. All that a decision
names has one time and one number: who answers a byte now and then must not hold a session for ever.
"""

from __future__ import annotations

__all__ = ["FETCHES_MAX", "FETCHES_S", "FETCH_BYTES_MAX", "Fetched", "Fetches", "check_allowed"]

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import trio

from fabric.errors import ConfigError, HandlerFailed

FETCH_BYTES_MAX = 256 * 1024 * 1024

FETCH_S = 60.0
"""Between two pieces of an answer; the invocation's own time-out is over by then."""

FETCHES_S = 600.0
"""For all objects of a decision."""

FETCHES_MAX = 1000
"""Of a decision. Who has more makes several decisions."""

REDIRECTS_MAX = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Fetched(NamedTuple):
    """What was there: a body, and what the other side says of it."""

    body: bytes
    content_type: str = ""
    content_encoding: str = ""


def check_allowed(allowed: Sequence[str]) -> None:
    """Check what a user allows: ``https``, ``http``, or ``file:`` and an absolute directory.

    Raises:
        ConfigError: it is something else.
    """
    for one in allowed:
        if one not in ("https", "http") and not (one.startswith("file:") and _directory(one).is_absolute()):
            raise ConfigError(
                f"uri {one!r}: expected https, http, or file: and an absolute directory, as in file:/srv/data"
            )


class Fetches:
    """The fetches of one decision.

    Args:
        allowed: from where; see :func:`check_allowed`.
        at_most: how many.
        total_s: that all of them may take. What is done with the objects in between is not counted.
    """

    def __init__(self, allowed: Sequence[str], *, at_most: int = FETCHES_MAX, total_s: float = FETCHES_S) -> None:
        self._allowed = allowed
        self._at_most = at_most
        self._total_s = total_s
        self._number = 0
        self._spent_s = 0.0

    async def fetch(self, uri: str) -> Fetched:
        """Return an object.

        Raises:
            HandlerFailed: it is not allowed, not there, or too large; there are too many, or they take too long.
        """
        self._number += 1
        if self._number > self._at_most:
            raise HandlerFailed(f"cannot fetch {_shown(uri)}: a decision may name {self._at_most} objects by uri")
        began = trio.current_time()
        try:
            with trio.fail_after(max(self._total_s - self._spent_s, 0.0)):
                return await _fetch(uri, self._allowed)
        except trio.TooSlowError:
            raise HandlerFailed(
                f"cannot fetch {_shown(uri)}: the objects that a decision names by uri took more than"
                f" {self._total_s:g} s (this is number {self._number})"
            ) from None
        finally:
            self._spent_s += trio.current_time() - began


async def _fetch(uri: str, allowed: Sequence[str]) -> Fetched:
    import httpx2  # only here: most runs fetch nothing, and it takes a tenth of their start

    try:
        if urlsplit(uri).scheme.lower() == "file":
            directories = [_directory(one) for one in allowed if one.startswith("file:")]
            return await trio.to_thread.run_sync(_read_file, uri, directories, abandon_on_cancel=True)
        return await _get(uri, allowed)
    except httpx2.HTTPError as error:
        raise HandlerFailed(f"cannot fetch {_shown(uri)}: {type(error).__name__}") from None
    except (httpx2.InvalidURL, ValueError) as error:  # of a redirect, too
        raise HandlerFailed(f"cannot fetch {uri!r}: it is no URI, or it leads to none: {error}") from None


async def _get(uri: str, allowed: Sequence[str]) -> Fetched:
    import httpx2

    async with httpx2.AsyncClient(follow_redirects=False, timeout=FETCH_S) as client:
        at = uri
        for _ in range(REDIRECTS_MAX + 1):
            scheme = urlsplit(at).scheme.lower()
            if scheme not in ("http", "https") or scheme not in allowed:
                by = "" if at == uri else f" {_shown(uri)} redirects to it, and"
                known = ", ".join(allowed) or "none"
                raise HandlerFailed(
                    f"cannot fetch {_shown(at)}:{by} scheme {scheme!r} is not allowed; allowed: {known} (--allow-uri)"
                )
            async with client.stream("GET", at, headers={"Accept-Encoding": "identity"}) as answer:
                if answer.status_code in _REDIRECTS and "location" in answer.headers:
                    at = urljoin(at, answer.headers["location"])
                    continue
                if answer.status_code != 200:
                    raise HandlerFailed(f"cannot fetch {_shown(at)}: it answered with status {answer.status_code}")
                body = bytearray()
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > FETCH_BYTES_MAX:
                        raise _too_large(at)
                headers = answer.headers
                return Fetched(bytes(body), headers.get("content-type", ""), headers.get("content-encoding", ""))
        raise HandlerFailed(f"cannot fetch {_shown(uri)}: it redirects more than {REDIRECTS_MAX} times")


def _directory(allowed: str) -> Path:
    path = allowed.removeprefix("file:")
    return Path(path.removeprefix("//") if path.startswith("///") else path)


def _read_file(uri: str, directories: Sequence[Path]) -> Fetched:
    parts = urlsplit(uri)
    # Resolved first: a link that lies in an allowed directory may lead out of it.
    path = Path(os.path.realpath(unquote(parts.path)))
    if parts.netloc not in ("", "localhost") or not any(
        path.is_relative_to(os.path.realpath(one)) for one in directories
    ):
        known = ", ".join(map(str, directories)) or "none"
        raise HandlerFailed(
            f"cannot read {uri}: it is not in an allowed directory; allowed: {known} (--allow-uri file:DIR)"
        )
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not path.is_file():
                raise HandlerFailed(f"cannot read {uri}: it is no file")
            body = file.read(FETCH_BYTES_MAX + 1)
    except OSError as error:
        raise HandlerFailed(f"cannot read {uri}: {error.strerror}") from None
    if len(body) > FETCH_BYTES_MAX:
        raise _too_large(uri)
    return Fetched(body)


def _too_large(uri: str) -> HandlerFailed:
    return HandlerFailed(f"cannot fetch {_shown(uri)}: it has more than {FETCH_BYTES_MAX} bytes")


def _shown(uri: str) -> str:
    """Return an URI without what may be a secret in it: a password, the signature of a presigned one."""
    parts = urlsplit(uri)
    hidden = "?..." if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{hidden}" if parts.netloc else uri
