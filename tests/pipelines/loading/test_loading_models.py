"""What a run says of models goes over what the file says."""

from __future__ import annotations

import pytest

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading import load_pipeline
from fabric.pipelines.loading_models import override
from fabric.pipelines.spec import Sampling

_FILE = """
models:
  m: {provider: mock, model: mm, temperature: 0.5, seed: 1, mock_responses: [a, b], cache: {enabled: true, dir: c}}
  n: {base_url: "${URL}", api_key: "${KEY}", required: false}
steps: []
"""


@pytest.fixture
def models(tmp_path):
    (tmp_path / "pipeline.yaml").write_text(_FILE)
    return load_pipeline(tmp_path / "pipeline.yaml", environment={}).models


def test_keys_go_over_those_of_the_file(models):
    """One by one, and not deeper: a map goes over a whole map. The models of the file stay as they are."""
    changed = override(models, {"m": {"temperature": 0, "cache": {"dir": "d"}}}, {})
    assert changed["m"].sampling == Sampling(temperature=0, seed=1)
    assert (changed["m"].model, changed["m"].replies, changed["m"].mark) == ("mm", ("a", "b"), models["m"].mark)
    assert (changed["m"].cache.dir, changed["m"].cache.enabled) == ("d", False)
    assert (models["m"].sampling.temperature, models["m"].cache.enabled) == (0.5, True)
    assert changed["n"] is models["n"]


@pytest.mark.parametrize("name", ["mock_responses", "responses"])
def test_what_a_mock_says_is_replaced_under_any_name(models, name):
    """Whichever the file used."""
    assert override(models, {"m": {name: ["x", {"a": 1}]}}, {})["m"].replies == ("x", '{"a": 1}')
    assert override(models, {"m": {"response": "y"}}, {})["m"].replies == ("y",)


def test_models_may_be_added(models):
    """With keys from the environment, as in the file."""
    added = override(models, {"new": {"model": "gpt"}}, {"OPENAI_API_KEY": "k"})["new"]
    assert (added.name, added.provider, added.model, added.api_key) == ("new", "openai_compat", "gpt", "k")


def test_what_is_said_is_missing_no_longer(models):
    """Variable by variable."""
    assert models["n"].missing == ("URL", "KEY")
    assert override(models, {"n": {"base_url": "http://x"}}, {})["n"].missing == ("KEY",)
    assert override(models, {"n": {"base_url": "http://x", "api_key": "k"}}, {})["n"].missing == ()


def test_what_is_wrong_is_an_error(models):
    """With the key."""
    with pytest.raises(PipelineLoadError, match="temperature must be a number") as raised:
        override(models, {"m": {"temperature": "warm"}}, {})
    assert (raised.value.key_path, raised.value.line) == ("models.m.temperature", None)


def test_what_is_unknown_is_warned_of(models, caplog):
    """In the log: a run has no other place for it."""
    override(models, {"m": {"temprature": 1}}, {})
    assert "did you mean 'temperature'" in caplog.text


def test_objects_go_to_a_provider_as_they_are(models):
    """For those that were registered."""
    thing = object()
    assert override(models, {"m": {"provider": "mine", "client": thing}}, {})["m"].block["client"] is thing
