"""An entry of a session's log, as lines for people or as one JSON object for programs. Pure.

What others have written is shown as it is, but for what a terminal would obey: that is shown escaped.
"""

from __future__ import annotations

__all__ = [
    "Row",
    "commit_fields",
    "escape",
    "is_text",
    "render_attempt",
    "render_row",
    "render_session",
    "row_fields",
    "say_commit",
    "say_size",
    "say_time",
]

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from fabric.cli.listing import duration
from fabric.store.record import Attempt, Commit, Entry
from fabric.store.replay import Placed

BINARY_BYTES_SHOWN = 16
"""Of a body that is no text: enough to know many formats by."""

LINE_MAX = 400
"""Characters of a body that stand on the line of its entry; a longer one, or one of several lines, stands below it."""

_INDENT = " " * 8


class Row(NamedTuple):
    """An entry, and what of it is to be shown.

    Attributes:
        placed: itself, and where it is.
        body: decoded; ``None``: it is not to be shown.
        of_run: whether it is an entry of a run's history.
    """

    placed: Placed
    body: bytes | None = None
    of_run: bool = False


def escape(text: str, keep: str = "") -> str:
    """Return a text with what is not printable as Python would write it, but for the characters to keep."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in text
    )


def is_text(body: bytes) -> str | None:
    """Return a body as text; ``None``: it is none."""
    if b"\0" in body:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def say_size(size: int) -> str:
    """Say how large something is."""
    for unit, one in (("MB", 10**6), ("kB", 10**3)):
        if size >= 10 * one:
            return f"{size / one:.1f} {unit}"
    return f"{size} byte{'s' * (size != 1)}"


# --- for programs -----------------------------------------------------------------------------------------------------


def row_fields(row: Row) -> dict[str, Any]:
    """Return what there is to tell of an entry; empty fields are left out, and its body if it is not to be shown."""
    placed, entry = row.placed, row.placed.entry
    fields: dict[str, Any] = {
        "v": 1,
        "session": placed.session,
        "seq": None if placed.derived else placed.seq,
        "index": None if placed.derived else placed.index,
        "event": entry.event,
        "at": placed.at,
        "by": placed.kind,
        "inherited": placed.inherited,
        "derived": placed.derived,
        "name": entry.name,
        "content_type": entry.content_type,
        "content_encoding": entry.content_encoding,
        "schema_url": entry.schema_url,
        "metadata": dict(entry.metadata),
        "child": placed.child,
        "to": entry.session,
        "sha256": entry.sha256,
    }
    fields = {name: value for name, value in fields.items() if value not in (None, "", {}) and value is not False}
    fields["size"] = entry.size
    if row.body is not None:
        text = is_text(row.body)
        fields |= {"text": text} if text is not None else {"base64": b64encode(row.body).decode()}
    return fields


# --- for people -------------------------------------------------------------------------------------------------------


def render_row(row: Row) -> list[str]:
    """Return an entry as lines: where it is, what it is, and its body if that is to be shown."""
    placed = row.placed
    place = "" if placed.derived else f"{placed.seq}.{placed.index}"
    words, shown = _words_of_run(row) if row.of_run else _words(row)
    if len(shown) == 1 and len(shown[0]) <= LINE_MAX:
        words, shown = [*words, *shown], []
    event = escape(placed.entry.event).ljust(len("finished" if row.of_run else "start "))
    line = f"{place:<6}  {event}  {'  '.join(filter(None, words))}".rstrip()
    return [line, *(f"{_INDENT}{each}".rstrip() for each in shown)]


def _words(row: Row) -> tuple[list[str], list[str]]:
    """Return what is said of an entry, and the lines of its body, if that is to be shown."""
    placed, entry = row.placed, row.placed.entry
    whose = f"(of {escape(placed.session)})" if placed.inherited else ""
    if entry.event == "pause":
        return [*_pause_words(entry), whose], []
    if entry.event in ("start", "fork", "wake"):
        return [whose], []
    words = [
        escape(entry.name),
        escape(entry.content_type),
        f"as {escape(entry.content_encoding)}" if entry.content_encoding else "",
        _metadata(entry.metadata),
        f"→ child {placed.child}" if entry.fork else "",
        f"→ session {escape(entry.session)}" if entry.session else "",
        whose,
    ]
    if row.body is None:
        return [*words, say_size(entry.size) if entry.size else "empty"], []
    return words, _body_lines(row.body)


def _pause_words(entry: Entry) -> list[str]:
    duration = entry.metadata.get("duration")
    reason = is_text(entry.inline or b"")
    return [f"for {escape(str(duration))}" if duration else "", escape(reason or "")]


def _metadata(metadata: Mapping[str, Any]) -> str:
    return " ".join(f"{escape(str(name))}={escape(_plain(value))}" for name, value in metadata.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _body_lines(body: bytes) -> list[str]:
    text = is_text(body)
    if text is None:
        start = body[:BINARY_BYTES_SHOWN].hex(" ")
        return [f"{say_size(len(body))}: {start}{' …' * (len(body) > BINARY_BYTES_SHOWN)}"]
    if not text:
        return ["empty"]
    return [escape(line, "\t") for line in text.removesuffix("\n").split("\n")]


def commit_fields(session: str, seq: int, commit: Commit) -> dict[str, Any]:
    """Return what there is to tell of a commit, beside its entries."""
    fields = {
        "session": session,
        "event": "commit",
        "seq": seq,
        "by": commit.kind,
        "base": commit.base,
        "at": commit.at,
        "key": commit.key,
        "id": commit.id,
        "inv": commit.inv,
        "until": None if commit.pause is None else commit.pause.until,
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


def say_commit(seq: int, commit: Commit) -> str:
    """Say who committed, when, and having seen what."""
    by = {"client": "from outside", "handler": "by a handler", "system": "by fabric"}[commit.kind]
    words = [by, say_time(commit.at), f"having seen {commit.base}", f"key {escape(commit.key)}" if commit.key else ""]
    nothing = "" if commit.entries else "nothing to say"
    return f"{seq:<6}  commit  {', '.join(filter(None, [*words, nothing]))}"


def render_attempt(number: int, attempt: Attempt) -> list[str]:
    """Return an attempt to decide that failed, with the end of what it said."""
    said = [f"{_INDENT}{escape(line, chr(9))}".rstrip() for line in attempt.stderr.rstrip().splitlines()]
    why = ": ".join(filter(None, [escape(attempt.status), escape(attempt.reason)]))
    return [f"{'':6}  attempt  {number} failed, {say_time(attempt.at)}: {why}", *said]


def say_time(at: float) -> str:
    """Say when, in UTC, to the second. What no calendar has is said as a number."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at:g} s"


def render_session(fields: Mapping[str, Any], now: float) -> list[str]:
    """Return what there is to tell of a session, a line each.

    Args:
        fields: as ``session show --json`` prints them.
        now: seconds since 1970.
    """
    said = dict(fields)
    detail = escape(said.pop("detail", ""))
    said["status"] += f": {detail}" if detail else ""
    said["session"] += " (current)" if said.pop("current", False) else ""
    for name in ("created", "newest"):
        if name in said:
            said[name] = f"{say_time(said[name])}, {duration(max(0.0, now - said[name]))} ago"
    said["bytes"] = say_size(said["bytes"])
    if "program" in said:  # its metadata is what later versions of the program are compared with
        said["program"] = said["program"][:12]
        said.pop("metadata", None)
    elif "metadata" in said:
        said["metadata"] = _metadata(said["metadata"])
    if (origin := said.get("parent")) is not None:
        within = f", entry {origin['index']}" if origin["index"] is not None else ""
        said["parent"] = f"{origin['session']}, at its commit {origin['seq']}{within}"
    if "children" in said:
        said["children"] = ", ".join(said["children"])
    attempts = [render_attempt(n, msgspec.convert(one, Attempt)) for n, one in enumerate(said.pop("attempts", ()), 1)]
    missed = [
        f"{'':6}  undelivered  {one['seq']}.{one['index']} to {escape(one['session'])}: {escape(one['reason'])}"
        for one in said.pop("undelivered", ())
    ]
    lines = [f"{name:<9} {escape(str(value))}" for name, value in said.items()]
    return [*lines, *missed, *(line for lines_ in attempts for line in lines_)]


# --- entries of a run -------------------------------------------------------------------------------------------------


def _words_of_run(row: Row) -> tuple[list[str], list[str]]:
    """Return what is said of an entry, and the contents in it. Fields are shown as they are named in the history."""
    inline = row.placed.entry.inline
    try:
        history = msgspec.json.decode(row.body if row.body is not None else inline or b"", type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:  # it is too large to be in its commit, and was not asked for
        return _words(row)
    said = {name: _plain_json(raw) for name, raw in history.items() if name not in _CONTENTS and name != "event"}
    words = [said.pop("node", ""), said.pop("worker", ""), said.pop("port", "")]
    words += [f"{name}={value}" for name, value in said.items()]
    if row.body is None:
        outputs = len(_answers(history))
        words += [f"{outputs} output{'s' * (outputs != 1)}"] if row.placed.entry.event == "turn" else []
        return [escape(word) for word in words], []
    contents = [_raw(history[name]) for name in _CONTENTS if name in history and name not in _ANSWERS]
    return [escape(word) for word in words], [escape(line) for line in [*contents, *_answers(history)]]


_ANSWERS = ("answer", "outputs")
_CONTENTS = ("payload", "dump", "arguments", "response", "usage", "garbled", *_ANSWERS)
"""Fields of entries of a history that are what somebody wrote, or a list of that."""


def _answers(history: Mapping[str, msgspec.Raw]) -> list[str]:
    """Return what workers sent, port and payload: of one message, or of one that belongs to none."""
    found: list[msgspec.Raw] = []
    for name in _ANSWERS:
        raw = bytes(history.get(name, b"null"))
        if raw.startswith(b"["):
            found += msgspec.json.decode(raw, type=list[msgspec.Raw]) if name == "outputs" else [msgspec.Raw(raw)]
    return [f"{_plain_json(port)}: {_raw(payload)}" for port, payload, *_ in map(_parts, found)]


def _parts(raw: msgspec.Raw) -> list[msgspec.Raw]:
    return msgspec.json.decode(raw, type=list[msgspec.Raw])


def _plain_json(raw: msgspec.Raw) -> str:
    """Return a text as it is, anything else as JSON text."""
    return _plain(msgspec.json.decode(raw)) if bytes(raw).startswith(b'"') else _raw(raw)


def _raw(raw: msgspec.Raw) -> str:
    return bytes(raw).decode(errors="replace")
