"""A service without a terminal: the command forks, its child becomes the coordinator, and the command watches it come
up.

The child is in a session of its own, and holds nothing of its parent's: its stdin and stdout are /dev/null, its stderr
is a pipe to the parent until it is ready, /dev/null from then on. The parent shows what comes through the pipe, so
that everything that the start has to say is said where the user is. Not taken: to give the child the terminal's stderr
for the time being; whatever else it starts would inherit and keep it, and a script that reads our stderr would hang.
"""

from __future__ import annotations

__all__ = ["Child", "Parent", "fork"]

import os
import select
import signal
import time
from contextlib import suppress

STARTED = b"+"

CHUNK_BYTES = 64 * 1024


class Child:
    """The side that becomes the service."""

    def __init__(self, status_fd: int) -> None:
        self._status_fd = status_fd

    def started(self) -> None:
        """Tell the parent that all is well, and let go of it."""
        with suppress(OSError):  # it did not wait
            os.write(self._status_fd, STARTED)
        os.close(self._status_fd)
        _to_null(2)


class Parent:
    """The side that the user waits for.

    Attributes:
        pid: of the child.
        interrupted: the last signal that was passed on to it, or 0.
    """

    def __init__(self, pid: int, status_fd: int, stderr_fd: int) -> None:
        self.pid = pid
        self.interrupted = 0
        self._status_fd = status_fd
        self._stderr_fd = stderr_fd

    def wait_started(self, timeout_s: float | None) -> bool | None:
        """Show what the child says until it has started, and return true, or until it has ended, and return false.

        ``None``: neither has happened in time. SIGINT and SIGTERM are passed on to the child, which then ends.
        """
        for number in _PASSED_ON:
            signal.signal(number, self._pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        until_s = time.monotonic() + timeout_s if timeout_s is not None else None
        while True:
            left_s = max(0.0, until_s - time.monotonic()) if until_s is not None else None
            readable, _, _ = select.select([self._status_fd, self._stderr_fd], [], [], left_s)
            if not readable:
                return None
            if self._status_fd in readable:
                started = os.read(self._status_fd, 1) == STARTED
                while select.select([self._stderr_fd], [], [], 0)[0] and self._show():
                    pass
                return started
            self._show()

    def wait_ended(self) -> int:
        """Return the child's exit code, or the negative number of the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _pass_on(self, number: int, _: object) -> None:
        self.interrupted = number
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(self.pid, number)

    def _show(self) -> bool:
        """Pass on what the child wrote; return whether there may be more."""
        chunk = os.read(self._stderr_fd, CHUNK_BYTES)
        with suppress(OSError):  # nobody reads ours; that must not keep the service from starting
            os.write(2, chunk)
        return bool(chunk)


_PASSED_ON = (signal.SIGINT, signal.SIGTERM)


def fork() -> Child | Parent:
    """Become two. Before there are threads."""
    status = os.pipe()
    stderr = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)  # one that comes now is for both, and not lost
    pid = os.fork()
    if pid:
        os.close(status[1])
        os.close(stderr[1])
        return Parent(pid, status[0], stderr[0])
    os.setsid()
    _to_null(0)
    _to_null(1)
    os.dup2(stderr[1], 2)
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # locks and pipes of whoever called us
        if descriptor > 2 and descriptor != status[1]:
            with suppress(OSError):  # the one that read the directory
                os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    return Child(status[1])


def _to_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    if null != descriptor:
        os.close(null)
