"""What the concepts page of the system that these files were written for says, in its order, run sentence by sentence.

Each test is named for what the page says; the files are written anew. Models are played: no test asks one.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest
from pipeline_folders import Tape, folder_of, mock
from pydantic import BaseModel

from fabric.pipelines import AttemptLog, FailureState, PipelineRunner, RunContext, StepResult
from fabric.pipelines.errors import (
    CallableImportError,
    ExpressionSecurityError,
    ModelRefError,
    PipelineLoadError,
    SchemaRefError,
    SchemaValidationError,
    StepConfigError,
)

PAPER = '{"title": "On tea", "authors": ["Ada", "Grace"], "doi": null}'

EXTRACT = """\
steps:
  - name: extract
    type: llm
    model: default
    prompt: prompts/extract.j2
    schema:
      title:
        type: str
        description: "Paper title exactly as written."
      authors: list[str]
      doi: str | None
"""


def step(name: str, function: str, **inputs: str) -> str:
    """Return a transform step, in one line."""
    return f"  - {{name: {name}, type: transform, fn: 'steps:{function}', inputs: {json.dumps(inputs)}}}\n"


STEPS_PY = """
def same(value):
    return value

def boom(value=None):
    raise RuntimeError("the step broke")
"""
STEPS = {"steps.py": STEPS_PY}


# --- The two required files -------------------------------------------------------------------------------------------


def test_a_pipeline_needs_its_file_and_a_prompt_and_no_python(tmp_path: Path):
    """The schema stands in the pipeline: short types, a rich field, and one that may be null."""
    path = folder_of(tmp_path, mock(PAPER) + EXTRACT)
    assert sorted(each.name for each in tmp_path.rglob("*") if each.is_file()) == ["extract.j2", "pipeline.yaml"]
    result = PipelineRunner(path).run({"text": "On tea, by Ada and Grace"})
    assert not result.failed, result.failure_state
    value = result.steps["extract"].value
    assert isinstance(value, BaseModel)
    assert value.model_dump() == {"title": "On tea", "authors": ["Ada", "Grace"], "doi": None}


def test_the_description_of_a_field_is_told_to_the_model_where_the_prompt_asks_for_the_schema(tmp_path: Path):
    """With ``schema_hint``."""
    tape = Tape(PAPER)
    path = folder_of(tmp_path, tape.block() + EXTRACT, {"prompts/extract.j2": "{{ schema_hint }}\n\n{{ ctx.text }}"})
    assert not PipelineRunner(path).run({"text": "..."}).failed
    assert all(word in tape.prompts[0] for word in ("title", "Paper title exactly as written.", "authors", "doi"))


def test_schemas_py_is_for_rules_between_fields_and_fields_that_are_computed(tmp_path: Path):
    """The value is an instance of its class; what breaks its rule is asked for again."""
    schemas = """
    from pydantic import BaseModel, computed_field, model_validator

    class Span(BaseModel):
        first: int
        last: int

        @model_validator(mode="after")
        def in_order(self):
            if self.last < self.first:
                raise ValueError("last comes before first")
            return self

        @computed_field
        def pages(self) -> int:
            return self.last - self.first + 1
    """
    text = mock('{"first": 9, "last": 2}', '{"first": 2, "last": 9}') + (
        "steps:\n  - {name: span, type: llm, model: default, prompt: prompts/extract.j2, schema: 'schemas:Span'}\n"
    )
    result = PipelineRunner(folder_of(tmp_path, text, {"schemas.py": schemas})).run({"text": "pages 2 to 9"})
    assert result.steps["span"].value.model_dump() == {"first": 2, "last": 9, "pages": 8}
    assert [log.status for log in result.steps["span"].attempts] == ["schema_error", "success"]
    assert "last comes before first" in "".join(result.steps["span"].attempts[0].errors)


def test_the_steps_the_schemas_and_the_prompts_are_those_beside_the_pipeline(tmp_path: Path):
    """Two folders that each have a ``steps.py`` each get their own."""
    values = []
    for word in ("one", "two"):
        text = "steps:\n  - {name: say, type: transform, fn: 'steps:say'}\n"
        path = folder_of(tmp_path / word, text, {"steps.py": f"def say():\n    return {word!r}\n"})
        values.append(PipelineRunner(path).run({}).steps["say"].value)
    assert values == ["one", "two"]


# --- Controlled vocabularies ------------------------------------------------------------------------------------------

ORGANISM = """
known:
  - Escherichia coli
  - Saccharomyces cerevisiae
  - Bacillus subtilis
label: organism
growth_policy: auto
"""
ORGANISM_STEP = """\
steps:
  - name: extract
    type: llm
    model: default
    prompt: prompts/extract.j2
    schema:
      organism:
        type: str
        description: "Primary organism studied."
        vocab: organism
"""


@pytest.mark.parametrize(
    ("said", "stored", "suggested"),
    [
        ("Escherichia coli", "Escherichia coli", []),
        ("ESCHERICHIA COLI", "Escherichia coli", []),
        ("Escherichia colli", "Escherichia coli", [("Escherichia colli", "Escherichia coli", "fuzzy")]),
        ("Danio rerio", "Danio rerio", [("Danio rerio", None, "novel")]),
    ],
    ids=["exact", "exact-but-for-case", "fuzzy", "novel"],
)
def test_a_vocabulary_beside_the_pipeline_normalises_a_field(
    tmp_path: Path, said: str, stored: str, suggested: list[tuple[str, str | None, str]]
):
    """What is a term passes, what is nearly one becomes it, what is new is kept and suggested for review."""
    text = mock(json.dumps({"organism": said})) + ORGANISM_STEP
    path = folder_of(tmp_path, text, {"vocabularies/organism.yaml": ORGANISM})
    result = PipelineRunner(path).run({"text": "..."})
    assert not result.failed, result.failure_state
    assert result.steps["extract"].value.organism == stored
    found = result.summary().vocab_suggestions
    assert [(each.raw_value, each.matched_to, each.match_type) for each in found] == suggested
    assert {each.field_name for each in found} <= {"organism"}


def test_a_field_names_the_file_of_its_vocabulary(tmp_path: Path):
    """Whatever its label is."""
    vocabulary = ORGANISM.replace("label: organism", "label: Model organisms")
    text = mock('{"organism": "Bacillus subtillis"}') + ORGANISM_STEP
    path = folder_of(tmp_path, text, {"vocabularies/organism.yaml": vocabulary})
    result = PipelineRunner(path).run({"text": "..."})
    assert result.steps["extract"].value.organism == "Bacillus subtilis"
    assert [each.vocab_label for each in result.summary().vocab_suggestions] == ["Model organisms"]


@pytest.mark.parametrize(
    ("said", "stored", "kinds"),
    [("in vivo", "in vivo", []), ("In-vivo", "in vivo", ["fuzzy"]), ("ex situ", "ex situ", ["novel"])],
)
def test_a_small_vocabulary_stands_in_the_field(tmp_path: Path, said: str, stored: str, kinds: list[str]):
    """With its terms and what it is."""
    text = (
        mock(json.dumps({"study_type": said}))
        + """\
steps:
  - name: extract
    type: llm
    model: default
    prompt: prompts/extract.j2
    schema:
      study_type:
        type: str
        description: "Type of study."
        vocab:
          terms:
            - in vitro
            - in vivo
            - in silico
          description: "Controlled vocabulary for study type."
"""
    )
    result = PipelineRunner(folder_of(tmp_path, text)).run({"text": "..."})
    assert result.steps["extract"].value.study_type == stored
    assert [each.match_type for each in result.summary().vocab_suggestions] == kinds


# --- Pipeline execution model -----------------------------------------------------------------------------------------


def test_the_input_is_ctx_in_every_expression_and_every_prompt(tmp_path: Path):
    """In inputs, conditions and templates."""
    tape = Tape('{"n": 1}')
    text = tape.block() + (
        "steps:\n"
        "  - {name: ask, type: llm, model: default, prompt: prompts/extract.j2, vars: {again: '{{ ctx.text }}'}}\n"
        + step("copy", "same", value="{{ ctx.text }}")
        + "  - {name: gate, type: transform, fn: 'steps:same', inputs: {value: 1}, condition: \"ctx.text == 'no'\"}\n"
    )
    path = folder_of(tmp_path, text, {**STEPS, "prompts/extract.j2": "{{ ctx.text }} {{ again }}"})
    result = PipelineRunner(path).run({"text": "hello"})
    assert tape.prompts == ["hello hello"]
    assert result.steps["copy"].value == "hello"
    assert result.steps["gate"].status == "skipped"


def test_steps_have_their_effects_in_order_from_top_to_bottom(tmp_path: Path):
    """And results stand in that order under their names."""
    text = "steps:\n" + "".join(
        f"  - {{name: {name}, type: io, fn: 'steps:note', inputs: {{name: {name}, into: '{{{{ ctx.into }}}}'}}}}\n"
        for name in ("first", "second", "third")
    )
    into: list[str] = []
    path = folder_of(tmp_path, text, {"steps.py": "def note(name, into):\n    into.append(name)\n    return name\n"})
    result = PipelineRunner(path).run({"into": into})
    assert into == ["first", "second", "third"] == list(result.steps)
    assert [each.value for each in result.steps.values()] == into


def test_later_steps_refer_to_earlier_results(tmp_path: Path):
    """``steps.NAME.value``, with its type, in expressions and in prompts."""
    tape = Tape(PAPER, '{"n": 1}')
    text = (
        tape.block()
        + EXTRACT
        + (
            step("whole", "same", value="{{ steps.extract.value }}")
            + step("title", "same", value="{{ steps.extract.value.title }}")
            + step("number", "same", value="{{ len(steps.extract.value.authors) }}")
            + "  - {name: ask, type: llm, model: default, prompt: prompts/ask.j2}\n"
        )
    )
    path = folder_of(tmp_path, text, {**STEPS, "prompts/ask.j2": "Who wrote {{ steps.extract.value.title }}?"})
    result = PipelineRunner(path).run({"text": "..."})
    assert not result.failed, result.failure_state
    assert result.steps["whole"].value is result.steps["extract"].value
    assert result.steps["title"].value == "On tea"
    assert result.steps["number"].value == 2
    assert tape.prompts[1] == "Who wrote On tea?"


def test_the_context_comes_back_when_all_steps_are_done_or_one_fails(tmp_path: Path):
    """``run`` does not raise what a step raises; what comes after it is not begun."""
    text = "steps:\n" + step("good", "same", value="1") + step("bad", "boom") + step("never", "same", value="2")
    runner = PipelineRunner(folder_of(tmp_path, text, STEPS))
    result = runner.run({})
    assert isinstance(result, RunContext)
    assert result.failed
    assert list(result.steps) == ["good", "bad"]
    assert [each.status for each in result.steps.values()] == ["success", "failed"]


# --- RunContext and StepResult ----------------------------------------------------------------------------------------


def test_a_run_context_carries_steps_metadata_failed_and_the_failure(tmp_path: Path):
    """Of a run that succeeded."""
    result = PipelineRunner(folder_of(tmp_path, mock(PAPER) + EXTRACT)).run({"text": "..."})
    assert isinstance(result.steps, dict)
    assert isinstance(result.steps["extract"], StepResult)
    assert isinstance(result.metadata, dict)
    assert [log.step for log in result.metadata["attempt_logs"]] == ["extract"]
    assert result.failed is False
    assert result.failure_state is None


def test_the_failure_says_which_step_and_what_it_raised(tmp_path: Path):
    """The first failure, with the exception itself."""
    text = "steps:\n" + step("extract", "boom") + step("other", "boom")
    result = PipelineRunner(folder_of(tmp_path, text, STEPS)).run({})
    assert result.failed is True
    assert isinstance(result.failure_state, FailureState)
    assert result.failure_state.step_name == "extract"
    assert isinstance(result.failure_state.exception, RuntimeError)
    assert str(result.failure_state.exception) == "the step broke"


def test_a_run_does_not_fail_by_a_step_that_may(tmp_path: Path):
    """``failed`` says whether a required one did."""
    text = "steps:\n  - {name: extra, type: transform, fn: 'steps:boom', on_error: continue}\n" + step(
        "a", "same", value="1"
    )
    result = PipelineRunner(folder_of(tmp_path, text, STEPS)).run({})
    assert (result.failed, result.failure_state) == (False, None)
    assert [(each.status, each.value) for each in result.steps.values()] == [("failed", None), ("success", "1")]


def test_a_step_result_has_a_value_a_status_and_its_attempts(tmp_path: Path):
    """The last attempt on success, too: how long it took, and which it was, counted from 1."""
    text = mock("no JSON", '{"title": 1}', PAPER) + EXTRACT
    extract = PipelineRunner(folder_of(tmp_path, text)).run({"text": "..."}).steps["extract"]
    assert extract.status == "success"
    assert extract.value.title == "On tea"
    assert [type(log) for log in extract.attempts] == [AttemptLog] * 3
    assert [log.attempt_number for log in extract.attempts] == [1, 2, 3]
    assert [log.status for log in extract.attempts] == ["parse_error", "schema_error", "success"]
    assert extract.last_attempt is extract.attempts[-1]
    assert extract.last_attempt.attempt_number == 3
    assert extract.last_attempt.elapsed_seconds >= 0.0
    assert extract.last_attempt.raw_output == PAPER


def test_a_failed_step_keeps_the_whole_history(tmp_path: Path):
    """Its value is ``None``."""
    extract = PipelineRunner(folder_of(tmp_path, mock("no JSON") + EXTRACT)).run({"text": "..."}).steps["extract"]
    assert (extract.value, extract.status) == (None, "failed")
    assert [log.attempt_number for log in extract.attempts] == [1, 2, 3]
    assert extract.last_attempt is not None
    assert extract.last_attempt.raw_output == "no JSON"


# --- Context expressions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("ctx.text", "hello"),
        ("ctx['text']", "hello"),
        ("ctx.no.such.thing", None),
        ("steps.first.value", {"a": [1, 2]}),
        ("steps.first.value.a[1]", 2),
        ("steps.first.status", "success"),
        ("steps.skipped.value", None),
        ("steps.skipped.status", "skipped"),
        ("first_non_none(ctx.nothing, steps.skipped.value, 'third')", "third"),
        ("active_models(ctx.models)", ["a", "c"]),
        ("len(ctx.text)", 5),
        ("ctx.text is not none and 'ell' in ctx.text", True),
        ("'long' if len(ctx.text) > 3 else 'short'", "long"),
    ],
)
def test_expressions_see_the_input_the_steps_and_three_functions(tmp_path: Path, expression: str, value: object):
    """A text that is one expression as a whole has its value, with its type."""
    text = (
        "steps:\n  - {name: first, type: transform, fn: 'steps:same', inputs: {value: {a: [1, 2]}}}\n"
        "  - {name: skipped, type: transform, fn: 'steps:same', inputs: {value: 1}, condition: 'False'}\n"
    ) + step("found", "same", value=f"{{{{ {expression} }}}}")
    path = folder_of(tmp_path, text, STEPS)
    result = PipelineRunner(path).run({"text": "hello", "models": {"a": 1, "b": None, "c": 2}})
    assert not result.failed, result.failure_state
    found = result.steps["found"].value
    assert (sorted(found) if expression.startswith("active") else found) == value


def test_the_example_of_the_page(tmp_path: Path):
    """A step gets the text of the input and the result of the step before, by keyword."""
    text = (
        mock(PAPER)
        + EXTRACT
        + """\
  - name: summarise
    type: transform
    fn: steps:summarise
    inputs:
      text:    "{{ ctx.paper }}"
      primary: "{{ steps.extract.value }}"
"""
    )
    functions = "def summarise(text, primary):\n    return f'{primary.title}: {len(text)} characters'\n"
    result = PipelineRunner(folder_of(tmp_path, text, {"steps.py": functions})).run({"paper": "abc", "text": ""})
    assert not result.failed, result.failure_state
    assert result.steps["summarise"].value == "On tea: 3 characters"


@pytest.mark.parametrize(
    "expression",
    [
        "[x for x in ctx.xs]",
        "ctx.text.upper()",
        "__import__('os')",
        "(lambda: 1)()",
        "1 + 1",
        "ctx._hidden",
        "f'{ctx}'",
        "ctx.",
    ],
)
def test_only_a_safe_part_of_python_is_an_expression(tmp_path: Path, expression: str):
    """All else is refused before anything runs."""
    path = folder_of(tmp_path, "steps:\n" + step("x", "same", value=f"{{{{ {expression} }}}}"), STEPS)
    with pytest.raises(ExpressionSecurityError):
        PipelineRunner(path)


# --- The determinism philosophy ---------------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_output(tmp_path: Path):
    """Whatever ran before: a run leaves nothing in the runner. The clock apart, logs are the same, too."""
    text = (
        mock("no JSON", PAPER, '{"n": 1}')
        + EXTRACT
        + "  - {name: n, type: llm, model: default, prompt: prompts/extract.j2}\n"
    )
    runner = PipelineRunner(folder_of(tmp_path, text))
    shown = []
    for _ in range(3):
        result = runner.run({"text": "..."})
        logs = [
            (log.step, log.attempt_number, log.status, log.raw_output, log.errors)
            for log in result.metadata["attempt_logs"]
        ]
        shown.append((list(result.steps), [repr(each.value) for each in result.steps.values()], logs))
    assert shown[0] == shown[1] == shown[2]


def test_temperature_and_seed_are_what_the_file_says(tmp_path: Path):
    """And are sent with every question."""
    tape = Tape("no JSON", PAPER)
    PipelineRunner(folder_of(tmp_path, tape.block("temperature: 0\nseed: 42\n") + EXTRACT)).run({"text": "..."})
    assert [(call["temperature"], call["seed"]) for call in tape.calls] == [(0, 42)] * 2


def test_no_state_is_hidden_every_dependency_is_in_the_file(tmp_path: Path):
    """A step sees what it names: a function gets its inputs alone, and a name that is no step is an error."""
    functions = "def names(**given):\n    return sorted(given)\n"
    text = "steps:\n  - {name: a, type: transform, fn: 'steps:names', inputs: {x: 1}}\n"
    path = folder_of(tmp_path, text, {"steps.py": functions})
    assert PipelineRunner(path).run({"hidden": 1}).steps["a"].value == ["x"]
    path.write_text(text.replace("x: 1", "x: '{{ steps.hidden.value }}'"))
    with pytest.raises(PipelineLoadError, match="hidden"):
        PipelineRunner(path)


def test_outputs_are_written_after_the_run(tmp_path: Path):
    """Not by a run that fails, and not while one is under way."""
    text = f"outputs:\n  dir: {tmp_path}/out\nsteps:\n" + (
        "  - {name: look, type: io, fn: 'steps:look', inputs: {where: '{{ ctx.where }}'}}\n"
        "  - {name: check, type: validate, condition: ctx.good}\n"
    )
    functions = "from pathlib import Path\n\ndef look(where):\n    return Path(where).exists()\n"
    runner = PipelineRunner(folder_of(tmp_path, text, {"steps.py": functions}))
    assert runner.run({"where": f"{tmp_path}/out", "good": False}).failed
    assert not (tmp_path / "out").exists()
    assert not runner.run({"where": f"{tmp_path}/out", "good": True}).failed
    assert json.loads((tmp_path / "out" / "look.json").read_text()) is False


def test_run_is_synchronous_and_children_of_parallel_run_at_once(tmp_path: Path):
    """Each of two children waits for the other; ``run`` comes back when both are done."""
    text = """
    steps:
      - name: both
        type: parallel
        steps:
          - {name: one, type: transform, fn: "steps:meet", inputs: {mine: "{{ ctx.one }}", other: "{{ ctx.two }}"}}
          - {name: two, type: transform, fn: "steps:meet", inputs: {mine: "{{ ctx.two }}", other: "{{ ctx.one }}"}}
    """
    functions = "def meet(mine, other):\n    mine.set()\n    return other.wait(30)\n"
    path = folder_of(tmp_path, text, {"steps.py": functions})
    result = PipelineRunner(path).run({"one": threading.Event(), "two": threading.Event()})
    assert not result.failed, result.failure_state
    assert result.steps["both"].value == {"one": True, "two": True}


def test_an_answer_that_does_not_match_is_asked_for_again_and_never_let_pass(tmp_path: Path):
    """The model is told what was wrong; when it has had its attempts, the step fails."""
    tape = Tape('{"title": "On tea", "authors": "Ada", "doi": null}')
    result = PipelineRunner(folder_of(tmp_path, tape.block() + EXTRACT)).run({"text": "..."})
    assert len(tape.calls) == 3
    assert "authors" in tape.prompts[1]
    assert result.failed
    assert result.failure_state is not None
    assert isinstance(result.failure_state.exception, SchemaValidationError)


# --- Load-time and run-time -------------------------------------------------------------------------------------------

ASK = mock("{}") + "steps:\n  - name: x\n    type: llm\n    prompt: prompts/extract.j2\n"
CALL = "steps:\n  - name: x\n    type: transform\n    fn: steps:same\n"

FAULTS = {
    "a function that is not there": (CallableImportError, 4, "nowhere", CALL.replace("same", "nowhere")),
    "a module that is not there": (CallableImportError, 4, "missing", CALL.replace("steps:same", "missing:same")),
    "a schema that is not there": (
        PipelineLoadError,
        12,
        "Nowhere",
        f"{ASK}    model: default\n    schema: steps:Nowhere\n",
    ),
    "a schema that is none": (SchemaRefError, 12, "same", f"{ASK}    model: default\n    schema: steps:same\n"),
    "a model that is not there": (ModelRefError, 12, "defualt", f"{ASK}\n    model: defualt\n"),
    "an expression that is none": (
        ExpressionSecurityError,
        6,
        "disallowed",
        CALL + "    inputs:\n      value: \"{{ open('x') }}\"\n",
    ),
    "a step without a name": (StepConfigError, 2, "name", CALL.replace("name: x\n    ", "")),
    "a transform without fn": (StepConfigError, 2, "fn", CALL.replace("    fn: steps:same\n", "")),
    "an llm without model": (StepConfigError, 8, "model", ASK),
    "a condition without if": (
        StepConfigError,
        2,
        "if",
        "steps:\n  - name: x\n    type: condition\n    then: [{name: y, type: transform, fn: 'steps:same'}]\n",
    ),
    "a parallel without steps": (StepConfigError, 2, "steps", "steps:\n  - name: x\n    type: parallel\n"),
    "an http without url": (StepConfigError, 2, "url", "steps:\n  - name: x\n    type: http\n"),
    "an ensemble without members": (StepConfigError, 8, "members", ASK.replace("llm", "ensemble")),
    "two steps of a name": (StepConfigError, 5, "x", CALL + CALL.removeprefix("steps:\n")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_file_is_said_at_load_with_its_file_and_line(tmp_path: Path, fault: str):
    """In plain English, before anything is asked or called."""
    kind, line, word, text = FAULTS[fault]
    path = folder_of(tmp_path, text, STEPS)
    with pytest.raises(PipelineLoadError) as caught:
        PipelineRunner(path)
    error = caught.value
    assert isinstance(error, kind)
    assert error.file.endswith("pipeline.yaml")
    assert error.line == line
    assert f"pipeline.yaml:{error.line}" in str(error)
    assert word in str(error)
    assert len(error.message.split()) >= 4


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path):
    """In the order of the file."""
    text = mock("{}") + (
        "steps:\n"
        "  - {name: a, type: llm, model: defualt, prompt: prompts/extract.j2}\n"
        "  - {name: b, type: transform, fn: 'steps:nowhere'}\n"
        "  - {name: c, type: transform, fn: 'steps:same', inputs: {value: '{{ stesp.a }}'}}\n"
    )
    with pytest.raises(ModelRefError) as caught:
        PipelineRunner(folder_of(tmp_path, text, STEPS))
    found = [(type(each).__name__, each.line) for each in caught.value.problems]
    assert [line for _, line in found] == [8, 9, 10]
    assert [name for name, _ in found][:2] == ["ModelRefError", "CallableImportError"]
    assert "steps" in str(caught.value.problems[2])


def test_nothing_is_asked_by_a_file_that_is_wrong(tmp_path: Path):
    """A good step comes first, and is not begun; no client is made."""
    tape = Tape(PAPER)
    path = folder_of(tmp_path, tape.block() + EXTRACT + step("x", "nowhere"), STEPS)
    with pytest.raises(CallableImportError):
        PipelineRunner(path)
    assert (tape.calls, tape.made) == ([], [])


class _Unavailable(Exception):
    status_code = 503


@pytest.mark.parametrize(
    ("first", "category"),
    [(TimeoutError("too slow"), "timeout"), (_Unavailable("overloaded"), "http_error")],
    ids=["timeout", "503"],
)
def test_a_model_that_fails_is_asked_again_where_the_step_says_so(tmp_path: Path, first: Exception, category: str):
    """``retry_on``; else the step fails with it."""
    for retry_on, calls in ((f"[parse, schema, {category}]", 2), ("[parse, schema]", 1)):
        tape = Tape(first, PAPER)
        text = tape.block("max_retries: 0\n") + EXTRACT + f"    retry_on: {retry_on}\n"
        result = PipelineRunner(folder_of(tmp_path, text)).run({"text": "..."})
        assert (len(tape.calls), result.failed) == (calls, calls == 1)


@pytest.mark.parametrize(
    ("on_error", "statuses", "failed"),
    [
        ("raise", {"bad": "failed"}, True),
        ("continue", {"bad": "failed", "after": "success", "last": "success"}, False),
        ("skip_remaining", {"bad": "failed", "after": "skipped", "last": "skipped"}, False),
    ],
)
def test_on_error_says_what_becomes_of_a_run(tmp_path: Path, on_error: str, statuses: dict[str, str], failed: bool):
    """Of an exception in a function of a step."""
    text = f"steps:\n  - {{name: bad, type: transform, fn: 'steps:boom', on_error: {on_error}}}\n"
    text += step("after", "same", value="{{ steps.bad.value }}") + step("last", "same", value="1")
    result = PipelineRunner(folder_of(tmp_path, text, STEPS)).run({})
    assert {name: each.status for name, each in result.steps.items()} == statuses
    assert result.failed is failed
    if on_error == "continue":
        assert result.steps["after"].value is None


def test_a_missing_prompt_is_warned_of_at_load(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """It may come into being before the run; without one the step fails."""
    text = mock(PAPER) + EXTRACT.replace("extract.j2", "absent.j2")
    with caplog.at_level(logging.WARNING):
        runner = PipelineRunner(folder_of(tmp_path, text))
    assert "absent.j2" in caplog.text
    assert "extract" in caplog.text
    result = runner.run({"text": "..."})
    assert result.failed
    assert result.steps["extract"].attempts == []
