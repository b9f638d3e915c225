"""What agents report of their calls, added up by worker and model."""

from __future__ import annotations

import pytest

from fabric.session.money import Rate, Tokens
from fabric.session.usage import MODELS_MAX, TOKENS_MAX, USAGE, Tally, Usage, is_dated, read_usage


def rate_of(provider: str, model: str, prompt_tokens: int) -> Rate | None:
    price = 2_000_000 if prompt_tokens > 1_000 else 1_000_000
    return Rate(price, 5_000_000, 0, price) if provider == "anthropic" else None


def test_an_event_of_usage_is_read():
    """With or without the model."""
    payload = b'{"kind":"usage","prompt_tokens":7,"completion_tokens":2,"cache_read_tokens":3,"model":"m","more":1}'
    assert USAGE in payload
    assert read_usage(payload) == ("m", Tokens(7, 2, 3, 0))
    assert read_usage(b'{ "prompt_tokens": 1, "kind": "usage" }') == ("", Tokens(1, 0))


@pytest.mark.parametrize(
    "payload",
    [
        b'{"kind":"output","content":{"kind":"usage"}}',
        b'{"kind":"usage","prompt_tokens":-1}',
        b'{"kind":"usage","prompt_tokens":%d}' % (TOKENS_MAX + 1),
        b'{"kind":"usage","prompt_tokens":1.5}',
        b'["usage"]',
        b"usage",
    ],
)
def test_what_is_no_event_of_usage_is_not(payload: bytes):
    """Other kinds, and numbers that cannot be."""
    assert read_usage(payload) is None


def test_calls_are_added_up_by_worker_and_model():
    """The price of each depends on its own prompt; one without a price makes the sum unknown, not nothing."""
    tally = Tally(rate_of)
    tally.add("a", "anthropic", "m", Tokens(1_000, 10, 100))
    tally.add("b", "openai", "n", Tokens(5, 5))
    tally.add("a", "anthropic", "m", Tokens(2_000, 10))
    assert tally.rows == (
        Usage("a", "anthropic", "m", 2, 3_000, 20, 100, 0, pytest.approx(0.0009 + 0.004 + 0.0001)),
        Usage("b", "openai", "n", 1, 5, 5, 0, 0, None),
    )


def test_the_models_of_a_worker_do_not_fill_the_memory():
    """Beyond so many they are counted as one."""
    tally = Tally(rate_of)
    for number in range(MODELS_MAX + 50):
        tally.add("a", "anthropic", f"m{number}", Tokens(1, 1))
    assert len(tally.rows) == MODELS_MAX + 1
    assert tally.rows[-1].calls == 50


@pytest.mark.parametrize(
    ("model", "asked", "dated"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o", True),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5", True),
        ("gpt-4-0613", "gpt-4", True),
        ("claude-haiku-4-5", "claude-haiku-4", False),
        ("gpt-4o-mini", "gpt-4o", False),
        ("gpt-4o", "gpt-4o", False),
        ("gpt-4o-", "gpt-4o", False),
    ],
)
def test_a_model_may_say_of_when_it_is(model: str, asked: str, dated: bool):
    """Providers do, of the one that was asked for. Another version, or a smaller one, is another model."""
    assert is_dated(model, asked) is dated


def test_a_dated_model_costs_what_was_said_of_the_other_name():
    """The budget has reckoned with that, too. What was set by hand has its own price."""
    tally = Tally(lambda provider, model, prompt: Rate(0, 10**6, 0, 0) if model == "mine" else None)
    tally.add("a", "openai", "mine-2026-01-01", Tokens(5, 5), asked="mine")
    tally.add("a", "openai", "mine-mini", Tokens(5, 5), asked="mine")
    assert [row.usd for row in tally.rows] == [0.000005, None]
