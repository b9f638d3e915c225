"""A directory for one session's sockets: private, short, and gone afterwards."""

from __future__ import annotations

__all__ = ["open_run_directory", "remove_run_directory"]

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from fabric.errors import ConfigError
from fabric.launch.inherited import kept_from_forks


@contextmanager
def open_run_directory(environment: Mapping[str, str]) -> Iterator[str]:
    """Make a directory that only this user can look into, and remove it with all that is in it.

    It lies under ``XDG_RUNTIME_DIR`` or the temporary directory, not in the project: a socket's path has 107 bytes at
    most. Those of sessions that were killed are removed on this occasion: each holds a lock as long as it lives. This
    waits for nobody: where somebody else removes them this moment, he does so for all.

    Raises:
        ConfigError: the place belongs to somebody else, or cannot be written.
    """
    base = Path(environment.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"fabric-{os.getuid()}"
    try:
        base.mkdir(mode=0o700, exist_ok=True)
        found = base.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ConfigError(f"{base} is not a directory of yours alone (mode 0700): remove it")
        _remove_left(base)
        directory, lock = _make(base)
    except OSError as error:
        raise ConfigError(f"cannot make a directory for sockets in {base}: {error.strerror}") from None
    try:
        with kept_from_forks(lock):
            yield str(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def remove_run_directory(directory: Path) -> None:
    """Remove the directory of a session that was killed. One that is not of our making, or still in use, stays."""
    if directory.parent.name != f"fabric-{os.getuid()}" or not directory.is_dir():
        return
    with suppress(FileNotFoundError):  # somebody else has removed it
        _remove_unlocked(directory)


def _make(base: Path) -> tuple[Path, int]:
    """Make a directory and lock it; one that was taken for a left one before it was locked is made again."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix="s", dir=base))
        with suppress(FileNotFoundError):
            lock = _try_lock(directory)
            if lock is not None:
                return directory, lock


def _try_lock(directory: Path) -> int | None:
    """Lock a directory; return the descriptor that holds the lock, or ``None`` if somebody else does.

    Raises:
        FileNotFoundError: it was removed meanwhile.
    """
    path = directory / "lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise FileNotFoundError(errno.ENOENT, "it was removed and made anew", str(path))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_left(base: Path) -> None:
    cleaning = os.open(base, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(cleaning, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for directory in base.glob("s*"):
            with suppress(OSError):  # its session removes it this moment
                _remove_unlocked(directory)
    except BlockingIOError:
        return  # somebody else is at it
    finally:
        os.close(cleaning)


def _remove_unlocked(directory: Path) -> None:
    lock = _try_lock(directory)
    if lock is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)
