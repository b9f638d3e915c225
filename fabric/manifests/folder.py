"""Write a deployment into a folder: what is new and what has changed, never what somebody has filled in."""

from __future__ import annotations

__all__ = ["MARKER", "Change", "apply", "changes", "make_folder", "strangers", "unused"]

import difflib
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from fabric.errors import ConfigError
from fabric.manifests.files import PRIVATE, File, Files

MARKER = ".fabric-deployment"
"""A file that says that a folder was written by us. What is in such a folder goes into no image and no ConfigMap."""

_KEPT = frozenset({MARKER, ".env", "keys", "secrets", "state"})
"""What somebody may have put there before the rest: it is never replaced, and it comes from a backup."""


_Kind: TypeAlias = Literal["new", "changed", "mode"]


class Change(NamedTuple):
    """A file that is not as it should be.

    Attributes:
        path: of it, relative to the folder.
        kind: what would be done.
        file: as it should be.
        old: what is in it now.
        secret: nobody but the owner may read it now, so it is not shown.
    """

    path: str
    kind: _Kind
    file: File
    old: bytes = b""
    secret: bool = False

    def diff(self) -> str:
        """Return what would change, in words if that is secret or no text."""
        if self.secret or self.file.mode == PRIVATE:
            return f"{self.path}: {self.kind}; a secret\n"
        try:
            old, new = self.old.decode(), self.file.content.decode()
        except UnicodeDecodeError:
            return f"{self.path}: {len(self.old)} bytes, then {len(self.file.content)}\n"
        before = "/dev/null" if self.kind == "new" else self.path
        lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), before, self.path)
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def changes(folder: Path, files: Files) -> list[Change]:
    """Return what differs from a folder as it is.

    Raises:
        ConfigError: a file cannot be read.
    """
    found = []
    for path, file in sorted(files.items()):
        place = folder / path
        try:
            old = place.read_bytes()
            mode = place.stat().st_mode & 0o777
        except FileNotFoundError:
            found.append(Change(path, "new", file))
            continue
        except OSError as error:
            raise ConfigError(f"cannot read {place}: {error.strerror}") from None
        if file.keep:
            continue
        if old != file.content or mode != file.mode:
            kind: _Kind = "changed" if old != file.content else "mode"
            found.append(Change(path, kind, file, old, secret=not mode & 0o077))
    return found


def strangers(folder: Path, hosts: Iterable[str]) -> list[str]:
    """Return what is in a folder that we did not write, so that nobody's files are replaced; nothing, if it is ours.

    Args:
        folder: where all is to be.
        hosts: names of the folders of hosts in it.

    Raises:
        ConfigError: it cannot be read.
    """
    own = set(hosts)
    try:
        if not folder.exists() or (folder / MARKER).exists():
            return []
        found = [entry.name for entry in folder.iterdir() if entry.name not in _KEPT | own]
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from None
    return sorted(found + [f"{host}/{name}" for host in own for name in strangers(folder / host, ())])


def unused(folder: Path, files: Collection[str], ours: Iterable[str]) -> list[str]:
    """Return files in folders that only we write to, which are none of ours any more. They are not touched.

    Args:
        folder: where all is.
        files: that there should be.
        ours: names of such folders in it.
    """
    there = (path for name in ours for path in (folder / name).rglob("*") if path.is_file())
    return sorted(name for path in there if (name := path.relative_to(folder).as_posix()) not in files)


def apply(folder: Path, changes: Iterable[Change], owner: tuple[int, int] | None) -> None:
    """Write what has changed; each file at once, so that nobody reads half of one.

    Args:
        folder: where; it is made if it is not there.
        changes: see :func:`changes`.
        owner: whom files belong to; ``None``: us.

    Raises:
        ConfigError: one cannot be written.
    """
    try:
        for change in changes:
            _write(folder, change, owner)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from None


def _write(folder: Path, change: Change, owner: tuple[int, int] | None) -> None:
    place = folder / change.path
    make_folder(place.parent, owner)
    fresh = place.with_name(f".{place.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, change.file.mode)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, change.file.mode)
        if owner is not None:
            os.fchown(descriptor, *owner)
        stream.write(change.file.content)
    os.replace(fresh, place)


def make_folder(folder: Path, owner: tuple[int, int] | None, mode: int = 0o755) -> None:
    """Make a folder and those above it, unless they are there; ``mode``: of this one."""
    if folder.is_dir():
        return
    make_folder(folder.parent, owner)
    folder.mkdir(mode)
    folder.chmod(mode)  # whatever the umask says: users in containers are not always the one who writes
    if owner is not None:
        os.chown(folder, *owner)
