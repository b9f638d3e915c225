"""The zygote's process and the launcher's end of its socket. Needs no event loop, so that it can be started early.

It imports for a tenth of a second, and meanwhile we load what we need ourselves.
"""

from __future__ import annotations

__all__ = ["ZygoteProcess", "module_to_fork", "open_zygote", "preloads"]

import os
import socket
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from fabric.plan.make import MODULE
from fabric.plan.plan import WorkerPlan

STDERR_FD = 2


class ZygoteProcess:
    """Made by :func:`open_zygote`, and by :class:`fabric.launch.zygotes.Zygotes`.

    Args:
        modules: what it imports, each with hints for that; see :func:`preloads`.
        directory: where it works, and its workers, unless they are told otherwise; ``None``: where we do.

    Attributes:
        channel: our end of its socket.
    """

    def __init__(self, modules: Mapping[str, Collection[str]], *, directory: str | None = None) -> None:
        words = [":".join([module, *sorted(hints)]) for module, hints in sorted(modules.items())]
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", *MODULE, "fabric.launch.zygote", str(theirs.fileno()), *words],
                env={},
                stdin=subprocess.DEVNULL,
                stdout=STDERR_FD,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd=directory,
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

    def end(self) -> None:
        """End it at once, and wait until it is gone."""
        self.channel.close()
        self.kill()
        self.wait()


def module_to_fork(worker: WorkerPlan) -> str | None:
    """Return the module that a worker runs if it can be forked; others have to be spawned."""
    *python, module = worker.command
    return module if worker.ours and python == [sys.executable, *MODULE] else None


def preloads(workers: Iterable[WorkerPlan]) -> dict[str, frozenset[str]]:
    """Return what to import for these workers: modules, each with the names of the providers that it will need.

    None if none of them can be forked; so it is with all where libraries survive no fork.
    """
    if not hasattr(os, "pidfd_open"):  # Linux has it
        return {}
    providers: dict[str, set[str]] = {}
    for worker in workers:
        module = module_to_fork(worker)
        if module is not None:
            named = worker.spec.config.get("provider")
            providers.setdefault(module, set()).update([named] if named else [])
    return {module: frozenset(names) for module, names in providers.items()}


@contextmanager
def open_zygote(workers: Iterable[WorkerPlan]) -> Iterator[ZygoteProcess | None]:
    """Start the zygote for these workers, if any of them can be forked; end it behind the body."""
    modules = preloads(workers)
    if not modules:
        yield None
        return
    zygote = ZygoteProcess(modules)
    try:
        yield zygote
    finally:
        zygote.end()
