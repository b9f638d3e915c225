"""What models cost: the project's own prices, else those of the ``genai-prices`` package.

The package takes some 130 ms to be imported, so that happens when somebody asks for a price that the project does not
say: before the start if a budget in dollars is set, else when the first call of a hosted model is reported.
"""

from __future__ import annotations

__all__ = ["HOSTED", "INSTALL", "Prices", "check_prices"]

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fabric.errors import ConfigError
from fabric.plan.plan import Plan
from fabric.session.money import Rate
from fabric.settings import ProjectPrice

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

HOSTED = ("anthropic", "openai")
"""Providers that cost money; the package knows them by the same names."""

FREE = ("eliza", "scripted")

INSTALL = "pip install 'plumb-fabric[prices]'"

_PICOS = 1_000_000
"""In a dollar for a million tokens, for each token."""


class Prices:
    """Tells what models cost.

    Args:
        own: what the project says, by model.
    """

    def __init__(self, own: Mapping[str, ProjectPrice] | None = None) -> None:
        self._own = own or {}
        self._found: dict[tuple[str, str], ModelPrice | None] = {}
        self._from_table = False

    def rate_of(self, provider: str, model: str, prompt_tokens: int) -> Rate | None:
        """Return the rate for a prompt of so many tokens; see :data:`fabric.session.money.RateOf`."""
        own = self._own.get(model)
        if own is not None:
            return _rate(own.input, own.output, own.cache_read, own.cache_write)
        if provider in FREE:
            return Rate(0, 0, 0, 0)
        if provider not in HOSTED:
            return None
        key = provider, model
        if key not in self._found:
            self._found[key] = _look_up(provider, model)
        price = self._found[key]
        if price is None:
            return None
        self._from_table = True
        kinds = (price.input_mtok, price.output_mtok, price.cache_read_mtok, price.cache_write_mtok)
        plain, output, cache_read, cache_write = (_for_prompt(kind, prompt_tokens) for kind in kinds)
        if plain is None or output is None:
            return None
        return _rate(plain, output, cache_read, cache_write)

    @property
    def source(self) -> str:
        """Where the prices that were asked for come from, and of when they are, in words."""
        parts = [table_version()] if self._from_table else []
        parts += sorted(price.place for price in self._own.values())[:1]
        return ", ".join(parts)


def check_prices(plan: Plan, prices: Prices) -> None:
    """Check that every agent's model has a price.

    Raises:
        ConfigError: one has none; says how to add it.
    """
    for worker in plan.workers:
        if worker.spec.kind != "agent":
            continue
        provider, model = str(worker.spec.config["provider"]), str(worker.spec.config["model"])
        if prices.rate_of(provider, model, 0) is not None:
            continue
        own = f'or say it in fabric.toml, in dollars for a million tokens: [prices."{model}"] input = …, output = …'
        if not _is_installed():
            raise ConfigError(f"a budget in dollars needs the price of {model!r}: {INSTALL}, {own}")
        raise ConfigError(
            f"a budget in dollars needs the price of {model!r}, the model of agent '{worker.node}', and"
            f" {table_version()} does not have it: take another model, {own}"
        )


def table_version() -> str:
    """Return which table of prices is installed, and the day of its last change that is in force, in words."""
    import genai_prices
    from genai_prices.data_snapshot import get_snapshot

    today = datetime.now(UTC).date()
    models = (model for provider in get_snapshot().providers for model in provider.models)
    lists = (model.prices for model in models if isinstance(model.prices, list))
    days = (getattr(one.constraint, "start_date", None) for prices in lists for one in prices)
    newest = max((day for day in days if day is not None and day <= today), default=None)
    return f"genai-prices {genai_prices.__version__}" + (f" (changes up to {newest})" if newest else "")


def _is_installed() -> bool:
    try:
        import genai_prices  # noqa: F401
    except ImportError:
        return False
    return True


def _look_up(provider: str, model: str) -> ModelPrice | None:
    try:
        import genai_prices
    except ImportError:
        return None
    try:
        return genai_prices.calc_price(genai_prices.Usage(input_tokens=1), model, provider_id=provider).model_price
    except LookupError:
        return None


def _for_prompt(price: Any, prompt_tokens: int) -> Decimal | None:
    """Return a price of the table for a prompt of so many tokens; a long one may have another for all of them."""
    if price is None or isinstance(price, Decimal):
        return price
    above = [tier.price for tier in price.tiers if prompt_tokens > tier.start]
    return above[-1] if above else price.base  # type: ignore[no-any-return]


def _rate(
    plain: float | Decimal,
    output: float | Decimal,
    cache_read: float | Decimal | None,
    cache_write: float | Decimal | None,
) -> Rate:
    return Rate(
        _picos(plain),
        _picos(output),
        _picos(plain if cache_read is None else cache_read),
        _picos(plain if cache_write is None else cache_write),
    )


def _picos(price: float | Decimal) -> int:
    return math.ceil(Decimal(str(price)) * _PICOS)
