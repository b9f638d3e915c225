"""Variables of the environment in a pipeline's file."""

from __future__ import annotations

import pytest

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.document import parse_document
from fabric.pipelines.loading.environment import Expander, read_dotenv
from fabric.pipelines.loading.nodes import plain
from fabric.pipelines.loading.pipeline import load_pipeline
from fabric.pipelines.loading.problems import Problems


def expanded(text, **environment):
    problems = Problems("p.yaml")
    root = parse_document(text, problems, "p.yaml")
    assert root is not None
    expander = Expander(environment, problems)
    return plain(expander.expand(root)), expander


def test_variables_are_put_in_at_any_depth():
    """In values; keys stay."""
    value, expander = expanded("a: [{b: 'x${A}y${B}'}]\n'${A}': 1\n", A="1", B="2")
    assert value == {"a": [{"b": "x1y2"}], "${A}": 1}
    assert list(expander.names) == ["A", "B"]


def test_a_default_stands_for_what_is_not_set_or_empty():
    """As in a shell."""
    assert expanded("[ '${A:-x}', '${B:-x}', '${C:-}', '${D:-a:b-c}' ]", A="", B="b")[0] == ["x", "b", "", "a:b-c"]


def test_what_is_not_set_stays_as_it_is():
    """And is known."""
    value, expander = expanded("a: ${NONE}\nb: ${EMPTY}\n", EMPTY="")
    assert value == {"a": "${NONE}", "b": ""}
    assert [(name, place.line) for name, place in expander.missing.items()] == [("NONE", 1)]


def test_a_value_is_not_looked_through_again():
    """So a variable cannot name another."""
    assert expanded("${A}", A="${B}", B="b")[0] == "${B}"


def test_what_is_no_variable_stays():
    """A dollar is a dollar."""
    assert expanded("['$A', '${}', '${1}', '${A', '$${A}']", A="a")[0] == ["$A", "${}", "${1}", "${A", "$a"]


def test_a_short_file_does_not_become_a_large_one():
    """A long variable that is named often."""
    with pytest.raises(PipelineLoadError, match="more than 16,777,216 characters") as raised:
        expanded("a: 1\nb: '" + "${A}" * 1_000 + "'", A="x" * 100_000)
    assert raised.value.line == 2


def test_what_is_not_closed_is_looked_at_once():
    """However often it begins: a million characters would take hours otherwise."""
    text = "${A:-" * 100_000
    assert expanded(f"'{text}'")[0] == text
    assert expanded(f"'{text}}}x${{A}}{text}'", A="a")[0] == "axa" + text
    assert dict(read_dotenv("A=x" + " " * 1_000_000 + "y")) == {"A": "x" + " " * 1_000_000 + "y"}


def test_lines_of_a_dotenv():
    """Quotes, escapes, remarks and what is no line of it."""
    text = "A=1\nexport B = two words # remark\nC='a $X # b'\nD=\"x\\ny\" # remark\n# E=1\nnonsense\nF=\nG=a#b\nH=#c\n"
    assert dict(read_dotenv(text)) == {
        "A": "1",
        "B": "two words",
        "C": "a $X # b",
        "D": "x\ny",
        "F": "",
        "G": "a#b",
        "H": "",
    }


_PIPELINE = """
models: {m: {provider: mock, model: "${NAME}", timeout: "${T:-5}", required: "${R:-false}", api_key: "${KEY}"}}
steps:
  - {name: a, type: http, url: "http://x/${PLACE}", headers: {a: "{{ env.TOKEN }}"}}
"""


def test_a_dotenv_is_read_but_the_environment_wins(tmp_path):
    """And the process keeps its own."""
    (tmp_path / "pipeline.yaml").write_text(_PIPELINE)
    (tmp_path / ".env").write_text("NAME=file\nKEY=file\nTOKEN=t\nOTHER=o\n")
    pipeline = load_pipeline(tmp_path / "pipeline.yaml", environment={"NAME": "process", "PLACE": "p"})
    model = pipeline.models["m"]
    assert (model.model, model.api_key, model.timeout_s, model.required) == ("process", "file", 5, False)
    assert pipeline.environment["OTHER"] == "o"


def test_only_what_the_files_name_can_be_read(tmp_path):
    """By expressions and by templates; the rest of the environment is not theirs."""
    (tmp_path / "pipeline.yaml").write_text(
        _PIPELINE + "  - {name: b, model: m, prompt: p.j2}\n  - {name: c, model: m, prompt_string: '{{ env.NOT }}'}\n"
    )
    (tmp_path / "p.j2").write_text("{{ env.IN_PROMPT }}")
    names = ("NAME", "KEY", "TOKEN", "PLACE", "IN_PROMPT", "NOT", "SECRET")
    pipeline = load_pipeline(tmp_path / "pipeline.yaml", environment=dict.fromkeys(names, "x"))
    assert sorted(pipeline.env) == ["IN_PROMPT", "KEY", "NAME", "PLACE", "TOKEN"]


def test_a_model_knows_what_it_misses(tmp_path, caplog):
    """A model that is required is warned of; another one is left out in a run."""
    models = "models:\n  a: {provider: mock, model: '${A}', required: false}\n  b: {provider: mock, model: '${B}'}\n"
    (tmp_path / "pipeline.yaml").write_text(models + "steps: []\n")
    pipeline = load_pipeline(tmp_path / "pipeline.yaml", environment={})
    assert [(model.missing, model.model) for model in pipeline.models.values()] == [(("A",), "${A}"), (("B",), "${B}")]
    assert [warning.partition(": ")[2] for warning in pipeline.warnings] == [
        "the variable B is not set: ${B} stays as it is"
    ]
    assert "variable B is not set" in caplog.text
