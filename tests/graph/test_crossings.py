"""Orders with few crossings."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from fabric.graph.crossings import Rows, arrange


def test_links_that_need_not_cross_do_not():
    """Three above, three below, each joined to its opposite."""
    first, second = arrange(Rows([0, 0, 0, 1, 1, 1], [(0, 5), (1, 4), (2, 3)], [], []))
    assert [5 - node for node in first] == second


def test_a_single_link_turns_a_whole_row():
    """The longer way round is no crossing."""
    first, second = arrange(Rows([0, 0, 1, 1], [(0, 2), (0, 3), (1, 2)], [], []))
    assert (first.index(0) < first.index(1)) == (second.index(3) < second.index(2))


def test_a_turn_stands_beside_its_node():
    """A way back from 2 to 0 past 1, with two other nodes in the row of 1: bends 5, 6, 7."""
    order = arrange(
        Rows([0, 1, 2, 1, 1, 2, 1, 0], [(0, 1), (1, 2), (0, 3), (0, 4), (6, 5), (7, 6)], [(2, 5)], [(7, 0)])
    )
    assert order[1].index(6) in (0, 3)
    assert sorted(map(sorted, order)) == [[0, 7], [1, 3, 4, 6], [2, 5]]


def rows(seed: int) -> Rows:
    """Four rows of seven nodes, links between, and turns, each to a bend of its own."""
    rng = random.Random(seed)
    row = [number for number in range(4) for _ in range(7)]
    possible = [(one, other) for one, other in combinations(range(28), 2) if row[other] == row[one] + 1]
    links = rng.sample(possible, 30)
    turns: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for _ in range(8):
        node = rng.randrange(28)
        turns[rng.randrange(2)].append((node, len(row)))
        links += [(node - 7, len(row))] if row[node] else []
        row.append(row[node])
    return Rows(row, links, *turns)


def crossings(order: list[list[int]], given_: Rows) -> int:
    """Count them pair by pair."""
    place = {node: i for row in order for i, node in enumerate(row)}
    count = sum(
        given_.row[a] == given_.row[c] and (place[a] - place[c]) * (place[b] - place[d]) < 0
        for (a, b), (c, d) in combinations(given_.links, 2)
    )
    for turns, side in ((given_.below, 0), (given_.above, 1)):
        spans = [(given_.row[a], *sorted((place[a], place[b]))) for a, b in turns]
        ends = [(given_.row[link[side]], place[link[side]]) for link in given_.links]
        count += sum(row == at and low < end < high for row, low, high in spans for at, end in ends)
        count += sum(
            row == other_row and (low < other_low < high < other_high or other_low < low < other_high < high)
            for (row, low, high), (other_row, other_low, other_high) in combinations(spans, 2)
        )
    return count


@pytest.mark.parametrize("seed", range(40))
def test_no_exchange_of_two_neighbours_saves_a_crossing(seed: int):
    """Counted in another way than the one that arranged them."""
    given_ = rows(seed)
    order = arrange(given_)
    least = crossings(order, given_)
    for row in order:
        for i in range(len(row) - 1):
            row[i], row[i + 1] = row[i + 1], row[i]
            assert crossings(order, given_) >= least
            row[i], row[i + 1] = row[i + 1], row[i]


def test_every_node_stands_in_its_row_once():
    """Nodes without links too."""
    order = arrange(Rows([1, 0, 1, 2, 0], [(1, 0)], [], []))
    assert [sorted(row) for row in order] == [[1, 4], [0, 2], [3]]
