"""The logs of a service: what its workers write on stderr and what its coordinator notes, one JSON object a line.

    {"ts": "2026-11-21T11:04:44.123456Z", "worker": NAME, "line": TEXT}
    {"ts": …, "log": "info", "event": "worker.ready", "worker": NAME, …}

``WORKER.jsonl`` has the lines of one worker, ``fabric.jsonl`` the notes; ``.jsonl.1`` is what was written before. Who a
line is from is read in the line, not in the file's name. Times have one form and one zone, so they sort as text.
"""

from __future__ import annotations

__all__ = [
    "LOG_BYTES_MAX",
    "NOTES",
    "Entry",
    "LogReader",
    "LogWriter",
    "log_names",
    "note_entry",
    "parse_entry",
    "parse_time",
    "timestamp",
    "worker_entry",
]

import heapq
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, Self

import msgspec

from fabric.errors import ConfigError
from fabric.session.events import Note
from fabric.wire.payload import encode_json

LOG_BYTES_MAX = 10 * 1024 * 1024
"""Of one file; a full one becomes the old one, and the old one before it is gone. Some 80,000 lines; what container
runtimes are usually told (``max-size: 10m``). A worker that floods costs 20 MiB, and not the disk."""

NOTES = "fabric"
"""Name of the coordinator among those who write."""


class Entry(msgspec.Struct, frozen=True):
    """One line of a log.

    Attributes:
        ts: RFC 3339, in UTC.
        worker: who wrote it or whom it is about; ``""``: the service as a whole.
        line: what a worker wrote, or ``None`` for a note.
        level, event, fields: of a note.
        raw: the JSON object.
    """

    ts: str
    worker: str = ""
    line: str | None = None
    level: str = ""
    event: str = ""
    fields: dict[str, Any] = {}
    raw: bytes = b""

    def concerns(self, names: frozenset[str]) -> bool:
        """Whether one of these wrote it, or it is about one of them. No names: everybody."""
        return not names or self.worker in names or (self.line is None and NOTES in names)


def timestamp(at: float) -> str:
    """Return a unix time as it is written in logs."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str, now: float) -> str:
    """Return a time that a user gave as it is written in logs: RFC 3339, or an age such as ``5m`` or ``1h30m``.

    Args:
        text: what was given. Without a zone, local time.
        now: unix time that an age counts from.

    Raises:
        ConfigError: it is neither.
    """
    age = re.fullmatch(r"(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    try:
        if age is not None:
            days, hours, minutes, seconds = (float(part or 0) for part in age.groups())
            return timestamp(now - timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds())
        return timestamp(datetime.fromisoformat(text.strip()).timestamp())
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{text!r} is no time: expected one like 2026-11-21T11:00:00Z, or an age like 5m") from None


def worker_entry(ts: str, worker: str, line: str) -> Entry:
    """Return the entry of a line that a worker wrote."""
    return Entry(ts, worker, line, raw=encode_json({"ts": ts, "worker": worker, "line": line}))


def note_entry(ts: str, note: Note) -> Entry:
    """Return the entry of a note."""
    fields = {
        key: value.decode(errors="replace") if isinstance(value, bytes) else value for key, value in note.fields.items()
    }
    raw = encode_json({"ts": ts, "log": note.level, "event": note.event, **fields})
    return Entry(ts, str(fields.pop("worker", "")), None, note.level, note.event, fields, raw)


def parse_entry(raw: bytes) -> Entry | None:
    """Read a line of a log; ``None`` if it is no entry: a kill may have cut it."""
    try:
        found = msgspec.json.decode(raw)
        ts, worker = found.pop("ts"), found.pop("worker", "")
        if "line" in found:
            return Entry(ts, worker, str(found["line"]), raw=raw.strip())
        return Entry(ts, worker, None, found.pop("log"), found.pop("event"), found, raw.strip())
    except (msgspec.DecodeError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.@-]", "_", name) + ".jsonl"


def log_names(directory: Path) -> set[str]:
    """Return who has written, by the names of the files."""
    return {path.name.removesuffix(".jsonl") for path in directory.glob("*.jsonl")}


class LogWriter:
    """Appends to the files. May block as any file may: for a thread of its own.

    Args:
        directory: made if it is missing.
        size_bytes_max: of a file.
    """

    def __init__(self, directory: Path, size_bytes_max: int = LOG_BYTES_MAX) -> None:
        self._directory = directory
        self._size_bytes_max = size_bytes_max
        self._open: dict[str, tuple[int, int]] = {}

    def write(self, name: str, lines: bytes) -> None:
        """Append whole lines, or nothing. Raises OSError."""
        descriptor, size_bytes = self._open.pop(name, (-1, 0))
        path = self._directory / _file_name(name)
        if descriptor >= 0 and size_bytes + len(lines) > self._size_bytes_max:
            os.close(descriptor)
            descriptor = -1
        if descriptor < 0:
            descriptor, size_bytes = self._open_file(path, len(lines))
        try:
            written = 0
            while written < len(lines):
                written += os.write(descriptor, lines[written:])
        except OSError:  # no half line, on which the next would be written
            os.ftruncate(descriptor, size_bytes)
            os.close(descriptor)
            raise
        self._open[name] = (descriptor, size_bytes + len(lines))

    def _open_file(self, path: Path, more_bytes: int) -> tuple[int, int]:
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            size_bytes = path.stat().st_size
        except FileNotFoundError:
            size_bytes = 0
        if size_bytes and size_bytes + more_bytes > self._size_bytes_max:
            path.replace(_old(path))
            size_bytes = 0
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n":  # a kill cut it
            size_bytes += os.write(descriptor, b"\n")
        return descriptor, size_bytes

    def close(self) -> None:
        """Close the files. Idempotent."""
        for descriptor, _ in self._open.values():
            os.close(descriptor)
        self._open.clear()


def _old(path: Path) -> Path:
    return path.with_name(path.name + ".1")


class _Tail:
    """Reads one log and its predecessor, and then what is added, also while the files change places."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[BinaryIO] = []
        self._part = b""

    def entries(self) -> Iterator[Entry]:
        """Yield what has come since the last call."""
        if not self._files:
            self._files = self._both()
        while self._files:
            yield from self._lines(self._files[0])
            if len(self._files) > 1:
                self._files.pop(0).close()
            elif (later := self._later(self._files[0])) is None:
                return
            else:
                yield from self._lines(self._files[0])  # what was added before it was moved away
                self._files.pop().close()
                self._part = b""
                self._files = later

    def skip(self) -> None:
        """Leave out what is there."""
        self._files = self._both()[-1:]
        for file in self._files:
            file.seek(0, os.SEEK_END)

    def _lines(self, file: BinaryIO) -> Iterator[Entry]:
        while chunk := file.readline():
            self._part += chunk
            if chunk.endswith(b"\n"):
                line, self._part = self._part, b""
                if (entry := parse_entry(line)) is not None:
                    yield entry

    def _both(self) -> list[BinaryIO]:
        """Open the old file and the new one, in this order, and the two of one moment."""
        while True:
            new, old = _open(self._path), _open(_old(self._path))
            found = [file for file in (old, new) if file]
            if new is None or old is None or _inode(new) != _inode(old):
                return found
            new.close()  # it became the old one in between
            old.close()

    def _later(self, file: BinaryIO) -> list[BinaryIO] | None:
        """Return the files behind this one, or ``None`` if it is the last."""
        found = self._both()
        inodes = [_inode(other) for other in found]
        position = inodes.index(_inode(file)) + 1 if _inode(file) in inodes else 0
        for other in found[:position]:
            other.close()
        return found[position:] or None

    def close(self) -> None:
        for file in self._files:
            file.close()


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _inode(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino


class LogReader:
    """Reads the logs of a service, as one, in the order of time. A context manager: it closes its files.

    Args:
        directory: with its files; it need not exist.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tails: dict[Path, _Tail] = {}

    def skip(self) -> None:
        """Leave out what has been written so far."""
        for tail in self._scan():
            tail.skip()

    def history(self, wanted: Callable[[Entry], bool], *, last: int | None = None) -> Iterator[Entry]:
        """Yield what has come since the last call, merged.

        Args:
            wanted: which entries.
            last: only so many of them from each file.
        """
        parts: list[Iterator[Entry]] = [filter(wanted, tail.entries()) for tail in self._scan()]
        if last is not None:
            parts = [iter(deque(part, maxlen=last)) for part in parts]
        return heapq.merge(*parts, key=attrgetter("ts"))

    def more(self) -> list[Entry]:
        """Return what has come since the last call, in the order of time."""
        return sorted(chain.from_iterable(tail.entries() for tail in self._scan()), key=attrgetter("ts"))

    def _scan(self) -> list[_Tail]:
        paths = {path.with_name(path.name.removesuffix(".1")) for path in self._directory.glob("*.jsonl*")}
        for path in sorted(paths - self._tails.keys()):
            self._tails[path] = _Tail(path)
        return list(self._tails.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for tail in self._tails.values():
            tail.close()
