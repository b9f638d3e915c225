"""Bring a session back: enact again what it has recorded, and see what came of it.

Nothing is performed by that: it has happened. What the shell has to know of it is in :class:`Relived`.
"""

from __future__ import annotations

__all__ = ["Relived", "Skipped", "relive"]

from collections.abc import Callable, Iterable

import msgspec

from fabric.errors import HistoryUnfit
from fabric.session import events, history
from fabric.session.durable import DurableTraffic
from fabric.session.events import Command, DeadLetter, Output
from fabric.session.history import Emitted, Entered, History, Retried
from fabric.session.outbox import Outbox
from fabric.session.recall import RecordedCall
from fabric.session.usage import Usage


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
        letters: dead letters, in order.
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
        self.finished = isinstance(entry, history.Finished)

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
    entries: Iterable[History],
    told: Callable[[list[Command]], object],
    usage: Callable[[], tuple[Usage, ...]],
    *,
    allow_changed: bool,
) -> Relived:
    """Enact entries again.

    Args:
        traffic: of a session in which nothing has happened yet.
        out: of that session; nothing in it is to be performed.
        entries: all that were recorded, in order.
        told: takes what was commanded by an entry then.
        usage: tells what calls of models took.
        allow_changed: go on without what the program has no place for.

    Raises:
        HistoryUnfit: an entry cannot be enacted.
    """
    gathered = _Gathered()
    enacting = traffic.history
    enacting.reliving = True
    try:
        for entry in entries:
            if allow_changed:
                entry = traffic.nearest(entry)
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
        enacting.reliving = False
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
