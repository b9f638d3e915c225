"""What an image is built from: the Dockerfile, the wheels, the program's folder."""

from __future__ import annotations

__all__ = ["ImageTarget", "context_files", "pack_context", "write_context"]

import io
import tarfile
from collections.abc import Collection
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

from fabric.errors import ConfigError
from fabric.manifests.files import File, Files
from fabric.manifests.own_wheel import own_requirements, pack_wheel
from fabric.manifests.program import LeftOut, read_program

ImageTarget: TypeAlias = Literal["agent", "fabric"]

PROGRAM_BYTES_MAX = 64 * 1024 * 1024
"""Of a program's folder. Beyond, it is not that of a program alone: data belong into a volume."""

TRACE = ".keep"


def context_files(
    root: Path | None, wheels: Path | None, *, output: Path | None = None, extras: Collection[str] = ()
) -> tuple[Files, list[LeftOut]]:
    """Return the files that an image is built from, by name, and what of the program's folder is left out.

    Args:
        root: the program's folder; ``None``: none goes along.
        wheels: a folder with the wheels of all that is needed, so that nothing is downloaded.
        output: where they are written to; it may lie in the program's folder.
        extras: of ours, whose requirements are installed as well.

    Raises:
        ConfigError: a file cannot be read, the folder is no program's, or there is no such extra.
    """
    agent, everything = own_requirements(extras)
    name, wheel = pack_wheel()
    files = {
        "Dockerfile": File(dockerfile()),
        "requirements-agent.txt": File("\n".join([*agent, ""]).encode()),
        "requirements-fabric.txt": File("\n".join([*everything, ""]).encode()),
        f"wheels/{name}": File(wheel),
        f"app/{TRACE}": File(b""),
    }
    left_out: list[LeftOut] = []
    try:
        if wheels is not None:
            files |= {f"wheels/{path.name}": File(path.read_bytes()) for path in _wheels(wheels, name)}
            files["wheels/offline"] = File(b"")
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from None
    if root is not None:
        program, left_out = _program(root, output)
        files |= program
    return files, left_out


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


def _program(root: Path, output: Path | None) -> tuple[Files, list[LeftOut]]:
    files, left_out = read_program(root, output, file_bytes_max=PROGRAM_BYTES_MAX)
    if sum(len(file.content) for file in files.values()) > PROGRAM_BYTES_MAX:
        raise ConfigError(
            f"the program's folder {root} has more than {PROGRAM_BYTES_MAX >> 20} MiB: put the program into a"
            " folder of its own, and mount its data"
        )
    return {f"app/{path}": file for path, file in files.items()}, left_out


def pack_context(files: Files) -> bytes:
    """Return the files as a tar, the same for the same files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, file in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(file.content), file.mode
            tar.addfile(info, io.BytesIO(file.content))
    return packed.getvalue()


def write_context(files: Files, folder: Path) -> None:
    """Write the files down. Raises ConfigError: they cannot be, or something else is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty")
        for name, file in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            path.chmod(file.mode)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from None
