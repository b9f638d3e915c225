"""The guard's side that has it: a process that ends the groups of foreign programs if ours dies."""

from __future__ import annotations

__all__ = ["Guard", "open_guard"]

import os
import subprocess
import sys
from contextlib import suppress

import trio

from fabric.launch import guard


class Guard:
    """A guard process; made by :func:`open_guard`."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        self._process = process
        self._pipe = process.stdin

    def watch(self, pid: int) -> None:
        """Look after the process group that this process leads."""
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """The group is gone."""
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        # A few bytes into a pipe that the guard reads at once; less than PIPE_BUF is written whole. If the guard is
        # gone, workers still end in order; only a crash of ours would leave them behind.
        with suppress(OSError):
            os.write(self._pipe.fileno(), line.encode())  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Let it end; it kills what it still looks after."""
        await self._pipe.aclose()
        await self._process.wait()


async def open_guard() -> Guard:
    """Start one; whoever does closes it."""
    process = await trio.lowlevel.open_process(
        # Not -m: in the user's working directory may lie another folder of the name fabric.
        [sys.executable, "-I", guard.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    return Guard(process)
