"""Processes that this one has started, directly or not, and that still run."""

from __future__ import annotations

__all__ = ["Leftover", "end", "leftovers"]

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

KEPT_WARM = ("fabric.launch.zygote", "multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""In the commands of children that stay for as long as this process: the one that workers are forked from, which serves
all calls, and those that Python keeps for itself."""

PROC = Path("/proc")

GONE_S = 5.0
"""How long a process that was killed may take to go. For a hang, not a measurement."""


class Leftover(msgspec.Struct, frozen=True):
    """A process that runs."""

    pid: int
    parent: int
    command: str

    def __str__(self) -> str:
        return f"{self.pid} {self.command}".rstrip()


def leftovers(known: Iterable[int] = ()) -> list[Leftover]:
    """Return the descendants of this process, but for those that are known or kept warm, by their ids.

    Those of a process that is known are not looked at, either.
    """
    children: dict[int, list[Leftover]] = {}
    for process in _processes():
        children.setdefault(process.parent, []).append(process)
    skipped = set(known)
    found, waiting = [], [os.getpid()]
    while waiting:
        parent = waiting.pop()
        for child in children.get(parent, ()):
            if child.pid in skipped:
                continue
            waiting.append(child.pid)
            if parent != os.getpid() or not any(name in child.command for name in KEPT_WARM):
                found.append(child)
    return sorted(found, key=lambda process: process.pid)


def end(processes: Iterable[Leftover]) -> None:
    """Kill processes, and wait until they are gone."""
    pids = {process.pid for process in processes}
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline_s = time.monotonic() + GONE_S
    while any(process.pid in pids for process in _processes()) and time.monotonic() < deadline_s:
        time.sleep(0.01)  # a child of others tells nobody that it is gone


def _processes() -> Iterable[Leftover]:
    """Yield all processes that have not ended."""
    if (PROC / "self" / "stat").exists():
        for folder in PROC.iterdir():
            if folder.name.isdigit():
                with suppress(OSError, IndexError):  # it has gone meanwhile
                    state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    if state not in "ZX":
                        yield Leftover(int(folder.name), int(parent), command)
        return
    listing = ["ps", "-A", "-o", "pid=,ppid=,stat=,args="]
    for line in subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines():
        number, above, status, *rest = line.split(None, 3)
        if not status.startswith("Z") and rest != [" ".join(listing)]:
            yield Leftover(int(number), int(above), *rest)
