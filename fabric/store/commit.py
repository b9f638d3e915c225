"""The rule by which a log grows: who may take the next number, who goes past what is there, who has come too late.

All that a bucket does atomically is to create an object if there is none of that key. The rest is here, as a machine
without a clock or a bucket:

    a commit asks for a number           Create
    it got it                            Done
    nobody knows whether it got it       Create, the same number again: the commit has an id, so it knows itself
    it is there already: the same one    Done; it was the one, or it is a push with the same key
    it is there already: a tombstone     Ended
    a handler meets a handler's          Dropped: somebody else decided from a state which it has not gone beyond
    whatever else is there               Create, the next number

So of the decisions taken from one state of a log one becomes true, whoever is slow, killed, doubled or cut off from
the bucket in between. A push that slipped in is not lost: the handler's commit goes past it and says with its ``base``
that it has not seen it. A pusher that is started anew looks for its key first, in all that is there; and since it
sees each number before it asks for the next one, a key is in a log once.

A number is never free again. Were one deleted, a writer that was stopped long ago could take it, and believe that its
commit is in the log (SlateDB lost acknowledged writes so: its 352 and 1622). So a session is deleted by one more
commit, the tombstone, which no commit goes past.
"""

from __future__ import annotations

__all__ = ["Command", "Create", "Created", "Done", "Dropped", "Ended", "Event", "Exists", "GaveUp", "Placing", "Unsure"]

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from fabric.store.record import Commit

UNSURE_MAX = 2
"""Requests without an answer, one after the other, for one number. It is the store that tries again, with pauses and
for a limited time; here it is asked once more, and then the caller says how long to wait."""


class Created(msgspec.Struct, frozen=True):
    """There was no commit of that number, and now it is this one."""


class Exists(msgspec.Struct, frozen=True):
    """There is a commit of that number.

    Attributes:
        found: as it was read.
    """

    found: Commit


class Unsure(msgspec.Struct, frozen=True):
    """There was no answer."""


Event: TypeAlias = Created | Exists | Unsure


class Create(msgspec.Struct, frozen=True):
    """Create the commit as the one of this number, if there is none."""

    seq: int


class Done(msgspec.Struct, frozen=True):
    """It is in the log.

    Attributes:
        seq: its number.
        commit: what is there: with an earlier push of the same key, that one.
    """

    seq: int
    commit: Commit


class Dropped(msgspec.Struct, frozen=True):
    """It will never be in the log: somebody else has decided.

    Attributes:
        seq: where.
        by: what was decided.
    """

    seq: int
    by: Commit


class Ended(msgspec.Struct, frozen=True):
    """The session was deleted."""


class GaveUp(msgspec.Struct, frozen=True):
    """There was no answer too often; it may be there.

    Attributes:
        seq: where. To go on, place the same commit again: not a new one, which would not know this as its own.
    """

    seq: int


Command: TypeAlias = Create | Done | Dropped | Ended | GaveUp


class Placing:
    """One commit on its way into a log.

    Args:
        commit: what is to be there. With ``kind`` handler it was decided from the first ``base`` commits.
    """

    def __init__(self, commit: Commit) -> None:
        self.commit = commit
        self._seq = commit.base
        self._unsure = 0

    @property
    def unsure(self) -> bool:
        """Whether the last requests had no answer, so that it may be there."""
        return self._unsure > 0

    def begin(self, known: Sequence[Commit]) -> Command:
        """Begin with what is known of the log: all of its commits from 0 up to some number."""
        assert self.commit.base <= len(known), "nobody decides from what he has not read"
        if self.commit.key and self.commit.kind == "client":
            for seq, found in enumerate(known[: self.commit.base]):
                if self._is_mine(found):
                    return Done(seq, found)
        command: Command = Create(self._seq)
        for found in known[self._seq :]:
            command = self.handle(Exists(found))
            if not isinstance(command, Create):
                break
        return command

    def handle(self, event: Event) -> Command:
        """Return what is to be done, after an answer to the last :class:`Create`."""
        if isinstance(event, Created):
            return Done(self._seq, self.commit)
        if isinstance(event, Unsure):
            self._unsure += 1
            return Create(self._seq) if self._unsure < UNSURE_MAX else GaveUp(self._seq)
        found = event.found
        if self._is_mine(found):
            return Done(self._seq, found)
        if found.tombstone:
            return Ended()
        if found.kind == self.commit.kind == "handler":
            return Dropped(self._seq, found)
        self._unsure = 0
        self._seq += 1
        return Create(self._seq)

    def _is_mine(self, found: Commit) -> bool:
        if found.id == self.commit.id:
            return True
        return found.kind == self.commit.kind == "client" and bool(found.key) and found.key == self.commit.key
