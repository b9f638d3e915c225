"""What starts workers offers."""

from __future__ import annotations

__all__ = ["Launcher", "Worker"]

from collections.abc import AsyncIterator
from typing import Literal, Protocol

from fabric.plan.plan import WorkerPlan


class Worker(Protocol):
    """A started worker. Who launched it calls :meth:`wait`, or it stays a zombie."""

    @property
    def pid(self) -> int | None:
        """Its process, if it is one of this host."""
        ...

    async def wait(self) -> int:
        """Return its exit status, or the negative number of the signal that ended it."""
        ...

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        """Send a signal to it and all that it started; to one that is gone: nothing."""
        ...

    def left(self) -> None:
        """Take note that its output has ended, and then that link: its exit, where nothing else of it is seen."""
        ...

    def stderr_lines(self) -> AsyncIterator[str]:
        """Give the lines of its stderr, without line ends, until it closes it. Once."""
        ...

    def stdout_lines(self) -> AsyncIterator[bytes]:
        """Give the lines of its stdout (``stdio`` workers). Once. Raises ValueRejected at one that is too long."""
        ...

    async def write_stdin(self, data: bytes) -> None:
        """Write to its stdin (``stdio`` workers). Raises TransportClosed when it no longer reads."""
        ...

    async def close_stdin(self) -> None:
        """End its stdin."""
        ...


class Launcher(Protocol):
    """Starts workers."""

    async def launch(self, worker: WorkerPlan) -> Worker:
        """Start one.

        Raises:
            WorkerFailed: its program cannot be started.
        """
        ...
