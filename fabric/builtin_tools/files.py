"""Tools for files, below one folder and never outside of it.

A path is walked from the folder's descriptor, each step relative to the one before and without following a symbolic
link. So it does not matter what somebody puts where while we walk: there is no moment between a look and the use of
what was seen. ``..``, absolute paths and links are refused, also such as would lead back inside.

Source: openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, which Python does not have. A hard link to a file
elsewhere cannot be told from a file, and a folder that is moved out while we are in it is still the folder we entered.
"""

from __future__ import annotations

__all__ = ["Limits", "Root", "delete", "edit", "grep", "list_folder", "read", "write"]

import errno
import os
import re
import secrets
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import msgspec

from fabric.builtin_tools.refused import Refused

LINE_CHARS_MAX = 1_000
"""Of a line that was found; the rest of it is left out."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Opening a pipe would wait for its writer, and a terminal would become ours."""

PATH_BYTES_MAX = 4096
"""Of a path: what the system allows. Walked step by step, a longer one would work, and nobody else could use it."""


class Limits(msgspec.Struct, frozen=True):
    """How much a tool does. What is more is refused, not cut: who takes a part for the whole is misled.

    Attributes:
        text_bytes: of a file that is read or written.
        entries: of a folder that is listed.
        hits: of a search.
        grep_s: that a search takes; some regular expressions never come to an end.
        exec_s: that a program runs. Until then no other call of the tool is begun.
        output_bytes: of a program's stdout, and of its stderr.
    """

    text_bytes: int = 4 * 1024 * 1024
    entries: int = 10_000
    hits: int = 1_000
    grep_s: float = 10.0
    exec_s: float = 120.0
    output_bytes: int = 1024 * 1024


class Root:
    """The folder that tools work in.

    Args:
        path: of it.
        limits: of the tools.

    Attributes:
        fd: a descriptor of it, open as long as the process lives.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str, limits: Limits | None = None) -> None:
        self.path = path
        self.limits = limits or Limits()
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @contextmanager
    def folder(self, path: str, *, make: bool = False) -> Iterator[int]:
        """Give a descriptor of a folder below.

        Args:
            path: relative; empty or ``.`` for the root itself.
            make: whether to make folders that are missing.
        """
        fd = os.dup(self.fd)
        try:
            for name in _parts(path):
                if make:
                    with _explained(path):
                        _make_folder(name, fd)
                with _explained(path):
                    below = os.open(name, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def place(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Give the folder that a file is in, or is to be in, and its name there."""
        parts = _parts(path)
        if not parts:
            raise Refused(f"path {path!r}: expected a file, got the folder itself")
        with self.folder("/".join(parts[:-1]), make=make) as folder:
            yield folder, parts[-1]


def _parts(path: str) -> list[str]:
    """Return the names of a path."""
    if "\0" in path:
        raise Refused("path: it has a zero byte")
    if len(path.encode()) > PATH_BYTES_MAX:
        raise Refused(f"path: it has {len(path.encode())} bytes; at most {PATH_BYTES_MAX}")
    if path.startswith("/"):
        raise Refused(f"path {path!r}: expected one relative to the folder of the tools, got an absolute one")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"path {path!r}: '..' is not allowed; paths are relative to the folder of the tools")
    return parts


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Say in words what the system says."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(f"{path}: a symbolic link is on the way, and links are not followed") from None
        if error.errno == errno.ENOTDIR:
            raise Refused(f"{path}: a part of the path is no folder, or a symbolic link") from None
        raise Refused(f"{path}: {error.strerror}") from None


def _make_folder(name: str, folder: int) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return


def _read_file(folder: int, name: str, path: str, size_bytes_max: int) -> tuple[bytes, int]:
    """Return what is in a regular file, and its permissions."""
    with _explained(path):
        fd = os.open(name, _FILE, dir_fd=folder)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise Refused(f"{path}: expected a file, got {_kind(mode)}")
        with open(fd, "rb", closefd=False) as file, _explained(path):
            content = file.read(size_bytes_max + 1)
    finally:
        os.close(fd)
    if len(content) > size_bytes_max:
        raise Refused(f"{path}: it has more than {size_bytes_max} bytes")
    return content, _permissions(mode)


def _permissions(mode: int) -> int:
    """Return what a file that takes another's place keeps: not that it runs as its owner, whatever is in it now."""
    return stat.S_IMODE(mode) & 0o777


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a symbolic link" if stat.S_ISLNK(mode) else "something else, such as a pipe or a device"


def _text(content: bytes, path: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: it is not UTF-8 text (byte {error.start})") from None


def _put(root: Root, place: tuple[int, str], content: bytes, mode: int | None, path: str) -> None:
    """Write a file in one step: who reads it sees what it was or what it is. A link in its place is replaced."""
    folder, name = place
    if len(content) > root.limits.text_bytes:
        raise Refused(f"{path}: a text of {len(content)} bytes; at most {root.limits.text_bytes}")
    draft = f".{secrets.token_hex(8)}.part"
    with _explained(path):
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
        try:
            with open(fd, "wb") as file:
                file.write(content)
                if mode is not None:
                    os.fchmod(fd, mode)
            os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(draft, dir_fd=folder)
            raise


# --- the tools ----------------------------------------------------------------------------------------------------


def read(root: Root, arguments: dict[str, Any]) -> str:
    """Return a text file, or the ``lines`` lines of it that begin with line ``from``, counted from 1."""
    path, first, count = arguments["path"], arguments.get("from", 1), arguments.get("lines")
    if first < 1 or (count is not None and count < 0):
        raise Refused(f"from {first}, lines {count}: lines are counted from 1, and there cannot be fewer than none")
    with root.place(path) as (folder, name):
        text = _text(_read_file(folder, name, path, root.limits.text_bytes)[0], path)
    if first == 1 and count is None:
        return text
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
        ends = [line + "\n" for line in lines]
    else:
        ends = [*(line + "\n" for line in lines[:-1]), lines[-1]]
    return "".join(ends[first - 1 : None if count is None else first - 1 + count])


def write(root: Root, arguments: dict[str, Any]) -> None:
    """Write a text file, and make the folders on the way to it."""
    path = arguments["path"]
    with root.place(path, make=True) as (folder, name):
        _put(root, (folder, name), arguments["text"].encode(), _mode_of(folder, name, path), path)


def _mode_of(folder: int, name: str, path: str) -> int | None:
    """Return the mode of a file that is to be replaced; ``None``: there is none yet."""
    with _explained(path):
        try:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None
    if not stat.S_ISREG(mode):
        raise Refused(f"{path}: expected a file, got {_kind(mode)}")
    return _permissions(mode)


def edit(root: Root, arguments: dict[str, Any]) -> None:
    """Replace a piece of a text file that occurs in it exactly once."""
    path, old, new = arguments["path"], arguments["old"], arguments["new"]
    with root.place(path) as (folder, name):
        content, mode = _read_file(folder, name, path, root.limits.text_bytes)
        text = _text(content, path)
        found = text.count(old) if old else 0
        if found != 1:
            raise Refused(
                f"{path}: 'old' has to occur exactly once, it occurs {found} times: give more of what is around it"
            )
        _put(root, (folder, name), text.replace(old, new).encode(), mode, path)


def delete(root: Root, arguments: dict[str, Any]) -> None:
    """Delete a file."""
    path = arguments["path"]
    with root.place(path) as (folder, name), _explained(path):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode):
            raise Refused(f"{path}: expected a file, got {_kind(mode)}")
        os.unlink(name, dir_fd=folder)


def list_folder(root: Root, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is in a folder, by name. A symbolic link is none of either: it is left out."""
    path = arguments.get("path", "")
    before = "/".join(_parts(path))
    with root.folder(path) as folder, _explained(path):
        entries = [
            {"path": f"{before}/{name}" if before else name, "folder": is_folder, "bytes": size}
            for name, is_folder, size in _entries(folder)
        ]
    if len(entries) > root.limits.entries:
        raise Refused(f"{path or '.'}: it has {len(entries)} entries; at most {root.limits.entries} can be listed")
    return entries


def _entries(folder: int) -> list[tuple[str, bool, int]]:
    """Return the files and folders in a folder: name, whether it is a folder, bytes."""
    found = []
    for name in sorted(os.listdir(folder)):
        try:
            name.encode()
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, UnicodeEncodeError):  # it has gone meanwhile; JSON has no word for it
            continue
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            is_folder = stat.S_ISDIR(status.st_mode)
            found.append((name, is_folder, 0 if is_folder else status.st_size))
    return found


def grep(root: Root, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the lines that a regular expression matches, in a file or below a folder; what is no text is passed by."""
    path = arguments.get("path", "")
    try:
        pattern = re.compile(arguments["pattern"])
    except re.error as error:
        raise Refused(f"pattern: {error}") from None
    hits: list[dict[str, Any]] = []
    with _in_time(root.limits.grep_s):
        for found, text in _texts(root, path):
            for number, line in enumerate(text.split("\n"), 1):
                if pattern.search(line):
                    hits.append({"path": found, "line": number, "text": line[:LINE_CHARS_MAX]})
                    if len(hits) > root.limits.hits:
                        raise Refused(
                            f"more than {root.limits.hits} lines match: give a path, or a pattern that fits less often"
                        )
    return hits


def _texts(root: Root, path: str) -> Iterator[tuple[str, str]]:
    """Yield the text files at a path, each with its own."""
    before = "/".join(_parts(path))
    if before:
        with root.place(path) as (folder, name):
            with _explained(path):
                mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if not stat.S_ISDIR(mode):
                yield before, _text(_read_file(folder, name, path, root.limits.text_bytes)[0], path)
                return
    yield from _texts_below(root, before)


def _texts_below(root: Root, top: str) -> Iterator[tuple[str, str]]:
    """Yield the text files below a folder: those in it first, then those in the folders in it."""
    below = [top]
    while below:  # not by recursion: folders may be nested deeper than calls
        before = below.pop()
        try:
            yield from _texts_in(root, before, below)
        except Refused:
            if before == top:
                raise
            continue  # it may not be read, or has gone


def _texts_in(root: Root, before: str, below: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the text files in a folder, and put the folders in it where it is told; ``.git`` is left out."""
    with root.folder(before) as folder, _explained(before or "."):
        entries = _entries(folder)
        for name, is_folder, size in entries:
            if not is_folder and size <= root.limits.text_bytes:
                found = f"{before}/{name}" if before else name
                try:
                    content, _ = _read_file(folder, name, found, root.limits.text_bytes)
                    yield found, content.decode()
                except (Refused, UnicodeDecodeError):  # it is no text, or has become something else
                    continue
    folders = [name for name, is_folder, _ in entries if is_folder and name != ".git"]
    below += [f"{before}/{name}" if before else name for name in reversed(folders)]


class _Late(Exception):
    """It takes too long."""


@contextmanager
def _in_time(limit_s: float) -> Iterator[None]:
    """End what takes too long; where there is a signal for it, which only a process's main thread gets."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(_number: int, _frame: FrameType | None) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    except _Late:
        raise Refused(f"the search took more than {limit_s:g} s: give a path, or a simpler pattern") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
