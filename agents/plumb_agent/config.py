"""An agent's configuration, checked."""

from __future__ import annotations

__all__ = ["AgentConfig", "read_config"]

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fabric.errors import ConfigError
from fabric.wire.spec import WorkerSpec

_Count = Annotated[int, Meta(ge=0)]
_Positive = Annotated[int, Meta(ge=1)]


class AgentConfig(msgspec.Struct, frozen=True):
    """The keys of an agent binding, with their defaults; those of one provider alone stay with the provider.

    Attributes:
        prompt: first part of the system prompt.
        max_retries: further calls after a reply that does not have the output type; per input.
        max_tokens: of one reply, thinking included.
        thinking_budget: of ``max_tokens``; less than that.
        amnesiac: forget every input when it is answered.
        max_tool_calls: calls of tools for one input; with so many it fails. ``None``: no limit.
        max_messages: inputs to answer before leaving; ``None``: no limit.
        runtime_context: tell the model time, tokens and calls before each call.
        lenient_string: take a reply that is not JSON as the string, where the output type is ``string``.
        tools: names of tool bindings; shown in the telemetry.
    """

    provider: str
    model: str
    prompt: str | None = None
    max_retries: _Count = 3
    max_tokens: _Positive = 8192
    thinking_budget: _Positive | None = None
    amnesiac: bool = False
    max_tool_calls: _Count | None = None
    max_messages: _Positive | None = None
    runtime_context: bool = False
    lenient_string: bool = False
    tools: tuple[Any, ...] = ()


def read_config(spec: WorkerSpec) -> AgentConfig:
    """Check the configuration in a worker's spec.

    Raises:
        ConfigError: a key is missing, has the wrong type, or contradicts another.
    """
    try:
        config = msgspec.convert(spec.config, AgentConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"agent {spec.name!r}: {_in_words(str(error))}") from None
    if config.thinking_budget is not None and config.thinking_budget >= config.max_tokens:
        numbers = f"thinking_budget {config.thinking_budget} must be less than max_tokens {config.max_tokens}"
        raise ConfigError(f"agent {spec.name!r}: {numbers}")
    return config


def _in_words(message: str) -> str:
    """Turn ``Expected `int`, got `str` - at `$.max_tokens``` into a sentence that names the key first."""
    what, _, where = message.partition(" - at `$.")
    return f"key {where.rstrip('`')!r}: {what.lower()}" if where else message
