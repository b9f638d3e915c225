"""Objects of a session: those that its log names, and those that a handler writes."""

from __future__ import annotations

__all__ = ["PAUSE_TYPE", "Input", "LocalObject", "Object", "Output", "RemoteObject", "is_object", "object_of"]

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

from fabric.handler.bodies import BODY_TIMEOUT_S, decoded, fetched

PAUSE_TYPE = "application/vnd.pugmark.pause+text"
"""The content type by which a handler says that it waits."""


@dataclass
class Input:
    """An entry of the log as stdin tells it.

    Attributes:
        url: where the body is; empty: there is none.
        size: of the body as it is stored, in bytes.
        content_encoding: how it is stored: ``gzip``, ``zstd``; anything else is as it is.
        data: never set by a line of stdin.
    """

    url: str = ""
    size: int = 0
    event: str = ""
    content_type: str = ""
    content_encoding: str = ""
    schema_url: str = ""
    name: str = ""
    metadata: dict[str, str] | None = None
    data: bytes | None = None

    def __post_init__(self) -> None:
        """An entry without metadata has empty ones."""
        if self.metadata is None:
            self.metadata = {}


@dataclass
class Output:
    """What a handler writes.

    Attributes:
        data: the body, or
        uri: where the runtime is to fetch it.
        content_encoding: how ``data`` is encoded already; it is decoded before it is sent.
        fork: this object makes a child session, which begins with it.
        session: the id of the session that it goes to; empty: this one.
    """

    data: bytes = b""
    uri: str = ""
    name: str = ""
    content_type: str = ""
    content_encoding: str = ""
    schema_url: str = ""
    metadata: dict[str, str] | None = field(default_factory=dict)
    fork: bool = False
    session: str = ""


class Object(Protocol):
    """What every object of a session answers, whether it was read or is written."""

    def body(self) -> bytes:
        """Return the decoded body."""
        ...

    def decode_data(self) -> bytes:
        """Return the decoded body."""
        ...

    def decode_text(self) -> str:
        """Return the body, which has to be UTF-8."""
        ...

    def decode_json(self) -> Any:
        """Return the value of the body, which has to be JSON."""
        ...

    def content_type(self) -> str:
        """Return its media type."""
        ...

    def schema_url(self) -> str:
        """Return what names its schema."""
        ...

    def name(self) -> str:
        """Return its name, or an empty string."""
        ...

    def event(self) -> str:
        """Return the kind of the event that it came with: ``push``, ``start``."""
        ...

    def metadata(self) -> dict[str, str]:
        """Return its metadata."""
        ...

    def fork(self) -> bool:
        """Return whether it makes a child session."""
        ...


class _Decoding:
    """The ways to read a body."""

    def body(self) -> bytes:
        """Return the decoded body."""
        raise NotImplementedError

    def decode_data(self) -> bytes:
        """Return the decoded body."""
        return self.body()

    def decode_text(self) -> str:
        """Return the body, which has to be UTF-8."""
        return self.body().decode("utf-8")

    def decode_json(self) -> Any:
        """Return the value of the body, which has to be JSON."""
        return json.loads(self.body())


class RemoteObject(_Decoding):
    """An object of the log. Its body is fetched when it is first asked for, and kept.

    Args:
        input_record: what the log says of it.
        body_timeout_s: how long its server may be silent (seconds).
    """

    def __init__(self, input_record: Input, *, body_timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._input = input_record
        self._body: bytes | None = None
        self._body_timeout_s = body_timeout_s

    def body(self) -> bytes:
        """Return the decoded body.

        Raises:
            OSError: it could not be fetched.
            OSError, EOFError, zlib.error, zstandard.ZstdError: it is not encoded as the log says.
        """
        if self._body is None:
            url, encoding = self._input.url, self._input.content_encoding
            self._body = decoded(fetched(url, self._body_timeout_s), encoding) if url else b""
        return self._body

    def url(self) -> str:
        """Return where the stored body is; empty: there is none."""
        return self._input.url or ""

    def content_type(self) -> str:
        """Return its media type."""
        return self._input.content_type

    def schema_url(self) -> str:
        """Return what names its schema."""
        return self._input.schema_url

    def name(self) -> str:
        """Return its name, or an empty string."""
        return self._input.name

    def event(self) -> str:
        """Return the kind of the event that it came with."""
        return self._input.event

    def metadata(self) -> dict[str, str]:
        """Return its metadata."""
        return self._input.metadata or {}

    def fork(self) -> bool:
        """Return false: what is in the log has made its child."""
        return False

    def __str__(self) -> str:
        return self.name() or self._input.url or "<remote object>"

    def __repr__(self) -> str:
        told = self._input  # and not the body, which would have to be fetched
        return f"RemoteObject(event={told.event!r}, name={told.name!r}, content_type={told.content_type!r})"


class LocalObject(_Decoding):
    """An object that this handler has made.

    Args:
        output_record: what it is made of.
        event: the kind of event that it will be.
    """

    def __init__(self, output_record: Output, event: str = "push") -> None:
        self._output = output_record
        self._event = event
        self._body: bytes | None = None

    def body(self) -> bytes:
        """Return the decoded body.

        Raises:
            OSError, EOFError, zlib.error, zstandard.ZstdError: it is not encoded as its ``content_encoding`` says.
        """
        if self._body is None:
            self._body = decoded(self._output.data, self._output.content_encoding)
        return self._body

    def content_type(self) -> str:
        """Return its media type."""
        return self._output.content_type

    def schema_url(self) -> str:
        """Return what names its schema."""
        return self._output.schema_url

    def name(self) -> str:
        """Return its name, or an empty string."""
        return self._output.name

    def event(self) -> str:
        """Return the kind of event that it will be."""
        return self._event

    def metadata(self) -> dict[str, str]:
        """Return its metadata."""
        return self._output.metadata or {}

    def fork(self) -> bool:
        """Return whether it makes a child session."""
        return self._output.fork

    def session(self) -> str:
        """Return the id of the session that it goes to; empty: this one."""
        return self._output.session

    def __str__(self) -> str:
        return self.name() or "<local object>"

    def __repr__(self) -> str:
        return f"LocalObject(name={self.name()!r}, content_type={self.content_type()!r})"


def is_object(value: object) -> bool:
    """Return whether a value is an object of a session already, of whatever class."""
    return all(callable(getattr(value, name, None)) for name in ("body", "name", "content_type", "metadata"))


def object_of(
    value: object,
    *,
    name: str = "",
    content_type: str | None = None,
    content_encoding: str = "",
    schema_url: str = "",
    metadata: dict[str, str] | None = None,
    session: str = "",
) -> LocalObject:
    """Make an object of a value: ``str`` is text, ``bytes`` are bytes, what JSON knows is JSON.

    Raises:
        TypeError: it is none of these.
        ValueError: it has a number that JSON does not know: NaN, infinity.
    """
    match value:
        case str():
            data, usual_type = value.encode("utf-8"), "text/plain"
        case bytes() | bytearray():
            data, usual_type = bytes(value), "application/octet-stream"
        case dict() | list() | int() | float() | None:
            data, usual_type = json.dumps(value, allow_nan=False).encode("utf-8"), "application/json"
        case _:
            kind = type(value).__name__
            raise TypeError(
                f"a handler cannot write a {kind}: expected str, bytes, a value of JSON (dict, list, int, float, bool, "
                f"None) or an object of a session, got {kind}"
            )
    output = Output(
        data=data,
        name=name,
        content_type=content_type or usual_type,
        content_encoding=content_encoding,
        schema_url=schema_url,
        metadata=metadata or {},
        session=session,
    )
    return LocalObject(output)
