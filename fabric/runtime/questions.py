"""Calls that whoever sits at the terminal is asked to approve, one at a time.

The terminal is opened anew (``/dev/tty``): stdin may be data, and to make a descriptor non-blocking that the shell has,
too, would disturb it. What was typed before a question was there is thrown away: it answers nothing. While another
program is in the foreground nothing is read: the system would stop us for it.
"""

from __future__ import annotations

__all__ = ["Questions", "open_terminal"]

import os
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import trio

from fabric.session.approvals import ANSWERS, describe
from fabric.session.events import Approval, Outcome

BACKGROUND_S = 0.2
"""Between two looks whether the terminal is ours again."""

ANSWER_BYTES_MAX = 1024

CHOICES = "y: yes, once; n: no; a: always, for this tool of this worker"


class Decides(Protocol):
    """Takes decisions; see :meth:`fabric.runtime.coordinator.Coordinator.decide`."""

    def decide(self, approval: str, *, granted: bool, always: bool = False, reason: str = "") -> None:
        """Say whether a call may be run."""
        ...


@contextmanager
def open_terminal(*, wanted: bool) -> Iterator[int | None]:
    """Give a descriptor of the terminal that we were started at; ``None`` if there is none, or it is not wanted."""
    descriptor = None
    with suppress(OSError):
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC) if wanted else None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


class Questions:
    """What is to be asked at a terminal.

    Args:
        say: takes lines for whoever sits there.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._waiting: dict[str, Approval] = {}
        self._came = trio.Event()
        self._shown: tuple[str, trio.CancelScope] | None = None

    def asked(self, approval: Approval) -> None:
        """Ask for it when its turn comes."""
        self._waiting[approval.id] = approval
        self._came.set()

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        """It was decided, or nobody needs it any more."""
        self._waiting.pop(approval, None)
        if self._shown is not None and self._shown[0] == approval:
            self._shown[1].cancel()
            if outcome in ("expired", "withdrawn"):
                self._say(f"(not asked any more: {outcome})")

    async def ask(self, terminal: int, decides: Decides) -> None:
        """Ask at a terminal, until cancelled."""
        while True:
            while not self._waiting:
                self._came = trio.Event()
                await self._came.wait()
            approval = next(iter(self._waiting.values()))
            with trio.CancelScope() as scope:
                self._shown = approval.id, scope
                await self._ask_one(terminal, decides, approval)
            self._shown = None

    async def _ask_one(self, terminal: int, decides: Decides, approval: Approval) -> None:
        await _wait_foreground(terminal)
        with suppress(termios.error):  # it has hung up: what is read then says no
            termios.tcflush(terminal, termios.TCIFLUSH)
        self._say(f"{describe(approval)}\n{CHOICES}")
        while True:
            said = (await _read_line(terminal)).strip().lower()
            if said in ANSWERS:
                granted, always = ANSWERS[said]
                decides.decide(approval.id, granted=granted, always=always)
                await trio.sleep_forever()  # until it is over, which is at once
            self._say(CHOICES)


async def _read_line(terminal: int) -> str:
    """Return a line; a terminal that has hung up, or Ctrl-D, says no."""
    while True:
        await trio.lowlevel.wait_readable(terminal)
        await _wait_foreground(terminal)
        try:
            return os.read(terminal, ANSWER_BYTES_MAX).decode(errors="replace") or "n"
        except BlockingIOError:  # the program that was in the foreground has read it
            continue
        except OSError:
            return "n"


async def _wait_foreground(terminal: int) -> None:
    with suppress(OSError):  # it has hung up
        while os.tcgetpgrp(terminal) != os.getpgrp():
            await trio.sleep(BACKGROUND_S)
