"""Choosing a provider."""

import pytest

from fabric.errors import ConfigError
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec
from plumb_agent.providers import open_provider
from plumb_agent.providers.eliza import Eliza


def test_eliza_is_there():
    """Its model may be left out."""
    assert isinstance(open_provider(WorkerSpec("bot", "agent", STRING, STRING, {"provider": "eliza"})), Eliza)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"provider": "elisa"}, "there is no provider 'elisa'"),
        ({}, "agent 'bot' has no provider"),
        ({"provider": "eliza", "model": "gpt-4o"}, "only model is 'doctor'"),
    ],
)
def test_others_are_a_configuration_error(config, reason):
    """Exit status 2, and the text says what there is."""
    with pytest.raises(ConfigError, match=reason) as caught:
        open_provider(WorkerSpec("bot", "agent", STRING, STRING, config))
    assert caught.value.exit_code == 2
