"""Programs called in a test, of which nothing may be left behind it."""

from __future__ import annotations

__all__ = ["FabricRun", "ProcessesLeft"]

from pathlib import Path
from typing import Any

import fabric
from fabric.client import Pipeline
from fabric.client.engine import close
from fabric.lang.source import Source
from fabric.testing.leftovers import Leftover, end, leftovers


class ProcessesLeft(AssertionError):
    """Processes that the test started still run when it ends. They are ended before this is raised."""


class FabricRun:
    """Made by the fixture ``fabric_run``.

    Called, it calls a program on one message and returns all outputs: see :func:`fabric.call_sync`.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Take what runs now for the business of others: of fixtures, which end it themselves."""
        self._before = [process.pid for process in leftovers()]

    def __call__(self, spec: str | Path | Source, message: Any, **how: Any) -> list[Any]:
        """Call a program; see :func:`fabric.call_sync`."""
        return fabric.call_sync(spec, message, **how)

    async def start(self, spec: str | Path | Source, **how: Any) -> Pipeline:
        """Start a program; see :func:`fabric.run`. One that still runs at the end is ended, and fails the test."""
        return await fabric.run(spec, **how)

    def check(self) -> None:
        """End what is left.

        Raises:
            ProcessesLeft: something was.
        """
        left = self._end()
        if left:
            raise ProcessesLeft(_told(left))

    def note(self, error: BaseException) -> None:
        """End what is left, and add it to an error that the test fails of anyway."""
        left = self._end()
        if left:
            error.add_note(_told(left))

    def _end(self) -> list[Leftover]:
        left = leftovers(self._before)
        if left:
            close()  # sessions first: they know best how to end their workers
            end(leftovers(self._before))
        return left


def _told(left: list[Leftover]) -> str:
    return f"the test left {len(left)} processes running, which were ended: {'; '.join(map(str, left))}"
