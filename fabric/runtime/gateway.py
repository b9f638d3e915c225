"""stdin and stdout as a session's boundary: JSON lines in, JSON lines out.

A graph with one input reads plain lines; with several, each line says its port: ``{"__port": NAME, "msg": VALUE}``.
Likewise for outputs.
"""

from __future__ import annotations

__all__ = ["LineGateway", "write_all"]

import os
import select
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import trio

from fabric.errors import ValueRejected
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Coordinator
from fabric.runtime.questions import Questions
from fabric.session.events import Answered, Approval, DeadLetter, Heard, Note, Outcome, Output, Refuse, Seen
from fabric.session.history import LINE_KEYS
from fabric.wire.lines import DATA, LineSplitter, read_line, write_line

CHUNK_BYTES = 64 * 1024
LINES_AT_ONCE = 64
"""Lines submitted in one step: enough to share its costs, few enough to be fair to what workers send meanwhile."""

UNWRITTEN_BYTES_MAX = 4 * 1024 * 1024
"""Output beyond which no new input is read: the reader of stdout is slower than the graph."""


class LineGateway:
    """Feeds a session from one descriptor and writes what comes out to another.

    Reading and writing happen in threads: stdin and stdout may be files, which cannot be waited for, or be shared with
    other processes, which would not like them to become non-blocking.

    Attributes:
        broken: why the output could not be written, if so; the session may have been over by then.

    Args:
        plan: whose boundary it is.
        report: takes errors: message, code, and more fields.
        hear: takes what workers say on observed ports.
        questions: take what somebody has to approve.
    """

    def __init__(
        self,
        plan: Plan,
        report: Callable[[str, str, Mapping[str, object]], None],
        hear: Callable[[Sequence[Heard]], None],
        questions: Questions,
    ) -> None:
        self._known: deque[tuple[str, bytes]] = deque()
        self._last_ticket = self._queued = 0
        self._known_lines = self._line = 0
        self._kept = False
        self._wrote: Callable[[int, int], None] | None = None
        self._noted: Callable[[Note], None] | None = None
        self._inputs = list(plan.inputs)
        self._one_output = len(plan.outputs) == 1
        self._report = report
        self._hear = hear
        self._questions = questions
        self.broken: str | None = None
        self._unwritten = bytearray()
        self._to_write = trio.Event()
        self._written = trio.lowlevel.ParkingLot()
        self._ended = False
        self._reading = trio.CancelScope()

    def resume(
        self,
        known: Iterable[tuple[str, bytes]],
        last_ticket: int,
        wrote: Callable[[int, int], None],
        queued: int,
        noted: Callable[[Note], None],
    ) -> None:
        """Go on where a kept session was left.

        Args:
            known: its last input: port and JSON text of each line. Lines that are the same are not taken again; where
                there are more, they go on with it, and the first other one begins a new input.
            last_ticket: of its input so far.
            wrote: called when output is written: how many of all outputs are by now, and how many bytes that took.
            queued: how many outputs were written before.
            noted: hears how much of the input is known.
        """
        self._known = deque(known)
        self._kept = True
        self._last_ticket, self._wrote, self._queued, self._noted = last_ticket, wrote, queued, noted

    def line_of(self, output: Output) -> bytes:
        """Return the line of an output."""
        return write_line(DATA if self._one_output else output.port, output.payload)

    # --- what the session gives ---

    def opened(self) -> None:
        """See ``coordinator.Client``."""

    def delivered(self, outputs: Sequence[Output]) -> None:
        """Queue outputs for writing."""
        for output in outputs:
            self._unwritten += self.line_of(output)
        self._queued += len(outputs)
        self._to_write.set()

    def catch_up(self, rest: bytes, outputs: Sequence[Output]) -> None:
        """Queue what came out before and is not written: the rest of a line, and whole ones behind it."""
        if rest:
            self._unwritten += rest
            self._queued += 1
        self.delivered(outputs)

    def refused(self, refusal: Refuse) -> None:
        """Report it, and read no further: the session has closed its inputs."""
        # One that was read together with the one that ended the input; one that the notes and the loss report tell of.
        if refusal.code in ("input_closed", "dead_lettered"):
            return
        fields: dict[str, object] = {"node": refusal.node} if refusal.node else {}
        if refusal.code == "input_type_mismatch":
            fields = {"port": refusal.node} if refusal.node else {}
        if refusal.tickets and refusal.tickets[0] > self._last_ticket:
            fields["line"] = refusal.tickets[0] - self._last_ticket
        self._report(refusal.detail, refusal.code, fields)
        self.stop_reading()

    def answered(self, answer: Answered) -> None:
        """See ``coordinator.Client``. Nobody asks on this boundary."""

    def asked(self, approval: Approval) -> None:
        """Ask at the terminal."""
        self._questions.asked(approval)

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        """Ask no more."""
        self._questions.asked_no_more(approval, outcome)

    def buried(self, letter: DeadLetter) -> None:
        """See ``coordinator.Client``. The note of it and the loss report tell, and whoever wrote the line has it."""

    def tapped(self, messages: Sequence[Seen]) -> None:
        """See ``coordinator.Client``. Nobody looks on this boundary."""

    def observed(self, heard: Sequence[Heard]) -> None:
        """Hand over what was heard; it never comes between the outputs."""
        self._hear(heard)

    def settled(self, tickets: Sequence[int]) -> None:
        """See ``coordinator.Client``."""

    # --- the two ends ---

    def stop_reading(self) -> None:
        """Take no more lines."""
        self._reading.cancel()

    async def read(self, coordinator: Coordinator, descriptor: int) -> None:
        """Submit each line until their end, or until no more is wanted; close the inputs."""
        with self._reading:
            await self._read(coordinator, descriptor)
        self._tell_known()
        coordinator.close_input()

    async def _read(self, coordinator: Coordinator, descriptor: int) -> None:
        splitter, number = LineSplitter(), 0
        more = True
        while more and await coordinator.wait_for_room():
            chunk = await trio.to_thread.run_sync(_read_some, descriptor, abandon_on_cancel=True)
            more = bool(chunk)
            lines: list[tuple[int, bytes]] = []
            try:
                for line in splitter.feed(chunk):
                    number += 1
                    if line.strip():
                        lines.append((number, line))
            except ValueRejected as error:
                await self._submit_all(coordinator, lines)
                coordinator.bad_input(str(error), self._last_ticket + number + 1)
            else:
                await self._submit_all(coordinator, lines)

    async def _submit_all(self, coordinator: Coordinator, lines: list[tuple[int, bytes]]) -> None:
        """Submit lines in their order, no more at a time than there may be room for."""
        for start in range(0, len(lines), LINES_AT_ONCE):
            while len(self._unwritten) > UNWRITTEN_BYTES_MAX:
                await self._written.park()
            if not await coordinator.wait_for_room():
                return
            read = map(self._read_one, lines[start : start + LINES_AT_ONCE])
            for port, messages in groupby(filter(self._is_new, read), itemgetter(0)):
                batch = [(self._last_ticket + number, payload) for _, number, payload in messages]
                if port in self._inputs:
                    coordinator.submit(port, batch, self._keys(len(batch)))
                    continue
                named = "none" if port == DATA else repr(port)
                wanted = f'a line {{"__port": NAME, "msg": VALUE}} with an input of {", ".join(self._inputs)}'
                coordinator.bad_input(f"expected {wanted}; got {named}", batch[0][0])
                break  # the first that is refused ends the input

    def _is_new(self, line: tuple[str, int, bytes]) -> bool:
        """Whether a line is not what came at its place before; the first that is not makes all after it new."""
        if self._known and self._known[0] == (line[0], line[2].strip()):
            self._known.popleft()
            self._known_lines += 1
            self._line += 1
            return False
        if self._known and self._noted is not None:
            fields = {"line": line[1], "known": self._known_lines, "lines": self._known_lines + len(self._known)}
            self._noted(Note("warning" if self._known_lines else "info", "input.another", fields))
            self._line = self._known_lines = 0
            self._known.clear()
        self._tell_known()
        return True

    def _keys(self, count: int) -> list[str]:
        """Return the keys of the next lines, of a session that is kept."""
        if not self._kept:
            return []
        self._line += count
        return [f"{LINE_KEYS}{number}" for number in range(self._line - count + 1, self._line + 1)]

    def _tell_known(self) -> None:
        """Say how many lines were not taken again."""
        if self._known_lines and self._noted is not None:
            self._noted(Note("info", "input.known", {"lines": self._known_lines}))
        self._known_lines = 0

    def _read_one(self, line: tuple[int, bytes]) -> tuple[str, int, bytes]:
        """Return port, number and JSON text of a line."""
        port, payload = read_line(line[1])
        if port == DATA and len(self._inputs) == 1:
            port = self._inputs[0]
        return port, line[0], payload

    async def write(self, coordinator: Coordinator, descriptor: int) -> None:
        """Write outputs until :meth:`finish`; if nobody reads them any more, end the session."""
        while self._unwritten or not self._ended:
            if not self._unwritten:
                await self._to_write.wait()
                self._to_write = trio.Event()
                continue
            data, self._unwritten, queued = bytes(self._unwritten), bytearray(), self._queued
            try:
                await trio.to_thread.run_sync(write_all, descriptor, data, abandon_on_cancel=True)
            except OSError as error:
                self.broken = f"cannot write the output: {error.strerror}"
                coordinator.output_broken(self.broken)
                self.stop_reading()
                return
            if self._wrote is not None:
                self._wrote(queued, len(data))
            self._written.unpark_all()

    def finish(self) -> None:
        """Let :meth:`write` return when everything is written."""
        self._ended = True
        self._to_write.set()


def _read_some(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:  # somebody made it non-blocking
            select.select([descriptor], [], [])


def write_all(descriptor: int, data: bytes) -> None:
    """Write it all, however long that takes. For a thread."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
