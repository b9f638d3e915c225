"""One fork, to see whether this host lets us: what `fabric doctor` tells before a program does."""

from __future__ import annotations

__all__ = ["try_to_fork"]

import os
import tempfile

import trio

from fabric.errors import WorkerFailed
from fabric.launch.forked import Forker
from fabric.launch.preload import ZygoteProcess
from fabric.launch.zygote import Header, encode

MODULE = "fabric.launch.guard"
"""What is forked: with nothing on its stdin it ends at once, with status 0."""

ANSWER_S = 10.0
"""How long that may take: a tenth of a second, on a host with nothing else to do."""


def try_to_fork() -> str | None:
    """Start a zygote, have it fork a process that ends at once; return what went wrong, if something did."""
    if not hasattr(os, "pidfd_open"):
        return "there is no pidfd_open(2) here: each worker is started by itself, which is slower"
    try:
        zygote = ZygoteProcess({})
    except OSError as error:
        return f"the process that forks workers cannot be started: {error.strerror}"
    try:
        return trio.run(_try, zygote)
    finally:
        zygote.end()


async def _try(zygote: ZygoteProcess) -> str | None:
    said: str | None = f"the process that forks workers did not answer within {ANSWER_S:g} s"
    async with trio.open_nursery() as nursery:
        forker, hearing = Forker(zygote, nursery), trio.CancelScope()
        nursery.start_soon(forker.run, hearing)
        with trio.move_on_after(ANSWER_S), tempfile.TemporaryFile() as file:
            header = encode(Header({}))
            file.write(header)
            file.seek(0)
            try:
                worker = await forker.fork("trial", MODULE, len(header), file.fileno(), lambda worker: None)
                written = [line async for line in worker.stderr_lines()]
                status = await worker.wait()
                said = None if status == 0 else f"a forked process ended with status {status}: {' '.join(written)}"
            except WorkerFailed as error:
                said = str(error)
        nursery.cancel_scope.cancel()
    return said
