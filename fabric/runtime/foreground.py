"""Run a plan in the foreground: with stdin and stdout as its boundary, or as a service.

First Ctrl-C or SIGTERM: no more input, the rest is finished. Second: workers are ended. Third: killed.
"""

from __future__ import annotations

__all__ = ["Report", "run_lines", "run_service"]

import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from fabric.errors import ConfigError
from fabric.launch.process import open_launcher
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Client, Coordinator
from fabric.runtime.gateway import LineGateway
from fabric.runtime.service import Service
from fabric.session.events import Finish, Note, Stop
from fabric.session.session import Session, Settings
from fabric.transport.sockets import open_sockets


class Report(Protocol):
    """Where a command wants to hear of what happens."""

    def error(self, message: str, code: str, fields: Mapping[str, object]) -> None:
        """Something is wrong, in words and as a code."""
        ...

    def noted(self, note: Note) -> None:
        """Something happened."""
        ...

    def worker_wrote(self, worker: str, line: str) -> None:
        """A worker wrote a line to its stderr."""
        ...


@asynccontextmanager
async def _coordinator(
    plan: Plan, settings: Settings, client: Client, environment: Mapping[str, str]
) -> AsyncIterator[Coordinator]:
    session = Session(plan, settings, random.Random(os.urandom(32)))
    async with open_launcher(environment) as launcher, open_sockets() as transport:
        yield Coordinator(session, transport, launcher, client)


async def _obey_signals(coordinator: Coordinator, asked: Callable[[], None]) -> None:
    """Turn signals into stops; for ever."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        count = 0
        async for number in signals:
            count += 1
            if count == 1:
                asked()
                coordinator.stop(Stop("drain"))
            else:
                coordinator.stop(Stop("terminate" if count == 2 else "kill", 128 + number))


async def run_lines(
    plan: Plan,
    settings: Settings,
    report: Report,
    environment: Mapping[str, str],
    *,
    stdin_fd: int = 0,
    stdout_fd: int = 1,
) -> Finish:
    """Run a plan with JSON lines in and out until its input has ended and it has drained.

    Returns how it ended; ``exit_code`` is 1 if a line was refused, or nobody read the output.
    """
    gateway = LineGateway(plan, report.error, report.noted, report.worker_wrote)
    async with _coordinator(plan, settings, gateway, environment) as coordinator, trio.open_nursery() as nursery:
        nursery.start_soon(_obey_signals, coordinator, gateway.stop_reading)
        nursery.start_soon(gateway.read, coordinator, stdin_fd)
        writing = trio.Event()

        async def write() -> None:
            await gateway.write(coordinator, stdout_fd)
            writing.set()

        nursery.start_soon(write)
        finish = await coordinator.run()
        gateway.finish()
        await writing.wait()
        nursery.cancel_scope.cancel()
    failed = 1 if gateway.failed and finish.exit_code in (0, 5) else finish.exit_code
    return Finish(failed, finish.losses, finish.error)


async def run_service(
    plan: Plan,
    settings: Settings,
    report: Report,
    environment: Mapping[str, str],
    *,
    socket_path: str,
    opened: Callable[[], None],
    asked_to_stop: Callable[[], None],
) -> tuple[Finish, int]:
    """Serve a plan on a local socket until a signal ends it; return how it ended, and how many messages came out.

    Raises:
        ConfigError: the socket cannot be bound.
    """
    service = Service(plan, opened, report.noted, report.worker_wrote)
    async with _coordinator(plan, settings, service, environment) as coordinator, trio.open_nursery() as nursery:
        listener = await _listen(socket_path)
        nursery.start_soon(_obey_signals, coordinator, asked_to_stop)
        nursery.start_soon(service.serve, coordinator, listener)
        finish = await coordinator.run()
        with trio.move_on_after(settings.grace_s):
            await service.finish()
        nursery.cancel_scope.cancel()
    return finish, service.messages


async def _listen(path: str) -> trio.SocketListener:
    listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        await listening.bind(path)
    except OSError as error:
        listening.close()
        raise ConfigError(f"cannot bind {path}: {error.strerror}") from None
    os.chmod(path, 0o600)
    listening.listen(64)
    return trio.SocketListener(listening)
