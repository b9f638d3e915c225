"""A service's side of its dead letters: it numbers them and has them written by a thread, which delays no message.

A disk that takes nothing does not lose them at once: they wait in memory, up to a bound, and are tried again. What is
not on disk in the end was counted and is told.
"""

from __future__ import annotations

__all__ = ["LetterKeeper"]

import threading
from collections import deque
from collections.abc import Callable, Iterable

import msgspec
import trio

from fabric.runtime.dead_letters import DeadLetters, Letter
from fabric.session.events import DeadLetter, Note
from fabric.wire.lines import one_line
from fabric.wire.payload import encode_json

UNWRITTEN_BYTES_MAX = 64 * 1024 * 1024
"""Letters that may wait for the disk; beyond, they are counted and not kept. Four of the largest messages."""

RETRY_S = 1.0
"""Until a disk that took nothing is tried again."""

LAST_WRITE_S = 2.0
"""How long the end of a service waits for a disk that takes nothing."""


class _Change(msgspec.Struct):
    """A line to add, or (without one) a letter to strike out, and whom to tell when that is on disk."""

    id: int
    line: bytes | None = None
    done: Callable[[], None] | None = None


class LetterKeeper:
    """Keeps what becomes a dead letter in one session.

    Args:
        letters: on disk.
        session: when the session began, RFC 3339.

    Attributes:
        overflowed: letters for which there was no room in memory while the disk took nothing.

    Raises:
        ConfigError: what is on disk cannot be read.
    """

    def __init__(self, letters: DeadLetters, session: str) -> None:
        self._letters = letters
        self._session = session
        with letters.open() as found:
            self._last_id = self._first_id = found.last_id
            self._last_recorded = found.last
        self._waiting: deque[_Change] = deque()
        self._unwritten_bytes = 0
        self._work = trio.Event()
        self._finishing = trio.Event()
        self._finished = trio.Event()
        self._writing = threading.Lock()
        self.overflowed = 0

    @property
    def on_disk(self) -> DeadLetters:
        """Those that are."""
        return self._letters

    @property
    def unkept(self) -> int:
        """Letters of this session that are not on disk."""
        return self.overflowed + sum(change.line is not None for change in self._waiting)

    def is_of_this_session(self, id_: int) -> bool:
        """Whether a letter became one in this session."""
        return id_ > self._first_id

    def keep(self, letter: DeadLetter, at: str, id_: int | None = None) -> int:
        """Have a letter kept, and return its id.

        Args:
            letter: what the session says of it.
            at: the time, RFC 3339.
            id_: of the letter that it was already, if it has become one again.
        """
        if id_ is None:
            self._last_id += 1
            id_ = self._last_id
        kept = Letter(
            id_,
            letter.worker,
            letter.cause,
            letter.detail,
            letter.attempts,
            at,
            self._session,
            letter.trace_id.hex(),
            msgspec.Raw(letter.payload),
            letter.stderr,
            letter.recorded or msgspec.UNSET,
        )
        line = one_line(encode_json(kept)) + b"\n"  # a payload may have several lines
        if self._unwritten_bytes + len(line) > UNWRITTEN_BYTES_MAX:
            self.overflowed += 1
        else:
            self._unwritten_bytes += len(line)
            self._change(_Change(id_, line))
        return id_

    def restore(self, letters: Iterable[DeadLetter], at: str) -> int:
        """Have those kept that are in the log of a run and not here: it was killed in between, or ran elsewhere.

        Args:
            letters: of the run so far, in the order of its log.
            at: the time, RFC 3339.

        Returns:
            how many there are.
        """
        missing = [letter for letter in letters if self._is_new(letter)]
        for letter in missing:
            self.keep(letter, at)
        self._first_id = self._last_id  # they died in an earlier session
        return len(missing)

    def _is_new(self, letter: DeadLetter) -> bool:
        if letter.recorded is None:
            return False
        session, entry = letter.recorded
        return entry > self._last_recorded.get(session, -1)

    def strike(self, id_: int, done: Callable[[], None]) -> None:
        """Have a letter taken out that is none any more; call ``done`` when it is."""
        self._change(_Change(id_, None, done))

    def _change(self, change: _Change) -> None:
        self._waiting.append(change)
        self._work.set()

    # --- writing ---

    async def run(self, tell: Callable[[Note], None]) -> None:
        """Write what there is to write, until :meth:`finish`.

        Args:
            tell: hears when letters cannot be written, once until they can be.
        """
        told = False
        while self._waiting or not self._finishing.is_set():
            await self._work.wait()
            self._work = trio.Event()
            error = await self._write_some()
            if error is None:
                told = False
                continue
            if not told:
                told = True
                reason = f"cannot write {error.filename or self._letters.directory}: {error.strerror}"
                tell(Note("error", "dead_letters.unwritten", {"reason": reason, "waiting": len(self._waiting)}))
            if self._finishing.is_set():
                break
            with trio.move_on_after(RETRY_S):
                await self._finishing.wait()
            self._work.set()
        self._finished.set()

    async def finish(self) -> None:
        """Let what is left be written, if the disk takes it in time."""
        self._finishing.set()
        self._work.set()
        with trio.move_on_after(LAST_WRITE_S):
            await self._finished.wait()

    async def _write_some(self) -> OSError | None:
        """Write what waits, in its order; return why not all of it."""
        changes = list(self._waiting)
        done, error = await trio.to_thread.run_sync(self._write, changes, abandon_on_cancel=True)
        for _ in range(done):
            change = self._waiting.popleft()
            self._unwritten_bytes -= len(change.line or b"")
            if change.done is not None:
                change.done()
        return error

    def _write(self, changes: list[_Change]) -> tuple[int, OSError | None]:
        """Return how many changes are on disk, and why not all of them."""
        with self._writing:
            done = 0
            while done < len(changes):
                adding = changes[done].line is not None
                end = done
                while end < len(changes) and (changes[end].line is not None) is adding:
                    end += 1
                alike = changes[done:end]
                if adding:
                    written, error = self._letters.add([change.line for change in alike if change.line is not None])
                    done += written
                else:
                    error = self._strike([change.id for change in alike])
                    done = done if error else end
                if error is not None:
                    return done, error
            return done, None

    def _strike(self, ids: list[int]) -> OSError | None:
        try:
            self._letters.strike(ids)
        except OSError as error:
            return error
        return None
