"""Workers that somebody else starts: compose, Kubernetes, systemd, a colleague. All that is seen of them is a link.

There is no process to wait for and none to kill. A worker "exits" when its connection is over: in order, with status 0,
or because it broke off. What is given up is our side of it; the worker waits for who comes next.
"""

from __future__ import annotations

__all__ = ["ExternalLauncher", "ExternalWorker"]

from collections.abc import AsyncIterator
from typing import Literal

import trio

from fabric.launch.launcher import Worker
from fabric.plan.plan import WorkerPlan
from fabric.wire.lifecycle import BROKE_OFF


class ExternalWorker:
    """One connection to a worker that somebody else starts."""

    pid: int | None = None

    def __init__(self) -> None:
        self._over = trio.Event()
        self._status = BROKE_OFF

    # --- see fabric.launch.launcher.Worker ---

    async def wait(self) -> int:
        """Return 0 if the worker has left in order, else ``BROKE_OFF``."""
        await self._over.wait()
        return self._status

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        """Give the connection up. The process is somebody else's to end."""
        self._over.set()

    def left(self) -> None:
        """It has left in order, unless the connection was given up before."""
        if not self._over.is_set():
            self._status = 0
            self._over.set()

    async def stderr_lines(self) -> AsyncIterator[str]:
        """Give nothing: what it writes is with who started it."""
        await trio.lowlevel.checkpoint()
        lines: tuple[str, ...] = ()
        for line in lines:
            yield line

    def stdout_lines(self) -> AsyncIterator[bytes]:
        """Not there."""
        raise AssertionError("it speaks on sockets")

    async def write_stdin(self, data: bytes) -> None:
        """Not there."""
        raise AssertionError("it speaks on sockets")

    async def close_stdin(self) -> None:
        """Not there."""
        raise AssertionError("it speaks on sockets")


class ExternalLauncher:
    """Starts nothing: gives a connection that waits for its worker."""

    async def launch(self, worker: WorkerPlan) -> Worker:
        """See :class:`fabric.launch.launcher.Launcher`."""
        await trio.lowlevel.checkpoint()
        return ExternalWorker()
