"""Bring a session back: enact again what it has recorded, and see what came of it.

Nothing is performed by that: it has happened. What the shell has to know of it is in :class:`Relived`.
"""

from __future__ import annotations

__all__ = ["Inherited", "Relived", "Skipped", "relive"]

from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import NamedTuple

import msgspec

from fabric.errors import HistoryUnfit
from fabric.session import events, history
from fabric.session.counterparts import Counterparts
from fabric.session.delivery import Message
from fabric.session.durable import DurableTraffic
from fabric.session.events import Command, DeadLetter, Output
from fabric.session.history import Emitted, Entered, History, Retried, bytes_of
from fabric.session.outbox import Outbox
from fabric.session.recall import RecordedCall
from fabric.session.usage import Usage


class Inherited(NamedTuple):
    """Entries that a fork has from one of its ancestors.

    Attributes:
        session: in whose log they are.
        entries: how many.
    """

    session: str
    entries: int


class Skipped(msgspec.Struct, frozen=True):
    """An entry that could not be enacted.

    Attributes:
        number: counts all entries, from 0.
        why: in words.
    """

    number: int
    why: str


class Relived(msgspec.Struct, frozen=True):
    """What has happened in earlier runs of a session.

    Attributes:
        entries: how many.
        outputs: what left the graph, in order, with the ids that it had then.
        emitted: how much of that is known to have reached whoever takes it; ``None``: nobody has said.
        inputs: what came in, in order.
        inputs_refused: the tickets of those that were refused as they came in.
        inputs_before: how many of them came before the last time that all was done (``Finished``).
        finished: whether the last run has done all that came, and nothing more was to come.
        next_ticket: above all that were used.
        settled: tickets of the inputs of which nothing is left.
        refused: what went no further, in order.
        letters: dead letters that nobody has had tried again, in order.
        in_doubt: calls of tools that may have been run, and nobody knows what came of them.
        standing: how many messages wait for workers.
        usage: what calls of models took.
        skipped: what could not be enacted, if that was allowed.
    """

    entries: int = 0
    outputs: tuple[Output, ...] = ()
    emitted: Emitted | None = None
    inputs: tuple[Entered, ...] = ()
    inputs_refused: frozenset[int] = frozenset()
    inputs_before: int = 0
    finished: bool = False
    next_ticket: int = 0
    settled: frozenset[int] = frozenset()
    refused: tuple[events.Refuse, ...] = ()
    letters: tuple[DeadLetter, ...] = ()
    in_doubt: tuple[RecordedCall, ...] = ()
    standing: int = 0
    usage: tuple[Usage, ...] = ()
    skipped: tuple[Skipped, ...] = ()


class _Gathered:
    """What came of the entries so far."""

    def __init__(self) -> None:
        self.count = self.inputs_before = 0
        self.next_ticket = 0
        self.finished = False
        self.outputs: list[Output] = []
        self.inputs: list[Entered] = []
        self.inputs_refused: set[int] = set()
        self.entering: int | None = None
        self.letters: list[DeadLetter] = []
        self.refused: list[events.Refuse] = []
        self.settled: set[int] = set()
        self.skipped: list[Skipped] = []
        self.emitted: Emitted | None = None

    def note(self, entry: History) -> None:
        self.count += 1
        self.entering = entry.ticket if isinstance(entry, Entered) else None
        match entry:
            case Emitted():
                self.emitted = entry
                return
            case Entered():
                self.inputs.append(entry)
            case history.Finished():
                self.inputs_before = len(self.inputs)
        if isinstance(entry, Entered | Retried):
            self.next_ticket = max(self.next_ticket, entry.ticket + 1)
            self.settled.discard(entry.ticket)
        if isinstance(entry, Retried):
            self._tried_again(entry)
        self.finished = isinstance(entry, history.Finished)

    def _tried_again(self, entry: Retried) -> None:
        """A letter is none any more. What somebody made another text of is not known again."""
        payload = bytes_of(entry.payload, entry.garbled)
        same = (one for one in self.letters if (one.worker, one.payload) == (entry.node, payload))
        if (letter := next(same, None)) is not None:
            self.letters.remove(letter)

    def take(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case events.Buried(letter):
                    self.letters.append(letter)
                case events.Refuse():
                    self.refused.append(command)
                    if self.entering in command.tickets:
                        self.inputs_refused.add(self.entering)
                case events.Settled(tickets):
                    self.settled.update(tickets)


def relive(
    traffic: DurableTraffic,
    out: Outbox,
    entries: Sequence[History],
    told: Callable[[list[Command]], object],
    usage: Callable[[], tuple[Usage, ...]],
    *,
    allow_changed: bool,
    inherited: Sequence[Inherited] = (),
    before: Callable[[int, Message | None], object] | None = None,
) -> Relived:
    """Enact entries again.

    Args:
        traffic: of a session in which nothing has happened yet.
        out: of that session; nothing in it is to be performed.
        entries: all that were recorded, in order.
        told: takes what was commanded by an entry then.
        usage: tells what calls of models took.
        allow_changed: go on without what the program has no place for.
        inherited: whose the first entries are, in order; the rest are the session's own.
        before: called before each entry, with its number and the message that a worker has taken by it, if one has.

    Raises:
        HistoryUnfit: an entry cannot be enacted.
    """
    gathered = _Gathered()
    counterparts = Counterparts(entries) if allow_changed else None
    enacting = traffic.history
    enacting.reliving, own = True, enacting.session
    owners = chain.from_iterable(repeat(one.session, one.entries) for one in inherited)
    try:
        for number, entry in enumerate(entries):
            enacting.session = next(owners, own)
            if counterparts is not None:
                entry = traffic.meant_by(entry, counterparts)
            if before is not None:
                before(number, traffic.taken_by(entry))
            try:
                enacting.relive(entry)
            except HistoryUnfit as error:
                if not allow_changed:
                    raise _told_of(gathered.count, entry, error) from None
                gathered.skipped.append(Skipped(gathered.count, str(error)))
            gathered.note(entry)
            gathered.outputs += out.outputs
            out.outputs = []
            out.tell(traffic.take_settled())
            commands = out.take()
            told(commands)
            gathered.take(commands)
    finally:
        enacting.reliving, enacting.session = False, own
    return Relived(
        entries=gathered.count,
        outputs=tuple(gathered.outputs),
        emitted=gathered.emitted,
        inputs=tuple(gathered.inputs),
        inputs_refused=frozenset(gathered.inputs_refused),
        inputs_before=gathered.inputs_before,
        finished=gathered.finished,
        next_ticket=gathered.next_ticket,
        settled=frozenset(gathered.settled),
        refused=tuple(gathered.refused),
        letters=tuple(gathered.letters),
        in_doubt=traffic.recall.in_doubt,
        standing=traffic.standing,
        usage=usage(),
        skipped=tuple(gathered.skipped),
    )


def _told_of(number: int, entry: History, error: HistoryUnfit) -> HistoryUnfit:
    kind = type(entry).__struct_config__.tag
    about = getattr(entry, "node", "") or getattr(entry, "worker", "") or getattr(entry, "port", "")
    which = f"entry {number} of the session's history ({kind}{f' of {about!r}' if about else ''})"
    hint = "the program is not the one that it was recorded of; what still fits can be kept if that is allowed"
    return HistoryUnfit(f"{which} cannot be enacted: {error}; {hint}")
