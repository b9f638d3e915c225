"""The zygotes of a process that runs many sessions: a warm one is shared by all whose workers it can fork.

A zygote has imported what some sessions needed. Who needs more gets a new one, which has imported all of that; the one
before ends with its last worker. One that has died is replaced. What a user writes is imported by workers alone, behind
the fork, so a warm zygote knows no old version of it.
"""

from __future__ import annotations

__all__ = ["Zygotes", "open_zygotes"]

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from fabric.launch.forked import Forker
from fabric.launch.inherited import kept_from_forks
from fabric.launch.preload import ZygoteProcess, preloads
from fabric.plan.plan import WorkerPlan


class _Warm:
    """One zygote.

    Attributes:
        users: sessions that it serves.
        retired: set when it is to end with the last of them.
    """

    def __init__(self, modules: dict[str, frozenset[str]], zygote: ZygoteProcess, forker: Forker) -> None:
        self.modules = modules
        self.zygote = zygote
        self.forker = forker
        self.users = 0
        self.retired = False
        self.ended = trio.CancelScope(shield=True)  # it has to hear of the ends that launchers wait for

    def has(self, modules: dict[str, frozenset[str]]) -> bool:
        """Whether it has imported all of that."""
        return all(name in self.modules and hints <= self.modules[name] for name, hints in modules.items())

    def end_if_idle(self) -> None:
        if self.retired and not self.users:
            self.ended.cancel()


class Zygotes:
    """Made by :func:`open_zygotes`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._warm: _Warm | None = None

    @property
    def pid(self) -> int | None:
        """Process of the one that new sessions get."""
        return None if self._warm is None else self._warm.zygote.pid

    @contextmanager
    def use(self, workers: Iterable[WorkerPlan]) -> Iterator[Forker | None]:
        """Give what forks these workers, if any of them can be forked; whoever has it ends its workers before.

        Raises:
            OSError: the zygote cannot be started.
        """
        modules = preloads(workers)
        if not modules:
            yield None
            return
        warm = self._find(modules)
        warm.users += 1
        try:
            yield warm.forker
        finally:
            warm.users -= 1
            warm.end_if_idle()

    def _find(self, modules: dict[str, frozenset[str]]) -> _Warm:
        before = self._warm
        if before is not None and before.forker.obituary is None:
            if before.has(modules):
                return before
            modules = {
                name: modules.get(name, frozenset()) | before.modules.get(name, frozenset())
                for name in modules | before.modules
            }
        warm = self._warm = self._start(modules)
        if before is not None:
            before.retired = True
            before.end_if_idle()
        return warm

    def _start(self, modules: dict[str, frozenset[str]]) -> _Warm:
        # In a directory that is always there: workers go where their session says.
        zygote = ZygoteProcess(modules, directory=os.sep)
        warm = _Warm(modules, zygote, Forker(zygote, self._nursery))
        self._nursery.start_soon(self._run, warm)
        return warm

    async def _run(self, warm: _Warm) -> None:
        """Hear what a zygote says until it is to end, and end it."""
        with kept_from_forks(warm.zygote.channel.fileno()):
            await warm.forker.run(warm.ended)
        warm.zygote.end()

    def end(self) -> None:
        """End all. No session uses one any more."""
        if self._warm is not None:
            self._warm.retired = True
            self._warm.end_if_idle()


@asynccontextmanager
async def open_zygotes() -> AsyncIterator[Zygotes]:
    """Give zygotes, and end them behind the body, cancelled or not."""
    async with trio.open_nursery() as nursery:
        zygotes = Zygotes(nursery)
        try:
            yield zygotes
        finally:
            zygotes.end()
