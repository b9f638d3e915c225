"""Lanes for the wires between two rows of a drawing.

A wire comes down from its ends above, runs along a lane, and goes down to its ends below. Two wires may cross but must
not run on top of one another:

* wires whose stretches overlap have lanes of their own;
* if one wire comes down where another goes down, the first has the upper lane. Two wires that ask this of each other
  are parted by splitting one: it changes lanes at a place where no wire ends.

Among the rest those go up first that cross least. Source: Hashimoto and Stevens 1971 (channel routing, constraints of
one lane above another); Deutsch 1976 (the split, there called a dogleg).
"""

from __future__ import annotations

__all__ = ["Run", "Wire", "lay"]

from collections.abc import Collection, Sequence
from typing import NamedTuple


class Wire(NamedTuple):
    """Where a wire enters the space between two rows: from above, from below. Two ends in all."""

    above: tuple[int, ...]
    below: tuple[int, ...]


class Run(NamedTuple):
    """A wire's way: along ``lane``, and if it was split from ``turn`` on along ``then``. Lanes count from above."""

    lane: int
    turn: int | None = None
    then: int = 0


class _Piece(NamedTuple):
    """A stretch that needs a lane.

    Attributes:
        wire: that it is of.
        above, below: where it is reached from above and from below.
        low, high: how far it goes to the left and to the right.
        half: 1 and 2 are the halves of a wire that was split.
    """

    wire: int
    above: tuple[int, ...]
    below: tuple[int, ...]
    low: int
    high: int
    half: int = 0


def lay(wires: Sequence[Wire], gap: int) -> tuple[list[Run | None], int]:
    """Return each wire's run (None: it goes straight down), and how many lanes there are.

    Args:
        wires: the ends of different wires on one side are at least ``gap`` apart.
        gap: the least distance between two lines.
    """
    used = {end for wire in wires for end in wire.above + wire.below}
    waiting = _Waiting(gap)
    for i, (above, below) in enumerate(wires):
        if len(set(above + below)) > 1:
            waiting.add(_piece(i, above, below))
    turns: dict[int, int] = {}
    laid: list[tuple[_Piece, int]] = []
    while waiting.cost:
        chosen = waiting.best()
        if chosen is None:
            wire, above, below, low, high, _ = waiting.tied()
            turns[wire] = _free_place((low + high) // 2, used, gap)
            used.add(turns[wire])
            waiting.add(_piece(wire, above, (turns[wire],), 1))
            waiting.add(_piece(wire, (turns[wire],), below, 2))
            continue
        lane = 0
        for other, taken in laid:
            if taken >= lane and (_overlap(chosen, other) or _goes_above(other, chosen, gap)):
                lane = taken + 1
        laid.append((chosen, lane))
    runs: list[Run | None] = [None] * len(wires)
    for piece, lane in laid:
        first = runs[piece.wire]
        runs[piece.wire] = Run(lane, turns.get(piece.wire)) if first is None else first._replace(then=lane)
    return runs, max((lane + 1 for _, lane in laid), default=0)


def _piece(wire: int, above: tuple[int, ...], below: tuple[int, ...], half: int = 0) -> _Piece:
    ends = above + below
    return _Piece(wire, above, below, min(ends), max(ends), half)


class _Waiting:
    """The pieces without a lane, each with what it would cost to be the next, and how many have to be before it."""

    def __init__(self, gap: int) -> None:
        self._gap = gap
        self.cost: dict[_Piece, int] = {}
        self._before: dict[_Piece, int] = {}

    def add(self, piece: _Piece) -> None:
        """Let a piece wait."""
        self.cost[piece] = self._before[piece] = 0
        self._compare(piece, 1)

    def best(self) -> _Piece | None:
        """Take out the piece that should have the next lane; None if each has another before it."""
        free = [piece for piece, count in self._before.items() if not count]
        if not free:
            return None
        return self._take(min(free, key=lambda piece: (self.cost[piece], piece.high - piece.low, piece)))

    def tied(self) -> _Piece:
        """Take out a piece that can be split."""
        return self._take(min(piece for piece in self.cost if piece.above and piece.below and not piece.half))

    def _take(self, piece: _Piece) -> _Piece:
        self._compare(piece, -1)
        del self.cost[piece], self._before[piece]
        return piece

    def _compare(self, piece: _Piece, sign: int) -> None:
        for other in self.cost:
            if other is not piece:
                cost = sign * _cost(piece, other)
                self.cost[piece] += cost
                self.cost[other] -= cost
                self._before[piece] += sign * _goes_above(other, piece, self._gap)
                self._before[other] += sign * _goes_above(piece, other, self._gap)


def _goes_above(upper: _Piece, lower: _Piece, gap: int) -> bool:
    """Whether ``upper`` has to have the upper lane: it comes down where ``lower`` goes down, or is its first half."""
    if upper.wire == lower.wire:
        return upper.half < lower.half
    return any(abs(above - below) < gap for above in upper.above for below in lower.below)


def _overlap(one: _Piece, other: _Piece) -> bool:
    """Whether two pieces cannot share a lane. Ends nearer than the gap are on different sides: they forbid it too."""
    return one.low < other.high and other.low < one.high


def _cost(upper: _Piece, lower: _Piece) -> int:
    """Count the crossings of two pieces with their lanes so, less those with their lanes the other way round."""
    cost = 0
    for end in lower.above:
        cost += upper.low < end < upper.high
    for end in lower.below:
        cost -= upper.low < end < upper.high
    for end in upper.below:
        cost += lower.low < end < lower.high
    for end in upper.above:
        cost -= lower.low < end < lower.high
    return cost


def _free_place(middle: int, used: Collection[int], gap: int) -> int:
    """Return the place nearest to ``middle`` where no line comes near."""
    distance = 0
    while True:
        for place in (middle + distance, middle - distance):
            if all(abs(place - end) >= gap for end in used):
                return place
        distance += 1
