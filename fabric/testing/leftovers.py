"""Processes that the fabric has started in this one, and what they started, that still run."""

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

from fabric.wire.spec import PARENT_FD_VARIABLE

KEPT_WARM = "fabric.launch.zygote"
"""In the command of the child that workers are forked from. It serves all calls, for as long as this process runs."""

_GUARD = "/fabric/launch/guard.py"

PROC = Path("/proc")

GONE_S = 5.0
"""How long a process that was killed may take to go. For a hang, not a measurement."""


class Leftover(msgspec.Struct, frozen=True):
    """A process that runs; ``ours`` says whether it looks as if the fabric had started it."""

    pid: int
    parent: int
    command: str
    ours: bool

    def __str__(self) -> str:
        return f"{self.pid} {self.command}".rstrip()


def leftovers(known: Iterable[int] = ()) -> list[Leftover]:
    """Return what the fabric has started in this process, with all descendants, but for what is kept warm.

    A child that somebody else has started is not looked at, and neither is one that is known by its id; nor are their
    descendants. Where there is no ``/proc`` nobody can tell whose a child is: there all are looked at.
    """
    children: dict[int, list[Leftover]] = {}
    for process in _processes():
        children.setdefault(process.parent, []).append(process)
    skipped = set(known)
    found, waiting = [], [os.getpid()]
    while waiting:
        parent = waiting.pop()
        for child in children.get(parent, ()):
            is_child = parent == os.getpid()
            if child.pid in skipped or (is_child and not child.ours):
                continue
            waiting.append(child.pid)
            if not (is_child and KEPT_WARM in child.command):
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
                        yield Leftover(int(folder.name), int(parent), command, _is_ours(folder, command))
        return
    listing = ["ps", "-A", "-o", "pid=,ppid=,stat=,args="]
    for line in subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines():
        number, above, status, *rest = line.split(None, 3)
        if not status.startswith("Z") and rest != [" ".join(listing)]:
            yield Leftover(int(number), int(above), " ".join(rest), ours=True)


def _is_ours(folder: Path, command: str) -> bool:
    """Whether a process is one of those that the fabric starts: all but two get the end of a pipe, to end with it."""
    if KEPT_WARM in command or _GUARD in command:
        return True
    try:
        variables = (folder / "environ").read_bytes().split(b"\0")
    except PermissionError:  # it runs as somebody else
        return False
    return any(variable.startswith(f"{PARENT_FD_VARIABLE}=".encode()) for variable in variables)
