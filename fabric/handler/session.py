"""A session as one decision sees it: the log it reads, the records it answers with."""

from __future__ import annotations

__all__ = ["Session"]

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO

from fabric.handler.bodies import BODY_TIMEOUT_S
from fabric.handler.events import Event, event_of
from fabric.handler.objects import PAUSE_TYPE, Input, LocalObject, Object, Output, RemoteObject, is_object, object_of
from fabric.handler.state import State
from fabric.handler.tracing import span
from fabric.handler.wire import Reader, Writer


class Session:
    """What a handler is given.

    Args:
        reader_stream: the log, a record a line. Default: stdin.
        writer_stream: takes the records that are written. Default: stdout.
        agent, session_id, metadata, invocation_id: default: what the environment says, as the runtime sets it.
        snapshot: how many commits of the session this decision is made from.
        body_timeout_s: how long the server of a body may be silent (seconds).
    """

    def __init__(
        self,
        reader_stream: TextIO | None = None,
        writer_stream: TextIO | None = None,
        agent: str | None = None,
        session_id: str | None = None,
        snapshot: int | None = None,
        metadata: dict[str, str] | None = None,
        *,
        invocation_id: str | None = None,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self.reader = Reader(reader_stream or sys.stdin, body_timeout_s=body_timeout_s)
        self.writer = Writer(writer_stream or sys.stdout)
        self._body_timeout_s = body_timeout_s
        self._agent = _told(agent, "PUGMARK_AGENT_ID")
        self._session_id = _told(session_id, "PUGMARK_SESSION_ID")
        self._invocation_id = _told(invocation_id, "FABRIC_INVOCATION_ID")
        self._snapshot = snapshot
        self._metadata = metadata if metadata is not None else _metadata_of_environment()
        self._state = State()
        self._log: list[RemoteObject] = []
        self._unread: Iterator[RemoteObject] | None = None

    # --- the log ------------------------------------------------------------------------------------------------

    def read(self) -> Iterator[Object]:
        """Return the log from its beginning, in order, inherited entries included. It may be read any number of times.

        The stream is read as far as somebody goes. What this handler writes is not in it; it is in :meth:`state`.

        Raises:
            RuntimeError: a line is not a record.
        """
        place = 0
        while place < len(self._log) or self._pulled():
            yield self._log[place]
            place += 1

    def events(self) -> Iterator[Event]:
        """Return the log as events, from its beginning. Kinds that this version does not know are passed over."""
        for obj in self.read():
            event = event_of(obj)
            if event is not None:
                yield event

    def _pulled(self) -> bool:
        """Take the next record from the stream into the log; return whether there was one."""
        if self._unread is None:
            self._unread = self.reader.read()
        for obj in self._unread:
            if obj.event() == "memory":
                self._hold_namespace(obj)
                continue
            self._log.append(obj)
            self._state.append(obj)
            return True
        return False

    def _hold_namespace(self, obj: RemoteObject) -> None:
        url = obj.url()
        if not url.endswith("/"):
            sys.stderr.write(f"fabric.handler: a memory namespace has to be an URL that ends with '/': got {url!r}\n")
            return
        self._state.add_memory_namespace(url.split("/")[-2] + "/", url)

    def state(self) -> State:
        """Return all that was read and written so far, by name; the rest of the log is read first.

        What was written for another session or for a child is in it, too, though the next decision will not see it.
        """
        while self._pulled():
            pass
        return self._state

    def load(self, name: str) -> Object | None:
        """Return the newest object of a name: that of a memory namespace, else of the log, else ``None``."""
        state = self.state()
        url = state.get_memory_url(name)
        if url is not None:
            return RemoteObject(Input(url=url, name=name), body_timeout_s=self._body_timeout_s)
        return state.get(name)

    def load_text(self, name: str) -> str | None:
        """Return the text of the newest object of a name, or ``None``."""
        obj = self.load(name)
        return obj.decode_text() if obj is not None else None

    def load_json(self, name: str) -> Any:
        """Return the JSON value of the newest object of a name, or ``None``."""
        obj = self.load(name)
        return obj.decode_json() if obj is not None else None

    def load_bytes(self, name: str) -> bytes | None:
        """Return the body of the newest object of a name, or ``None``."""
        obj = self.load(name)
        return obj.decode_data() if obj is not None else None

    # --- what is answered ---------------------------------------------------------------------------------------

    def write(
        self,
        value: Any,
        *,
        name: str = "",
        content_type: str | None = None,
        content_encoding: str = "",
        schema_url: str = "",
        metadata: dict[str, str] | None = None,
        session: str = "",
    ) -> None:
        """Append an object to the session.

        Args:
            value: ``str`` is text, ``bytes`` are bytes, what JSON knows is JSON. An object is written as it is: the
                other arguments but ``session`` are not looked at.
            content_type: default: by the kind of value.
            content_encoding: how ``value`` is encoded already: ``gzip``, ``zstd``. It is decoded before it is sent.
            session: the id of the session that it goes to, in place of this one.

        Raises:
            TypeError: a value that no object can be made of.
            ValueError: a number that JSON does not know.
            OSError, EOFError, zlib.error, zstandard.ZstdError: a body that is not encoded as is said.
        """
        if is_object(value):
            obj: Object = _sent_to(value, session) if session else value
        else:
            obj = object_of(
                value,
                name=name,
                content_type=content_type,
                content_encoding=content_encoding,
                schema_url=schema_url,
                metadata=metadata,
                session=session,
            )
        self.writer.write(obj)
        self._state.append(obj)

    def write_text(
        self,
        text: str,
        *,
        name: str = "",
        content_type: str = "text/plain",
        metadata: dict[str, str] | None = None,
        session: str = "",
    ) -> None:
        """Append text."""
        self.write(text, name=name, content_type=content_type, metadata=metadata, session=session)

    def write_json(
        self,
        data: Any,
        *,
        name: str = "",
        content_type: str = "application/json",
        metadata: dict[str, str] | None = None,
        session: str = "",
    ) -> None:
        """Append a JSON value. A string is a JSON string; bytes are taken to be JSON text already."""
        value = json.dumps(data).encode("ascii") if isinstance(data, str) else data
        self.write(value, name=name, content_type=content_type, metadata=metadata, session=session)

    def write_bytes(
        self,
        data: bytes | bytearray,
        *,
        name: str = "",
        content_type: str = "application/octet-stream",
        metadata: dict[str, str] | None = None,
        session: str = "",
    ) -> None:
        """Append bytes."""
        self.write(bytes(data), name=name, content_type=content_type, metadata=metadata, session=session)

    def write_remote(
        self,
        uri: str,
        *,
        name: str = "",
        content_type: str = "",
        content_encoding: str = "",
        schema_url: str = "",
        metadata: dict[str, str] | None = None,
        session: str = "",
    ) -> None:
        """Append an object by where it is: the runtime fetches it. It is not in :meth:`state`."""
        self.writer.write_remote(
            uri,
            name=name,
            content_type=content_type,
            content_encoding=content_encoding,
            schema_url=schema_url,
            metadata=metadata,
            session=session,
        )

    def store(self, obj: Object) -> None:
        """Append an object."""
        self.write(obj)

    @contextmanager
    def open(
        self,
        name: str,
        content_type: str | None = None,
        content_encoding: str | None = None,
        schema_url: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Iterator[IO[bytes]]:
        """Edit an object in a temporary file, which holds its newest body.

        If the bytes differ when the block has ended, they are appended under the name; type and metadata are those
        given here. If the block raises, nothing is.
        """
        from tempfile import NamedTemporaryFile

        obj = self.load(name)
        before = obj.body() if obj is not None else b""
        with NamedTemporaryFile(mode="w+b") as file:
            file.write(before)
            file.seek(0)
            yield file
            file.flush()
            file.seek(0)
            after = file.read()
        if after != before:
            output = Output(
                data=after,
                name=name or "",
                content_type=content_type or "",
                content_encoding=content_encoding or "",
                schema_url=schema_url or "",
                metadata=metadata or {},
            )
            self.store(LocalObject(output))

    def pause(self, reason: str = "") -> None:
        """Say that nothing is to be done until something comes. It holds when this decision has ended."""
        self.store(LocalObject(Output(data=reason.encode("utf-8"), content_type=PAUSE_TYPE)))

    def sleep(self, seconds: float, reason: str = "") -> None:
        """Say that nothing is to be done for a time, or until something comes. It holds when this decision has ended.

        Raises:
            ValueError: NaN or infinity.
        """
        if not math.isfinite(seconds):
            raise ValueError(f"a session cannot sleep for {seconds} seconds: expected a finite number")
        duration = {"duration": f"{seconds:.2f}s"}
        self.store(LocalObject(Output(data=reason.encode("utf-8"), content_type=PAUSE_TYPE, metadata=duration)))

    # --- who asks -----------------------------------------------------------------------------------------------

    def session_id(self) -> str | None:
        """Return the id of the session."""
        return self._session_id or None

    def agent(self) -> str | None:
        """Return who the session says the handler is to be."""
        return self._agent or None

    def snapshot(self) -> int | None:
        """Return how many commits of the session this decision is made from, if the runtime has said so."""
        return self._snapshot

    def invocation_id(self) -> str | None:
        """Return a key that is equal for every attempt at this decision, and for no other one.

        Give it to what you call outside: then it can tell a repetition after a crash from a second wish.
        """
        return self._invocation_id or None

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the session."""
        return self._metadata

    @contextmanager
    def traced_execution(self) -> Iterator[None]:
        """Hold a span of OpenTelemetry over the block, if OpenTelemetry is installed."""
        told = {"session": self._session_id, "agent": self._agent, "snapshot": self._snapshot}
        kept = {f"pugmark.{key}": value for key, value in told.items() if value not in ("", None)}
        with span("pugmark.handler", kept):
            yield


def _told(value: str | None, variable: str) -> str:
    return value if value is not None else os.environ.get(variable, "")


def _metadata_of_environment() -> dict[str, str]:
    text = os.environ.get("PUGMARK_SESSION_METADATA", "")
    try:
        told: dict[str, str] = json.loads(text) if text else {}
    except json.JSONDecodeError:
        return {}
    return told


def _sent_to(obj: Object, session: str) -> LocalObject:
    output = Output(
        data=obj.body(),
        name=obj.name(),
        content_type=obj.content_type(),
        schema_url=obj.schema_url(),
        metadata=obj.metadata(),
        fork=obj.fork(),
        session=session,
    )
    return LocalObject(output)
