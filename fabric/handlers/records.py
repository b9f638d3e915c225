"""Records between a handler and us: a line of JSON each, in both modes.

What goes in tells of the log; bodies are fetched by URL. What comes out has its body in itself, or says where it is.
Lines that go in are ASCII, for a handler reads them in the encoding of its locale.
"""

from __future__ import annotations

__all__ = ["OUTPUT_BYTES_MAX", "Input", "Output", "Written", "input_line", "media_type", "parse_output"]

import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from fabric.errors import HandlerFailed

OUTPUT_BYTES_MAX = 256 * 1024 * 1024
"""What one invocation may write in all: it is committed as a whole, so somebody has to hold it. Base64 included."""

SHOWN_CHARS_MAX = 200
"""Of a line that is no record."""


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler is told of one entry.

    Attributes:
        event: ``start``, ``fork``, ``wake``, ``push``, ``memory``.
        url: where its body is; empty: it has none.
        size: of the body as it is stored, in bytes.
        content_encoding: what the handler has to undo: ``gzip``, ``zstd``; anything else is as it is.
    """

    event: str
    url: str = ""
    size: int = 0
    content_type: str = ""
    content_encoding: str = ""
    schema_url: str = ""
    name: str = ""
    metadata: Mapping[str, Any] = {}


def input_line(record: Input) -> bytes:
    """Return it as a line. What is empty is left out."""
    fields = {
        "event": record.event,
        "url": record.url,
        "size": record.size,
        "content-type": record.content_type,
        "content-encoding": record.content_encoding,
        "schema-url": record.schema_url,
        "name": record.name,
        "metadata": dict(record.metadata),
    }
    return json.dumps({key: value for key, value in fields.items() if value}).encode("ascii") + b"\n"


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler wrote.

    Attributes:
        data: the body; ``None``: it is at ``uri``, for us to fetch.
        content_encoding: how the body is encoded already.
        fork: it makes a child, which has everything before it.
        session: the session to which it is delivered; empty: its own.
    """

    data: bytes | None = None
    uri: str = ""
    name: str = ""
    content_type: str = ""
    content_encoding: str = ""
    schema_url: str = ""
    metadata: Mapping[str, Any] = {}
    fork: bool = False
    session: str = ""


def media_type(content_type: str) -> str:
    """Return what an object is, without how it is written: ``text/plain`` of ``Text/Plain; charset=utf-8``."""
    return content_type.partition(";")[0].strip().lower()


class Written(msgspec.Struct, frozen=True):
    """All that an invocation wrote.

    Attributes:
        outputs: in order.
        noise: lines that are no records.
    """

    outputs: tuple[Output, ...] = ()
    noise: tuple[str, ...] = ()


class _Record(msgspec.Struct, rename="kebab"):
    """A line, as handlers in all languages write it: a field may be missing, or null. Keys unknown here are theirs."""

    data: str | None = None
    uri: str | None = None
    name: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    schema_url: str | None = None
    metadata: dict[str, Any] | None = None
    fork: bool | None = None
    session: str | None = None


_BODY = re.compile(rb'"(?:data|uri)"\s*:')


def parse_output(raw: bytes, *, lenient: bool = False) -> Written:
    """Return what was written.

    A line is a record if it is a JSON object with ``data`` or ``uri``. Blank lines are nobody's.

    Args:
        raw: all of it.
        lenient: lines that are not even meant as records are told of, and do no harm.

    Raises:
        HandlerFailed: a line is no record, a record is broken, or the last line has no end.
    """
    *lines, rest = raw.split(b"\n")
    if rest.strip():
        raise HandlerFailed(f"stdout: the last line is torn, it has no end of line: {_shown(rest)}")
    outputs: list[Output] = []
    noise: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            output = _output(line, number)
            if output is not None:
                outputs.append(output)
            elif lenient:
                noise.append(line.decode(errors="replace"))
            else:
                raise HandlerFailed(
                    f'stdout, line {number} is no record: expected a JSON object with "data" or "uri", got'
                    f" {_shown(line)}; print to stderr, or let such lines pass with --lenient"
                )
    return Written(tuple(outputs), tuple(noise))


def _output(line: bytes, number: int) -> Output | None:
    """Return what a line says; ``None``: it is no record, and not meant as one."""
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        if _holds_record(line):
            raise HandlerFailed(f"stdout, line {number} is a broken record: {error}: {_shown(line)}") from None
        return None
    if not isinstance(value, dict) or ("data" not in value and "uri" not in value):
        return None
    try:
        record = msgspec.convert(value, _Record)
        data = None if record.uri else binascii.a2b_base64(record.data or "", strict_mode=True)
    except (msgspec.ValidationError, ValueError) as error:
        raise HandlerFailed(f"stdout, line {number} is a broken record: {error}: {_shown(line)}") from None
    if not record.uri and "data" not in value:
        raise HandlerFailed(f'stdout, line {number} is a broken record: its "uri" is empty: {_shown(line)}')
    if record.uri and record.data:
        raise HandlerFailed(f'stdout, line {number} is a broken record: it has both "data" and "uri": {_shown(line)}')
    return Output(
        data=data,
        uri=record.uri or "",
        name=record.name or "",
        content_type=record.content_type or "",
        content_encoding=record.content_encoding or "",
        schema_url=record.schema_url or "",
        metadata=record.metadata or {},
        fork=bool(record.fork),
        session=record.session or "",
    )


def _holds_record(line: bytes) -> bool:
    """Return whether a line that is not JSON has a record in it: torn, or behind something without an end of line.

    The body may be behind any other field. In doubt it is one: noise in its place fails an attempt, and loses nothing.
    """
    begin = line.find(b"{")
    return begin >= 0 and _BODY.search(line, begin) is not None


def _shown(line: bytes) -> str:
    text = line[: 4 * SHOWN_CHARS_MAX].decode(errors="replace").strip()
    return repr(text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}…")
