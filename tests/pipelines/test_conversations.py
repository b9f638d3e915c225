"""Conversations of steps as files say them: from YAML to what a model is sent."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from fabric.pipelines.errors import BudgetExceeded, PromptRenderError, SchemaValidationError
from fabric.pipelines.runner import PipelineRunner
from fabric.testing import Answer, Failure, Text, scripted_model
from fabric.testing.models import ScriptedModel

STEP = """
steps:
  - name: x
    type: llm
    model: m
    prompt: p.j2
    schema: {title: str, n: int}
"""

GOOD = {"title": "T", "n": 1}


def pipeline(directory: Path, text: str, **files: str) -> Path:
    for name, content in ({"p": "Extract."} | files).items():
        (directory / f"{name}.j2").write_text(textwrap.dedent(content))
    path = directory / "pipeline.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def models(server: ScriptedModel, *lines: str) -> str:
    said = ["provider: openai_compat", "model: mm", f"base_url: {server.url}", "retry_delay: 0", *lines]
    return "models:\n  m:\n" + "".join(f"    {line}\n" for line in said)


def told(server: ScriptedModel, number: int) -> list[dict[str, Any]]:
    return server.requests[number].body["messages"]  # type: ignore[no-any-return]


def test_a_model_corrects_itself(tmp_path: Path) -> None:
    """An answer that is no JSON, one that the schema does not like, one that counts: all of it is in the result."""
    with scripted_model([Text("Sorry!"), {"title": "T", "n": "many"}, GOOD]) as server:
        result = PipelineRunner(pipeline(tmp_path, models(server) + STEP)).run({})
    step = result.steps["x"]
    assert step.value.title == "T"
    assert [(log.attempt_number, log.status) for log in step.attempts] == [
        (1, "parse_error"),
        (2, "schema_error"),
        (3, "success"),
    ]
    assert step.last_attempt is not None
    assert step.last_attempt.error_type is None
    assert [len(told(server, number)) for number in range(3)] == [1, 3, 3]
    assert told(server, 2)[1]["content"] == '{"title":"T","n":"many"}'
    assert "- n: " in told(server, 2)[2]["content"]
    assert "Sorry" not in str(told(server, 2))


def test_a_failure_can_be_looked_into(tmp_path: Path) -> None:
    """The last answer, its errors and their kind stay with the step that failed."""
    with scripted_model({"*": {"title": "T"}}) as server:
        result = PipelineRunner(pipeline(tmp_path, models(server) + STEP)).run({})
    assert result.failure_state is not None
    assert isinstance(result.failure_state.exception, SchemaValidationError)
    last = result.steps[result.failure_state.step_name].last_attempt
    assert last is not None
    assert (last.attempt_number, last.raw_output, last.error_type) == (3, '{"title":"T"}', "schema_error")
    assert last.errors == ["n: Field required"]
    assert result.summary().llm_calls == 3


def test_a_template_writes_the_feedback(tmp_path: Path) -> None:
    """With what is wrong, place by place, and the number of the attempt to come."""
    template = """\
        {% if error_type == "schema" %}{% for e in errors %}{{ e.loc_str }}={{ e.type }};{% endfor %}{% else -%}
        {{ parse_error_message }}{% endif %} #{{ attempt }} {{ retry_hint }} {{ previous_output | length }}"""
    step = STEP + "    error_template: again.j2\n    retry_hint: HINT\n"
    with scripted_model([{"title": "T"}, Text("no"), GOOD]) as server:
        result = PipelineRunner(pipeline(tmp_path, models(server) + step, again=template)).run({})
    assert not result.failed
    assert told(server, 1)[2]["content"] == "n=missing; #2 HINT 13"
    assert "there is no JSON in the answer" in told(server, 2)[2]["content"]
    assert told(server, 2)[2]["content"].endswith("#3 HINT 2")


def test_a_template_that_fails_is_the_failure_of_the_step(tmp_path: Path) -> None:
    """A variable that nobody defined; the attempt before it stays."""
    step = STEP + "    error_template: again.j2\n"
    with scripted_model([Text("no")]) as server:
        result = PipelineRunner(pipeline(tmp_path, models(server) + step, again="{{ nobody }}")).run({})
    assert result.failure_state is not None
    assert isinstance(result.failure_state.exception, PromptRenderError)
    assert len(result.steps["x"].attempts) == 1


@pytest.mark.parametrize(
    ("category", "failure"), [("rate_limit", Failure(429, "slow down")), ("http_error", Failure(503, "busy"))]
)
def test_named_categories_of_the_transport_make_attempts(tmp_path: Path, category: str, failure: Failure) -> None:
    """Beside the retries of the model, which come first."""
    step = STEP + f"    retry_on: [parse, schema, {category}]\n"
    with scripted_model([failure, failure, GOOD]) as server:
        result = PipelineRunner(pipeline(tmp_path, models(server, "max_retries: 1") + step)).run({})
    first, second = result.steps["x"].attempts
    assert (first.status, first.error_type, len(first.transport_errors)) == ("error", category, 1)
    assert second.status == "success"


def test_the_budget_of_a_run_ends_it(tmp_path: Path) -> None:
    """No question is asked when so much is spent; what was asked until then is counted."""
    prices = "pricing: {input_per_1k: 1.0, output_per_1k: 0.0}"
    text = "\nexecution: {budget_usd: 1.5}\n"
    with scripted_model([Answer(Text("no"), input_tokens=1000)] * 2) as server:
        result = PipelineRunner(pipeline(tmp_path, models(server, prices) + STEP + text)).run({})
    assert result.failure_state is not None
    assert isinstance(result.failure_state.exception, BudgetExceeded)
    assert "asks no further: $2.00 of $1.50 are spent" in str(result.failure_state.exception)
    assert len(server.requests) == 2
    assert result.summary().cost_usd == 2.0


def test_kept_answers_ask_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run has the same value, a hit, no tokens and no cost; ``--refresh-cache`` asks again."""
    monkeypatch.chdir(tmp_path)
    cached = ("cache: {enabled: true}", "pricing: {input_per_1k: 1.0, output_per_1k: 0.0}")
    with scripted_model([Answer(GOOD, input_tokens=1000), {"title": "T", "n": 2}]) as server:
        runner = PipelineRunner(pipeline(tmp_path, models(server, *cached) + STEP))
        one, two, three, four = runner.run({}), runner.run({}), runner.run({}, refresh_cache=True), runner.run({})
    assert [result.steps["x"].value.n for result in (one, two, three, four)] == [1, 1, 2, 2]
    assert [(r.summary().cache_hits, r.summary().cache_misses) for r in (one, two)] == [(0, 1), (1, 0)]
    assert two.summary().total_tokens.total == 0
    assert (one.summary().cost_usd, two.summary().cost_usd) == (1.0, 0.0)
    assert (tmp_path / ".pyconveyor-cache").is_dir()


def test_replies_of_a_mock_given_to_a_run(tmp_path: Path) -> None:
    """``model_overrides`` with ``responses``: for that run alone, from its first reply, each time."""
    text = "models:\n  m: {provider: mock, model: mm, response: 'no'}\n" + STEP
    runner = PipelineRunner(pipeline(tmp_path, text))
    over = {"m": {"responses": ["not json", '{"title": null}', '{"title": "T", "n": 1}']}}
    results = [runner.run({}, model_overrides=over) for _ in range(2)]
    assert [len(result.steps["x"].attempts) for result in results] == [3, 3]
    assert not any(result.failed for result in results)
    assert runner.run({}).failed


def test_a_server_that_cannot_be_asked_is_the_failure_of_its_step(tmp_path: Path) -> None:
    """The run ends, and says which model has what to be set."""
    text = "models:\n  m: {provider: openai_compat, model: mm, base_url: '${NOT_SET_ANYWHERE}'}\n" + STEP
    result = PipelineRunner(pipeline(tmp_path, text)).run({})
    assert result.failure_state is not None
    assert "NOT_SET_ANYWHERE" in str(result.failure_state.exception)
