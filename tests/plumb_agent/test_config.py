"""An agent's configuration."""

import pytest

from fabric.errors import ConfigError
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec
from plumb_agent.config import AgentConfig, read_config


def spec(**config: object) -> WorkerSpec:
    return WorkerSpec("bot", "agent", STRING, STRING, {"provider": "eliza", "model": "doctor", **config})


def test_defaults():
    """Those of the reference; keys of others are not ours to judge."""
    config = read_config(spec(script="x", window=3))
    assert config == AgentConfig("eliza", "doctor")
    assert (config.max_retries, config.max_tokens, config.max_messages, config.amnesiac) == (3, 8192, None, False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_tokens": "many"}, "agent 'bot': key 'max_tokens': expected `int`, got `str`"),
        ({"max_tokens": 0}, "key 'max_tokens'"),
        ({"max_retries": -1}, "key 'max_retries'"),
        ({"max_messages": 0}, "key 'max_messages'"),
        ({"amnesiac": "yes"}, "key 'amnesiac'"),
        ({"thinking_budget": 8192}, "thinking_budget 8192 must be less than max_tokens 8192"),
    ],
)
def test_a_wrong_value_names_its_key(config, message):
    """And the agent, and what was expected."""
    with pytest.raises(ConfigError, match=message):
        read_config(spec(**config))
