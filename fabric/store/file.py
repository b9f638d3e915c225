"""A bucket that is a directory: an object is a file, its key the path of it.

An object is written to a file of another name, synced, and then *linked* to its key: link(2) fails if the name is
taken, whoever took it, and a name that is there names a whole file. So create-if-absent is exclusive, and readers see
all of an object or nothing, without a lock. The directory is synced after it, and so are those above it: until then a
loss of power could take the name away again.

Some file systems have no hard links (FAT, some mounted over FUSE). There the file is *renamed* to its key by whoever
holds the lock of the bucket, after a look whether the key is free. The system takes the lock from a process that dies,
so that nothing is left half done: that is why it is no marker file, which a killed writer would leave for ever.

Neither promise holds on a network file system, where locks and names of one machine are told late to another; ``fabric
doctor`` warns of them.
"""

from __future__ import annotations

__all__ = ["FileStore", "open_file"]

import errno
import fcntl
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fabric.errors import ConfigError, StoreFailed, StoreUnsure
from fabric.store.objects import check_key, check_prefix, shown_url

TEMPORARY = ".tmp"
"""The directory of files that are being written. No key begins with a point."""

LOCK = ".lock"
"""Locked while a file is renamed to its key, where there are no hard links."""

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links say."""


class FileStore:
    """Objects in a directory, which is made with the first of them. Any thread and any process may use it.

    Args:
        root: the directory.
        link: makes a hard link, as :func:`os.link` does.
    """

    def __init__(self, root: Path, *, link: Callable[[str, str], None] = os.link) -> None:
        self.root = Path(os.path.abspath(root))
        self.url = self.root.as_uri()
        self._link = link
        self._durable: set[str] = set()
        """Directories of keys that are known to survive a loss of power, and the root, if it does."""

    def create(self, key: str, body: bytes) -> bool:
        """Create an object if there is none; return whether it was created. When this returns, it is durable."""
        path = str(self.root / check_key(key))
        with self._told("create", key):
            temporary = self._write(body)
            try:
                self._make_directories(os.path.dirname(path))
                created = self._publish(temporary, path)
            finally:
                with suppress(OSError):  # it was renamed; or it stays until somebody sweeps, which changes nothing
                    os.unlink(temporary)
        # Also if somebody else was first: whoever reads it now must not see it gone after a loss of power.
        try:
            _sync_directory(os.path.dirname(path))
        except OSError as error:
            raise StoreUnsure(f"{self.url}: {key} is there, but may not stay: {error.strerror}: {path}") from None
        return created

    def get(self, key: str) -> bytes | None:
        """Return an object, or ``None`` if there is none."""
        with self._told("read", key):
            try:
                return (self.root / check_key(key)).read_bytes()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                self._check_root()
                return None

    def list(self, prefix: str, after: str = "") -> list[str]:
        """Return the keys that begin with a prefix and come after another key, in order."""
        with self._told("list", prefix):
            keys = sorted(_walk(str(self.root), check_prefix(prefix), after))
            if not keys:
                self._check_root()
            return keys

    def delete(self, key: str) -> None:
        """Delete an object, if there is one. Its directory stays: another writer may be about to use it."""
        path = self.root / check_key(key)
        with self._told("delete", key), suppress(FileNotFoundError):
            path.unlink()
            _sync_directory(str(path.parent))

    def link(self, key: str) -> str:
        """Return a ``file:`` URL of the object."""
        return (self.root / check_key(key)).as_uri()

    def sweep(self, older_than_s: float, now: float) -> int:
        """Remove what killed writers have left; return how many files. See :class:`~fabric.store.objects.Sweeping`."""
        swept = 0
        with self._told("sweep", TEMPORARY), suppress(FileNotFoundError), os.scandir(self.root / TEMPORARY) as found:
            for entry in found:
                with suppress(FileNotFoundError):  # its writer is alive, and done
                    if now - entry.stat().st_mtime > older_than_s:
                        os.unlink(entry.path)
                        swept += 1
        return swept

    def _check_root(self) -> None:
        """Look whether there is nothing because no bucket can be there. One that is not there yet is empty."""
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.root))

    def _write(self, body: bytes) -> str:
        """Write a file that nobody else knows of, durably; return its path. If that fails, there is none."""
        directory = str(self.root / TEMPORARY)
        _make_private(directory)
        path = f"{directory}/{os.getpid()}-{secrets.token_hex(8)}"
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0) as file:
                view = memoryview(body)
                while view:
                    view = view[file.write(view) :]
                _sync(file.fileno())
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
        return path

    def _publish(self, temporary: str, path: str) -> bool:
        """Give a file its name, if it is free; return whether it was."""
        try:
            self._link(temporary, path)
            return True
        except FileExistsError:
            if os.path.isdir(path):
                raise IsADirectoryError(errno.EISDIR, "keys continue it with a '/'", path) from None
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
        with _locked(str(self.root / LOCK)):
            if os.path.lexists(path):
                return False
            os.rename(temporary, path)
            return True

    def _make_directories(self, directory: str) -> None:
        """Make a directory of keys and those above it, durably.

        Each is synced once by each process, even if it was there: who made it may have been killed before he did that.
        """
        if directory in self._durable:
            return
        _make_private(directory)
        above, made = directory, [directory]
        while above != str(self.root):
            above = os.path.dirname(above)
            _sync_directory(above)
            if above in self._durable:
                break
            made.append(above)
        else:
            for parent in self.root.parents:  # it may have been made here, too; not all of them may be read
                try:
                    _sync_directory(str(parent))
                except OSError:
                    break
        self._durable.update(made)

    @contextmanager
    def _told(self, what: str, key: str) -> Iterator[None]:
        """Say what the system does not do, and where."""
        try:
            yield
        except OSError as error:
            where = error.filename2 or error.filename or self.root / key
            raise StoreFailed(f"{self.url}: cannot {what} {key or 'it'}: {error.strerror}: {where}") from None


def open_file(url: str) -> FileStore:
    """Return the bucket of ``file:///absolute``, ``file:relative``, ``file:~/of-the-user``, or of a bare path.

    Raises:
        ConfigError: it names another host, or no path.
    """
    if not url.startswith("file:"):
        return FileStore(_expand(url, url))
    split = urlsplit(url)
    if split.netloc not in ("", "localhost"):
        host = split.netloc.rpartition("@")[2]
        raise ConfigError(
            f"bucket {shown_url(url)}: expected file:///PATH, got the host {host!r}; three slashes, or none"
        )
    return FileStore(_expand(unquote(url.removeprefix("file:").removeprefix(f"//{split.netloc}")), url))


def _expand(path: str, url: str) -> Path:
    if not path or "\0" in path:
        raise ConfigError(f"bucket {url!r}: expected the path of a directory, as in file:///var/lib/fabric")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"bucket {url}: {error}") from None


def _walk(root: str, prefix: str, after: str) -> Iterator[str]:
    """Yield the keys below a prefix, in no order. What cannot be a key was put there by somebody else."""
    try:
        found = os.scandir(f"{root}/{prefix}")
    except (FileNotFoundError, NotADirectoryError):  # a key that ends where the prefix goes on
        return
    with found:
        for entry in found:
            key = prefix + entry.name
            with suppress(StoreFailed):
                check_key(key)
                if not entry.is_dir(follow_symlinks=False):
                    if key > after:
                        yield key
                elif f"{key}/" > after or after.startswith(f"{key}/"):
                    yield from _walk(root, f"{key}/", after)


def _make_private(directory: str) -> None:
    """Make a directory and those above it, for the user alone. ``os.makedirs`` would do so with the last one only."""
    if os.path.isdir(directory):
        return
    _make_private(os.path.dirname(directory))
    with suppress(FileExistsError):  # of somebody else, just now; or it is a file, and what comes next complains
        os.mkdir(directory, 0o700)


@contextmanager
def _locked(path: str) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    """Wait until it is on the disk."""
    if sys.platform == "darwin":  # fsync there leaves it in the cache of the disk
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)
