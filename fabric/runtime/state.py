"""Which services run from a working directory: one small file each under ``.fabric/run``, by which others find them."""

from __future__ import annotations

__all__ = ["Running", "find_service", "recorded"]

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fabric.errors import ConfigError, NotRunning


class Running(msgspec.Struct, frozen=True):
    """A running service.

    Attributes:
        project: its name.
        pid: of its coordinator.
        spec: the program's file, absolute.
        socket: where clients connect.
    """

    project: str
    pid: int
    spec: str
    socket: str


def project_name(spec: Path) -> str:
    """Return the name of a program's service: its file's, or, for a ``main.plumb``, its folder's."""
    spec = spec.resolve()
    return spec.parent.name if spec.stem == "main" and spec.parent.name else spec.stem


def _directory(here: Path) -> Path:
    return Path(os.environ.get("FABRIC_STATE_DIR") or here / ".fabric") / "run"


@contextmanager
def recorded(running: Running, here: Path) -> Iterator[None]:
    """Keep the record as long as the body runs.

    Raises:
        ConfigError: a service of that name runs already.
    """
    directory = _directory(here)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{running.project}.json"
    other = _read(file)
    if other is not None:
        raise ConfigError(
            f"'{running.project}' is running already, pid {other.pid}; give this one another name with --project"
        )
    draft = directory / f"{running.project}.{running.pid}.new"
    draft.write_bytes(msgspec.json.encode(running))
    draft.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        for empty in (directory, directory.parent):
            try:
                empty.rmdir()
            except OSError:
                break  # somebody else's record is in it


def find_service(here: Path, *, spec: Path | None = None, project: str | None = None) -> Running:
    """Return the service that is meant: looked for here and in every folder above.

    Raises:
        NotRunning: there is none, or several are and none was named.
    """
    for folder in (here, *here.parents):
        found = [running for file in sorted(_directory(folder).glob("*.json")) if (running := _read(file)) is not None]
        if spec is not None:
            found = [running for running in found if running.spec == str(spec.resolve())]
        if project is not None:
            found = [running for running in found if running.project == project]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(running.project for running in found)
            raise NotRunning(f"several services run here: {names}; name one with --project, or give its program")
    what = f"no service of {spec}" if spec else f"no service '{project}'" if project else "no service"
    raise NotRunning(f"{what} runs from {here}; start one with: fabric up {spec or 'SPEC'}")


def _read(file: Path) -> Running | None:
    """Return a record whose process is alive."""
    try:
        running = msgspec.json.decode(file.read_bytes(), type=Running)
        os.kill(running.pid, 0)
    except (OSError, msgspec.DecodeError):
        return None
    return running
