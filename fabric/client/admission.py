"""Which calls may run now, and who has to wait: in the order in which they came.

A call costs processes, descriptors and sockets. A thousand of them at once are no faster than as many as the machine
bears, and each is bound to be ready in time. Programs that somebody talks to are not held back, for one of them may
wait for another; but there has to be room for them.
"""

from __future__ import annotations

__all__ = ["DESCRIPTORS_PER_SESSION", "WORKERS_PER_CORE", "Admission"]

import os
import resource
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from fabric.errors import RunError
from fabric.runtime.descriptors import DESCRIPTORS_BESIDES_WORKERS, DESCRIPTORS_PER_WORKER, raise_soft_limit

WORKERS_PER_CORE = 16
"""Of calls that run at the same time. Most of them wait for a model; each has some 5 MiB of its own."""

DESCRIPTORS_PER_SESSION = 24
"""Measured: lock, pipes and the library's own, 9; a guard, the tool host."""


class Admission:
    """Lets sessions in. Used by the engine's loop alone.

    Args:
        workers_max: of calls that run at the same time; one call is let in however many it has.
        descriptors_max: that sessions may have together.
    """

    def __init__(self, workers_max: int | None = None, descriptors_max: int | None = None) -> None:
        self._workers_max = WORKERS_PER_CORE * (os.cpu_count() or 1) if workers_max is None else workers_max
        self._descriptors_max = _descriptors() if descriptors_max is None else descriptors_max
        self._workers = 0
        self._calls = 0
        self._descriptors = 0
        self._waiting: deque[tuple[int, trio.Event]] = deque()

    @asynccontextmanager
    async def call(self, workers: int) -> AsyncIterator[None]:
        """Wait until a call may run, and hold its place."""
        if self._waiting or not self._fits(workers):
            entry = workers, trio.Event()
            self._waiting.append(entry)
            try:
                await entry[1].wait()
            except trio.Cancelled:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                else:  # it was let in this moment
                    self._leave(workers)
                self._let_in()
                raise
        else:
            self._enter(workers)
        try:
            yield
        finally:
            self._leave(workers)
            self._let_in()

    @asynccontextmanager
    async def pipeline(self, workers: int) -> AsyncIterator[None]:
        """Hold the place of a program that somebody talks to.

        Raises:
            RunError: there is none.
        """
        needed = _needed(workers)
        if self._descriptors + needed > self._descriptors_max:
            raise RunError(
                f"{workers} workers need {needed} open files; other programs of this process may have"
                f" {self._descriptors} of {self._descriptors_max}. End some, or raise the limit with ulimit -Hn"
            )
        self._descriptors += needed
        raise_soft_limit(self._descriptors)
        try:
            yield
        finally:
            self._descriptors -= needed
            self._let_in()

    def _fits(self, workers: int) -> bool:
        """Whether a call may run now; alone, any may, and may then fail for want of descriptors."""
        if not self._calls:
            return True
        fits = self._descriptors + _needed(workers) <= self._descriptors_max
        return fits and self._workers + workers <= self._workers_max

    def _enter(self, workers: int) -> None:
        self._calls += 1
        self._workers += workers
        self._descriptors += _needed(workers)
        raise_soft_limit(self._descriptors)

    def _leave(self, workers: int) -> None:
        self._calls -= 1
        self._workers -= workers
        self._descriptors -= _needed(workers)

    def _let_in(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            workers, admitted = self._waiting.popleft()
            self._enter(workers)
            admitted.set()


def _needed(workers: int) -> int:
    return DESCRIPTORS_PER_SESSION + workers * DESCRIPTORS_PER_WORKER


DESCRIPTORS_MAX = 65_536
"""Where there is no limit: nobody has so many."""


def _descriptors() -> int:
    """Return how many descriptors there may be for sessions."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(0, (DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else hard) - DESCRIPTORS_BESIDES_WORKERS)
