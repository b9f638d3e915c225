"""Orders with few crossings."""

from __future__ import annotations

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


def test_every_node_stands_in_its_row_once():
    """Nodes without links too."""
    order = arrange(Rows([1, 0, 1, 2, 0], [(1, 0)], [], []))
    assert [sorted(row) for row in order] == [[1, 4], [0, 2], [3]]
