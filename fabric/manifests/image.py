"""What an image is built from: the Dockerfile, the wheels, the program's folder."""

from __future__ import annotations

__all__ = ["ImageTarget", "context_files", "pack_context", "write_context"]

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

from fabric.errors import ConfigError
from fabric.manifests.own_wheel import own_requirements, pack_wheel

ImageTarget: TypeAlias = Literal["agent", "fabric"]

PROGRAM_BYTES_MAX = 64 * 1024 * 1024
"""Of a program's folder. Beyond, it is not that of a program alone: data belong into a volume."""

LEFT_OUT = frozenset({"__pycache__", "node_modules"})
"""Beside all whose names begin with a point: what is run is in neither, and keys are in some."""

TRACE = ".keep"


def context_files(program: Path | None, wheels: Path | None) -> dict[str, bytes]:
    """Return the files that an image is built from, by name.

    Args:
        program: the program's file, whose folder goes along; ``None``: none does.
        wheels: a folder with the wheels of all that is needed, so that nothing is downloaded.

    Raises:
        ConfigError: a file cannot be read, or the folder is no program's.
    """
    agent, everything = own_requirements()
    name, wheel = pack_wheel()
    files = {
        "Dockerfile": dockerfile(),
        "requirements-agent.txt": "\n".join([*agent, ""]).encode(),
        "requirements-fabric.txt": "\n".join([*everything, ""]).encode(),
        f"wheels/{name}": wheel,
        f"app/{TRACE}": b"",
    }
    try:
        if wheels is not None:
            files |= {f"wheels/{path.name}": path.read_bytes() for path in _wheels(wheels, name)}
            files["wheels/offline"] = b""
        if program is not None:
            files |= dict(_program(program.resolve().parent))
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from None
    return files


def dockerfile() -> bytes:
    """Return the text of our Dockerfile: in a checkout it lies under ``deploy``, else it came with us."""
    package = Path(str(resources.files("fabric")))
    for path in (package / "deploy" / "Dockerfile", package.parent / "deploy" / "Dockerfile"):
        if path.is_file():
            return path.read_bytes()
    raise ConfigError(f"there is no Dockerfile in {package}: it was not installed with the fabric")


def _wheels(folder: Path, own: str) -> list[Path]:
    found = [path for path in sorted(folder.glob("*.whl")) if path.name.split("-")[0] != own.split("-")[0]]
    if not found:
        raise ConfigError(
            f"--wheels {folder}: there are no wheels; fill it with: pip download --only-binary=:all: -d {folder}"
            " plumb-fabric, for the Python of the image"
        )
    return found


def _program(root: Path) -> Iterator[tuple[str, bytes]]:
    size_bytes = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in LEFT_OUT)
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or not path.is_file():
                continue
            size_bytes += path.stat().st_size
            if size_bytes > PROGRAM_BYTES_MAX:
                raise ConfigError(
                    f"the program's folder {root} has more than {PROGRAM_BYTES_MAX >> 20} MiB: put the program into a"
                    " folder of its own, and mount its data"
                )
            yield f"app/{path.relative_to(root).as_posix()}", path.read_bytes()


def pack_context(files: Mapping[str, bytes]) -> bytes:
    """Return the files as a tar, the same for the same files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def write_context(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files down. Raises ConfigError: they cannot be, or something else is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty")
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from None
