"""What a run says of models goes over what the file says."""

from __future__ import annotations

import pytest

from fabric.errors import ConfigError
from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.models import override
from fabric.pipelines.loading.pipeline import load_pipeline
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


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([1], r"this is \[1\] \(list\)"),
        ("gpt", r"this is 'gpt' \(str\)"),
        ({"m": "gpt"}, r"at 'm' this is 'gpt' \(str\)"),
        ({"m": None}, r"at 'm' this is None \(NoneType\)"),
        ({3: {}}, r"at 3 this is 3 \(int\)"),
    ],
)
def test_what_is_no_map_of_maps_is_an_error(models, overrides, said):
    """It says how one looks."""
    with pytest.raises(ConfigError, match=said) as raised:
        override(models, overrides, {})
    assert '{"default": {"model": "..."}}' in str(raised.value)


def test_a_new_model_that_may_be_a_slip_is_warned_of(tmp_path, caplog):
    """Of one that is called otherwise nothing is said."""
    (tmp_path / "p.yaml").write_text("models: {default: {provider: mock}}\nsteps: []\n")
    models = load_pipeline(tmp_path / "p.yaml", environment={}).models
    assert set(override(models, {"defualt": {"seed": 1}, "other": {"seed": 1}}, {})) == {"default", "defualt", "other"}
    assert [record.message for record in caplog.records] == [
        "model_overrides: the file has no model 'defualt', so it is a new one; did you mean 'default'?"
    ]


def test_a_budget_that_cannot_count_a_model_is_warned_of(tmp_path):
    """Of those that steps ask, whichever way; nothing is said without a budget."""
    text = """
models:
  free: {provider: mock}
  told: {base_url: "http://x/v1", model: t, pricing: {input_per_1k: 1, output_per_1k: 1}}
  dark: {base_url: "http://x/v1", model: no-such}
  idle: {base_url: "http://x/v1", model: no-such}
  judge: {base_url: "http://x/v1", model: no-such-either}
steps:
  - {name: a, model: free, prompt_string: x}
  - {name: b, type: ensemble, prompt_string: x, members: [{model: told}, {model: dark}], judge: {model: judge}}
  - {name: c, model: dark, prompt_string: x}
"""
    file = tmp_path / "p.yaml"
    file.write_text(text)
    assert not load_pipeline(file, environment={}).warnings
    file.write_text(text + "execution: {budget_usd: 1}\n")
    warnings = load_pipeline(file, environment={}).warnings
    assert [warning.partition(": ")[2].partition(", so ")[0] for warning in warnings] == [
        "models.dark: the price of model 'dark' (no-such) is not known",
        "models.judge: the price of model 'judge' (no-such-either) is not known",
    ]


def test_powers_of_ten_are_numbers(tmp_path):
    """Without a point or a sign they are texts in YAML 1.1; in quotes they stay texts."""
    text = "models: {{m: {{provider: mock, timeout: {0}, max_tokens: {1}}}}}\nsteps: []\n"
    file = tmp_path / "p.yaml"
    file.write_text(text.format("1e3", "2E+3"))
    model = load_pipeline(file, environment={}).models["m"]
    assert (model.timeout_s, model.sampling.max_tokens, type(model.sampling.max_tokens)) == (1000.0, 2000, int)
    for timeout, tokens in (("'1e3'", "1"), ("1", "1e-3"), ("1", "'1e3'"), ("1e", "1"), ("1e999", "1e999")):
        file.write_text(text.format(timeout, tokens))
        with pytest.raises(PipelineLoadError, match="must be a"):
            load_pipeline(file, environment={})
