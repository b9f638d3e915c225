"""The network simplex finds the least sum."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from fabric.graph.simplex import Constraint, solve


@st.composite
def problems(draw: st.DrawFn) -> tuple[int, list[Constraint]]:
    """Connected, without cycles: each node has a constraint from an earlier one, some have more."""
    count = draw(st.integers(2, 5))
    number = st.integers(0, 2)
    constraints = []
    for head in range(1, count):
        for tail in draw(st.lists(st.integers(0, head - 1), min_size=1, max_size=3)):
            constraints += [Constraint(tail, head, draw(number), draw(number))]
    return count, constraints


def cost(numbers: tuple[int, ...] | list[int], constraints: list[Constraint]) -> int:
    return sum(weight * (numbers[head] - numbers[tail]) for tail, head, _, weight in constraints)


def is_kept(numbers: tuple[int, ...] | list[int], constraints: list[Constraint]) -> bool:
    return all(numbers[head] - numbers[tail] >= length for tail, head, length, _ in constraints)


@given(problems())
def test_no_numbers_that_keep_the_distances_cost_less(problem: tuple[int, list[Constraint]]):
    """Tried against all there are."""
    count, constraints = problem
    found = solve(count, constraints)
    assert is_kept(found, constraints)
    assert min(found) == 0
    least = min(cost(any_, constraints) for any_ in product(range(9), repeat=count) if is_kept(any_, constraints))
    assert cost(found, constraints) == least


def test_a_source_comes_as_near_as_its_reader_allows():
    """Longest paths alone would leave node 3 at the top."""
    chain = [Constraint(0, 1, 1, 1), Constraint(1, 2, 1, 1), Constraint(3, 2, 1, 1)]
    assert solve(4, chain) == [0, 1, 2, 1]


def test_one_node_stands_at_zero():
    """There is nothing to solve."""
    assert (solve(1, []), solve(0, [])) == ([0], [])
