"""What calls of a model cost, in whole units that are small enough: sums are exact, whatever their order.

The unit is 10^-12 dollars, a *pico*: a price of 0.15 dollars for a million tokens is 150,000 of them for one.
"""

from __future__ import annotations

__all__ = ["PICO", "Rate", "RateOf", "Tokens", "cost", "cost_at_most", "dollars", "no_rate", "pico", "show_usd"]

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple, TypeAlias

PICO = 10**12
"""In a dollar."""


class Tokens(NamedTuple):
    """Tokens of one call. Those that were read from a cache or written to it are part of ``prompt``."""

    prompt: int
    completion: int
    cache_read: int = 0
    cache_creation: int = 0


class Rate(NamedTuple):
    """What one token costs, in picos."""

    input: int
    output: int
    cache_read: int
    cache_write: int


RateOf: TypeAlias = Callable[[str, str, int], Rate | None]
"""Tells what a model costs, by provider, model, and tokens of the prompt: long ones may cost more for each. ``None``:
nobody knows."""


def no_rate(provider: str, model: str, prompt_tokens: int) -> Rate | None:
    """Know no prices."""
    return None


def cost(rate: Rate, tokens: Tokens) -> int:
    """Return what a call cost, in picos."""
    plain = max(0, tokens.prompt - tokens.cache_read - tokens.cache_creation)
    cached = tokens.cache_read * rate.cache_read + tokens.cache_creation * rate.cache_write
    return plain * rate.input + cached + tokens.completion * rate.output


def cost_at_most(rate: Rate, prompt_tokens: int, max_tokens: int) -> int:
    """Return what a call may cost: nobody knows yet how much of its prompt is in a cache, or will be written to it."""
    return prompt_tokens * max(rate.input, rate.cache_read, rate.cache_write) + max_tokens * rate.output


def pico(usd: float) -> int:
    """Return dollars in picos."""
    return round(usd * PICO)


def dollars(picos: int) -> float:
    """Return picos in dollars."""
    return picos / PICO


def show_usd(usd: float) -> str:
    """Write dollars: to the cent, and small amounts so that they are not zero."""
    if usd == 0 or usd >= 1:
        return f"${usd:.2f}"
    return f"${usd:.4f}" if usd >= 0.0001 else f"${Decimal(f'{usd:.2g}'):f}"
