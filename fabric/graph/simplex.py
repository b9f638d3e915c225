"""The network simplex: integers that keep given distances and are together as near as can be.

Both halves of a drawing are this problem: which row a node stands in, and how far to the right. In one dimension, give
every node a number such that ``number[head] - number[tail] >= length`` for each constraint, and the sum of
``weight * (number[head] - number[tail])`` is least.

A spanning tree of constraints that are met with equality fixes all numbers. The *cut value* of a tree edge says what
the sum would gain if the two halves of the tree were moved apart: the weight that leaves the tail's half, less the
weight that enters it. An edge inside a half counts on both sides and cancels out, so a cut value is a sum over the
nodes of a half. While one is negative, that edge leaves the tree and the shortest one the other way enters.

Source: Gansner, Koutsofios, North, Vo 1993, "A technique for drawing directed graphs", section 2.3.
"""

from __future__ import annotations

__all__ = ["Constraint", "solve"]

from collections.abc import Sequence
from typing import NamedTuple

PIVOTS_PER_NODE = 6
"""A bound on the work; drawings take about one. What has been reached by then keeps every distance."""


class Constraint(NamedTuple):
    """``head`` comes at least ``length`` after ``tail``; each step farther costs ``weight``."""

    tail: int
    head: int
    length: int
    weight: int


def solve(count: int, constraints: Sequence[Constraint]) -> list[int]:
    """Return a number for each of ``count`` nodes; the least is 0.

    Args:
        count: of nodes, which are 0, 1, 2 …
        constraints: they connect all nodes, and have no cycle.
    """
    if count < 2:
        return [0] * count
    tree = _Tree(count, constraints)
    for _ in range(PIVOTS_PER_NODE * count):
        if not tree.improve():
            break
    least = min(tree.numbers)
    return [number - least for number in tree.numbers]


class _Tree:
    """A feasible solution and a spanning tree of tight constraints."""

    def __init__(self, count: int, constraints: Sequence[Constraint]) -> None:
        self.constraints = constraints
        self.numbers = _longest_paths(count, constraints)
        self.supply = [0] * count
        for tail, head, _, weight in constraints:
            self.supply[tail] += weight
            self.supply[head] -= weight
        self.edges: list[dict[int, int]] = [{} for _ in range(count)]  # of the tree: to which node each leads
        self._span()
        self._root()

    def _slack(self, edge: int) -> int:
        tail, head, length, _ = self.constraints[edge]
        return self.numbers[head] - self.numbers[tail] - length

    def _span(self) -> None:
        """Grow a tree from node 0: over tight constraints, else move it to where the nearest one becomes tight."""
        incident: list[list[int]] = [[] for _ in self.edges]
        for edge, (tail, head, _, _) in enumerate(self.constraints):
            incident[tail].append(edge)
            incident[head].append(edge)
        inside, members, border = {0}, [0], set(incident[0])
        while len(inside) < len(self.edges):
            edge = min(border, key=lambda edge: (self._slack(edge), edge))
            tail, head, _, _ = self.constraints[edge]
            slack = self._slack(edge)
            if slack:
                shift = slack if tail in inside else -slack
                for node in members:
                    self.numbers[node] += shift
            added = head if tail in inside else tail
            inside.add(added)
            members.append(added)
            self.edges[tail][edge] = head
            self.edges[head][edge] = tail
            for edge in incident[added]:
                tail, head, _, _ = self.constraints[edge]
                if tail in inside and head in inside:
                    border.discard(edge)
                else:
                    border.add(edge)

    def _root(self) -> None:
        """Number the tree's nodes so that a subtree is an interval, and sum up the cut values."""
        count = len(self.edges)
        self.order: list[int] = []
        self.first = [0] * count
        self.after = [0] * count
        self.above = [-1] * count
        parents = [0] * count
        stack = [0]
        while stack:
            node = stack.pop()
            self.first[node] = len(self.order)
            self.order.append(node)
            above = self.above[node]
            for edge, below in self.edges[node].items():
                if edge != above:
                    self.above[below] = edge
                    parents[below] = node
                    stack.append(below)
        sums = self.supply.copy()
        sizes = [1] * count
        self.worst, worst_value = -1, 0
        for node in reversed(self.order):
            self.after[node] = self.first[node] + sizes[node]
            edge = self.above[node]
            if edge < 0:
                continue
            parent = parents[node]
            value = sums[node]
            sums[parent] += value
            sizes[parent] += sizes[node]
            if value and self.constraints[edge].tail != node:
                value = -value
            if value < worst_value:
                self.worst, worst_value = node, value

    def _entering(self, node: int) -> int:
        """Return the shortest constraint across the cut above ``node``, against the direction of the tree's edge."""
        first, after = self.first[node], self.after[node]
        leaves = self.constraints[self.above[node]].tail == node
        best, best_slack = -1, 0
        for edge, (tail, head, length, _) in enumerate(self.constraints):
            start, end = (head, tail) if leaves else (tail, head)
            if first <= self.first[start] < after and not first <= self.first[end] < after:
                slack = self.numbers[head] - self.numbers[tail] - length
                if best < 0 or slack < best_slack:
                    best, best_slack = edge, slack
        return best

    def _move(self, node: int, by: int) -> None:
        """Move the half below ``node`` away from its tree edge's other end."""
        sign = -1 if self.constraints[self.above[node]].tail == node else 1
        for moved in self.order[self.first[node] : self.after[node]]:
            self.numbers[moved] += sign * by

    def improve(self) -> bool:
        """Exchange the edge with the most negative cut value. Returns whether there was one."""
        if self.worst < 0:
            return False
        leaving, entering = self.above[self.worst], self._entering(self.worst)
        assert entering >= 0, "a negative cut has an edge the other way"
        self._move(self.worst, self._slack(entering))
        tail, head, _, _ = self.constraints[leaving]
        del self.edges[tail][leaving], self.edges[head][leaving]
        tail, head, _, _ = self.constraints[entering]
        self.edges[tail][entering], self.edges[head][entering] = head, tail
        self._root()
        return True


def _longest_paths(count: int, constraints: Sequence[Constraint]) -> list[int]:
    """Return the least numbers from 0 that keep every distance."""
    after: list[list[Constraint]] = [[] for _ in range(count)]
    waiting = [0] * count
    for constraint in constraints:
        after[constraint.tail].append(constraint)
        waiting[constraint.head] += 1
    numbers = [0] * count
    ready = [node for node in range(count) if not waiting[node]]
    for node in ready:
        for _, head, length, _ in after[node]:
            numbers[head] = max(numbers[head], numbers[node] + length)
            waiting[head] -= 1
            if not waiting[head]:
                ready.append(head)
    assert len(ready) == count, "the constraints have a cycle"
    return numbers
