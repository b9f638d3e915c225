"""The services of a working directory: one small file each under ``.fabric/run``, by which others find and judge them.

``PROJECT.json`` is the record. It is replaced as a whole, so that a reader sees one state or the next, and stays when
its service has ended. Whether the service runs is not in it: that is asked of the system, by the pid and start time
that are. ``PROJECT.lock`` is locked as long as the service lives, so that there is one of a name; it is never replaced
or removed, for a lock belongs to a file and not to its name.
"""

from __future__ import annotations

__all__ = [
    "STATE_DIRECTORY",
    "Outcome",
    "Phase",
    "Record",
    "WorkerRecord",
    "describe_place",
    "describe_worker",
    "find_record",
    "find_records",
    "find_service",
    "hold_name",
    "log_directory",
    "project_name",
    "read_record",
    "record_file",
    "state_directories",
    "token_file",
    "wait_for_name",
    "write_record",
    "write_record_in_place",
]

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from fabric.errors import ConfigError, NotRunning
from fabric.plan.plan import WorkerPlan
from fabric.runtime.processes import Process, is_alive
from fabric.session.budget import BudgetStatus
from fabric.session.events import LossReport
from fabric.session.usage import Usage
from fabric.wire.spec import WorkerSpec

STATE_DIRECTORY = ".fabric"

NAME_WAIT_S = 5.0
"""How long a name may be held by nobody who is alive: somebody is clearing away what was left, which takes moments."""

Phase: TypeAlias = Literal["starting", "ready", "draining"]


class WorkerRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One worker of a service.

    Attributes:
        name: its node's id.
        kind: ``agent``, ``python``, ``worker`` or ``handler``.
        what: its model, function or command, in words.
        state: ``failed`` if it exited otherwise than it was asked to.
        process: once it has one.
        started_at: unix time.
        restarts: how often it was started again.
        exit_status: or the negative number of the signal that ended it.
        place: who starts it and where, in words; empty for a process beside the coordinator.
    """

    name: str
    kind: str
    what: str
    state: Literal["starting", "ready", "exited", "failed", "stopped"] = "starting"
    process: Process | None = None
    started_at: float | None = None
    restarts: int = 0
    exit_status: int | None = None
    place: str = ""


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a service ended.

    Attributes:
        exit_code: of its coordinator.
        at: unix time.
        took_s: from the request for an end, or from the failure.
        error: code and message, if it was not to be.
        messages: that left the graph.
        unclaimed: those of them that nobody was there for.
        losses: what did not come out.
        unkept: dead letters that could not be written.
        usage: what calls of models took, by worker and model.
        budget: how it stood, if there was one.
        priced_by: where the prices come from, in words.
    """

    exit_code: int
    at: float
    took_s: float = 0.0
    error: tuple[str, str] | None = None
    messages: int = 0
    unclaimed: int = 0
    losses: LossReport = LossReport()
    unkept: int = 0
    usage: tuple[Usage, ...] = ()
    budget: BudgetStatus | None = None
    priced_by: str = ""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A service.

    Attributes:
        v: version of this format.
        project: its name.
        spec: the program's file, absolute.
        process: its coordinator.
        socket: where clients connect; the directory that it lies in is the service's own.
        started_at: unix time.
        phase: how far it has come.
        workers: in starting order.
        engines: Docker Engines that have containers of it.
        http: where it can be watched, if it can.
        token_file: of what has to be said there.
        outcome: how it ended; without one, and without its process, it was killed.
        insecure: workers that it speaks to over TCP without keys.
    """

    v: Literal[1]
    project: str
    spec: str
    process: Process
    socket: str
    started_at: float
    phase: Phase = "starting"
    workers: tuple[WorkerRecord, ...] = ()
    engines: tuple[str, ...] = ()
    http: str = ""
    token_file: str = ""
    outcome: Outcome | None = None
    insecure: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether its coordinator still runs."""
        return is_alive(self.process)


def describe_place(worker: WorkerPlan) -> str:
    """Say who starts a worker and where; nothing of a process beside the coordinator."""
    if worker.runner == "process":
        return ""
    address = worker.endpoints["output"].connect.removeprefix("tcp://").rpartition(":")[0]
    return f"{worker.runner} {worker.host} {address}"


def describe_worker(spec: WorkerSpec) -> str:
    """Return what a worker is, in a few words: its model, its function or its command."""
    model = "/".join(str(spec.config[key]) for key in ("provider", "model") if key in spec.config)
    return model or str(spec.config.get("call") or " ".join(map(str, spec.config.get("command", ()))))


def project_name(spec: Path) -> str:
    """Return the name of a program's service: its file's, or, for a ``main.plumb``, its folder's."""
    spec = spec.resolve()
    name = spec.parent.name if spec.stem == "main" and spec.parent.name else spec.stem
    return re.sub(r"[^\w.-]", "_", name)


# --- The files ------------------------------------------------------------------------------------------------------


def record_file(state: Path, project: str) -> Path:
    """Return where the record of a service is."""
    return state / "run" / f"{project}.json"


def token_file(state: Path, project: str) -> Path:
    """Return where a service keeps the token that it made."""
    return state / "run" / f"{project}.token"


def log_directory(state: Path, project: str) -> Path:
    """Return where the logs of a service are."""
    return state / "logs" / project


def write_record(record: Record, file: Path) -> None:
    """Replace a record. Raises OSError. Only who holds the name may call it."""
    new = file.with_suffix(".new")
    try:
        spare = b" " * (_SPARE_BYTES + _USAGE_BYTES * sum(worker.kind == "agent" for worker in record.workers))
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file_object:
            file_object.write(msgspec.json.encode(record) + spare + b"\n")
        new.replace(file)
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def write_record_in_place(record: Record, file: Path) -> None:
    """Overwrite a record where there is no room for another file. Raises OSError.

    A kill in between would leave a broken one; but without this, a service that ended on a full disk would be taken for
    one that was killed.
    """
    with file.open("r+b") as old:
        size_bytes = os.fstat(old.fileno()).st_size
        old.write((msgspec.json.encode(record) + b"\n").rjust(size_bytes))


_SPARE_BYTES = 512
"""White space at the end of a record, so that the same one with its outcome fits into its place."""

_USAGE_BYTES = 256
"""As much for what an agent has used."""


def read_record(file: Path) -> Record | None:
    """Return the record in a file, or ``None`` if there is no file.

    Raises:
        ConfigError: the file cannot be read, or is no record.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{file} is not the record of a service ({error}); remove it") from None


@contextmanager
def hold_name(project: str, state: Path) -> Iterator[None]:
    """Hold a service's name as long as the body runs; its record and its logs may be written then.

    Raises:
        ConfigError: a service of that name runs already, the name cannot be one, or the directory cannot be written.
    """
    if not re.fullmatch(r"[\w-][\w.-]*", project):
        raise ConfigError(f"{project!r} cannot name a service: letters, digits, '_', '-' and '.' can")
    file = record_file(state, project)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write in {file.parent}: {error.strerror}") from None
    try:
        if not wait_for_name(descriptor, lambda: _runs(file)):
            other = read_record(file)
            who = f", pid {other.process.pid}" if other and other.alive else ""
            raise ConfigError(f"'{project}' is running already{who}; give this one another name with --project")
        yield
    finally:
        os.close(descriptor)


def wait_for_name(descriptor: int, taken: Callable[[], bool]) -> bool:
    """Lock an open lock file; return whether that came about before it was ``taken`` or the time was up."""
    until_s = time.monotonic() + NAME_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if taken() or time.monotonic() > until_s:
                return False
            time.sleep(0.02)
        else:
            return True


def _runs(file: Path) -> bool:
    record = read_record(file)
    return record is not None and record.alive


# --- Finding one ----------------------------------------------------------------------------------------------------


def state_directories(here: Path, state: Path | None) -> list[Path]:
    """Return where services may be recorded: the one directory that was named, or those of ``here`` and above."""
    return [state] if state else [folder / STATE_DIRECTORY for folder in (here, *here.parents)]


def find_records(
    here: Path, state: Path | None, *, spec: Path | None, project: str | None
) -> tuple[Path, list[Record]]:
    """Return a state directory, and the services that are meant and recorded in it, by name: the nearest where one
    runs, else where any was.

    Args: as of :func:`find_service`.

    Raises:
        ConfigError: a record cannot be read.
    """
    directories = state_directories(here, state)
    nearest: tuple[Path, list[Record]] = directories[0], []
    for directory in directories:
        records = _read_records(directory, spec, project)
        if any(record.alive for record in records):
            return directory, records
        nearest = nearest if nearest[1] else (directory, records)
    return nearest


def _read_records(directory: Path, spec: Path | None, project: str | None) -> list[Record]:
    """Return the records in a state directory that are of a program and a name, if these matter."""
    files = [file for file in sorted((directory / "run").glob("*.json")) if project in (None, file.stem)]
    records = [record for file in files if (record := read_record(file))]
    return records if spec is None else [record for record in records if record.spec == str(spec.resolve())]


def find_service(here: Path, state: Path | None, *, spec: Path | None, project: str | None) -> Record:
    """Return the running service that is meant.

    Args:
        here: where to look: in its ``.fabric``, and in that of every folder above.
        state: the one state directory to look in instead.
        spec, project: the program and the name of the service, if they matter.

    Raises:
        NotRunning: there is none, or several are and none was named.
        ConfigError: a record cannot be read.
    """
    found = _find(here, state, spec, project, lambda record: record.alive)
    if found is None:
        what = f"no service of {spec}" if spec else f"no service '{project}'" if project else "no service"
        raise NotRunning(f"{what} runs from {here}; start one with: fabric up {spec or 'SPEC'}")
    return found[1]


def find_record(here: Path, state: Path | None, *, spec: Path | None, project: str | None) -> tuple[Path, Record]:
    """Return the service that is meant, a running one first, and the state directory that it is recorded in.

    Raises:
        NotRunning: nothing is known of it, or several are meant and none was named.
        ConfigError: a record cannot be read.
    """
    found = _find(here, state, spec, project, lambda record: record.alive)
    found = found or _find(here, state, spec, project, lambda _: True)
    if found is None:
        what = f"a service of {spec}" if spec else f"a service '{project}'" if project else "any service"
        raise NotRunning(f"nothing is known of {what} from {here}; start one with: fabric up {spec or 'SPEC'}")
    return found


def _find(
    here: Path, state: Path | None, spec: Path | None, project: str | None, wanted: Callable[[Record], bool]
) -> tuple[Path, Record] | None:
    for directory in state_directories(here, state):
        found = [record for record in _read_records(directory, spec, project) if wanted(record)]
        if len(found) == 1:
            return directory, found[0]
        if found:
            names = ", ".join(record.project for record in found)
            raise NotRunning(f"several services are meant: {names}; name one with --project, or give its program")
    return None
