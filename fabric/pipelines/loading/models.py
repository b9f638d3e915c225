"""``models`` of a file, and what a run puts over them."""

from __future__ import annotations

__all__ = ["override", "read_model", "warn_of_unpriced"]

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from fabric.errors import ConfigError
from fabric.pipelines.loading.blocks import Block, shape
from fabric.pipelines.loading.keys import CACHE, MODEL, PRICING, PROVIDERS
from fabric.pipelines.loading.nodes import Entry, Fields, Items, Node, Scalar, plain
from fabric.pipelines.loading.problems import Problems, near
from fabric.pipelines.spec import CacheSpec, ModelSpec, Sampling

_LOG = logging.getLogger("fabric.pipelines")

_REPLIES = ("mock_responses", "responses", "response")

# Where the servers' own libraries look for what a file does not say.
_FROM_ENVIRONMENT = {
    "openai_compat": {"api_key": "OPENAI_API_KEY", "base_url": "OPENAI_BASE_URL"},
    "anthropic": {"api_key": "ANTHROPIC_API_KEY", "base_url": "ANTHROPIC_BASE_URL"},
}


def read_model(
    name: str, fields: Fields, problems: Problems, environment: Mapping[str, str], missing: tuple[str, ...] = ()
) -> ModelSpec:
    """Return a model; what is wrong with it is told to ``problems``.

    Args:
        name: its key.
        fields: its block, with variables put in.
        problems: are told.
        environment: has keys and addresses that the block does not say.
        missing: variables that are not set.
    """
    provider = fields.entries.get("provider")
    built_in = provider is None or plain(provider.value) in PROVIDERS
    block = Block(problems, fields, MODEL, f"model {name!r}", f"models.{name}", strict=built_in)
    kind = block.value("provider", "openai_compat")
    defaults = {key: environment.get(variable) or None for key, variable in _FROM_ENVIRONMENT.get(kind, {}).items()}
    return ModelSpec(
        name=name,
        provider=kind,
        model=block.value("model", ""),
        base_url=block.value("base_url") or defaults.get("base_url"),
        api_key=block.value("api_key") or defaults.get("api_key"),
        timeout_s=block.value("timeout", 120.0),
        sampling=read_sampling(block),
        max_retries=block.value("max_retries", 2),
        retry_delay_s=block.value("retry_delay", 1.0),
        extra_params=block.data("extra_params"),
        json_mode=_json_mode(block),
        required=block.value("required", True),
        missing=missing,
        prices=_prices(block),
        cache=_cache(block),
        replies=_replies(block),
        block=MappingProxyType(plain(fields)),
        mark=block.mark(),
    )


def read_sampling(block: Block) -> Sampling:
    """Return how a model draws."""
    return Sampling(*(block.value(name) for name in Sampling.__struct_fields__))


def override(
    models: Mapping[str, ModelSpec], overrides: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]
) -> Mapping[str, ModelSpec]:
    """Return the models of a run: what it says of a model goes over what the file says, key by key.

    Args:
        models: of the pipeline.
        overrides: by name; a name that is not there is a new model.
        environment: of the pipeline.

    Raises:
        ConfigError: this is no map of maps.
        PipelineLoadError: an override has a wrong value.
    """
    _expect_maps(overrides)
    problems = Problems("model_overrides")
    result = dict(models)
    for name, over in overrides.items():
        spec = models.get(name)
        if spec is None and (meant := near(name, models)) is not None:
            problems.warn(f"the file has no model {name!r}, so it is a new one", suggestion=meant)
        base = {} if spec is None else dict(spec.block)
        if any(key in over for key in _REPLIES):
            base = {key: value for key, value in base.items() if key not in _REPLIES}
        fields = _tree({**base, **over})
        if not isinstance(fields, Fields):
            continue
        left = () if spec is None else tuple(variable for variable in spec.missing if _names(fields, variable))
        result[name] = msgspec.structs.replace(
            read_model(name, fields, problems, environment, left), **({} if spec is None else {"mark": spec.mark})
        )
    problems.raise_if_any()
    for warning in problems.warnings:
        _LOG.warning("%s", warning)
    return result


def _expect_maps(overrides: Any) -> None:
    wanted = 'model_overrides are keys of models by their names: {"default": {"model": "..."}}'
    if not isinstance(overrides, Mapping):
        raise ConfigError(f"{wanted}; this is {overrides!r:.80} ({type(overrides).__name__})")
    for name, over in overrides.items():
        if not isinstance(name, str) or not isinstance(over, Mapping):
            wrong = over if isinstance(name, str) else name
            raise ConfigError(f"{wanted}; at {name!r:.40} this is {wrong!r:.80} ({type(wrong).__name__})")


def warn_of_unpriced(models: Iterable[ModelSpec], problems: Problems) -> None:
    """Warn of models that a budget cannot count, for nobody knows what they cost."""
    from fabric.pipelines.asking.prices import Pricing  # only here: most files have no budget

    pricing = Pricing(Path.cwd())
    for model in models:
        if not pricing.is_known(model):
            problems.warn(
                f"the price of model {model.name!r} ({model.model or 'no id'}) is not known, so 'budget_usd' does not"
                " count it: say it as 'pricing' of the model, in fabric.toml, or pip install 'plumb-fabric[prices]'",
                model.mark,
                f"models.{model.name}",
            )


def _tree(value: Any) -> Node:
    """Return a value of Python's as if it stood in a file, without a place."""
    if isinstance(value, Mapping):
        entries = {key: Entry(Scalar(key, 0, 0, str(key)), _tree(item)) for key, item in value.items()}
        return Fields(MappingProxyType(entries), 0, 0)
    if isinstance(value, (list, tuple)):
        return Items(tuple(_tree(item) for item in value), 0, 0)
    return Scalar(value, 0, 0, value if isinstance(value, str) else "")


def _names(node: Node, variable: str) -> bool:
    if isinstance(node, Scalar):
        return isinstance(node.value, str) and f"${{{variable}}}" in node.value
    parts = node.items if isinstance(node, Items) else [entry.value for entry in node.entries.values()]
    return any(_names(part, variable) for part in parts)


def _json_mode(block: Block) -> Any:
    mode, node = block.value("json_mode", "auto"), block.node("json_mode")
    if node is None or mode in ("auto", True, False):
        return mode
    block.error(f"{block.what}: json_mode must be true, false or auto; it is {shape(node)}", "json_mode")
    return "auto"


def _inner(block: Block, name: str, keys: Any) -> Block | None:
    fields = block.value(name)
    if fields is None:
        return None
    return Block(block.problems, fields, keys, f"{name} of {block.what}", block.under(name), block.kind)


def _prices(block: Block) -> Mapping[str, float]:
    inner = _inner(block, "pricing", PRICING)
    if inner is None:
        return MappingProxyType({})
    prices = {key.name: inner.value(key.name) for key in PRICING}
    return MappingProxyType({name: float(price) for name, price in prices.items() if price is not None})


def _cache(block: Block) -> CacheSpec:
    inner = _inner(block, "cache", CACHE)
    if inner is None:
        return CacheSpec()
    return CacheSpec(inner.value("enabled", False), inner.value("dir", CacheSpec().dir), inner.value("ttl_days"))


def _replies(block: Block) -> tuple[str, ...]:
    for name in _REPLIES:
        node = block.node(name)
        if node is None:
            continue
        said = plain(node) if isinstance(node, Items) else [plain(node)]
        if said:
            return tuple(text if isinstance(text, str) else json.dumps(text, default=str) for text in said)
        block.error(f"{block.what}: {name} must have one answer at least", name)
    return ModelSpec(name="").replies
