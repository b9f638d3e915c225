"""What calls cost: exact sums, and a bound that holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.session.money import PICO, Rate, Tokens, cost, cost_at_most, dollars, pico, show_usd

HAIKU = Rate(1_000_000, 5_000_000, 100_000, 1_250_000)
"""1, 5, 0.1 and 1.25 dollars for a million tokens."""

COUNT = st.integers(0, 10**6)


def test_cached_tokens_are_part_of_the_prompt_and_cost_what_they_cost():
    """1,000 tokens, 600 of them read and 100 written; 50 of the reply."""
    assert cost(HAIKU, Tokens(1_000, 50, 600, 100)) == 300 * 1_000_000 + 60_000_000 + 125_000_000 + 250_000_000


def test_a_million_tokens_cost_what_the_price_says():
    """The unit is such that prices are whole."""
    assert dollars(cost(HAIKU, Tokens(10**6, 10**6))) == 6.0
    assert pico(0.05) == PICO // 20


@given(st.tuples(COUNT, COUNT, COUNT, COUNT), COUNT, COUNT, COUNT)
def test_no_call_costs_more_than_the_bound(prices: tuple[int, ...], prompt: int, read: int, completion: int):
    """However much of its prompt is in a cache."""
    rate = Rate(*prices)
    read = min(read, prompt)
    written = (prompt - read) // 2
    assert cost(rate, Tokens(prompt, completion, read, written)) <= cost_at_most(rate, prompt, completion)


@pytest.mark.parametrize(
    ("usd", "shown"),
    [(0.0, "$0.00"), (2.0, "$2.00"), (0.0213, "$0.0213"), (0.000012, "$0.000012"), (1.005e3, "$1005.00")],
)
def test_small_amounts_are_not_shown_as_nothing(usd: float, shown: str):
    """Nor large ones to the hundredth of a cent."""
    assert show_usd(usd) == shown
