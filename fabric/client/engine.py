"""The thread in which all sessions of this process run, in one event loop of its own.

It is started when the first program is run, and ended with the process, or by :func:`close`. Callers live elsewhere,
in event loops of any kind or in none; they and their sessions meet at a :class:`fabric.client.bell.Bell`. A process
that is forked of this one has no engine, and starts one of its own when it needs it.
"""

from __future__ import annotations

__all__ = ["Engine", "Session", "close", "engine"]

import atexit
import os
import threading
from collections.abc import Callable
from typing import Protocol

import trio

from fabric.client.admission import Admission
from fabric.errors import RunError, sole
from fabric.launch.zygotes import Zygotes, open_zygotes


class Session(Protocol):
    """What runs in an engine."""

    async def run(self, engine: Engine) -> None:
        """Run to the end. Raises nothing but ``trio.Cancelled``; whoever waits for it is told then, too."""
        ...

    def cancel(self) -> None:
        """End it by force."""
        ...

    def refuse(self, error: Exception) -> None:
        """It will never run. Whoever waits for it is told; nothing, if it is over."""
        ...


class Engine:
    """One thread, one loop, one warm zygote.

    Attributes:
        pid: the process that it is of.
        zygotes: fork workers of all sessions.
        admission: lets calls in one after the other.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.zygotes: Zygotes
        self.admission: Admission
        self._sessions: trio.Nursery
        self._running: set[Session] = set()
        self._token: trio.lowlevel.TrioToken | None = None
        self._started = threading.Event()
        self._ending = False
        self._end: trio.Event
        self._crash: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fabric", daemon=True)

    def open(self) -> None:
        """Start it.

        Raises:
            RunError: there can be no thread, or no loop in it.
        """
        try:
            self._thread.start()
        except RuntimeError as error:  # also: the interpreter ends
            self._started.set()
            raise RunError(f"the thread that runs programs cannot be started: {error}") from None
        self._started.wait()
        if self._crash is not None:  # no descriptor is left
            raise RunError(f"the thread that runs programs cannot be started: {sole(self._crash)}") from None

    @property
    def is_here(self) -> bool:
        """Whether who asks is in its thread: he cannot wait for it."""
        return threading.current_thread() is self._thread

    @property
    def alive(self) -> bool:
        """Whether it takes sessions."""
        return self._thread.is_alive() and not self._ending and self._crash is None

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left."""
        return self._started.is_set() and not self._thread.is_alive()

    # --- for other threads ---

    def start(self, session: Session) -> None:
        """Run a session; one that comes too late is refused."""

        def begin() -> None:
            if self._ending:
                session.refuse(RunError(ENDED))
            else:
                self._running.add(session)
                self._sessions.start_soon(self._serve, session)

        if not self.soon(begin):
            session.refuse(RunError(ENDED))

    def stop(self, session: Session) -> None:
        """End a session by force, also one that was to be started and may not have been."""

        def stop() -> None:
            if session in self._running:
                session.cancel()
            else:
                session.refuse(RunError(ENDED))

        if not self.soon(stop):
            session.refuse(RunError(ENDED))

    def soon(self, act: Callable[[], object]) -> bool:
        """Have a function called in the loop; return whether it will be."""
        if self._token is None or self.pid != os.getpid():
            return False
        try:
            self._token.run_sync_soon(act)
        except trio.RunFinishedError:
            return False
        return True

    def close(self) -> None:
        """End every session by force, and the zygotes; return when nothing of them is left. Idempotent."""
        self._ending = True
        if self.is_here:
            self._end.set()
        while self._thread.is_alive() and not self.is_here:
            self._started.wait()
            self.soon(lambda: self._end.set())
            self._thread.join()

    # --- its thread ---

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - the last place of this thread: it is told to who waits
            self._crash = error
            self._ending = True
            for session in tuple(self._running):
                session.refuse(RuntimeError(f"the thread that runs programs has failed: {error!r}"))
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._end = trio.Event()
        self.admission = Admission()
        async with open_zygotes() as self.zygotes, trio.open_nursery() as self._sessions:
            self._started.set()
            if self._ending:  # its start was broken off
                self._end.set()
            await self._end.wait()
            self._ending = True
            self._sessions.cancel_scope.cancel()

    async def _serve(self, session: Session) -> None:
        try:
            await session.run(self)
        finally:
            self._running.discard(session)


ENDED = "the thread that runs programs has ended"

_lock = threading.Lock()
_engine: Engine | None = None
_begun: list[Engine] = []
"""Those of which something may be left: also one whose start or end was broken off, by Ctrl-C."""


def engine() -> Engine:
    """Return the engine of this process, started if need be.

    Raises:
        RunError: there can be none.
    """
    global _engine
    with _lock:
        if _engine is None or not _engine.alive:
            _begun[:] = [one for one in _begun if not one.gone]
            started = Engine()
            _begun.append(started)
            started.open()
            _engine = started
        return _engine


def close() -> None:
    """End what runs in this process by force, and the processes that were kept warm; return when nothing is left.

    That happens by itself when the process ends. What is run later starts anew.
    """
    global _engine
    with _lock:
        _engine = None
        ending = tuple(_begun)
    for one in ending:  # whoever comes second waits for the same threads
        one.close()


def _begin_anew() -> None:
    """In a process that was forked: the thread has stayed behind, and so may have whoever held the lock."""
    global _engine, _lock
    _lock = threading.Lock()
    _engine = None
    _begun.clear()


atexit.register(close)
os.register_at_fork(after_in_child=_begin_anew)
