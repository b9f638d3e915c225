"""A directory for one session's sockets: private, short, and gone afterwards."""

from __future__ import annotations

__all__ = ["open_run_directory", "remove_run_directory"]

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fabric.errors import ConfigError
from fabric.launch.inherited import kept_from_forks


@contextmanager
def open_run_directory(environment: Mapping[str, str]) -> Iterator[str]:
    """Make a directory that only this user can look into, and remove it with all that is in it.

    It lies under ``XDG_RUNTIME_DIR`` or the temporary directory, not in the project: a socket's path has 107 bytes at
    most. Those of sessions that were killed are removed on this occasion: each holds a lock as long as it lives.

    Raises:
        ConfigError: the place belongs to somebody else, or cannot be written.
    """
    base = Path(environment.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"fabric-{os.getuid()}"
    try:
        base.mkdir(mode=0o700, exist_ok=True)
        found = base.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ConfigError(f"{base} is not a directory of yours alone (mode 0700): remove it")
        with _locked(base):  # against another that is made, or removed, this moment
            _remove_left(base)
            directory = Path(tempfile.mkdtemp(prefix="s", dir=base))
            lock = _try_lock(directory)
    except OSError as error:
        raise ConfigError(f"cannot make a directory for sockets in {base}: {error.strerror}") from None
    assert lock is not None
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
    lock = _try_lock(directory)
    if lock is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


@contextmanager
def _locked(base: Path) -> Iterator[None]:
    descriptor = os.open(base, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _try_lock(directory: Path) -> int | None:
    """Lock a directory; return the descriptor that holds the lock, or ``None`` if somebody else does."""
    descriptor = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_left(base: Path) -> None:
    for directory in base.glob("s*"):
        try:
            lock = _try_lock(directory)
        except OSError:  # its session removes it this moment
            continue
        if lock is not None:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)
