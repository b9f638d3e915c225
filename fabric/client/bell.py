"""Where tasks of any event loop, and threads, wait for what another thread does.

What they share is looked at and taken under a lock, and the taking is the last thing that happens before they go on:
who is cancelled while he waits has taken nothing.
"""

from __future__ import annotations

__all__ = ["Bell", "wake_up"]

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import anyio
import anyio.lowlevel
import trio

_T = TypeVar("_T")


def wake_up() -> Callable[[Callable[[], object]], None]:
    """Return what has a function called in the event loop that runs here, from any thread, unless that is over."""
    if trio.lowlevel.in_trio_run():
        token = trio.lowlevel.current_trio_token()

        def in_trio(act: Callable[[], object]) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(act)

        return in_trio
    import asyncio  # 30 ms, for those who have loaded it already

    loop = asyncio.get_running_loop()

    def in_asyncio(act: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(act)

    return in_asyncio


class Bell:
    """A lock, and what rings when something has changed under it."""

    def __init__(self) -> None:
        self.lock: threading.Lock = threading.Lock()
        self._sleepers: dict[object, Callable[[], None]] = {}

    @property
    def sleepers(self) -> int:
        """How many wait."""
        return len(self._sleepers)

    def ring(self) -> None:
        """Let all who wait look again. With the lock held."""
        sleepers, self._sleepers = self._sleepers, {}
        for wake in tuple(sleepers.values()):  # who gives up this moment may still take himself out of them
            wake()

    async def wait(self, look: Callable[[], _T | None]) -> _T:
        """Wait until there is something to take, in a task of any loop.

        Args:
            look: takes it, and returns it; ``None``: there is nothing yet. Called with the lock held; what it raises is
                raised here.
        """
        await anyio.lowlevel.checkpoint()
        while True:
            changed, soon, key = anyio.Event(), wake_up(), object()
            with self.lock:
                found = look()
                if found is not None:
                    return found
                self._sleepers[key] = lambda: soon(changed.set)  # noqa: B023 - called before the next turn, or never
            try:
                await changed.wait()
            finally:  # without the lock: the collector may come here, in a thread that holds it
                self._sleepers.pop(key, None)

    def wait_sync(self, look: Callable[[], _T | None], timeout_s: float | None = None) -> _T | None:
        """Do the same in a thread; ``None``: the time is over."""
        while True:
            changed, key = threading.Event(), object()
            with self.lock:
                found = look()
                if found is not None:
                    return found
                self._sleepers[key] = changed.set
            try:
                if not changed.wait(timeout_s):
                    return None
            finally:
                self._sleepers.pop(key, None)
