"""The session of this process, over its stdin and stdout, and a function for each of its methods.

stdout carries records and nothing else, so ``print`` is made to write to stderr: at once in a process that a runtime
has started for a decision, ours or another one that the ``pugmark`` SDK knows, else when this session is first read or
written. To import the package as a library changes nothing.
"""

from __future__ import annotations

__all__ = [
    "agent",
    "default_session",
    "events",
    "invocation_id",
    "load",
    "load_bytes",
    "load_json",
    "load_text",
    "metadata",
    "open",
    "pause",
    "print",
    "read",
    "session_id",
    "sleep",
    "snapshot",
    "state",
    "stdin",
    "stdout",
    "store",
    "traced_execution",
    "write",
    "write_bytes",
    "write_json",
    "write_remote",
    "write_text",
]

import builtins
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO, Any

from fabric.handler.events import Event
from fabric.handler.objects import Object, RemoteObject
from fabric.handler.session import Session
from fabric.handler.state import State
from fabric.handler.tracing import join_trace
from fabric.handler.wire import Reader, Writer

_print = builtins.print


def print(*args: Any, **kwargs: Any) -> None:  # noqa: A001 - the name that handlers call
    """Print as usual, but to stderr unless ``file`` says otherwise."""
    _print(*args, **{"file": sys.stderr, **kwargs})


def _keep_stdout() -> None:
    builtins.print = print


class _Stdin(Reader):
    """The log of this process."""

    def read(self) -> Iterator[RemoteObject]:
        """Return what is left of it."""
        _keep_stdout()
        return super().read()


class _Stdout(Writer):
    """The records of this process."""

    def _put(self, record: dict[str, Any]) -> None:
        _keep_stdout()
        super()._put(record)


_session = Session()
# Bound now: a handler may say ``sys.stdout = sys.stderr`` after its imports.
_session.reader = stdin = _Stdin(sys.stdin)
_session.writer = stdout = _Stdout(sys.stdout)

_RUNTIMES_TELL = ("PUGMARK_SESSION_ID", "PUGMARK_RPC_URL", "FABRIC_INVOCATION_ID", "FABRIC_RPC_URL")

if any(os.environ.get(name) for name in _RUNTIMES_TELL):  # one of them has started us
    _keep_stdout()
join_trace()


def default_session() -> Session:
    """Return the session of this process."""
    return _session


def read() -> Iterator[Object]:
    """See :meth:`Session.read`."""
    return _session.read()


def events() -> Iterator[Event]:
    """See :meth:`Session.events`."""
    return _session.events()


def state() -> State:
    """See :meth:`Session.state`."""
    return _session.state()


def load(name: str) -> Object | None:
    """See :meth:`Session.load`."""
    return _session.load(name)


def load_text(name: str) -> str | None:
    """See :meth:`Session.load_text`."""
    return _session.load_text(name)


def load_json(name: str) -> Any:
    """See :meth:`Session.load_json`."""
    return _session.load_json(name)


def load_bytes(name: str) -> bytes | None:
    """See :meth:`Session.load_bytes`."""
    return _session.load_bytes(name)


def write(
    value: Any,
    *,
    name: str = "",
    content_type: str | None = None,
    content_encoding: str = "",
    schema_url: str = "",
    metadata: dict[str, str] | None = None,
    session: str = "",
) -> None:
    """See :meth:`Session.write`."""
    _session.write(
        value,
        name=name,
        content_type=content_type,
        content_encoding=content_encoding,
        schema_url=schema_url,
        metadata=metadata,
        session=session,
    )


def write_text(
    text: str,
    *,
    name: str = "",
    content_type: str = "text/plain",
    metadata: dict[str, str] | None = None,
    session: str = "",
) -> None:
    """See :meth:`Session.write_text`."""
    _session.write_text(text, name=name, content_type=content_type, metadata=metadata, session=session)


def write_json(
    data: Any,
    *,
    name: str = "",
    content_type: str = "application/json",
    metadata: dict[str, str] | None = None,
    session: str = "",
) -> None:
    """See :meth:`Session.write_json`."""
    _session.write_json(data, name=name, content_type=content_type, metadata=metadata, session=session)


def write_bytes(
    data: bytes | bytearray,
    *,
    name: str = "",
    content_type: str = "application/octet-stream",
    metadata: dict[str, str] | None = None,
    session: str = "",
) -> None:
    """See :meth:`Session.write_bytes`."""
    _session.write_bytes(data, name=name, content_type=content_type, metadata=metadata, session=session)


def write_remote(
    uri: str,
    *,
    name: str = "",
    content_type: str = "",
    content_encoding: str = "",
    schema_url: str = "",
    metadata: dict[str, str] | None = None,
    session: str = "",
) -> None:
    """See :meth:`Session.write_remote`."""
    _session.write_remote(
        uri,
        name=name,
        content_type=content_type,
        content_encoding=content_encoding,
        schema_url=schema_url,
        metadata=metadata,
        session=session,
    )


def store(object: Object) -> None:  # noqa: A002 - callers may name it
    """See :meth:`Session.store`."""
    _session.store(object)


def open(  # noqa: A001 - the name that handlers call
    name: str,
    content_type: str | None = None,
    content_encoding: str | None = None,
    schema_url: str | None = None,
    metadata: dict[str, str] | None = None,
) -> AbstractContextManager[IO[bytes]]:
    """See :meth:`Session.open`."""
    return _session.open(name, content_type, content_encoding, schema_url, metadata)


def pause(reason: str = "") -> None:
    """See :meth:`Session.pause`."""
    _session.pause(reason)


def sleep(seconds: float, reason: str = "") -> None:
    """See :meth:`Session.sleep`."""
    _session.sleep(seconds, reason)


def session_id() -> str | None:
    """See :meth:`Session.session_id`."""
    return _session.session_id()


def agent() -> str | None:
    """See :meth:`Session.agent`."""
    return _session.agent()


def snapshot() -> int | None:
    """See :meth:`Session.snapshot`."""
    return _session.snapshot()


def invocation_id() -> str | None:
    """See :meth:`Session.invocation_id`."""
    return _session.invocation_id()


def metadata() -> dict[str, str]:
    """See :meth:`Session.metadata`."""
    return _session.metadata()


def traced_execution() -> AbstractContextManager[None]:
    """See :meth:`Session.traced_execution`."""
    return _session.traced_execution()
