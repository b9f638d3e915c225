"""The zygote's process and the launcher's end of its socket. Needs no event loop, so that it can be started early.

It imports for a tenth of a second, and meanwhile we load what we need ourselves.
"""

from __future__ import annotations

__all__ = ["ZygoteProcess", "module_to_fork", "open_zygote"]

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fabric.plan.make import MODULE
from fabric.plan.plan import WorkerPlan

STDERR_FD = 2


class ZygoteProcess:
    """Made by :func:`open_zygote`.

    Attributes:
        channel: our end of its socket.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", *MODULE, "fabric.launch.zygote", str(theirs.fileno()), *modules],
                env={},
                stdin=subprocess.DEVNULL,
                stdout=STDERR_FD,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def kill(self) -> None:
        """Kill it. Its workers die with it, by the pipe whose writing end it holds."""
        self._process.kill()

    def wait(self) -> int:
        """Return its exit status, or the negative number of the signal that ended it; it has to be ending."""
        return self._process.wait()


def module_to_fork(worker: WorkerPlan) -> str | None:
    """Return the module that a worker runs if it can be forked; others have to be spawned."""
    *python, module = worker.command
    return module if worker.ours and python == [sys.executable, *MODULE] else None


def _preloads(workers: Iterable[WorkerPlan]) -> list[str]:
    """Return what to import for these workers: modules, each with the names of the providers that it will need."""
    providers: dict[str, set[str]] = {}
    for worker in workers:
        module = module_to_fork(worker)
        if module is not None:
            named = worker.spec.config.get("provider")
            providers.setdefault(module, set()).update([named] if named else [])
    return [":".join([module, *sorted(names)]) for module, names in sorted(providers.items())]


@contextmanager
def open_zygote(workers: Iterable[WorkerPlan]) -> Iterator[ZygoteProcess | None]:
    """Start the zygote for these workers, if any of them can be forked; end it behind the body."""
    modules = _preloads(workers) if hasattr(os, "pidfd_open") else []  # Linux: elsewhere libraries survive no fork
    if not modules:
        yield None
        return
    zygote = ZygoteProcess(modules)
    try:
        yield zygote
    finally:
        zygote.channel.close()
        zygote.kill()
        zygote.wait()
