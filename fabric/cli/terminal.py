"""Lines that a person types, or that a program sends, and the signals that come meanwhile. For the main thread."""

from __future__ import annotations

__all__ = ["LineInterrupted", "Lines", "Signals", "history_file", "open_lines"]

import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Protocol

from fabric.errors import ValueRejected
from fabric.wire.lines import LineSplitter

HISTORY_LINES_MAX = 1_000

CHUNK_BYTES = 64 * 1024


TICK_S = 0.1
"""How often who waits for a key looks whether a signal came. Python's line editing looks for one when its wait is
interrupted; one that comes a moment before the wait would be noticed with the next key, and there may be none."""


class LineInterrupted(Exception):
    """A signal came while a line was waited for."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """SIGINT and SIGTERM. While a line is waited for they raise LineInterrupted there; else they are passed on.

    Attributes:
        count: how many were passed on.
    """

    def __init__(self) -> None:
        self._waiting = self._woken = False
        self.count = 0

    @contextmanager
    def obeyed(self, passed_on: Callable[[int], None]) -> Iterator[None]:
        """Take the signals within.

        Args:
            passed_on: called with the number, by the handler: it has to be quick, and may come between any two steps.
        """
        self._passed_on = passed_on
        before = {number: signal.signal(number, self._came) for number in (signal.SIGINT, signal.SIGTERM)}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._ticked)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Wait for a line within."""
        self._woken = False
        self._waiting = True
        signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
        try:
            yield
        finally:
            self._waiting = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def wake(self) -> None:
        """Raise LineInterrupted in the main thread if it waits for a line. From another thread.

        By no signal that a user sends: the line may come at the same moment, and then nobody has interrupted anything.
        """
        main = threading.main_thread().ident
        if self._waiting and main is not None:
            self._woken = True
            signal.pthread_kill(main, signal.SIGALRM)

    def _ticked(self, _number: int, _frame: FrameType | None) -> None:
        if self._waiting and self._woken:
            self._waiting = False
            raise LineInterrupted(signal.SIGINT)

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if self._waiting:
            self._waiting = False
            raise LineInterrupted(number)
        self.count += 1
        self._passed_on(number)


class Lines(Protocol):
    """Where lines come from.

    Attributes:
        typed: a person types them: there is a prompt, and somebody who answers.
    """

    typed: bool

    def read(self, prompt: str) -> str | None:
        """Return the next line without its end; ``None`` at the end.

        Raises:
            LineInterrupted: a signal came.
            ValueRejected: it is no text, or too long to be read.
        """
        ...

    def answer(self, question: str) -> str | None:
        """Return what is typed behind a question, not before it; it is kept nowhere. Otherwise as :meth:`read`."""
        ...


class _Piped:
    """Lines of a program or a file, or of a terminal that has no line editing for us: its own does."""

    def __init__(self, descriptor: int, *, typed: bool) -> None:
        self.typed = typed
        self._descriptor = descriptor
        self._splitter = LineSplitter()
        self._lines: list[bytes] = []
        self._ended = False

    def read(self, prompt: str) -> str | None:
        if self.typed:
            os.write(2, prompt.encode())
        while not self._lines and not self._ended:
            chunk = os.read(self._descriptor, CHUNK_BYTES)
            self._ended = not chunk
            try:
                self._lines += self._splitter.feed(chunk)
            except ValueRejected:
                self._ended = True  # where the next line begins would be guessed
                raise
        if not self._lines:
            return None
        try:
            return self._lines.pop(0).decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise _not_text(error) from None

    def answer(self, question: str) -> str | None:
        if self.typed:
            _throw_away(self._descriptor)
        self._lines.clear()
        return self.read(question)


class _Edited:
    """Lines that are edited while they are typed, with those before to come back to: Python's readline."""

    typed = True

    def __init__(self, history: Path | None) -> None:
        import readline

        self._readline = readline
        self._history = history
        if history is not None:
            with suppress(OSError):
                history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                history.touch(mode=0o600)
                readline.read_history_file(history)
        readline.set_history_length(HISTORY_LINES_MAX)
        readline.set_auto_history(False)

    def read(self, prompt: str) -> str | None:
        line = self._typed(prompt)
        if line is not None:
            self._keep(line)
        return line

    def answer(self, question: str) -> str | None:
        _throw_away(0)
        return self._typed(question)

    def _typed(self, prompt: str) -> str | None:
        try:
            line = input(prompt)
            line.encode()
        except EOFError:
            return None
        except UnicodeError as error:
            raise _not_text(error) from None
        except SystemError as error:
            # input() runs the handlers of signals once more while it raises for one. A second signal, be it the
            # clock's, then makes this of the exception.
            if isinstance(error.__cause__, LineInterrupted):
                raise error.__cause__ from None
            raise
        return line

    def _keep(self, line: str) -> None:
        length = self._readline.get_current_history_length()
        if not line.strip() or (length and self._readline.get_history_item(length) == line):
            return
        self._readline.add_history(line)
        if self._history is not None:
            with suppress(OSError):
                self._readline.append_history_file(1, self._history)


def _throw_away(terminal: int) -> None:
    """Forget what was typed and not read."""
    with suppress(termios.error):  # it has hung up: who reads then meets the end
        termios.tcflush(terminal, termios.TCIFLUSH)


def _not_text(error: UnicodeError) -> ValueRejected:
    return ValueRejected("$", "a line of UTF-8 text", f"one that is none ({error.__class__.__name__})")


def open_lines(history: Path | None) -> Lines:
    """Return the lines of stdin, edited if it is a terminal and what is printed is seen there as well."""
    typed = os.isatty(0)
    if typed and os.isatty(1):
        sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        with suppress(ImportError):  # a Python without it
            return _Edited(history)
    return _Piped(0, typed=typed)


def history_file(environment: Mapping[str, str]) -> Path | None:
    """Return the file of what was typed before, in the user's folder for such things; ``None``: there is no home."""
    state = environment.get("XDG_STATE_HOME")
    home = environment.get("HOME")
    base = Path(state) if state else Path(home, ".local", "state") if home else None
    return None if base is None else base / "fabric" / "chat_history"
