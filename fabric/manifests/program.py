"""The program's folder as it goes into containers: its files, without what is hidden, installed, built or too big.

What goes along can be read by whoever has the image or the ConfigMap. So what only its owner may read stays where it
is, and so does what we wrote ourselves: deployments have keys and tokens.
"""

from __future__ import annotations

__all__ = ["FILE_BYTES_MAX", "LeftOut", "read_program"]

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fabric.errors import ConfigError
from fabric.manifests.files import PUBLIC, File, Files
from fabric.manifests.folder import MARKER

FILE_BYTES_MAX = 1024**2
"""Of one file. A program is text; what is bigger is data, and belongs into an image or a volume."""

FILES_MAX = 2_000
"""A folder with more is not that of a program."""

_SKIPPED = frozenset({"__pycache__", "node_modules", "build", "dist"})

_OTHERS = 0o077
"""What somebody else than the owner may do."""


class LeftOut(NamedTuple):
    """A file or folder that does not go with the program, and why."""

    path: str
    why: str


def read_program(
    root: Path, output: Path | None, *, file_bytes_max: int = FILE_BYTES_MAX
) -> tuple[Files, list[LeftOut]]:
    """Return the files of a program's folder, and what was left out.

    Args:
        root: the folder.
        output: where deployments are written to; it may lie in the folder.
        file_bytes_max: bigger files are left out.

    Raises:
        ConfigError: a file cannot be read, or there are too many.
    """
    files: Files = {}
    left_out: list[LeftOut] = []
    try:
        for path in _walk(root, output, left_out):
            name = path.relative_to(root).as_posix()
            why = _refused(path, file_bytes_max)
            if why:
                left_out.append(LeftOut(name, why))
                continue
            files[name] = File(path.read_bytes(), PUBLIC | (path.stat().st_mode & 0o111 and 0o111))
            if len(files) > FILES_MAX:
                raise ConfigError(
                    f"{root} has more than {FILES_MAX} files: put the program into a folder of its own or an image"
                )
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from None
    return files, left_out


def _walk(root: Path, output: Path | None, left_out: list[LeftOut]) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, onerror=_fail):
        here = Path(folder)
        kept = []
        for name in sorted(folders):
            why = _skipped(here / name, output)
            if why:
                left_out.append(LeftOut((here / name).relative_to(root).as_posix() + "/", why))
            else:
                kept.append(name)
        folders[:] = kept
        yield from (here / name for name in sorted(names))


def _fail(error: OSError) -> None:
    raise error


def _skipped(folder: Path, output: Path | None) -> str:
    """Return why a folder is not looked into, or nothing."""
    if folder.name.startswith("."):
        return "hidden"
    if folder.name in _SKIPPED or folder.suffix == ".egg-info":
        return "built or installed"
    if (folder / "pyvenv.cfg").exists():
        return "a virtual environment"
    if output is not None and folder.resolve() == output.resolve():
        return "what is written here"
    if folder.is_symlink():
        return "a link"
    if (folder / MARKER).exists():
        return "a deployment"
    if (folder / "coordinator.json").exists() and (folder / "allowed.json").exists():
        return "keys"
    return "" if folder.stat().st_mode & _OTHERS else "only its owner may read it"


def _refused(path: Path, bytes_max: int) -> str:
    """Return why a file does not go with the program, or nothing."""
    if path.name.startswith("."):
        return "hidden"
    if not path.is_file():
        return "no regular file"
    if not path.stat().st_mode & _OTHERS:
        return "only its owner may read it"
    return f"bigger than {bytes_max // 1024} KiB" if path.stat().st_size > bytes_max else ""
