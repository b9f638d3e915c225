"""The files that commands write: none of them is one that is read, and none is emptied before there is a result."""

from __future__ import annotations

__all__ = ["Written", "begin_anew", "check_target", "journal_of", "path_of_input"]

import fcntl
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from fabric.errors import ConfigError

_JOURNAL = b'{"journal":'


def check_target(target: Path | None, option: str, others: Mapping[str, Path | None]) -> None:
    """Refuse a file to write that is another file of the same command, or that cannot be there.

    Args:
        target: the file; ``None``: stdout.
        option: that names it.
        others: files of the command by what they are; ``None``: there is none.

    Raises:
        ConfigError: it is one of them, also by another name; or there is no folder for it.
    """
    if target is None:
        return
    for what, other in others.items():
        if other is not None and _is_same(target, other):
            raise ConfigError(f"{option} {target} is {what}, which would be lost; take another file")
    if target.is_dir():
        raise ConfigError(f"cannot write {target}: it is a folder; {option} takes a file")
    if not target.parent.is_dir():
        raise ConfigError(f"cannot write {target}: there is no folder {target.parent}")


def path_of_input(said: str) -> Path | None:
    """Return the file that an input is read from, as it is said behind ``--input``; ``None``: it is none."""
    if said == "-":
        try:
            return Path(f"/dev/fd/{sys.stdin.fileno()}")
        except (OSError, ValueError):  # it is no file, or is closed
            return None
    return None if not said or said.lstrip().startswith(("{", "[")) else Path(said)


def _is_same(one: Path, other: Path) -> bool:
    try:
        first, second = one.stat(), other.stat()
    except OSError:  # what is not there yet may still be there twice
        return one.resolve() == other.resolve()
    return stat.S_ISREG(first.st_mode) and os.path.samestat(first, second)


class Written:
    """Where a batch writes: a file of its own as long as it does so, or stdout. A context manager.

    What the file had stays until the first line is written: a batch that cannot begin costs nothing.

    Args:
        path: of the file; ``None``: stdout, which is the one of this moment.

    Raises:
        ConfigError: it cannot be written, or another batch writes it.
    """

    def __init__(self, path: Path | None) -> None:
        self._begun = path is None
        self._file: TextIO = sys.stdout if path is None else _opened(path)
        self._owned = path is not None

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owned:
            self._file.close()

    def write(self, line: str) -> None:
        """Write a line; it is with the system then."""
        if not self._begun:
            self._begun = True
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._file.truncate(0)
        self._file.write(line + "\n")
        self._file.flush()


def _opened(path: Path) -> TextIO:
    try:
        file = open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise ConfigError(f"{path} is being written by another batch; take another file") from None
        except OSError:  # a file system without locks
            pass
    return file


def journal_of(output: Path | None) -> Path | None:
    """Return the journal that a batch has beside its output; ``None``: the output is no file."""
    if output is None or (output.exists() and not output.is_file()):
        return None
    return output.with_name(f"{output.name}.journal")


def begin_anew(journal: Path) -> None:
    """Take away the journal of an earlier batch with the same output. What is none stays, and is refused later."""
    try:
        with journal.open("rb") as file:
            is_journal = file.read(len(_JOURNAL)) == _JOURNAL
    except FileNotFoundError:
        return
    if is_journal:
        journal.unlink()
