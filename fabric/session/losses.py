"""What did not come out, counted as it happens."""

from __future__ import annotations

__all__ = ["Losses"]

from collections import Counter

from fabric.errors import RemoteProtocolError
from fabric.session.events import LossReport, Note

MALFORMED_NOTE_S = 1.0
"""Malformed frames of one worker and reason are logged once in so many seconds; each is counted."""


class Losses:
    """Counts, as in :class:`~fabric.session.events.LossReport`."""

    def __init__(self) -> None:
        self.lost = self.dead_lettered = self.unpaired = 0
        self._malformed: Counter[tuple[str, str]] = Counter()
        self._noted_s: dict[tuple[str, str], float] = {}

    def malformed(self, worker: str, error: RemoteProtocolError, now_s: float) -> list[Note]:
        """Count a frame that is none as lost; it may have been a message. Return what is to be logged of it."""
        self.lost += 1
        key = worker, error.reason
        self._malformed[key] += 1
        if now_s - self._noted_s.get(key, float("-inf")) < MALFORMED_NOTE_S:
            return []
        self._noted_s[key] = now_s
        fields = {"worker": worker, "reason": error.reason, "count": self._malformed[key], "detail": str(error)}
        return [Note("error", "message.rejected", fields)]

    def report(self, left: int, unfinished: tuple[str, ...]) -> LossReport:
        """Return the report of a session that ends with so many messages in the graph, and these conversations."""
        return LossReport(self.lost + left, self.dead_lettered, self.unpaired, unfinished)
