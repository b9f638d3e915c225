"""Components of graphs, against an independent implementation."""

from __future__ import annotations

from itertools import pairwise

import networkx
from hypothesis import given
from hypothesis import strategies as st
from plans import graph_of

from fabric.graph.analysis import loops, strongly_connected

EDGES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40)


@given(EDGES)
def test_components_are_those_of_another_implementation(edges: list[tuple[int, int]]):
    """The same sets of nodes, each before those that it feeds."""
    nodes = [str(i) for i in range(13)]
    successors = {node: [str(b) for a, b in edges if str(a) == node] for node in nodes}
    found = strongly_connected(nodes, successors)
    oracle = networkx.DiGraph([(str(a), str(b)) for a, b in edges])
    oracle.add_nodes_from(nodes)
    assert {frozenset(c) for c in found} == {frozenset(c) for c in networkx.strongly_connected_components(oracle)}
    number = {node: i for i, component in enumerate(found) for node in component}
    assert all(number[str(a)] <= number[str(b)] for a, b in edges)


def test_a_long_chain_does_not_exhaust_the_stack():
    """A hundred thousand nodes in a row."""
    nodes = [str(i) for i in range(100_000)]
    successors = {node: [following] for node, following in pairwise(nodes)}
    assert len(strongly_connected(nodes, successors)) == 100_000


def test_a_loop_is_found_and_a_diamond_is_none():
    """Two ways that meet again are no loop."""
    text = "let a : !int -> !int = id\nlet main : !int -> !int = plumb(i, o) {{ i ; a {} ; o }}\n"
    assert loops(graph_of(text.format("; (map(value) * map(value)) ; id"))) == []
    (loop,) = loops(graph_of(text.format("\n a ; filter(value > 0) ; a\n a")))
    assert {"a", "a.merge"} <= set(loop)
