"""How long things took, counted in buckets: what is kept of a million durations is some twenty numbers."""

from __future__ import annotations

__all__ = ["DURATIONS_S", "Durations", "Histogram"]

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

DURATIONS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Bounds for what may be a function of microseconds or a model that thinks for minutes."""


class Durations(msgspec.Struct, frozen=True):
    """What was counted.

    Attributes:
        bounds_s: upper bounds of the buckets, each belonging to its own; above the last there is one more.
        counts: of each bucket alone, one more than bounds.
        total_s: of all.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    total_s: float = 0.0


class Histogram:
    """Counts durations.

    Args:
        bounds_s: as in :class:`Durations`, rising.
    """

    def __init__(self, bounds_s: Sequence[float] = DURATIONS_S) -> None:
        self._bounds_s = tuple(bounds_s)
        self._counts = [0] * (len(self._bounds_s) + 1)
        self._total_s = 0.0

    def add(self, took_s: float, count: int = 1) -> None:
        """So many things took so long each."""
        self._counts[bisect_left(self._bounds_s, took_s)] += count
        self._total_s += took_s * count

    @property
    def durations(self) -> Durations:
        """What was counted so far."""
        return Durations(self._bounds_s, tuple(self._counts), self._total_s)
