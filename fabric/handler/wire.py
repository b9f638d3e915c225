"""Records: what the log is told in on stdin, and what a handler answers with on stdout. One line of JSON each."""

from __future__ import annotations

__all__ = ["Reader", "Writer"]

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, TextIO

from fabric.handler.bodies import BODY_TIMEOUT_S
from fabric.handler.objects import Input, Object, RemoteObject


class Reader:
    """Reads the records of a stream.

    Args:
        stream: lines of JSON; blank ones are passed over.
        body_timeout_s: how long the server of a body may be silent (seconds).
    """

    def __init__(self, stream: TextIO, *, body_timeout_s: float = BODY_TIMEOUT_S) -> None:
        self.stream = stream
        self._body_timeout_s = body_timeout_s

    def read(self) -> Iterator[RemoteObject]:
        """Return what is left of the stream, record by record, those of memory namespaces included.

        Raises:
            RuntimeError: a line is not a record.
        """
        for line in self.stream:
            text = line.strip()
            if text:
                yield RemoteObject(_input_of(text), body_timeout_s=self._body_timeout_s)


_SHOWN_CHARS_MAX = 200


def _input_of(text: str) -> Input:
    try:
        told = json.loads(text)
    except json.JSONDecodeError as error:
        raise RuntimeError(f"a line of the log on stdin is not JSON: {error}; got {text[:_SHOWN_CHARS_MAX]}") from error
    if not isinstance(told, dict):
        raise RuntimeError(f"a line of the log on stdin is not a JSON object: got {text[:_SHOWN_CHARS_MAX]}")
    return Input(
        url=told.get("url", ""),
        size=told.get("size", 0),
        event=told.get("event", ""),
        content_type=told.get("content-type", ""),
        content_encoding=told.get("content-encoding", ""),
        schema_url=told.get("schema-url", ""),
        name=told.get("name", ""),
        metadata=told.get("metadata", {}),
    )


class Writer:
    """Writes records to a stream, each whole and at once.

    Args:
        stream: takes text.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, obj: Object) -> None:
        """Write an object with its body.

        Raises:
            TypeError, ValueError: its metadata cannot be told in JSON.
        """
        session = getattr(obj, "session", None)  # objects of other classes have none
        record = {
            "data": b64encode(obj.body()).decode("ascii"),
            "name": obj.name(),
            "content-type": obj.content_type(),
            "schema-url": obj.schema_url(),
            "metadata": obj.metadata(),
            "fork": bool(obj.fork()),
            "session": session() if callable(session) else "",
        }
        self._put(record)

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
        """Write where an object is; the runtime fetches it."""
        record = {
            "uri": uri,
            "name": name,
            "content-type": content_type,
            "content-encoding": content_encoding,
            "schema-url": schema_url,
            "metadata": metadata,
            "session": session,
        }
        self._put(record)

    def _put(self, record: dict[str, Any]) -> None:
        """Write a line. What is empty is left out, but for the body; nothing is written if something cannot be told."""
        told = {key: value for key, value in record.items() if value or key in ("data", "uri")}
        line = json.dumps(told, separators=(",", ":"), allow_nan=False)
        self.stream.write(line + "\n")
        self.stream.flush()
