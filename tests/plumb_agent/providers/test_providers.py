"""Choosing a provider."""

import json
import subprocess
import sys

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


IMPORTS = """
import json, sys
import plumb_agent.__main__
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec
from plumb_agent.providers import load_provider, open_provider

def loaded():
    return sorted({"httpx2", "httpcore2", "plumb_agent.providers.http"} & sys.modules.keys())

seen = [loaded()]
for name in ("eliza", "anthropic", "openai"):
    spec = WorkerSpec("bot", "agent", STRING, STRING, {"provider": name, "model": "doctor"})
    open_provider(spec, {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"})
    seen.append(loaded())
load_provider("openai")
print(json.dumps([*seen, loaded()]))
"""


def test_the_http_client_is_loaded_by_the_first_attempt_or_before_the_fork():
    """Not by the agent, nor by opening a provider."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, check=True, timeout=60)
    *before, after = json.loads(done.stdout)
    assert before == [[], [], [], []]
    assert after == ["httpcore2", "httpx2", "plumb_agent.providers.http"]
