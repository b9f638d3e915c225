"""Which services run from a working directory: one small file each under ``.fabric/run``, by which others find them.

A record is locked as long as its service lives, so that one left by a killed service is known for what it is.
"""

from __future__ import annotations

__all__ = ["Running", "find_service", "project_name", "recorded"]

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fabric.errors import ConfigError, NotRunning

STATE_DIRECTORY = ".fabric"


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
    name = spec.parent.name if spec.stem == "main" and spec.parent.name else spec.stem
    return re.sub(r"[^\w.-]", "_", name)


@contextmanager
def recorded(running: Running, state: Path) -> Iterator[None]:
    """Keep the record as long as the body runs.

    Args:
        running: what to record.
        state: the state directory.

    Raises:
        ConfigError: a service of that name runs already, the name cannot be one, or the directory cannot be written.
    """
    if not re.fullmatch(r"[\w-][\w.-]*", running.project):
        raise ConfigError(f"{running.project!r} cannot name a service: letters, digits, '_', '-' and '.' can")
    directory = state / "run"
    file = directory / f"{running.project}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        other = _decode(file)
        who = f", pid {other.pid}" if other else ""
        raise ConfigError(
            f"'{running.project}' is running already{who}; give this one another name with --project"
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, msgspec.json.encode(running))
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)
        for empty in (directory, state):
            try:
                empty.rmdir()
            except OSError:
                break  # somebody else's record is in it


def find_service(here: Path, state: Path | None, *, spec: Path | None, project: str | None) -> Running:
    """Return the service that is meant.

    Args:
        here: where to look: in its ``.fabric``, and in that of every folder above.
        state: the one state directory to look in instead.
        spec, project: the program and the name of the service, if they matter.

    Raises:
        NotRunning: there is none, or several are and none was named.
    """
    for directory in [state] if state else [folder / STATE_DIRECTORY for folder in (here, *here.parents)]:
        found = [running for file in sorted((directory / "run").glob("*.json")) if (running := _alive(file))]
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


def _alive(file: Path) -> Running | None:
    """Return a record that its service still holds."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _decode(file)
    finally:
        os.close(descriptor)
    return None


def _decode(file: Path) -> Running | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None
