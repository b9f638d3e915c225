"""Writes what a session records to its log, and holds back what must not be seen before that is durable.

The session decides on and on; what it does to the world waits here, in its order, until the log has the entries from
which it follows. While one write is under way the next entries gather: all of them are one commit then, so a slow
bucket makes commits larger, not the session slower.

A bucket that fails is tried again, for a while. What waits meanwhile is bounded: input is not welcome as long as much
of it does. Somebody else's commit where ours belongs means that another coordinator runs the session: this one has
lost it, and does nothing more.
"""

from __future__ import annotations

__all__ = ["FAILING_S_MAX", "Lost", "Recorder", "Resumed", "RunLog", "commit_of"]

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import msgspec
import trio

from fabric.errors import FabricError, LogDamaged, SessionNotFound, StoreFailed, Superseded
from fabric.session.events import Command, Finish, LossReport, Note, Record, SetTimer
from fabric.session.history import Emitted, History, encode_history
from fabric.store.record import Entry

if TYPE_CHECKING:
    from fabric.session.reliving import Relived

WAITING_BYTES_MAX = 8 * 1024 * 1024
"""Entries that may wait for the bucket before no more input is taken."""

HELD_MAX = 10_000
"""Commands that may: each is a message for a worker, say."""

COMMIT_BYTES_MAX = 4 * 1024 * 1024
"""Of entries in one commit, if there are several. Objects that are written conditionally are written in one request."""

FAILING_S_MAX = 60.0
"""How long a bucket may fail before the session gives up."""

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


class Resumed(NamedTuple):
    """A kept session, brought back to where it was.

    Attributes:
        recorder: writes what it goes on to do.
        relived: what has come of it so far.
    """

    recorder: Recorder
    relived: Relived


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
    ) -> None:
        self._log = log
        self._base = base
        self._lost: Lost | None = None
        self._noted = noted
        self._in_thread = in_thread
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = self.written_bytes = 0
        self._taken = self._durable = 0
        self._held: deque[Command | Callable[[], None] | int] = deque()
        self._emitted: Emitted | None = None
        self._work = trio.Event()
        self._failing_since_s: float | None = None

    # --- what the coordinator asks ---

    @property
    def written(self) -> int:
        """How many entries are durable by now."""
        return self._durable

    @property
    def full(self) -> bool:
        """Whether so much waits, or the bucket fails, that no input should be taken."""
        waits = self._waiting_bytes > WAITING_BYTES_MAX or len(self._held) > HELD_MAX
        return waits or self._failing_since_s is not None

    @property
    def failing(self) -> bool:
        """Whether the bucket did not take what was last written."""
        return self._failing_since_s is not None

    def lets(self, command: Command) -> bool:
        """Take a command; return whether it may be performed now. If not, it comes out of :meth:`released`, later.

        Timers and notes are let through: the one tells the world nothing, the other only people.
        """
        if isinstance(command, Record):
            self._record(command.entries)
            return False
        if not self._held or isinstance(command, SetTimer | Note):
            return True
        self._held.append(command)
        return False

    def holds(self, then: Callable[[], None]) -> bool:
        """Hold something back like a command, if anything is held back; return whether."""
        if self._held:
            self._held.append(then)
        return bool(self._held)

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
        self._emitted = emitted

    def _record(self, entries: Sequence[History]) -> None:
        self._gather(entries)
        self._held.append(self._taken)
        self._work.set()

    def _gather(self, entries: Sequence[History]) -> None:
        for entry in entries:
            body = encode_history(entry)
            self._waiting.append((str(type(entry).__struct_config__.tag), body))
            self._waiting_bytes += len(body)
        self._taken += len(entries)

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
        """Write what is left when the session is over: how much of its output somebody has got. Who has lost it
        writes nothing."""
        self._add_emitted()
        while self._waiting:
            lost = await self._write_some()
            if lost is not None:
                return lost
        return None

    def _add_emitted(self) -> None:
        if self._emitted is not None:
            self._gather([self._emitted])
            self._emitted = None

    async def _write_some(self) -> Lost | None:
        """Write a commit, however often that has to be tried; return why that is given up, from then on always."""
        if self._lost is None:
            self._lost = await self._try_to_write()
        return self._lost

    async def _try_to_write(self) -> Lost | None:
        if not self.failing:
            self._add_emitted()
        bodies: list[tuple[str, bytes]] = []
        size_bytes = 0
        for event, body in self._waiting:
            size_bytes += len(body)
            if bodies and size_bytes > COMMIT_BYTES_MAX:
                size_bytes -= len(body)
                break
            bodies.append((event, body))
        retry_s = RETRY_S
        while True:
            try:
                await self._in_thread(lambda: commit_of(self._log, bodies, self._base))
            except StoreFailed as error:
                lost = self._failed(error)
                if lost is not None:
                    return lost
                await trio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_S_MAX)
            except (Superseded, LogDamaged, SessionNotFound) as error:
                return _lost(error)
            else:
                break
        if self.failing:
            self._failing_since_s = None
            self._noted(Note("info", "store.recovered", {}))
        for _ in bodies:
            self._waiting.popleft()
        self._waiting_bytes -= size_bytes
        self.written_bytes += size_bytes
        self._durable += len(bodies)
        return None

    def _failed(self, error: StoreFailed) -> Lost | None:
        now_s = trio.current_time()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
            self._noted(Note("warning", "store.retried", {"reason": str(error), "waiting": len(self._waiting)}))
        for_s = now_s - self._failing_since_s
        if for_s < FAILING_S_MAX:
            return None
        hint = "nothing that is not in the log was done; run it again when the bucket works"
        return Lost(error.code, f"the bucket has failed for {for_s:.0f} s: {error}; {hint}")


def _lost(error: FabricError) -> Lost:
    if isinstance(error, Superseded):
        hint = "this one has done nothing since; fabric session log shows what the other does"
        return Lost("superseded", f"another coordinator runs this session now: {error}; {hint}")
    return Lost(error.code, str(error))
