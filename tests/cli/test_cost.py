"""What was spent, as `cost`, the ends of sessions and `up` say it."""

from __future__ import annotations

import pytest

from fabric.cli.cost import Cost, remarks, render_cost
from fabric.cli.limits import show_cost, show_limits, spent_fields, spent_words
from fabric.errors import ConfigError
from fabric.runtime.starting import limits_of
from fabric.session.budget import BudgetStatus, Limits
from fabric.session.usage import Usage
from fabric.settings import ProjectLimits, ProjectSettings

HAIKU = Usage("writer", "anthropic", "claude-haiku-4-5", 12, 10_418, 2_000, 4_000, 100, 0.0213)
NEW = Usage("critic", "openai", "gpt-new", 2, 100, 20)
DOCTOR = Usage("doctor", "eliza", "doctor", 3, 30, 3, usd=0.0)


def test_the_table_has_a_row_for_each_worker_and_model():
    """Numbers as people read them; the total says what is not known."""
    assert render_cost(Cost("demo", True, (HAIKU, NEW))) == [
        "WORKER  MODEL                       CALLS  IN      CACHED  WRITTEN  OUT    USD",
        "writer  anthropic/claude-haiku-4-5  12     10 418  4 000   100      2 000  $0.0213",
        "critic  openai/gpt-new              2      100     0       0        20     unknown",
        "total                               14     10 518  4 000   100      2 020  $0.0213 + unknown",
    ]


def test_where_no_model_was_called_it_says_so():
    """Not an empty table."""
    assert render_cost(Cost("demo", True)) == ["'demo' has called no model yet"]
    assert render_cost(Cost("demo", False)) == ["'demo' has called no model"]


def test_beside_the_table_stand_the_budget_the_prices_and_what_to_do():
    """The source of the prices has a date."""
    budget = BudgetStatus(Limits(usd=2.0, calls=400), 14, 12_538, 0.03, reserved_calls=1)
    assert remarks(Cost("demo", True, (HAIKU, NEW), budget, "genai-prices 1 (changes up to 2026-11-01)")) == [
        "budget $2.00 · 400 calls: 14 calls, 12 538 tokens, $0.0300 used, 1 under way",
        "prices: genai-prices 1 (changes up to 2026-11-01)",
        "no price for gpt-new: pip install 'plumb-fabric[prices]', or say it under [prices.\"gpt-new\"] in fabric.toml",
    ]


@pytest.mark.parametrize(
    ("usage", "budget", "words"),
    [
        ((DOCTOR,), None, ""),
        ((), BudgetStatus(Limits(wall_s=3.0)), ""),
        ((HAIKU, DOCTOR), None, "15 calls · 12 451 tokens · $0.0213"),
        ((NEW,), None, "2 calls · 120 tokens · unknown: no price for gpt-new"),
        ((DOCTOR,), BudgetStatus(Limits(calls=9), 5, 40), "5 calls · 40 tokens · $0.00"),
        ((), BudgetStatus(Limits(tokens=9), 1, 1), "1 call · 1 token · $0.00"),
    ],
)
def test_what_was_spent_is_one_line(usage: tuple[Usage, ...], budget: BudgetStatus | None, words: str):
    """If a provider was paid, or calls were limited: then attempts count that came to nothing as well."""
    assert spent_words(usage, budget) == words


def test_for_programs_an_unknown_cost_is_null():
    """With the models that have no price."""
    assert spent_fields((HAIKU, NEW), None) == {
        "calls": 14,
        "tokens": 12_538,
        "usd": None,
        "unpriced_models": ["gpt-new"],
    }
    assert show_cost((DOCTOR,)) == "$0.00"


def test_limits_are_said_in_the_order_of_the_flags():
    """Nothing is said of none."""
    assert show_limits(Limits()) == ""
    assert show_limits(Limits(2.0, 500_000, 1, 1200.0)) == "budget $2.00 · 500 000 tokens · 1 call · 1200 s"


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), 0.0, -1.0, 1e9])
def test_dollars_that_cannot_be_meant_are_refused(usd: float):
    """With the name of the flag."""
    with pytest.raises(ConfigError, match=r"^--budget-usd: expected dollars, more than 0 and at most 1000000, got "):
        limits_of(ProjectSettings(), usd, None, None, None)


@pytest.mark.parametrize("time", ["0", "-5s", "soon", ""])
def test_a_time_that_cannot_be_meant_is_refused(time: str):
    """Likewise."""
    with pytest.raises(ConfigError, match=r"^--max-time: expected a duration of at least 0\.1 s"):
        limits_of(ProjectSettings(), None, None, None, time)


def test_what_a_flag_says_wins_over_the_project():
    """Each by itself."""
    project = ProjectSettings(limits=ProjectLimits(2.0, 100, None, 60.0))
    assert limits_of(project, 1.0, None, 5, "2m") == Limits(1.0, 100, 5, 120.0)
