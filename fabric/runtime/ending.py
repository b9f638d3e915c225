"""See services to their end, from outside: wait for it, ask for it, clear away what a killed one left."""

from __future__ import annotations

__all__ = [
    "containers_left",
    "drain",
    "end_containers_left",
    "end_left",
    "left_alive",
    "outcome_of",
    "remove_left",
    "wait_ended",
]

import os
import signal
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import trio

from fabric.errors import ConfigError, NoAnswer, NotRunning
from fabric.launch.owner import KEY_LABEL
from fabric.runtime.directory import remove_run_directory
from fabric.runtime.owners import service_key
from fabric.runtime.processes import Process, is_alive, open_handle
from fabric.runtime.service_client import ask
from fabric.runtime.service_protocol import Request
from fabric.runtime.services import Outcome, Record, WorkerRecord, hold_name, read_record, record_file, token_file

WORKERS_END_S = 2.0
"""Within this time workers notice that their coordinator was killed, and end by themselves."""


async def wait_ended(process: Process) -> None:
    """Wait until a process, of whoever, has ended."""
    descriptor = open_handle(process)
    if descriptor is None:
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def outcome_of(state: Path, service: Record) -> Outcome | None:
    """Return how a service that has ended did so, as its record says by now; ``None``: it was killed."""
    now = read_record(record_file(state, service.project))
    return now.outcome if now is not None and now.process == service.process else None


async def drain(service: Record, grace_s: float | None, insisting: AsyncIterable[object]) -> None:
    """Ask a service to finish what it has and end, and wait for that.

    Args:
        service: which.
        grace_s: silence after which a worker is ended; ``None``: as the service was told.
        insisting: gives something each time that the user does not want to wait.

    Raises:
        NoAnswer: it does not answer.
    """

    async def insist() -> None:
        async for _ in insisting:
            with suppress(NotRunning):  # it has just ended
                await ask(service, Request(2, do="insist"))

    with suppress(NotRunning):  # somebody was faster
        try:
            await ask(service, Request(1, do="drain", grace_s=grace_s))
        except NoAnswer as error:
            pid = service.process.pid
            hint = (
                f"If it was stopped, it drains when it goes on. To end it at once: kill -KILL {pid}, then fabric down"
            )
            raise NoAnswer(f"{error}. {hint}") from None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(insist)
            await wait_ended(service.process)
            nursery.cancel_scope.cancel()
    await wait_ended(service.process)


async def left_alive(service: Record) -> list[WorkerRecord]:
    """Return the workers of a killed service that live on, once they have had the time to notice."""
    with trio.move_on_after(WORKERS_END_S):
        await _wait_all(_alive(service))
    return _alive(service)


async def end_left(service: Record, grace_s: float) -> None:
    """End the workers of a killed service that live on, by force after so many seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for worker in _alive(service):
            _signal_group(worker, number)
        with trio.move_on_after(grace_s):
            await _wait_all(_alive(service))


async def containers_left(service: Record, environment: Mapping[str, str]) -> list[str]:
    """Return the containers of a killed service, running or not, each with its engine, in words.

    Raises:
        EngineFailed: an engine that had some cannot be asked.
    """
    names = []
    for where in service.engines:
        from fabric.launch.engine import open_engine

        async with open_engine(where, environment) as engine:
            left = await engine.find({KEY_LABEL: service_key(service.spec, service.project)})
            names += [f"container {found.name} ({found.state}, at {where})" for found in left]
    return names


async def end_containers_left(service: Record, environment: Mapping[str, str], grace_s: float) -> None:
    """End and remove the containers of a killed service, by force after so many seconds.

    Raises:
        EngineFailed: it cannot be done.
    """
    for where in service.engines:
        # Here, because of its client of HTTP: most services have no containers.
        from fabric.launch.container import end_containers
        from fabric.launch.engine import open_engine

        async with open_engine(where, environment) as engine:
            await end_containers(engine, service_key(service.spec, service.project), grace_s)


def remove_left(state: Path, service: Record) -> bool:
    """Remove the sockets and the record of a killed service.

    Returns whether they were still there: somebody else may have cleared away, or started it anew.

    Raises:
        ConfigError: the state directory cannot be written.
    """
    file = record_file(state, service.project)
    try:
        with hold_name(service.project, state):
            now = read_record(file)
            if now is None or now.process != service.process:
                return False
            remove_run_directory(Path(service.socket).parent)
            token_file(state, service.project).unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            return True
    except ConfigError:
        now = read_record(file)
        if now is not None and now.alive:
            return False
        raise


def _alive(service: Record) -> list[WorkerRecord]:
    return [worker for worker in service.workers if worker.process is not None and is_alive(worker.process)]


async def _wait_all(workers: Iterable[WorkerRecord]) -> None:
    for worker in workers:
        if worker.process is not None:
            await wait_ended(worker.process)


def _signal_group(worker: WorkerRecord, number: signal.Signals) -> None:
    """Send a signal to a worker that was seen alive a moment ago, and to what it started: it leads its own group."""
    assert worker.process is not None
    with suppress(ProcessLookupError, PermissionError):
        if os.getpgid(worker.process.pid) == worker.process.pid and is_alive(worker.process):
            os.killpg(worker.process.pid, number)
            if number == signal.SIGTERM:
                os.killpg(worker.process.pid, signal.SIGCONT)  # a stopped process could not act on it
