"""The dead letters of a service, on disk: messages that a worker was not given or did not survive, until somebody has
them tried again or drops them. They are the user's data, so nobody else may read them.

    {"id": 3, "worker": NAME, "cause": "poison", …, "payload": VALUE, "stderr": […]}
    {"id": 3, "gone": true}

``letters.jsonl`` is a log. Of the lines with one id the last counts. A line is written whole or not at all; one that a
kill cut is skipped, and counted. Who writes holds ``letters.lock``: the service, which alone makes new ids, and whoever
drops letters while it runs or after it. Letters that were dropped are gone from the disk as well: the log is
replaced by one without them, as it is when most of it is of no use any more. The line of the highest id stays, or a
later service would use it again.

Letters of a kept run say in which log they are recorded, and as which entry. They are written in the order of that log,
so the last one tells which of them were here already: after a kill the rest is written again from the log.
"""

from __future__ import annotations

__all__ = ["DeadLetters", "Head", "Letter", "Letters", "dead_directory"]

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from fabric.errors import ConfigError
from fabric.session.events import DeathCause
from fabric.wire.payload import encode_json

KEPT_BYTES_MAX = 256 * 1024 * 1024
"""Of one service's letters on disk: a quarter of a million small ones. Who has so many has another problem."""

SMALL_BYTES = 1024 * 1024
"""A log below this is replaced whenever something is struck out: it takes a millisecond. A larger one is when most of
it is useless."""


class Letter(msgspec.Struct, frozen=True):
    """One dead letter.

    Attributes:
        id: counts the letters of a service, over all its sessions.
        worker: for which it was.
        cause, detail: why it is one, as a word and in words.
        attempts: how many processes of the worker were given it.
        at: when it became one, RFC 3339.
        session: when its session began, RFC 3339.
        trace: of the input that it descends from, in hex.
        payload: the message.
        stderr: the last lines of the worker that died of it.
        recorded: of a kept run, the session in whose log it is and the number of the entry.
    """

    id: int
    worker: str
    cause: DeathCause
    detail: str
    attempts: int
    at: str
    session: str
    trace: str
    payload: msgspec.Raw
    stderr: tuple[str, ...] = ()
    recorded: tuple[str, int] | msgspec.UnsetType = msgspec.UNSET


class Head(msgspec.Struct, frozen=True):
    """Whose letter it is, and where its line is in the log."""

    id: int
    worker: str
    offset: int
    size_bytes: int


class _Line(msgspec.Struct):
    id: int
    worker: str = ""
    gone: bool = False
    recorded: tuple[str, int] | None = None
    last: dict[str, int] = {}


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_letter = msgspec.json.Decoder(Letter).decode


def dead_directory(state: Path, project: str) -> Path:
    """Return where the dead letters of a service are."""
    return state / "dead" / project


class Letters:
    """The letters as they are at one moment. A context manager: it holds the log open.

    Attributes:
        heads: by id, in its order.
        damaged: lines that cannot be read.
        last_id: the highest that was ever used.
        useless_bytes: of the log.
        last: the highest entry of each kept run that ever became a letter here.

    Raises:
        OSError: the log cannot be read. One that is not there is empty.
    """

    def __init__(self, log: Path) -> None:
        self.damaged = self.last_id = self.useless_bytes = 0
        self._file: BinaryIO | None = None
        found: dict[int, Head] = {}
        self.last: dict[str, int] = {}
        try:
            self._file = log.open("rb")
        except FileNotFoundError:
            self.heads = found
            return
        offset = 0
        for raw in self._file:
            if raw.endswith(b"\n"):  # else it is being written, or was when somebody was killed
                self._take(raw, offset, found)
            offset += len(raw)
        self.useless_bytes = offset - sum(head.size_bytes for head in found.values())
        self.heads = dict(sorted(found.items()))

    def _take(self, raw: bytes, offset: int, found: dict[int, Head]) -> None:
        try:
            line = _decode_line(raw)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.damaged += bool(raw.strip())
            return
        self.last_id = max(self.last_id, line.id)
        for session, entry in (*line.last.items(), *((line.recorded,) if line.recorded is not None else ())):
            self.last[session] = max(self.last.get(session, -1), entry)
        if line.gone:
            found.pop(line.id, None)
        else:
            found[line.id] = Head(line.id, line.worker, offset, len(raw))

    def read(self, head: Head) -> Letter:
        """Return a letter. Raises ConfigError: it is none."""
        try:
            return _decode_letter(self.raw(head))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ConfigError(f"dead letter {head.id} cannot be read: {error}") from None

    def raw(self, head: Head) -> bytes:
        """Return the line of a letter, with its end."""
        assert self._file is not None
        self._file.seek(head.offset)
        return self._file.read(head.size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


class DeadLetters:
    """The log of one service's dead letters. Its methods may block as files may: for a thread, or for a command.

    Args:
        directory: made when there is something to write.
        size_bytes_max: of the log.
    """

    def __init__(self, directory: Path, size_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self.directory = directory
        self._log = directory / "letters.jsonl"
        self._size_bytes_max = size_bytes_max

    def open(self) -> Letters:
        """Return what there is. Raises ConfigError: it cannot be read."""
        try:
            return Letters(self._log)
        except OSError as error:
            raise ConfigError(f"cannot read {self._log}: {error.strerror}") from None

    def add(self, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
        """Append lines; return how many are on disk, and why not all of them."""
        written = 0
        try:
            with self._locked(), self._appending() as (descriptor, size_bytes):
                for line in lines:
                    if size_bytes + len(line) > self._size_bytes_max:
                        limit = f"there are {self._size_bytes_max >> 20} MiB; fabric dead drop makes room"
                        raise OSError(errno.EDQUOT, limit, str(self._log))
                    _write(descriptor, line, size_bytes)
                    size_bytes += len(line)
                    written += 1
                os.fdatasync(descriptor)
        except OSError as error:
            return written, error
        return written, None

    def strike(self, ids: Iterable[int]) -> None:
        """Take letters out that are none any more. Raises OSError."""
        lines = [encode_json({"id": id_, "gone": True}) + b"\n" for id_ in ids]
        with self._locked():
            with self._appending() as (descriptor, size_bytes):
                _write(descriptor, b"".join(lines), size_bytes)
                os.fdatasync(descriptor)
            with Letters(self._log) as letters:
                useful_bytes = sum(head.size_bytes for head in letters.heads.values())
                if letters.useless_bytes > useful_bytes or letters.useless_bytes + useful_bytes < SMALL_BYTES:
                    self._replace(letters, letters.heads.values())

    def drop(self, unwanted: Callable[[Head], bool]) -> list[Head]:
        """Remove letters, from the disk too; return those that there were. Raises OSError."""
        if not self._log.exists():
            return []
        with self._locked(), Letters(self._log) as letters:
            dropped = list(filter(unwanted, letters.heads.values()))
            gone = {head.id for head in dropped}
            self._replace(letters, (head for head in letters.heads.values() if head.id not in gone))
            return dropped

    def _replace(self, letters: Letters, kept: Iterable[Head]) -> None:
        """Write the log anew, with nothing but these letters and the highest id."""
        new = self._log.with_suffix(".new")
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                if letters.last_id:
                    last = {"last": letters.last} if letters.last else {}
                    file.write(encode_json({"id": letters.last_id, "gone": True} | last) + b"\n")
                file.writelines(letters.raw(head) for head in kept)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._log)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for directory in (self.directory.parent, self.directory):
            directory.parent.mkdir(parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self.directory / "letters.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _appending(self) -> Iterator[tuple[int, int]]:
        """Give a descriptor of the log, and its size; a line that a kill has cut is ended there."""
        descriptor = os.open(self._log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size_bytes = os.fstat(descriptor).st_size
            if size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n":
                size_bytes += os.write(descriptor, b"\n")
            yield descriptor, size_bytes
        finally:
            os.close(descriptor)


def _write(descriptor: int, data: bytes, size_bytes: int) -> None:
    """Append to a file of a size, all or nothing. Raises OSError."""
    try:
        written = 0
        while written < len(data):
            written += os.write(descriptor, data[written:])
    except OSError:
        os.ftruncate(descriptor, size_bytes)
        raise
