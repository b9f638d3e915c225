"""What a program and its callers give each other: messages in, outputs and telemetry out, and how it ended.

The program's side is the engine's thread, the callers' side any thread and any loop. All that is here is looked at and
changed under the lock of the :class:`Bell`. Everything is bounded: messages and outputs wait, telemetry is dropped and
counted.
"""

from __future__ import annotations

__all__ = ["Ending", "Exchange", "Message", "Side", "Ticket"]

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from fabric.client.bell import Bell
from fabric.errors import FabricError, PipelineError, own_copy
from fabric.session import events
from fabric.session.events import DeadLetter, Heard, Refuse

SENT_MAX = 16
"""Messages that were sent and wait until the graph has room for them."""

OUTPUTS_UNREAD_MAX = 1_000
OUTPUT_BYTES_UNREAD_MAX = 4 * 1024 * 1024
"""Outputs that nobody reads, beyond which the program gets no more messages. As much as ``fabric run`` keeps."""

COLLECTED_BYTES_MAX = 256 * 1024 * 1024
"""Of the outputs of a call, which are all returned at its end. A program that never stops must not fill the memory."""

OUTPUT_COSTS_BYTES = 256
"""Beside its payload, with its place in the queue. Measured with CPython 3.11."""

SIDE_MAX = 10_000
"""Of telemetry, and of each observed port, that nobody reads: the newest are kept."""


class Message(msgspec.Struct, frozen=True):
    """One for the program.

    Attributes:
        port: the input.
        ticket: what comes of it is known by that.
        payload: JSON text.
    """

    port: str
    ticket: int
    payload: bytes


class Ticket:
    """A message whose caller waits for all that comes of it."""

    def __init__(self) -> None:
        self.outputs: list[events.Output] = []
        self.failure: PipelineError | None = None
        self.settled = False
        self.wanted = True
        self.tells = False


class Side:
    """What workers say of their work on one port, for those who want to hear it.

    Attributes:
        dropped: how much of it was, because nobody read it.
    """

    def __init__(self) -> None:
        self.heard: deque[tuple[int, Heard]] = deque(maxlen=SIDE_MAX)
        self.dropped: int = 0

    def put(self, number: int, heard: Heard) -> bool:
        """Keep it; return whether something else was dropped for that."""
        full = len(self.heard) == SIDE_MAX
        self.dropped += full
        self.heard.append((number, heard))
        return full


class Ending(msgspec.Struct, frozen=True):
    """How a program ended.

    Attributes:
        exit_code: what a command would have ended with.
        failure: why that is not 0, in words and as a code; ``None``: all went well.
        stderr: the last lines of its workers, and what was told of it.
        error: what is raised instead, if it is no failure of a program that runs.
        cause: what the caller's own function raised, if that had a part in it.
        told_one_by_one: the failure is that messages went no further, of each of which somebody was told.
    """

    exit_code: int
    failure: tuple[str, str] | None = None
    stderr: str = ""
    error: BaseException | None = None
    cause: BaseException | None = None
    told_one_by_one: bool = False

    def raised(self) -> BaseException | None:
        """Return what whoever waits for something is told; ``None``: nothing more comes. Each gets his own."""
        if self.error is not None:
            return own_copy(self.error)
        if self.failure is None:
            return None
        detail, code = self.failure
        error = PipelineError(detail, self.exit_code, self.stderr, code)
        error.__cause__ = self.cause
        return error


class Exchange:
    """One program's.

    Args:
        bounded: whether outputs that nobody reads hold back messages; not where all of them are read at the end.
        telemetry: whether somebody may want it.
        extra: names of the observed ports that somebody wants.
        collected_bytes_max: of the outputs of one that is not bounded.

    Attributes:
        bell: rings when something has changed for the callers.
        stir: wakes the program's side up, from any thread; there when it runs.
        opened: every worker is ready.
        ending: how it ended; nothing of it is left then.
        input_closed: nothing more may be sent.
        refusing: why the program takes no more, if it is its own doing.
    """

    def __init__(
        self,
        *,
        bounded: bool,
        telemetry: bool = False,
        extra: Iterable[str] = (),
        collected_bytes_max: int = COLLECTED_BYTES_MAX,
    ) -> None:
        self.bell: Bell = Bell()
        self.stir: Callable[[], object] = lambda: None
        self.opened: bool = False
        self.ending: Ending | None = None
        self.input_closed: bool = False
        self.telemetry: Side | None = Side() if telemetry else None
        self.extras: dict[str, Side] = {name: Side() for name in extra}
        self._bounded = bounded
        self._collected_bytes_max = collected_bytes_max
        self._unread_ignored = False
        self._sent: deque[Message] = deque()
        self._outputs: deque[tuple[int, events.Output | FabricError]] = deque()
        self._unread_bytes = 0
        self._tickets: dict[int, Ticket] = {}
        self._number = 0
        self._told_end = False
        self._told: set[tuple[str, str]] = set()

    # --- the program's side; takes the lock ---

    def open(self) -> None:
        """Every worker is ready."""
        with self.bell.lock:
            self.opened = True
            self.bell.ring()

    def deliver(self, outputs: Sequence[events.Output]) -> bool:
        """Messages left the graph. One goes to those who wait for it, else to whoever reads.

        Returns whether all is well: a call whose outputs are too many has to end.
        """
        with self.bell.lock:
            for output in outputs:
                owners = [self._tickets[number] for number in output.tickets if number in self._tickets]
                for owner in owners:
                    if owner.wanted:
                        owner.outputs.append(output)
                if len(owners) < len(output.tickets) or not owners:
                    self._put(output)
                    self._unread_bytes += _size(output)
            self.bell.ring()
            return self._bounded or self._unread_ignored or self._unread_bytes <= self._collected_bytes_max

    def hear(self, heard: Sequence[Heard]) -> int:
        """Workers said something on observed ports; return how much was dropped."""
        dropped = 0
        with self.bell.lock:
            for one in heard:
                self._number += 1
                if self.telemetry is not None and one.label == "telemetry":
                    dropped += self.telemetry.put(self._number, one)
                if one.label in self.extras:
                    dropped += self.extras[one.label].put(self._number, one)
            self.bell.ring()
        return dropped

    def refuse(self, refusal: Refuse | DeadLetter, error: PipelineError, *, tell: bool = False) -> None:
        """A message went no further: tell those who wait for it; ``tell``: else who reads, in its place.

        Who waits for the end of a call is told there.
        """
        with self.bell.lock:
            owners = [self._tickets[number] for number in refusal.tickets if number in self._tickets]
            owners = [owner for owner in owners if owner.wanted]
            for owner in owners:
                owner.failure = owner.failure or own_copy(error)
                owner.tells = owner.tells or tell
            if tell and self._bounded and (len(owners) < len(refusal.tickets) or not owners):
                self._put(error)
            self.bell.ring()

    def settle(self, tickets: Iterable[int]) -> None:
        """All that will come of these messages has come."""
        with self.bell.lock:
            for number in tickets:
                owner = self._tickets.pop(number, None)
                if owner is not None:
                    owner.settled = True
            self.bell.ring()

    def end(self, ending: Ending) -> None:
        """It is over, and nothing of it is left."""
        with self.bell.lock:
            if self.ending is None:
                self.ending = ending
            self.input_closed = True
            self.bell.ring()

    def take_sent(self, at_most: int) -> list[Message] | None:
        """Return messages for the program: none yet, or while outputs lie unread; ``None``: there will be no more."""
        with self.bell.lock:
            if not self._sent:
                return None if self.input_closed else []
            if self._full():
                return []
            taken = [self._sent.popleft() for _ in range(min(at_most, len(self._sent)))]
            self.bell.ring()
            return taken

    def has_sent(self) -> bool:
        """Whether :meth:`take_sent` has something to say."""
        with self.bell.lock:
            return self.input_closed if not self._sent else not self._full()

    def _put(self, what: events.Output | FabricError) -> None:
        self._number += 1
        self._outputs.append((self._number, what))

    def _full(self) -> bool:
        if self._unread_ignored or not self._bounded:
            return False
        return len(self._outputs) >= OUTPUTS_UNREAD_MAX or self._unread_bytes >= OUTPUT_BYTES_UNREAD_MAX

    # --- the callers' side; with the lock held: for Bell.wait ---

    def send(self, port: str, payload: bytes, ticket: Ticket | None = None) -> bool | None:
        """Give a message; ``None``: there is no room yet.

        Raises:
            PipelineError: no more is taken.
        """
        if self.ending is not None:
            raise self._end_error() or PipelineError("the program has ended", 0, code="input_closed")
        if self.input_closed:
            raise PipelineError("the input is closed", 0, code="input_closed")
        if len(self._sent) >= SENT_MAX or self._full():
            return None
        self._number += 1
        if ticket is not None:
            self._tickets[self._number] = ticket
        self._sent.append(Message(port, self._number, payload))
        self.stir()
        return True

    def close_input(self) -> None:
        """Send no more. Idempotent."""
        if not self.input_closed:
            self.input_closed = True
            self.stir()
            self.bell.ring()  # those who wait for room

    def forget(self, ticket: Ticket) -> None:
        """Nobody waits for it any more; what comes of it goes to nobody."""
        ticket.wanted = False
        ticket.outputs.clear()
        if ticket.failure is not None and ticket.tells:
            self._put(ticket.failure)  # somebody has to hear of it
            self.bell.ring()

    def fail(self, ticket: Ticket) -> None:
        """Raise what its message was refused for, if it was."""
        if ticket.failure is not None:
            self._told.add((ticket.failure.detail, ticket.failure.code))
            raise ticket.failure

    def take_output(self) -> events.Output | None:
        """Return the next output; ``None``: there is none yet, or none any more. Raises what it was refused for."""
        if not self._outputs:
            return None
        was_full = self._full()
        _, output = self._outputs.popleft()
        if not isinstance(output, FabricError):
            self._unread_bytes -= _size(output)
        if was_full and not self._full():
            self.stir()
            self.bell.ring()  # those who wait for room
        if isinstance(output, FabricError):
            raise output
        return output

    def take_telemetry(self) -> Heard | None:
        """Return what was said next; ``None``: nothing yet, or nothing any more."""
        if self.telemetry is None or not self.telemetry.heard:
            return None
        return self.telemetry.heard.popleft()[1]

    def take_event(self) -> events.Output | Heard | None:
        """Return what came first of both."""
        told = self.telemetry.heard[0][0] if self.telemetry is not None and self.telemetry.heard else None
        if told is not None and (not self._outputs or told < self._outputs[0][0]):
            return self.take_telemetry()
        return self.take_output()

    def ignore_unread(self) -> None:
        """Let the program finish what it has, whether or not somebody reads what comes of it."""
        self._unread_ignored = True
        self.stir()

    @property
    def unread(self) -> int:
        """Outputs that nobody has read."""
        return sum(isinstance(output, events.Output) for _, output in self._outputs)

    @property
    def unread_refusals(self) -> list[FabricError]:
        """What was refused, as far as nobody has read of it."""
        return [output for _, output in self._outputs if isinstance(output, FabricError)]

    def take_all(self) -> list[events.Output]:
        """Return every output that nobody has read."""
        outputs = [output for _, output in self._outputs if isinstance(output, events.Output)]
        self._outputs.clear()
        self._unread_bytes = 0
        return outputs

    def raise_failure(self) -> None:
        """Raise how it ended, if it did and that was a failure of which readers were not told as it happened."""
        error = self._end_error()
        if error is not None:
            raise error

    def raise_untold(self) -> None:
        """Raise what failed, if nobody was told of it."""
        ending = self.ending
        if ending is not None and not self._told_end and ending.failure not in self._told:
            self.raise_failure()
        if self.unread_refusals:
            raise self.unread_refusals[0]

    def look_for_start(self) -> bool | None:
        """Say whether every worker is ready, or it has ended; ``None``: not yet."""
        return True if self.opened or self.ending is not None else None

    def look_for_end(self) -> Ending | None:
        """Return how it ended, if it has."""
        return self.ending

    def _end_error(self) -> BaseException | None:
        if self.ending is None or (self._bounded and self.ending.told_one_by_one):
            return None
        error = self.ending.raised()
        self._told_end |= error is not None
        return error


def _size(output: events.Output) -> int:
    return len(output.payload) + OUTPUT_COSTS_BYTES
