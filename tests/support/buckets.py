"""A bucket with a clock that stands still, ids that are counted, and ears for what is told."""

from __future__ import annotations

from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.memory import MemoryStore
from fabric.store.objects import ObjectStore
from fabric.store.record import Entry
from fabric.store.replay import Placed


class Desk:
    """A bucket, and all that belongs to it."""

    def __init__(self, store: ObjectStore | None = None, now: float = 1000.0) -> None:
        self.store = store or MemoryStore()
        self.now = now
        self.told: list[str] = []
        self._ids = 0
        self.bucket = self.opened()

    def opened(self) -> Bucket:
        """Open the same bucket once more, as another process would."""
        return Bucket(self.store, lambda: self.now, self._id, self.told.append)

    def _id(self) -> str:
        self._ids += 1
        return f"id{self._ids}"


def said(log: Log, text: str, **fields: object) -> Entry:
    """Return an entry with a text."""
    return log.store_body(text.encode(), **fields)


def short(log: Log, placed: list[Placed]) -> list[str]:
    """Return entries as words: what it is, its text, and what else there is."""
    return [
        " ".join([each.entry.event, *([] if each.derived and each.seq < 0 and not each.index else [text(log, each)])])
        for each in placed
    ]


def text(log: Log, placed: Placed) -> str:
    """Return the text of an entry."""
    return log.body(placed.entry).decode(errors="replace")[:20]
