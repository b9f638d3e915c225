"""What models cost: by the project, by the table, or not known."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from plans import plan_of
from three_ways import environment

from fabric.errors import ConfigError
from fabric.runtime.prices import Prices, check_prices, table_version
from fabric.session.money import Rate
from fabric.settings import ProjectPrice

OWN = {"mine": ProjectPrice("fabric.toml:3", 1.0, 2.5), "gpt-4o": ProjectPrice("fabric.toml:7", 9.0, 9.0, 0.15, 10.0)}


def test_what_the_project_says_wins():
    """Over the table; cached tokens cost as others unless it says otherwise."""
    prices = Prices(OWN)
    assert prices.rate_of("openai", "mine", 10) == Rate(1_000_000, 2_500_000, 1_000_000, 1_000_000)
    assert prices.rate_of("openai", "gpt-4o", 10) == Rate(9_000_000, 9_000_000, 150_000, 10_000_000)
    assert prices.source == "fabric.toml:3"


def test_the_table_knows_models_of_hosted_providers():
    """With what the cache costs; where they come from is told with the day."""
    prices = Prices()
    assert prices.source == ""
    assert prices.rate_of("anthropic", "claude-haiku-4-5", 10) == Rate(1_000_000, 5_000_000, 100_000, 1_250_000)
    assert prices.rate_of("anthropic", "claude-haiku-4-5-20251001", 10) is not None
    assert prices.source == table_version()
    assert prices.source.startswith("genai-prices ")
    assert "changes up to 20" in prices.source


def test_a_long_prompt_may_cost_more_for_each_token():
    """All of it, beyond the step."""
    prices = Prices()
    short, long = (prices.rate_of("openai", "gpt-5.5", tokens) for tokens in (272_000, 272_001))
    assert short is not None
    assert long is not None
    assert long.input == 2 * short.input


@pytest.mark.parametrize(("provider", "model"), [("openai", "gpt-none"), ("", "gpt-4o"), ("mine", "gpt-4o")])
def test_what_is_not_known_is_none(provider: str, model: str):
    """Neither nothing nor a guess: also for a provider that only has the same names."""
    assert Prices().rate_of(provider, model, 10) is None


@pytest.mark.parametrize("provider", ["eliza", "scripted"])
def test_what_runs_here_costs_nothing(provider: str):
    """That is known."""
    assert Prices().rate_of(provider, "doctor", 10**6) == Rate(0, 0, 0, 0)


def test_prices_are_never_rounded_down():
    """A budget is not to be exceeded by the last digit."""
    assert Prices({"m": ProjectPrice("", 0.0000001, 1 / 3)}).rate_of("openai", "m", 1) == Rate(1, 333_334, 1, 1)
    assert Decimal("0.333334") > Decimal(str(1 / 3))


def test_every_agent_needs_a_price_if_the_budget_is_in_dollars():
    """It says which has none, and how to give it one; programs that are no agents need none."""
    text = (
        'let a : !int -> !int = agent {{ provider: "openai", model: "{}" }}\n'
        'let f : !int -> !int = python {{ call: "m:f" }}\n'
        "let main : !int -> !int = plumb(i, o) {{ i ; a ; f ; o }}\n"
    )
    check_prices(plan_of(text.format("gpt-4o")), Prices())
    check_prices(plan_of(text.format("mine")), Prices(OWN))
    with pytest.raises(ConfigError) as caught:
        check_prices(plan_of(text.format("mine")), Prices())
    assert "needs the price of 'mine', the model of agent 'a', and genai-prices " in str(caught.value)
    assert '[prices."mine"] input = …, output = …' in str(caught.value)


SUPPORT = str(Path(__file__).parents[1] / "support")

WITHOUT = """
import sys
sys.modules["genai_prices"] = None
from plans import plan_of
from fabric.errors import ConfigError
from fabric.runtime.prices import Prices, check_prices
prices = Prices()
assert prices.rate_of("openai", "gpt-4o", 1) is None
assert prices.rate_of("eliza", "doctor", 1) is not None
try:
    check_prices(plan_of('let main : !int -> !int = agent { provider: "openai", model: "gpt-4o" }'), prices)
except ConfigError as error:
    print(error)
"""


def test_without_the_package_it_is_named():
    """Nothing but hosted models needs it."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {SUPPORT!r})\n{WITHOUT}"],
        capture_output=True,
        env=environment(),
        check=True,
        timeout=60,
    )
    assert done.stdout.decode().startswith(
        "a budget in dollars needs the price of 'gpt-4o': pip install 'plumb-fabric[prices]', or say it in fabric.toml"
    )


def test_the_package_is_loaded_only_for_what_it_knows():
    """It takes longer than the start of a session."""
    code = (
        "import sys; from fabric.runtime.prices import Prices; p = Prices(); p.rate_of('eliza', 'doctor', 1); p.source;"
        "import fabric.cli.run, fabric.cli.cost; assert 'genai_prices' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), timeout=60)
