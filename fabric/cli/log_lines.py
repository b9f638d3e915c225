"""One line of a log as people, or programs, read it: the same in `up`, `logs` and `attach`."""

from __future__ import annotations

__all__ = ["LogLines", "color_of", "readable", "words_of"]

import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from fabric.runtime.log_files import NOTES, Entry

PALETTE = (36, 33, 32, 35, 34, 96, 92, 95)
"""Colors that can be read on light and dark ground: cyan, yellow, green, magenta, blue, and three bright ones."""


def color_of(name: str) -> int:
    """Return a name's color. By the name alone, so that it is the same tomorrow and whoever else runs."""
    return PALETTE[zlib.crc32(name.encode()) % len(PALETTE)]


class LogLines(msgspec.Struct, frozen=True):
    """How entries are printed.

    Attributes:
        width: of the longest name.
        color: of the names.
        timestamps: in front of each line.
        prefix: the name in front of each line.
        json: one JSON object a line, and nothing of the above.
    """

    width: int = 0
    color: bool = False
    timestamps: bool = False
    prefix: bool = True
    json: bool = False

    @classmethod
    def of(cls, names: Iterable[str], **how: bool) -> LogLines:
        """Return how to print what these workers and the coordinator write."""
        return cls(max(map(len, (*names, NOTES))), **how)

    def render(self, entry: Entry) -> str:
        """Return an entry as it is printed, without its end."""
        if self.json:
            return entry.raw.decode()
        text = readable(entry.line) if entry.line is not None else words_of(entry.event, entry.fields)
        return "\n".join(self._front(entry) + line for line in text.splitlines() or [""])

    def render_live(self, entry: Entry) -> str:
        """Return it as `up` prints it: in JSON, a worker's line that is an object already is left as it is."""
        if self.json and entry.line is not None and isinstance(_object(entry.line), dict):
            return entry.line
        return self.render(entry)

    def _front(self, entry: Entry) -> str:
        front = f"{entry.ts} " if self.timestamps else ""
        if self.prefix:
            name = entry.worker or NOTES
            bar = f"{name:{self.width}} |"
            front += f"\x1b[{color_of(name)}m{bar}\x1b[0m " if self.color else f"{bar} "
        return front


def readable(line: str) -> str:
    """Return a line that a worker wrote, in words if it is a log line or an error line in JSON."""
    found = _object(line)
    if isinstance(found, dict) and isinstance(found.get("event"), str) and "log" in found:
        level = found.pop("log")
        found.pop("ts", None)
        text = words_of(found.pop("event"), found)
        return text if level in ("info", "debug") else f"{level}: {text}"
    if isinstance(found, dict) and isinstance(found.get("error"), str):
        return words_of(f"error: {found.pop('error')}", found)
    return line


def _object(line: str) -> Any:
    if not line.startswith("{"):
        return None
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def words_of(event: str, fields: dict[str, Any]) -> str:
    """Return a note, its event and its fields, in one line."""
    if event == "session.waiting":  # a sentence, not a record
        return f"idle {fields['idle_s']:g} s: {fields['reason']}"
    return event + "".join(f" {key}={_value(value)}" for key, value in fields.items())


def _value(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
