"""How far to the right everything in a drawing stands: wires are straight where they can be.

First the sum of all sideways distances is made least (``simplex``); each distance is an absolute value, which asks for
straight wires as a square would not. Then what may move at no cost does: a copy goes over the middle of its two
readers, a barrier under the middle of its two writers.
"""

from __future__ import annotations

__all__ = ["Hop", "columns"]

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from fabric.graph import simplex

ROUNDS_MAX = 8
"""Of moves at no cost; each may make room for the next."""


class Hop(NamedTuple):
    """A wire, or its part between two rows.

    Attributes:
        one, other: the two.
        start, end: where the wire meets them, to the right of their middles.
        weight: what a step to the side costs.
        rigid: neither end has another wire on that side, so a straight hop stays straight.
    """

    one: int
    start: int
    other: int
    end: int
    weight: int
    rigid: bool


def columns(
    rows: Sequence[Sequence[int]], apart: dict[tuple[int, int], int], hops: Sequence[Hop], turns: Sequence[Hop]
) -> list[int]:
    """Return the middle of everything that stands in ``rows``.

    Args:
        rows: all of 0, 1, 2 …, each row from the left; connected by ``hops`` and ``turns``.
        apart: how far apart the middles of two neighbours are at least.
        hops: the wires between rows.
        turns: those within a row, from a bend to a box; the bend comes as near as it can, the box does not mind.
    """
    count = sum(map(len, rows))
    constraints = [simplex.Constraint(left, right, least, 0) for (left, right), least in apart.items()]
    # The distance of two ends is that of both from a helper on their left: Gansner et al. 1993, section 4.2.
    for helper, hop in enumerate((*hops, *turns), count):
        end = max(hop.start, hop.end)
        weight = hop.weight if helper < count + len(hops) else 0
        constraints.append(simplex.Constraint(helper, hop.one, end - hop.start, weight))
        constraints.append(simplex.Constraint(helper, hop.other, end - hop.end, weight))
    places = simplex.solve(count + len(hops) + len(turns), constraints)[:count]
    _Settling(places, rows, apart, hops, turns).settle()
    return places


class _Settling:
    """Uses what may move at no cost: to make rigid wires straight, else to stand in the middle of what is as good."""

    def __init__(
        self,
        places: list[int],
        rows: Sequence[Sequence[int]],
        apart: dict[tuple[int, int], int],
        hops: Sequence[Hop],
        turns: Sequence[Hop],
    ) -> None:
        self._places = places
        self._apart = apart
        self._hops = hops
        self._turns = turns
        self._before: dict[int, int] = {}
        self._after: dict[int, int] = {}
        for row in rows:
            for left, right in pairwise(row):
                self._before[right], self._after[left] = left, right

    def settle(self) -> None:
        """Move groups that rigid wires join; then all beyond a fan; then, to straighten more, what any wires join."""
        self._repeat(lambda hop: hop.rigid and not self._bent(hop), center=True)
        fans: defaultdict[tuple[int, bool], set[Hop]] = defaultdict(set)
        for hop in self._hops:
            fans[hop.one, True].add(hop)
            fans[hop.other, False].add(hop)
        for (node, _), fan in fans.items():
            if len(fan) > 1:
                self._join(lambda hop, fan=fan: hop not in fan)  # type: ignore[misc]
                self._move([self._group[node]], center=True)
        self._repeat(lambda hop: not self._bent(hop), center=False)

    def _repeat(self, joins: Callable[[Hop], bool], center: bool) -> None:
        for _ in range(ROUNDS_MAX):
            self._join(joins)
            if not self._move(self._members, center):
                break

    def _join(self, joins: Callable[[Hop], bool]) -> None:
        """Make groups of what some wires join."""
        self._group = list(range(len(self._places)))
        self._members = {node: [node] for node in self._group}
        for hop in self._hops:
            one, other = self._group[hop.one], self._group[hop.other]
            if one != other and joins(hop):
                for node in self._members[other]:
                    self._group[node] = one
                self._members[one] += self._members.pop(other)
        self._outward: defaultdict[int, list[Hop]] = defaultdict(list)
        for hop in self._hops:
            if self._group[hop.one] != self._group[hop.other]:
                back = Hop(hop.other, hop.end, hop.one, hop.start, hop.weight, hop.rigid)
                self._outward[self._group[hop.one]].append(hop)
                self._outward[self._group[hop.other]].append(back)
        for turn in self._turns:  # they move the bend, not the box
            self._outward[self._group[turn.one]].append(turn)

    def _bent(self, hop: Hop) -> int:
        """Return how far to the right of its start a hop ends."""
        return self._places[hop.other] + hop.end - self._places[hop.one] - hop.start

    def _move(self, groups: Iterable[int], center: bool) -> bool:
        """Move each group once. Returns whether any did."""
        moved = False
        for group in groups:
            right, left = self._freedom(group, 1), self._freedom(group, -1)
            by = 0
            if right.gains and (not left.gains or right.reach <= left.reach):
                by = right.reach
            elif left.gains:
                by = -left.reach
            elif center:
                by = max(-left.reach, min(right.reach, int((right.free - left.free) / 2)))
            for node in self._members[group]:
                self._places[node] += by
            moved = moved or bool(by)
        return moved

    def _freedom(self, group: int, way: int) -> _Freedom:
        """Return how far a group may go to the right (1) or left (-1)."""
        cost, free, straight = 0, 0, False
        for hop in self._outward[group]:
            distance = way * self._bent(hop)
            cost += -hop.weight if distance > 0 else hop.weight
            if distance > 0 and (not free or distance <= free):
                straight = hop.rigid or (straight and distance == free)
                free = distance
        if cost > 0 or not free:
            return _Freedom(0, 0, False)
        reach = free
        for node in self._members[group]:
            neighbour = (self._after if way > 0 else self._before).get(node)
            if neighbour is not None and self._group[neighbour] != group:
                pair = (node, neighbour) if way > 0 else (neighbour, node)
                reach = min(reach, abs(self._places[neighbour] - self._places[node]) - self._apart[pair])
        return _Freedom(free, reach, reach > 0 and (cost < 0 or (straight and reach == free)))


class _Freedom(NamedTuple):
    """How far a group may move one way: at no cost; before it meets another; and whether to go there is a gain."""

    free: int
    reach: int
    gains: bool
