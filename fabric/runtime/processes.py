"""Processes of this host, told apart for good: a pid alone may be somebody else's by the time that it is looked at."""

from __future__ import annotations

__all__ = ["Process", "cpu_s", "identify", "is_alive", "memory_bytes", "open_handle", "process_state"]

import os
from pathlib import Path

import msgspec


class Process(msgspec.Struct, frozen=True):
    """One process, for all time.

    Attributes:
        pid: its number.
        born: when it started, as a word that is only compared: clock ticks since boot, and which boot.
    """

    pid: int
    born: str


def identify(pid: int) -> Process | None:
    """Return the process that has this number now, if any has."""
    fields = _stat(pid)
    return Process(pid, _born(fields)) if fields else None


def is_alive(process: Process) -> bool:
    """Whether this very process still runs. One that has ended and that nobody has reaped does not."""
    fields = _stat(process.pid)
    return bool(fields) and fields[0] not in "ZX" and _born(fields) == process.born


def process_state(process: Process) -> str:
    """Return what it is at, as a letter (proc_pid_stat(5)): ``R``, ``S``, ``T`` stopped, ``Z``…; "" if it is gone."""
    fields = _stat(process.pid)
    return fields[0] if fields and _born(fields) == process.born else ""


def open_handle(process: Process) -> int | None:
    """Return a descriptor that becomes readable when this very process ends, or ``None`` if it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if is_alive(process):  # behind the opening: what it says is true of what was opened
        return descriptor
    os.close(descriptor)
    return None


def memory_bytes(process: Process) -> int | None:
    """Return how much memory it has in use (resident), or ``None`` if it has ended."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGESIZE") if is_alive(process) else None


def cpu_s(process: Process) -> float | None:
    """Return how much processor time it has used, its own and the system's for it, or ``None`` if it has ended."""
    fields = _stat(process.pid)
    if not fields or _born(fields) != process.born:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third, the state, on; none if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the second is its name, which may contain anything


def _born(fields: list[str]) -> str:
    return f"{fields[19]}@{_boot()}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""
