"""What a question costs: by ``pricing`` of its model, else by the project's prices, else by ``genai-prices``."""

from __future__ import annotations

__all__ = ["Pricing"]

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fabric.errors import ConfigError
from fabric.pipelines.asking.clients import Answer
from fabric.pipelines.spec import ModelSpec
from fabric.session.money import Tokens, cost, dollars
from fabric.settings import ProjectPrice, read_settings

if TYPE_CHECKING:
    from fabric.runtime.prices import Prices

_log = logging.getLogger("fabric.pipelines")

_OPENAI = "api.openai.com"


class Pricing:
    """Tells what questions cost.

    Args:
        project: directory of the project, or below it: its ``fabric.toml`` may say what models cost. It is read when a
            model has no price of its own; one that cannot be read has no prices, and is warned of.
    """

    def __init__(self, project: Path | None = None) -> None:
        self._project = project
        self._table: Prices | None = None

    def cost_usd(self, spec: ModelSpec, answer: Answer) -> float | None:
        """Return what a question to a model cost; ``None``: nobody knows."""
        if spec.provider == "mock" and not spec.prices:
            return 0.0
        if answer.tokens is None:
            return None
        prompt, completion = answer.tokens["prompt_tokens"], answer.tokens["completion_tokens"]
        if spec.prices:
            of_input, of_output = spec.prices.get("input_per_1k", 0.0), spec.prices.get("output_per_1k", 0.0)
            return (prompt * of_input + completion * of_output) / 1000
        rate = self._prices().rate_of(_vendor(spec), spec.model, prompt)
        if rate is None:
            return None
        tokens = Tokens(prompt, completion, answer.cache_read_tokens, answer.cache_creation_tokens)
        return dollars(cost(rate, tokens))

    def is_known(self, spec: ModelSpec) -> bool:
        """Whether somebody knows what a question to a model costs, if its server says how long it was."""
        if spec.provider == "mock" or spec.prices:
            return True
        return self._prices().rate_of(_vendor(spec), spec.model, 0) is not None

    def _prices(self) -> Prices:
        """Return the table; it is loaded when it is first needed, which for mocks is never."""
        if self._table is None:
            from fabric.runtime.prices import Prices

            self._table = Prices(_prices_of(self._project))
        return self._table


def _prices_of(project: Path | None) -> Mapping[str, ProjectPrice]:
    if project is None:
        return {}
    try:
        return read_settings(project).prices
    except ConfigError as error:
        _log.warning("the project's prices are not known: %s", error)
        return {}


def _vendor(spec: ModelSpec) -> str:
    """Return who sells the model, by the name that the table has for it. Many servers speak OpenAI's API; their prices
    are their own."""
    if spec.provider == "openai_compat":
        host = urlsplit(spec.base_url or "").hostname
        return "openai" if host in (None, _OPENAI) else host
    return spec.provider
