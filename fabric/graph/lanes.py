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

from collections.abc import Sequence
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
    """A stretch that needs a lane: the wire it is of, and where it is reached from above and from below."""

    wire: int
    above: tuple[int, ...]
    below: tuple[int, ...]

    @property
    def span(self) -> tuple[int, int]:
        ends = self.above + self.below
        return min(ends), max(ends)


def lay(wires: Sequence[Wire], gap: int) -> tuple[list[Run | None], int]:
    """Return each wire's run (None: it goes straight down), and how many lanes there are.

    Args:
        wires: the ends of different wires on one side are at least ``gap`` apart.
        gap: the least distance between two lines.
    """
    used = sorted({end for wire in wires for end in wire.above + wire.below})
    waiting = [
        _Piece(i, wire.above, wire.below) for i, wire in enumerate(wires) if len(set(wire.above + wire.below)) > 1
    ]
    split: dict[int, int] = {}
    laid: list[tuple[_Piece, int]] = []
    while waiting:
        free = [piece for piece in waiting if not any(_goes_above(other, piece, gap, split) for other in waiting)]
        if not free:
            piece = next(piece for piece in waiting if piece.above and piece.below and piece.wire not in split)
            turn = _free_place(piece.span, used, gap)
            used.append(turn)
            split[piece.wire] = turn
            waiting.remove(piece)
            waiting += [piece._replace(below=(turn,)), piece._replace(above=(turn,))]
            continue
        chosen = min(free, key=lambda piece: (_cost(piece, waiting), piece.span[1] - piece.span[0], piece.wire))
        waiting.remove(chosen)
        lane = 0
        for other, taken in laid:
            if _overlap(chosen, other, gap) or _goes_above(other, chosen, gap, split):
                lane = max(lane, taken + 1)
        laid.append((chosen, lane))
    runs: list[Run | None] = [None] * len(wires)
    for piece, lane in laid:
        before = runs[piece.wire]
        if piece.wire not in split:
            runs[piece.wire] = Run(lane)
        elif before is None:
            runs[piece.wire] = Run(lane, split[piece.wire])
        else:
            runs[piece.wire] = before._replace(then=lane)
    return runs, max((lane + 1 for _, lane in laid), default=0)


def _goes_above(upper: _Piece, lower: _Piece, gap: int, split: dict[int, int]) -> bool:
    """Whether ``upper`` has to have the upper lane: it comes down where ``lower`` goes down, or is its first half."""
    if upper.wire == lower.wire:
        return upper is not lower and split[upper.wire] in upper.below
    return any(abs(above - below) < gap for above in upper.above for below in lower.below)


def _overlap(one: _Piece, other: _Piece, gap: int) -> bool:
    return one.span[0] - gap < other.span[1] and other.span[0] - gap < one.span[1]


def _cost(piece: _Piece, others: Sequence[_Piece]) -> int:
    """Count the crossings that a lane above all others makes, less those that one below them would."""
    low, high = piece.span
    cost = 0
    for other in others:
        other_low, other_high = other.span
        cost += sum(low < end < high for end in other.above) - sum(low < end < high for end in other.below)
        cost += sum(other_low < end < other_high for end in piece.below)
        cost -= sum(other_low < end < other_high for end in piece.above)
    return cost


def _free_place(span: tuple[int, int], used: Sequence[int], gap: int) -> int:
    """Return the place nearest to the middle of ``span`` where no line comes near."""
    middle = sum(span) // 2
    distance = 0
    while True:
        for place in (middle + distance, middle - distance):
            if all(abs(place - end) >= gap for end in used):
                return place
        distance += 1
