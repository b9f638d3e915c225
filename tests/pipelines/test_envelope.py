"""Messages for workers: what a run knows better than the file goes along, and never a key."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from fabric.pipelines.errors import StepExecutionError
from fabric.pipelines.loading.models import override
from fabric.pipelines.loading.pipeline import load_pipeline
from fabric.pipelines.remote.envelope import Envelopes, leaves
from fabric.pipelines.remote.packing import Unpackable
from fabric.pipelines.spec import LlmStep, Mark, Pipeline
from fabric.pipelines.work import FunctionWork, HttpWork, LlmWork

TEXT = """
models:
  m: {provider: mock, model: one, api_key: "${KEY}", extra_params: {a: 1}}
steps:
  - name: extract
    type: llm
    model: m
    prompt_string: Hello
    schema:
      title: str
      plastic: {type: str, vocab: {terms: [PET]}}
  - name: choice
    type: condition
    if: ctx.x
    then: [{name: same, type: transform, fn: "json:dumps", inputs: {obj: "{{ env.KEY }}"}}]
    else: [{name: same, type: transform, fn: "json:loads", inputs: {s: "[]"}}]
  - {name: get, type: http, url: "http://x", headers: {authorization: "Bearer {{ env.KEY }}"}}
  - name: ens
    type: ensemble
    prompt_string: Hello
    schema: {n: int}
    members: [{model: m, name: a}, {model: m, name: b}]
    judge: {model: m}
"""
ENVIRONMENT = {"KEY": "secret-key", "OTHER": "not named"}


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """The pipeline of that file."""
    (tmp_path / "p.yaml").write_text(
        TEXT.replace("prompt_string: Hello\n    schema: {n", "prompt: p.j2\n    schema: {n")
    )
    (tmp_path / "p.j2").write_text("Hello")
    return load_pipeline(tmp_path / "p.yaml", environment=ENVIRONMENT)


def there(pipeline: Pipeline) -> Envelopes:
    """Return those of a worker, which has read the file itself."""
    return Envelopes(load_pipeline(pipeline.path, environment={"KEY": "secret-key"}))


def question(pipeline: Pipeline, step: str = "extract") -> LlmWork:
    found = next(leaf for leaf in leaves(pipeline) if leaf.name == step)
    assert isinstance(found, LlmStep)
    messages = [{"role": "user", "content": "the secret-key"}]
    return LlmWork(found, pipeline.models["m"], messages, vocabularies=pipeline.vocabularies, reply_number=3)


def test_a_question_arrives_without_what_the_file_says(pipeline: Pipeline):
    """The model, its key and the schema are those that the worker has read."""
    written = json.dumps(Envelopes(pipeline).write_work(question(pipeline)))
    assert "secret-key" not in written
    work = there(pipeline).read_work(json.loads(written))
    assert isinstance(work, LlmWork)
    assert (work.model, work.reply_number, work.messages) == (
        pipeline.models["m"],
        3,
        [{"role": "user", "content": "the secret-key"}],
    )
    assert work.step.schema is not None


def test_what_a_run_overrides_arrives(pipeline: Pipeline):
    """For this piece of work only."""
    models = override(pipeline.models, {"m": {"model": "two", "temperature": 0.5, "extra_params": {"b": 2}}}, {})
    written = Envelopes(pipeline).write_work(replace(question(pipeline), model=models["m"]))
    receiver = there(pipeline)
    work = receiver.read_work(written)
    assert isinstance(work, LlmWork)
    assert work.model == models["m"]
    plain = receiver.read_work(Envelopes(pipeline).write_work(question(pipeline)))
    assert isinstance(plain, LlmWork)
    assert plain.model.model == "one"


def test_another_key_is_refused(pipeline: Pipeline):
    """It would have to be in the message."""
    models = override(pipeline.models, {"m": {"api_key": "other-key"}}, {})
    with pytest.raises(Unpackable, match="step 'extract' cannot go to a worker: model 'm' has another api_key"):
        Envelopes(pipeline).write_work(replace(question(pipeline), model=models["m"]))


def test_terms_that_a_vocabulary_has_got_arrive(pipeline: Pipeline):
    """The run's, not those of the file."""
    vocabularies = {name: vocabulary.snapshot() for name, vocabulary in pipeline.vocabularies.items()}
    (name,) = vocabularies
    vocabularies[name].add_term("glass")
    written = Envelopes(pipeline).write_work(replace(question(pipeline), vocabularies=vocabularies))
    work = there(pipeline).read_work(json.loads(json.dumps(written)))
    assert isinstance(work, LlmWork)
    assert work.vocabularies[name].match("Glass") == ("glass", "exact")
    assert work.vocabularies[name].same_terms(vocabularies[name])


def test_each_of_two_steps_with_one_name_is_found(pipeline: Pipeline):
    """The branches of a condition may share names."""
    for step in leaves(pipeline):
        if step.name == "same":
            work = there(pipeline).read_work(Envelopes(pipeline).write_work(FunctionWork(step, {})))  # type: ignore[arg-type]
            assert isinstance(work, FunctionWork)
            assert work.step.function == step.function  # type: ignore[union-attr]


def test_all_steps_that_make_work_are_found(pipeline: Pipeline):
    """Those in branches and ensembles, too; each has a place of its own."""
    names = [step.name for step in leaves(pipeline)]
    assert names == ["extract", "same", "same", "get", "ens.a", "ens.b", "ens._judge"]
    found = [there(pipeline).read_work(Envelopes(pipeline).write_work(question(pipeline, name))) for name in names[4:]]
    assert [work.step.name for work in found] == names[4:]


def test_values_of_variables_are_sent_by_name_wherever_they_are(pipeline: Pipeline):
    """Also where an expression has put them into a header."""
    step = next(leaf for leaf in leaves(pipeline) if leaf.name == "get")
    request = {"url": "http://x", "headers": {"authorization": "Bearer secret-key"}}
    written = json.dumps(Envelopes(pipeline).write_work(HttpWork(step, request)))  # type: ignore[arg-type]
    assert "secret-key" not in written
    work = there(pipeline).read_work(json.loads(written))
    assert isinstance(work, HttpWork)
    assert work.request == request


def test_a_question_of_no_step_arrives(pipeline: Pipeline):
    """Whether a vocabulary is to grow is asked when all steps are done."""
    bare = LlmStep(name="plastic._growth", mark=Mark("p.yaml"), model="m")
    work = there(pipeline).read_work(Envelopes(pipeline).write_work(replace(question(pipeline), step=bare)))
    assert (work.step.name, work.step.place) == ("plastic._growth", None)


def test_a_step_that_the_worker_does_not_have_is_refused(pipeline: Pipeline):
    """It has read another file."""
    written = Envelopes(pipeline).write_work(question(pipeline))
    with pytest.raises(StepExecutionError, match=r"p.yaml has no step 'steps\[7\].*' here: it is another file"):
        there(pipeline).read_work({**written, "step": "steps[7](other)/other"})


class Paper(BaseModel):
    title: str


def test_classes_that_the_caller_gives_are_tagged_by_their_step(tmp_path: Path):
    """So a worker that has them in place finds them."""
    (tmp_path / "p.yaml").write_text(TEXT.partition("  - name: choice")[0])
    pipeline = load_pipeline(tmp_path / "p.yaml", {"extract": Paper}, ENVIRONMENT)
    (step,) = leaves(pipeline)
    work = FunctionWork(step, {"paper": Paper(title="A")})  # type: ignore[arg-type]
    written = Envelopes(pipeline).write_work(work)
    assert written["inputs"]["paper"]["$"][1] == ["steps[0](extract)/extract", {"title": "A"}]
