"""The journal of a batch: a file that has a line for each item that has been run.

A line is written at once, before anybody hears of the item: what a journal has is not run again, what it does not have
is. Only its last line can be torn by a crash; it is cut off. Each line is given to the system when it is written, so it
outlives the process; a machine that loses its power may lose the lines of the last moments, whose items are run again.

An item is known by what it says, and by how often the same was said before: items may be put in another order or added.

    {"journal": 1, "pipeline": SHA-256, "options": {...}, "files": {NAME: SHA-256}}
    {"item": KEY, "run": {...}}         it was run; see ``keeping``; of several the last one counts
    {"told": KEY}                       the hooks of the batch were told of it
    {"growing": true}                   vocabularies are going to grow by all above
    {"grown": true}                     they have grown

Vocabularies are files of their own, which others write, too: a process that dies between the last two lines may have
written them or not. They grow once more then, and the log says so. A term is added once whatever happens; but of what
waits for a person, it may be said that it was seen more often than it was.
"""

from __future__ import annotations

__all__ = ["Journal", "open_journal"]

import fcntl
import json
import logging
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from fabric.errors import ConfigError
from fabric.pipelines.runs.digests import digest_of_file
from fabric.pipelines.runs.dumping import dumped

VERSION = 1

NO_FILES: Mapping[str, str] = MappingProxyType({})

_BEGINNING = f'{{"journal":{VERSION},"pipeline":"'.encode()
"""Of each journal. A file with one torn line is one if it begins like this, or ends before it could differ."""

_log = logging.getLogger("fabric.pipelines.batch")


class _Line(msgspec.Struct):
    """What is read of a line to find it again."""

    journal: int | None = None
    pipeline: str = ""
    options: Any = None
    item: str | None = None
    told: str | None = None
    growing: bool = False
    grown: bool = False
    files: dict[str, str] = {}


def open_journal(
    path: Path, pipeline: Path, options: Mapping[str, Any], files: Mapping[str, str] = NO_FILES, *, resume: bool
) -> Journal:
    """Open a journal, or begin it.

    Args:
        path: of the journal.
        pipeline: file of the pipeline.
        options: of the runs, as far as what they leave depends on them.
        files: what other files of the pipeline are known by, by their names.
        resume: whether to go on with what is there.

    Raises:
        ConfigError: it cannot be opened, somebody uses it, it is damaged, or it is not one of this batch.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise ConfigError(f"cannot open the journal {path}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ConfigError(f"the journal {path} is no file that can be read again; take another one")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"the journal {path} is in use by another batch; each has its own") from None
        head = _Line(VERSION, digest_of_file(pipeline), dumped(options), files=dict(files))
        return Journal(path, handle, head, resume=resume)
    except BaseException:
        os.close(handle)
        raise


class Journal:
    """A journal that is open: for this process alone. Use :func:`open_journal`."""

    def __init__(self, path: Path, handle: int, head: _Line, *, resume: bool) -> None:
        self._path = path
        self._handle = handle
        self._places: dict[bytes, tuple[int, int]] = {}
        self._told: set[bytes] = set()
        self._grown_at = 0
        self._is_growing = False
        self._size = 0
        self._lock = threading.Lock()
        self._is_torn = False
        self._read(head, resume)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return _packed(key) in self._places

    def run_of(self, key: str) -> dict[str, Any]:
        """Return what an item left."""
        at, length = self._places[_packed(key)]
        found: dict[str, Any] = json.loads(os.pread(self._handle, length, at))["run"]
        return found

    def was_told(self, key: str) -> bool:
        """Whether hooks were told of an item."""
        return _packed(key) in self._told

    def has_grown(self, key: str) -> bool:
        """Whether vocabularies have grown by an item."""
        return self._places[_packed(key)][0] < self._grown_at

    def write(self, key: str, run: Mapping[str, Any]) -> None:
        """Write down that an item was run."""
        self._places[_packed(key)] = self._append({"item": key, "run": run})

    def tell(self, key: str) -> None:
        """Write down that hooks were told of an item."""
        self._append({"told": key})

    def begin_growth(self) -> None:
        """Write down that vocabularies are going to grow by all items so far."""
        self._append({"growing": True})

    def end_growth(self) -> None:
        """Write down that they have grown."""
        self._append({"grown": True})
        self._grown_at = self._size

    def close(self) -> None:
        """Close it; what it says outlives the machine then."""
        try:
            os.fsync(self._handle)
        finally:
            os.close(self._handle)

    def _append(self, line: Mapping[str, Any]) -> tuple[int, int]:
        """Write a line; return where it is. Both threads of a batch write."""
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        left = memoryview(data)
        with self._lock:
            if self._is_torn:  # a line behind half a line would be read as part of it
                raise ConfigError(f"the journal {self._path} ends with half a line: nothing can be written behind it")
            at = self._size
            try:
                while left:
                    left = left[os.write(self._handle, left) :]
            except OSError as error:
                self._take_back()
                raise ConfigError(f"cannot write the journal {self._path}: {error.strerror}") from None
            self._size += len(data)
        return at, len(data)

    def _take_back(self) -> None:
        """Cut off what was written of a line: the others of a batch go on, and write behind it."""
        try:
            os.ftruncate(self._handle, self._size)
        except OSError:
            self._is_torn = True

    def _read(self, head: _Line, resume: bool) -> None:
        decoder = msgspec.json.Decoder(_Line)
        with os.fdopen(os.dup(self._handle), "rb") as file:
            file.seek(0)
            for number, data in enumerate(file, 1):
                if not data.endswith(b"\n"):
                    if number == 1 and not (data.startswith(_BEGINNING) or _BEGINNING.startswith(data)):
                        raise self._foreign()
                    self._cut(number, len(data))
                    break
                try:
                    line = decoder.decode(data)
                except msgspec.DecodeError as error:
                    if number == 1:
                        raise self._foreign() from None
                    raise ConfigError(f"the journal {self._path} is damaged at line {number}: {error}") from None
                self._take(line, number, len(data), head)
        if self._is_growing:
            _log.warning("%s: a process died while vocabularies grew: they may do so twice by some items", self._path)
        if self._places and not resume:
            text = f"the journal {self._path} has {len(self)} items that were run"
            raise ConfigError(f"{text}; resume=True (--resume) goes on with it, another file begins anew")
        if not self._size:
            first = {"journal": head.journal, "pipeline": head.pipeline, "options": head.options}
            self._append({**first, "files": head.files})

    def _take(self, line: _Line, number: int, length: int, head: _Line) -> None:
        if number == 1:
            self._check(line, head)
        elif line.item is not None:
            self._places[_packed(line.item)] = self._size, length
            self._told.discard(_packed(line.item))  # it was run again, for it had failed
        elif line.told is not None:
            self._told.add(_packed(line.told))
        elif line.growing:
            self._is_growing = True
        elif line.grown:
            self._is_growing = False
            self._grown_at = self._size
        self._size += length

    def _check(self, line: _Line, head: _Line) -> None:
        if line.journal != VERSION:
            raise self._foreign()
        if line.options != head.options:
            text = f"the journal {self._path} is of runs with other options: {line.options}, now {head.options}"
            raise ConfigError(f"{text}; take another file, or the same options")
        changed = [name for name, digest in head.files.items() if line.files.get(name, digest) != digest]
        if line.pipeline != head.pipeline:
            changed.insert(0, "its file")
        if changed:
            text = "%s: the pipeline has been changed since: %s; items that were run are not run again"
            _log.warning(text, self._path, ", ".join(changed))

    def _foreign(self) -> ConfigError:
        return ConfigError(f"{self._path} is no journal of a batch that can be read here; take another file")

    def _cut(self, number: int, length: int) -> None:
        _log.warning("%s: line %d was torn by a crash: %d bytes are cut off", self._path, number, length)
        os.ftruncate(self._handle, self._size)


def _packed(key: str) -> bytes:
    """Return a key in a third of its memory: there is one for each item."""
    digest, _, count = key.partition(":")
    return bytes.fromhex(digest) + int(count).to_bytes(4, "big")
