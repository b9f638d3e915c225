"""The order of nodes in each row of a drawing, with few crossings.

Sweeps put each node at the mean of its neighbours in the row before; then adjacent nodes are exchanged as long as that
saves crossings. Source: Sugiyama, Tagawa, Toda 1981; the exchanges are those of Gansner et al. 1993.

Beside links between a row and the next there are *turns*: a way back leaves a node downwards and turns up beside it, so
both its ends are in one row.
"""

from __future__ import annotations

__all__ = ["Rows", "arrange"]

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

SWEEPS = 16
"""Most drawings stop improving within six."""

EXCHANGES_MAX = 12
"""Rounds of exchanges after one sweep."""

Pair: TypeAlias = tuple[int, int]


class Rows(NamedTuple):
    """What is to be arranged; nodes are 0, 1, 2 …

    Attributes:
        row: of each node.
        links: pairs of a node and one in the next row.
        below: turns, pairs of nodes of one row that are joined below it.
        above: turns above a row.
    """

    row: Sequence[int]
    links: Sequence[Pair]
    below: Sequence[Pair]
    above: Sequence[Pair]


class _Side(NamedTuple):
    """What a node has to do with on one of its sides: nodes of the next row, and of its own."""

    links: list[int]
    turns: list[int]


def arrange(rows: Rows) -> list[list[int]]:
    """Return the rows from above, each with its nodes from the left."""
    return _Arrangement(rows).best()


class _Arrangement:
    def __init__(self, rows: Rows) -> None:
        count = len(rows.row)
        self.rows = rows
        self.up = [_Side([], []) for _ in range(count)]
        self.down = [_Side([], []) for _ in range(count)]
        for upper, lower in rows.links:
            self.down[upper].links.append(lower)
            self.up[lower].links.append(upper)
        for turns, sides in ((rows.below, self.down), (rows.above, self.up)):
            for one, other in turns:
                sides[one].turns.append(other)
                sides[other].turns.append(one)
        self.place = [0] * count

    def best(self) -> list[list[int]]:
        """Arrange from above and from below; keep the better."""
        found: list[tuple[int, list[list[int]]]] = []
        for downwards in (True, False):
            self.order = self._first(downwards)
            self._renumber(range(len(self.order)))
            for sweep in range(SWEEPS + 1):
                if sweep:
                    self._sweep((sweep % 2 == 1) == downwards)
                self._exchange()
                found.append((self._crossings(), [row.copy() for row in self.order]))
                if not found[-1][0]:
                    break
        return min(found, key=lambda one: one[0])[1]

    def _first(self, downwards: bool) -> list[list[int]]:
        """Depth first, so that what belongs together stands together."""
        order: list[list[int]] = [[] for _ in range(max(self.rows.row) + 1)]
        seen: set[int] = set()
        starts = sorted(range(len(self.place)), key=lambda node: self.rows.row[node] * (1 if downwards else -1))
        for start in starts:
            stack = [start]
            while stack:
                node = stack.pop()
                if node in seen:
                    continue
                seen.add(node)
                order[self.rows.row[node]].append(node)
                sides = (self.up[node], self.down[node]) if downwards else (self.down[node], self.up[node])
                for side in sides:
                    stack += reversed(side.links)
                    stack += reversed(side.turns)
        return order

    def _renumber(self, rows: Iterable[int]) -> None:
        for row in rows:
            for place, node in enumerate(self.order[row]):
                self.place[node] = place

    def _sweep(self, downwards: bool) -> None:
        """Sort each row by the mean place of its neighbours in the row before; a turn stays beside its node."""
        sides = self.up if downwards else self.down
        rows = range(len(self.order))
        for row in rows if downwards else reversed(rows):
            means: dict[int, float] = {}
            for node in self.order[row]:
                links = sides[node].links
                means[node] = sum(self.place[link] for link in links) / len(links) if links else self.place[node]
            for node in self.order[row]:
                beside = self.up[node].turns + self.down[node].turns
                if not sides[node].links and beside:
                    means[node] = means[beside[0]] + (0.25 if self.place[node] > self.place[beside[0]] else -0.25)
            self.order[row].sort(key=lambda node: means[node])
            self._renumber([row])

    def _exchange(self) -> None:
        for _ in range(EXCHANGES_MAX):
            improved = False
            for row in self.order:
                for i in range(len(row) - 1):
                    left, right = row[i], row[i + 1]
                    before = self._between(left, right)
                    self.place[left], self.place[right] = i + 1, i
                    if self._between(right, left) < before:
                        row[i], row[i + 1] = right, left
                        improved = True
                    else:
                        self.place[left], self.place[right] = i, i + 1
            if not improved:
                return

    def _between(self, left: int, right: int) -> int:
        """Count the crossings of what is joined to two adjacent nodes."""
        place, at_left, at_right = self.place, self.place[left], self.place[right]
        count = 0
        for sides in (self.up, self.down):
            for one in sides[left].links:
                count += sum(place[one] > place[other] for other in sides[right].links)
                count += sum(place[other] < at_left for other in sides[right].turns)
            for one in sides[left].turns:
                if place[one] > at_right:
                    count += len(sides[right].links)
                low, high = sorted((at_left, place[one]))
                inside = low < at_right < high
                count += sum(inside != (low < place[other] < high) for other in sides[right].turns)
        return count

    def _crossings(self) -> int:
        """Count all crossings."""
        place = self.place
        count = 0
        ends: dict[tuple[int, bool], list[int]] = {}
        for row, nodes in enumerate(self.order):
            seen: list[int] = []
            for node in nodes:
                links = sorted(place[lower] for lower in self.down[node].links)
                count += sum(len(seen) - bisect_left(seen, link + 1) for link in links)
                for link in links:
                    insort(seen, link)
            ends[row, True] = [place[node] for node in nodes for _ in self.down[node].links]
            ends[row, False] = [place[node] for node in nodes for _ in self.up[node].links]
        for turns, is_below in ((self.rows.below, True), (self.rows.above, False)):
            spans = [(self.rows.row[one], *sorted((place[one], place[other]))) for one, other in turns]
            for i, (row, low, high) in enumerate(spans):
                count += sum(low < end < high for end in ends[row, is_below])
                count += sum(
                    (low < other_low < high) != (low < other_high < high) and other_low != low and other_high != high
                    for other_row, other_low, other_high in spans[:i]
                    if other_row == row
                )
        return count
