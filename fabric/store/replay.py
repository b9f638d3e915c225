"""What is in a session, in order, with all that follows from its manifest and its log.

    start, fork    the first thing of a root, and of a child after what it inherits
    push           of a child that a record asked for: that record's object, directly after its fork
    wake           in the place of a pause, as soon as anything follows it, or its time is due

None of these is written anywhere, so none of them can be lost or doubled.
"""

from __future__ import annotations

__all__ = ["Placed", "beginning", "child_id", "control_entry", "inherited_from", "placed", "replayed"]

from collections.abc import Iterable, Sequence

import msgspec

from fabric.store.readiness import decision_order
from fabric.store.record import Commit, Entry, Kind, Manifest, Origin, digest, entry_of

CHILD_ID_DIGITS = 32


class Placed(msgspec.Struct, frozen=True):
    """An entry in its place.

    Attributes:
        session: whose log it is in; of what is derived, the session itself.
        seq: the number of its commit; -1 of what is derived from the manifest; of a wake, that of its pause.
        index: its number in its commit.
        entry: what it is.
        inherited: it is of an ancestor, before the fork.
        kind: who committed it.
        at: when, in seconds since 1970.
        derived: it is not written in the log.
    """

    session: str
    seq: int
    index: int
    entry: Entry
    inherited: bool = False
    kind: Kind = "system"
    at: float = 0.0
    derived: bool = False

    @property
    def id(self) -> str:
        """The name of this entry in the whole bucket."""
        return f"{self.session}/{self.seq}/{self.index}"

    @property
    def child(self) -> str:
        """The id of the child that it makes; empty: it makes none."""
        return child_id(self.session, self.seq, self.index) if self.entry.fork else ""


def child_id(parent: str, seq: int, index: int) -> str:
    """Return the id of the child that an entry makes: the same, whoever makes it, and however often."""
    return digest(f"{parent}/{seq}/{index}".encode())[:CHILD_ID_DIGITS]


def control_entry(event: str) -> Entry:
    """Return a start, a fork or a wake. It has a body, so that a handler which decodes every body as JSON works."""
    return entry_of(event, b'{"event":"%s"}' % event.encode(), content_type="application/json")


def placed(session: str, commits: Sequence[Commit], order: Iterable[int]) -> list[Placed]:
    """Return the entries of commits in an order."""
    return [
        Placed(session, seq, index, entry, kind=commits[seq].kind, at=commits[seq].at)
        for seq in order
        for index, entry in enumerate(commits[seq].entries)
    ]


def beginning(manifest: Manifest, parent: Sequence[Commit]) -> list[Placed]:
    """Return what a session begins with, after what it inherits.

    Args:
        manifest: of the session.
        parent: commits of its parent, if it has one, up to the fork at least.
    """
    origin = manifest.parent
    first = Placed(
        manifest.id, -1, 0, control_entry("start" if origin is None else "fork"), at=manifest.created, derived=True
    )
    if origin is None or origin.index is None:
        return [first]
    commit = parent[origin.seq]
    entry = msgspec.structs.replace(commit.entries[origin.index], fork=False, session="")
    return [first, Placed(manifest.id, -1, 1, entry, kind=commit.kind, at=commit.at, derived=True)]


def inherited_from(origin: Origin, parent: Sequence[Commit]) -> list[Placed]:
    """Return what a child inherits of its parent's own log: what its maker had seen and written when it made it."""
    seen = parent[: origin.seq if origin.index is None else origin.seq + 1]
    kept: list[Placed] = []
    for entry in placed(origin.session, seen, decision_order(seen)):
        if (entry.seq, entry.index) == (origin.seq, origin.index):
            break
        kept.append(msgspec.structs.replace(entry, inherited=True))
    return kept


def replayed(seen: Sequence[Placed], *, due: bool) -> list[Placed]:
    """Return what a handler is given.

    Args:
        seen: all entries, in the order of decisions.
        due: the time of the last pause is up.
    """
    given: list[Placed] = []
    pause: Placed | None = None
    for each in seen:
        if pause is not None and each.entry.event != "wake":  # a wake that was pushed stands for itself
            given.append(_wake(pause))
        pause = each if each.entry.event == "pause" else None
        if pause is None:
            given.append(_told(each))
    if pause is not None and due:
        given.append(_wake(pause))
    return given


def _wake(pause: Placed) -> Placed:
    return msgspec.structs.replace(pause, entry=control_entry("wake"), kind="system", derived=True)


def _told(each: Placed) -> Placed:
    """Return an entry that says what became of it. A handler which did not see this would ask for it again."""
    became = {"fork": each.child} if each.entry.fork else {}
    if each.entry.session:
        became["session"] = each.entry.session
    if not became:
        return each
    return msgspec.structs.replace(
        each, entry=msgspec.structs.replace(each.entry, metadata={**each.entry.metadata, **became})
    )
