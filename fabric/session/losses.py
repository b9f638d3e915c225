"""What did not come out, and what workers sent that was refused; counted as it happens."""

from __future__ import annotations

__all__ = ["REASONS", "Losses"]

from collections import Counter

from fabric.errors import RemoteProtocolError
from fabric.graph.ir import End
from fabric.session.events import LossReport, Note

REJECTED_NOTE_S = 1.0
"""Refused frames of one worker and reason are logged once in so many seconds; each is counted."""

REASONS = frozenset(
    {
        "short",
        "topic",
        "oversize",
        "marker_id",
        "batch",
        "unasked",
        "decline",
        "replayed",
        "after_eof",
        "port",
        "unannounced",
        "announced",
        "lifecycle",
        "marker",
        "past",
    }
)
"""Why a frame from a worker is refused. No other word is counted by, so that a worker cannot fill the memory with them.
The table in PROTOCOL.md §10 says what each one means."""


class Losses:
    """Counts, as in :class:`~fabric.session.events.LossReport`.

    Attributes:
        invalid: frames and messages that were refused, by where they came from and why.
    """

    def __init__(self) -> None:
        self.begin()
        self.invalid: Counter[tuple[End, str]] = Counter()
        self._rejected: Counter[tuple[str, str]] = Counter()
        self._noted_s: dict[tuple[str, str], float] = {}

    def begin(self) -> None:
        """A run begins: what earlier ones have lost was told."""
        self.lost = self.dead_lettered = self.unpaired = 0

    def reject(self, worker: str, port: str, error: RemoteProtocolError, now_s: float, *, lost: bool) -> list[Note]:
        """Count a frame that is refused; return what is to be logged of it.

        Args:
            worker: that sent it.
            port: on which.
            error: why.
            now_s: by the session's clock.
            lost: whether it may have been a message.
        """
        assert error.reason in REASONS, error.reason
        self.lost += lost
        key = worker, error.reason
        self._rejected[key] += 1
        self.invalid[End(worker, port), error.reason] += 1
        if now_s - self._noted_s.get(key, float("-inf")) < REJECTED_NOTE_S:
            return []
        self._noted_s[key] = now_s
        fields = {"worker": worker, "reason": error.reason, "count": self._rejected[key], "detail": str(error)}
        return [Note("error" if lost else "warning", "frame.rejected", fields)]

    def count_past(self, worker: str) -> None:
        """Count a frame that was meant for who listened before."""
        self._rejected[worker, "past"] += 1

    @property
    def rejected(self) -> dict[str, dict[str, int]]:
        """How many frames were refused, by worker and reason."""
        counts: dict[str, dict[str, int]] = {}
        for (worker, reason), count in self._rejected.items():
            counts.setdefault(worker, {})[reason] = count
        return counts

    def report(self, left: int, unfinished: tuple[str, ...]) -> LossReport:
        """Return the report of a session that ends with so many messages in the graph, and these conversations."""
        reasons: Counter[str] = Counter()
        for (_, reason), count in self._rejected.items():
            if reason != "past":  # what they were about has come again
                reasons[reason] += count
        return LossReport(
            self.lost + left, self.dead_lettered, self.unpaired, unfinished, dict(sorted(reasons.items()))
        )
