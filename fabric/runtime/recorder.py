"""Writes what a session records to its log, and holds back what must not be seen before that is durable.

The session decides on and on; what it does to the world waits here, in its order, until the log has the entries from
which it follows. While one write is under way the next entries gather: all of them are one commit then, so a slow
bucket makes commits larger, not the session slower.

A bucket that fails is tried again, for a while. What waits meanwhile is bounded: input is not welcome as long as much
of it does. Somebody else's commit where ours belongs means that another coordinator runs the session: this one has
lost it, and does nothing more.
"""

from __future__ import annotations

__all__ = ["FAILING_S_MAX", "SLOW_S", "Lost", "Recorder", "Resumed", "RunLog", "commit_of"]

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec
import trio

from fabric.errors import FabricError, LogDamaged, SessionNotFound, StoreFailed, Superseded
from fabric.session.events import Command, Finish, LossReport, Note, Record, SetTimer, Settled
from fabric.session.history import Emitted, Entered, History, encode_history
from fabric.session.reliving import Relived
from fabric.store.record import Entry

WAITING_BYTES_MAX = 8 * 1024 * 1024
"""Entries that may wait for the bucket before no more input is taken."""

HELD_MAX = 10_000
"""Commands that may: each is a message for a worker, say."""

COMMIT_BYTES_MAX = 4 * 1024 * 1024
"""Of entries in one commit, if there are several. Objects that are written conditionally are written in one request."""

SLOW_S = 1.0
"""How long a write may take before the bucket is one that fails, whether it says so or not."""

TELL_S = 5.0
"""When somebody is told of one that says nothing."""

FAILING_S_MAX = 60.0
"""How long a bucket may fail before the session gives up, from the begin of what it does not take."""

RETRY_S = 0.1
RETRY_S_MAX = 5.0
"""Until it is tried again: doubled each time."""


class RunLog(Protocol):
    """The log of a run. Both methods block."""

    def store_body(self, body: bytes, **fields: Any) -> Entry:
        """Store a body, apart if it is large; return an entry with it."""
        ...

    def append(self, entries: Sequence[Entry], base: int | None = None) -> object:
        """Append a commit. Called again with the same entries after a failure, it is the same commit.

        Args:
            entries: what happened.
            base: of how many commits the writer knew when it began.
        """
        ...


InThread: TypeAlias = Callable[[Callable[[], object]], Awaitable[object]]
"""Does something that blocks, beside the event loop."""


class Lost(msgspec.Struct, frozen=True):
    """A session cannot be recorded any more, in words and as a code. Nothing that is held back is done."""

    code: str
    message: str
    exit_code: int = 1

    @property
    def finish(self) -> Finish:
        """The end of the session. Nothing is lost: the log has all that counts."""
        return Finish(self.exit_code, LossReport(), (self.code, self.message))


class Resumed:
    """A kept session, brought back to where it was.

    Attributes:
        recorder: writes what it goes on to do.
        relived: what has come of it so far.
    """

    def __init__(self, recorder: Recorder, relived: Relived) -> None:
        self.recorder = recorder
        self.relived = relived

    def forget(self) -> None:
        """Its boundary is where it was: what has come before is as large as the whole session, and nobody's now."""
        self.relived = Relived()


def commit_of(log: RunLog, bodies: Sequence[tuple[str, bytes]], base: int | None = None) -> None:
    """Append entries, each with its event and its body, as one commit; ``base``: see :class:`RunLog`."""
    log.append([log.store_body(body, event=event) for event, body in bodies], base)


async def in_thread(function: Callable[[], object]) -> object:
    """Do something that blocks in a thread; who is cancelled does not wait for it."""
    return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


class Recorder:
    """Writes the log of one run.

    Args:
        log: of the run.
        noted: hears when the bucket fails, and when it works again.
        in_thread: does what blocks.
        base: how many of its commits the session was brought back from; ``None``: all that were read.
        place: how much of the output somebody has got already.

    Attributes:
        written_bytes: of entries that are durable by now.
    """

    def __init__(
        self,
        log: RunLog,
        noted: Callable[[Note], None],
        in_thread: InThread = in_thread,
        *,
        base: int | None = None,
        place: Emitted | None = None,
    ) -> None:
        self._log = log
        self._base = base
        self._lost: Lost | None = None
        self._noted = noted
        self._in_thread = in_thread
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = self.written_bytes = 0
        self._taken = self._durable = 0  # entries; how much of the output is written is none that anything waits for
        self._held: deque[Command | Callable[[], None] | int] = deque()
        self._emitted: Emitted | None = None
        self._place = place or Emitted(0)
        self._promised: dict[int, Callable[[], None]] = {}
        self._work = trio.Event()
        self._works = trio.Event()
        self._stands_from_s: float | None = None
        """When the bucket begins, or began, to be one that fails; ``None``: nothing is being written."""
        self._stood_s = 0.0
        self._trouble = ""

    # --- what the coordinator asks ---

    @property
    def written(self) -> int:
        """How many entries are durable by now."""
        return self._durable

    @property
    def full(self) -> bool:
        """Whether so much waits, or the bucket fails, that no input should be taken."""
        waits = self._waiting_bytes > WAITING_BYTES_MAX or len(self._held) > HELD_MAX
        return waits or self.failing

    @property
    def failing(self) -> bool:
        """Whether the bucket does not take what is being written: it says so, or says nothing."""
        return self._stands_from_s is not None and trio.current_time() >= self._stands_from_s

    @property
    def stood_s(self) -> float:
        """For how long the bucket has failed so far, in all. Meanwhile nothing is done that could be waited for."""
        now_s = trio.current_time()
        return self._stood_s + (0.0 if self._stands_from_s is None else max(0.0, now_s - self._stands_from_s))

    async def works(self) -> None:
        """Wait until the bucket does not fail."""
        while self.failing:
            await self._works.wait()

    @property
    def holding(self) -> bool:
        """Whether anything is held back."""
        return bool(self._held)

    def lets(self, command: Command) -> bool:
        """Take a command; return whether it may be performed now. If not, it comes out of :meth:`released`, later.

        Timers and notes are let through: the one tells the world nothing, the other only people. (While the bucket
        fails no timer runs: see ``Coordinator.now_s``.)
        """
        if isinstance(command, Record):
            self._record(command.entries)
            return False
        if self._promised and isinstance(command, Settled):  # it was refused before it came in
            for ticket in command.tickets:
                self._promised.pop(ticket, None)
        if not self._held or isinstance(command, SetTimer | Note):
            return True
        self._held.append(command)
        return False

    def promise(self, ticket: int, then: Callable[[], None]) -> None:
        """Hold something back until an input that is still to come is durable: directly behind its entry."""
        self._promised[ticket] = then

    def released(self) -> list[Command | Callable[[], None]]:
        """Take out what need not wait any longer, in its order."""
        out: list[Command | Callable[[], None]] = []
        while self._held:
            first = self._held[0]
            if not isinstance(first, int):
                out.append(first)
            elif first > self._durable:
                break
            self._held.popleft()
        return out

    def emitted(self, emitted: Emitted) -> None:
        """Tell how much of the output somebody has got: written with what is written next. The newest counts."""
        self._emitted = self._place = emitted

    def _record(self, entries: Sequence[History]) -> None:
        for entry in entries:
            self._waiting.append(body_of(entry))
            self._waiting_bytes += len(self._waiting[-1][1])
        self._taken += len(entries)
        self._held.append(self._taken)
        if self._promised:
            tickets = (entry.ticket for entry in entries if isinstance(entry, Entered))
            self._held += [self._promised.pop(ticket) for ticket in tickets if ticket in self._promised]
        self._work.set()

    # --- writing ---

    async def run(self, released: Callable[[], None]) -> Lost:
        """Write what there is to write, until nothing can be written any more; return why.

        Args:
            released: called when commands need not wait any longer.
        """
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._waiting:
                lost = await self._write_some()
                if lost is not None:
                    return lost
                released()

    async def finish(self) -> Lost | None:
        """Write what is left, and how much of its output somebody has got. Who has lost the session writes nothing."""
        while self._waiting or self._emitted is not None:
            lost = await self._write_some()
            if lost is not None:
                return lost
        return None

    async def close(self) -> Lost | None:
        """Write what is left when the session is over, and last how much of its output somebody has got: whoever
        ran it is told now how it ended."""
        while self._waiting:
            lost = await self._write_some()
            if lost is not None:
                return lost
        self._emitted = self._place
        return await self.finish()

    async def _write_some(self) -> Lost | None:
        """Write a commit, however often that has to be tried; return why that is given up, from then on always."""
        if self._lost is not None:
            return self._lost
        entries = self._next_entries()
        bodies = [body_of(self._emitted), *entries] if self._emitted is not None else entries
        self._emitted = None
        begun_s = trio.current_time()
        self._stands_from_s = begun_s + SLOW_S
        self._trouble = ""
        with trio.move_on_at(begun_s + FAILING_S_MAX) as trying:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell_if_slow)
                self._lost = await self._place_surely(bodies)
                nursery.cancel_scope.cancel()
        if trying.cancelled_caught:
            self._lost = _failed(self._trouble or "it does not answer", trio.current_time() - begun_s)
        if self._lost is not None:
            return self._lost
        self._stood_s, self._stands_from_s = self.stood_s, None
        if self._trouble:
            self._noted(Note("info", "store.recovered", {}))
        self._works.set()
        self._works = trio.Event()
        for _, body in entries:
            self._waiting.popleft()
            self._waiting_bytes -= len(body)
        self.written_bytes += sum(len(body) for _, body in bodies)
        self._durable += len(entries)
        return None

    def _next_entries(self) -> list[tuple[str, bytes]]:
        """Return what waits, as much of it as should be one commit."""
        entries: list[tuple[str, bytes]] = []
        size_bytes = 0
        for event, body in self._waiting:
            size_bytes += len(body)
            if entries and size_bytes > COMMIT_BYTES_MAX:
                break
            entries.append((event, body))
        return entries

    async def _place_surely(self, bodies: Sequence[tuple[str, bytes]]) -> Lost | None:
        """Try again and again."""
        retry_s = RETRY_S
        while True:
            try:
                await self._in_thread(lambda: commit_of(self._log, bodies, self._base))
            except StoreFailed as error:
                self._stands(str(error))
                await trio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_S_MAX)
            except (Superseded, LogDamaged, SessionNotFound) as error:
                return _lost(error)
            else:
                return None

    async def _tell_if_slow(self) -> None:
        await trio.sleep(TELL_S)
        if not self._trouble:
            self._stands(f"no answer for {TELL_S:.0f} s")

    def _stands(self, trouble: str) -> None:
        """The bucket does not take what is written: say so once."""
        if not self._trouble:
            self._noted(Note("warning", "store.retried", {"reason": trouble, "waiting": len(self._waiting)}))
        self._trouble = trouble
        assert self._stands_from_s is not None
        self._stands_from_s = min(self._stands_from_s, trio.current_time())


def body_of(entry: History) -> tuple[str, bytes]:
    """Return an entry of the log: its event and its body."""
    return str(type(entry).__struct_config__.tag), encode_history(entry)


def _failed(trouble: str, for_s: float) -> Lost:
    hint = "nothing that is not in the log was done; run it again when the bucket works"
    return Lost(StoreFailed.code, f"the bucket has failed for {for_s:.0f} s: {trouble}; {hint}")


def _lost(error: FabricError) -> Lost:
    if isinstance(error, Superseded):
        hint = "this one has done nothing since; fabric session log shows what the other does"
        return Lost("superseded", f"another coordinator runs this session now: {error}; {hint}")
    return Lost(error.code, str(error))
