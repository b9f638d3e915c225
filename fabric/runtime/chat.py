"""A session that a person talks to: one message, all that comes of it, the next message.

It runs in a thread of its own, with its loop, its sockets and its workers. The main thread keeps what only a main
thread can have: the terminal with Python's line editing, and the signals that interrupt it. The two meet in one queue,
which shows what happens in the order in which it does.
"""

from __future__ import annotations

__all__ = ["Chat", "ChatEvent", "Done", "Interrupted", "Over", "Ready", "Undecided", "Wrote"]

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import TracebackType
from typing import TypeAlias

import msgspec
import trio

from fabric.launch.preload import ZygoteProcess
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import INSISTING, Coordinator
from fabric.runtime.foreground import open_coordinator
from fabric.runtime.prices import Prices
from fabric.session.events import (
    Answered,
    Approval,
    DeadLetter,
    Finish,
    Heard,
    LossReport,
    Note,
    Outcome,
    Output,
    Refuse,
    Seen,
)
from fabric.session.settings import Settings
from fabric.wire.payload import encode_json


class Ready(msgspec.Struct, frozen=True):
    """Every worker is ready."""


class Done(msgspec.Struct, frozen=True):
    """All that comes of the message has come. A worker may still say something about its work."""


class Wrote(msgspec.Struct, frozen=True):
    """A worker wrote a line to its stderr."""

    worker: str
    line: str


class Undecided(msgspec.Struct, frozen=True):
    """A call of a tool waits until somebody approves it: :meth:`Chat.decide`, unless ``Chat.outcomes`` has it."""

    approval: Approval


class Interrupted(msgspec.Struct, frozen=True):
    """The session was told of a signal."""


class Over(msgspec.Struct, frozen=True):
    """The session has ended, or could not go on: one of the two. The last event."""

    finish: Finish | None = None
    error: BaseException | None = None


ChatEvent: TypeAlias = (
    Ready | Output | Heard | Refuse | DeadLetter | Note | Wrote | Undecided | Done | Interrupted | Over
)


class Chat:
    """Made, entered and used in the main thread. At its exit nothing of the session is left.

    Attributes:
        events: what happens.
        over: how it ended, once it has.
        outcomes: of approvals that do not wait any more, by id.

    Args:
        plan: of a program with one input and one output, both of them strings.
        settings: how it is run.
        environment: of the coordinator.
        prices: of models; without them nobody knows.
        zygote: forks the workers that can be forked; without it each is spawned.
        wake: called, in the session's thread, when a line is waited for in vain: behind the last event, or when the
            approval that is asked for does not wait any more.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        environment: Mapping[str, str],
        prices: Prices | None,
        zygote: ZygoteProcess | None,
        wake: Callable[[], None],
    ) -> None:
        self.events: SimpleQueue[ChatEvent] = SimpleQueue()
        self.over: Over | None = None
        self.outcomes: dict[str, Outcome] = {}
        self._plan = plan
        self._settings = settings
        self._environment = environment
        self._prices = prices
        self._zygote = zygote
        self._asking = ""
        self._wake = wake
        self._tickets = 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="session")
        self._token: trio.lowlevel.TrioToken | None = None
        self._coordinator: Coordinator | None = None
        self._opening = trio.CancelScope()
        self._opened = False
        self._signalled = 0

    def __enter__(self) -> Chat:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in range(INSISTING):  # nothing happens if it is over
            self._in_session(lambda: self._interrupt(signal.SIGINT))
        self._thread.join()

    # --- for the main thread ---

    def until(self, kind: type[Ready | Done | Over]) -> Iterator[ChatEvent]:
        """Yield what happens, up to this event or the end of the session."""
        while True:
            event = self.events.get()
            yield event
            if isinstance(event, kind | Over):
                return

    def send(self, text: str) -> None:
        """Give it a message; ``Done`` comes behind all that comes of it, unless the session ends before."""
        self._tickets += 1
        self._soon(lambda at: at.submit(next(iter(self._plan.inputs)), [(self._tickets, encode_json(text))]))

    @contextmanager
    def asking(self, approval: Approval) -> Iterator[None]:
        """Ask the user for an approval within; the asking is woken up when it does not wait any more."""
        self._asking = approval.id
        try:
            yield
        finally:
            self._asking = ""

    def decide(self, approval: Approval, *, granted: bool, always: bool) -> None:
        """Say whether a call may be run; it does not matter if that was decided already."""
        self._soon(lambda at: at.decide(approval.id, granted=granted, always=always))

    def close(self) -> None:
        """Give it no more: it drains, and ends."""
        self._soon(lambda at: at.close_input())

    def interrupt(self, number: int) -> None:
        """Tell it of a signal. May be called by a signal's handler."""
        self.events.put(Interrupted())
        self._in_session(lambda: self._interrupt(number))

    def _soon(self, act: Callable[[Coordinator], None]) -> None:
        """Do something with the session, if there is one."""
        self._in_session(lambda: None if self._coordinator is None else act(self._coordinator))

    def _in_session(self, act: Callable[[], None]) -> None:
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(act)

    # --- the session's thread ---

    def _run(self) -> None:
        try:
            self._end(Over(trio.run(self._session)))
        except BaseException as error:  # noqa: BLE001 - it is raised in the main thread
            self._end(Over(error=error))

    def _end(self, over: Over) -> None:
        self.over = over
        self.events.put(over)
        self._started.set()
        self._wake()

    def _interrupt(self, number: int) -> None:
        if self._coordinator is not None:
            self._coordinator.interrupt(number)
        elif not self._opened:  # the servers of its agents may take their time
            self._signalled = number
            self._opening.cancel()

    def _decided(self, approval: str, outcome: Outcome) -> None:
        self.outcomes[approval] = outcome
        if self._asking == approval:
            self._wake()

    async def _session(self) -> Finish:
        client = _Client(self.events.put, self._decided)
        self._token = trio.lowlevel.current_trio_token()
        with self._opening:
            self._started.set()
            async with open_coordinator(
                self._plan, self._settings, client, client, self._environment, self._zygote, self._prices
            ) as coordinator:
                self._coordinator, self._opened = coordinator, True
                try:
                    return await coordinator.run()
                finally:
                    self._coordinator = None
        return Finish(128 + self._signalled, LossReport(), ("stopped", "ended before every worker was ready"))


class _Client:
    """Passes on what the session gives and what is reported."""

    def __init__(self, put: Callable[[ChatEvent], None], decided: Callable[[str, Outcome], None]) -> None:
        self._put = put
        self._decided = decided

    def opened(self) -> None:
        self._put(Ready())

    def delivered(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            self._put(output)

    def refused(self, refusal: Refuse) -> None:
        self._put(refusal)

    def answered(self, answer: Answered) -> None:
        """Nobody asks for anything here."""

    def asked(self, approval: Approval) -> None:
        self._put(Undecided(approval))

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        self._decided(approval, outcome)

    def buried(self, letter: DeadLetter) -> None:
        self._put(letter)

    def tapped(self, messages: Sequence[Seen]) -> None:
        """Nobody looks at channels here."""

    def observed(self, heard: Sequence[Heard]) -> None:
        for one in heard:
            self._put(one)

    def settled(self, tickets: Sequence[int]) -> None:
        self._put(Done())

    def noted(self, note: Note) -> None:
        self._put(note)

    def worker_wrote(self, worker: str, line: str) -> None:
        self._put(Wrote(worker, line))
