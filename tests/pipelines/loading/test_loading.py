"""A pipeline's files as data: every key, what it is if it is left out, and what is only odd."""

from __future__ import annotations

import textwrap

import pytest
from pydantic import BaseModel

from fabric.pipelines.errors import PipelineLoadError, SchemaRefError, StepConfigError, StepRefError
from fabric.pipelines.expressions.scope import Scope
from fabric.pipelines.loading.pipeline import load_pipeline
from fabric.pipelines.spec import Attempts, CacheSpec, Execution, ModelSpec, Sampling

NOTHING = Scope({}, {}, {})
MODELS = "models: {m: {provider: mock, model: mm}, n: {provider: mock}}\n"


def loaded(tmp_path, text, schemas=None, environment=None, **files):
    for name, content in {"p": "Ask.", "q": "Merge {{ ctx.a }}.", **files}.items():
        path = tmp_path / (f"{name}.j2" if "." not in name else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
    (tmp_path / "pipeline.yaml").write_text(textwrap.dedent(text))
    return load_pipeline(tmp_path / "pipeline.yaml", schemas, environment or {})


def words(pipeline):
    """Warnings without their places."""
    return [warning.split(": ", 1)[1] for warning in pipeline.warnings]


def test_a_model_says_everything(tmp_path):
    """Every key of it."""
    model = loaded(
        tmp_path,
        """
        models:
          m:
            provider: openai_compat
            model: gpt
            base_url: http://b
            api_key: k
            timeout: 7
            temperature: 0.5
            top_p: 1
            max_tokens: 10
            seed: -4
            max_retries: 0
            retry_delay: 0
            extra_params: {a: [1]}
            json_mode: false
            required: false
            pricing: {input_per_1k: 1, output_per_1k: 2.5}
            cache: {enabled: true, dir: c, ttl_days: 7}
        """,
    ).models["m"]
    assert model == ModelSpec(
        name="m",
        provider="openai_compat",
        model="gpt",
        base_url="http://b",
        api_key="k",
        timeout_s=7,
        sampling=Sampling(0.5, 1, 10, -4),
        max_retries=0,
        retry_delay_s=0,
        extra_params={"a": [1]},
        json_mode=False,
        required=False,
        prices={"input_per_1k": 1.0, "output_per_1k": 2.5},
        cache=CacheSpec(enabled=True, dir="c", ttl_days=7),
        block=model.block,
        mark=model.mark,
    )
    assert (model.mark.line, model.mark.key_path) == (4, "models.m")
    assert model.block["extra_params"] == {"a": [1]}


def test_a_model_says_nothing(tmp_path):
    """Then it is as the documentation says."""
    model = loaded(tmp_path, "models: {m: {}}\nsteps: []\n").models["m"]
    assert model == ModelSpec(name="m", block={}, mark=model.mark)


@pytest.mark.parametrize(
    ("block", "replies"),
    [
        ("mock_responses: [a, b]", ("a", "b")),
        ("responses: [a]", ("a",)),
        ("response: a", ("a",)),
        ("response: {a: 1}", ('{"a": 1}',)),
        ("mock_responses: [{a: [1]}, 2]", ('{"a": [1]}', "2")),
    ],
)
def test_what_a_mock_says(tmp_path, block, replies):
    """Under any of its three names; what is no text is JSON."""
    assert loaded(tmp_path, f"models: {{m: {{provider: mock, {block}}}}}\nsteps: []\n").models["m"].replies == replies


def test_keys_and_addresses_come_from_the_environment_as_servers_libraries_take_them(tmp_path):
    """Where the file does not say its own."""
    text = "models: {a: {}, b: {provider: anthropic}, c: {api_key: own}, d: {provider: mock}}\nsteps: []\n"
    environment = {"OPENAI_API_KEY": "o", "OPENAI_BASE_URL": "http://o", "ANTHROPIC_API_KEY": "a"}
    models = loaded(tmp_path, text, environment=environment).models
    assert [(model.api_key, model.base_url) for model in models.values()] == [
        ("o", "http://o"),
        ("a", None),
        ("own", "http://o"),
        (None, None),
    ]


def test_a_provider_of_the_users_has_keys_of_its_own(tmp_path):
    """They are not warned of, and are in its block."""
    pipeline = loaded(tmp_path, "models: {m: {provider: mine, mood: good}}\nsteps: []\n")
    assert not pipeline.warnings
    assert pipeline.models["m"].block["mood"] == "good"


def test_a_step_that_asks_says_everything(tmp_path):
    """Every key of it."""
    step = loaded(
        tmp_path,
        MODELS
        + textwrap.dedent("""
        parsers: {mine: "steps:read"}
        steps:
          - name: x
            model: m
            prompt: p.j2
            system: You are {{ ctx.a }}.
            schema: {a: int}
            parser: mine
            vars: {v: "{{ ctx.a }}", w: [1]}
            max_attempts: 5
            error_feedback: false
            retry_hint: Hint.
            retry_on: [rate_limit, schema]
            schema_strict: false
            max_feedback_tokens: 9
            error_template: q.j2
            temperature: 0
            max_prompt_tokens: 70
            inject_vocab_prompt: false
            extra_params: {b: 1}
            condition: "{{ ctx.a }}"
            on_error: continue
            on_failure: steps:read
            required: false
            save: x/y.yaml
            place: fabric
            worker: big
        """),
        **{"steps.py": "def read(text): return text\n"},
    ).steps[0]
    assert step.prompt.render({}, NOTHING) == "Ask."
    assert step.system.render({}, Scope({"a": "kind"}, {}, {})) == "You are kind."
    assert step.schema.model.__name__ == "XSchema"
    assert (step.parser.text, step.parser.function("t")) == ("steps:read", "t")
    assert step.vars.resolve(Scope({"a": 3}, {}, {})) == {"v": 3, "w": [1]}
    assert step.attempts == Attempts(
        max_attempts=5,
        error_feedback=False,
        retry_hint="Hint.",
        retry_on=("schema", "rate_limit"),
        schema_strict=False,
        feedback_chars_max=9,
        error_template=step.attempts.error_template,
    )
    assert step.attempts.error_template.path == tmp_path / "q.j2"
    assert (step.sampling, step.extra_params, step.max_prompt_tokens) == (Sampling(temperature=0), {"b": 1}, 70)
    assert step.inject_vocab_prompt is False
    assert step.condition.evaluate(Scope({"a": 3}, {}, {})) == 3
    assert (step.on_error, step.on_failure.text, step.required, step.save) == (
        "continue",
        "steps:read",
        False,
        "x/y.yaml",
    )
    assert (step.place, step.worker, step.mark.line, step.mark.key_path) == ("fabric", "big", 5, "steps[0](x)")


def test_attempts_depend_on_a_schema(tmp_path):
    """Three with feedback; without a schema one."""
    text = MODELS + "steps:\n  - {name: a, model: m, prompt: p.j2, schema: {}}\n  - {name: b, model: m, prompt: p.j2}\n"
    a, b = loaded(tmp_path, text).steps
    assert (a.attempts.max_attempts, a.attempts.error_feedback) == (3, True)
    assert (b.attempts.max_attempts, b.attempts.error_feedback) == (1, False)


def test_a_literal_prompt_is_not_rendered(tmp_path):
    """Whatever stands in it."""
    text = "a {{ ctx.a }} {% if \\\" ' \\\\ \\n {# é"
    pipeline = loaded(tmp_path, MODELS + f'steps:\n  - {{name: a, model: m, prompt_string: "{text}"}}\n')
    assert pipeline.steps[0].prompt.render({}, NOTHING) == "a {{ ctx.a }} {% if \" ' \\ \n {# é"


def test_a_system_prompt_may_be_a_file(tmp_path):
    """If there is one of that name."""
    text = (
        MODELS
        + "steps:\n  - {name: a, model: m, prompt: p.j2, system: q.j2}\n"
        + "  - {name: b, model: m, prompt: p.j2, system: r.j2}\n"
    )
    a, b = loaded(tmp_path, text).steps
    assert a.system.render({}, Scope({"a": 1}, {}, {})) == "Merge 1."
    assert b.system.render({}, NOTHING) == "r.j2"


def test_a_wrong_reference_in_a_template_is_told_where_it_stands(tmp_path):
    """In the file that it is in, which may be one that is included, and its line."""
    text = MODELS + "steps:\n  - {name: a, model: m, prompt: p.j2}\n"
    with pytest.raises(StepRefError, match="step 'yy' is not defined") as caught:
        loaded(tmp_path, text, p="1\n{% include 'q.j2' %}", q="1\n2\n{{ steps.yy.value }}")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "q.j2"), 3)


@pytest.mark.parametrize(("line", "there"), [("", True), ("    prompt:\n", True), ("    prompt: absent.j2\n", False)])
def test_a_prompt_that_is_missing_is_only_warned_of(tmp_path, caplog, line, there):
    """Without one the question is empty; without its file the step fails if it is reached. The log says it, too."""
    pipeline = loaded(tmp_path, MODELS + f"steps:\n  - name: xyz\n    model: m\n{line}")
    prompt = pipeline.steps[0].prompt
    assert (prompt.render({}, NOTHING) if there else prompt) == ("" if there else None)
    assert len(pipeline.warnings) == 1
    assert "prompt" in caplog.text
    assert "xyz" in caplog.text


@pytest.mark.parametrize("suffix", ["yaml", "yml", "json"])
def test_a_schema_stands_in_a_file_of_its_own(tmp_path, suffix):
    """YAML or JSON, from the directory of the pipeline."""
    text = MODELS + f"steps:\n  - {{name: my_step, model: m, prompt: p.j2, schema: {{$ref: sub/paper.{suffix}}}}}\n"
    pipeline = loaded(tmp_path, text, **{f"sub/paper.{suffix}": '{"title": "str"}'})
    assert pipeline.steps[0].schema.model(title="t").title == "t"
    assert pipeline.steps[0].schema.model.__name__ == "MyStepSchema"


def test_what_is_wrong_in_a_file_of_a_schema_is_said_there(tmp_path):
    """The place is one of that file."""
    text = MODELS + "steps:\n  - {name: a, model: m, prompt: p.j2, schema: {$ref: paper.yaml}}\n"
    with pytest.raises(SchemaRefError) as raised:
        loaded(tmp_path, text, **{"paper.yaml": "title: str\nwhen: date\n"})
    assert (raised.value.file, raised.value.line) == ("paper.yaml", 2)


def test_schemas_of_the_caller_go_first(tmp_path):
    """Also inside of other steps; what the file says is not even imported."""

    class Mine(BaseModel):
        a: int

    text = MODELS + textwrap.dedent("""
        steps:
          - name: p
            type: parallel
            steps:
              - {name: x, model: m, prompt: p.j2, schema: "nowhere:Nothing"}
          - {name: e, type: ensemble, prompt: p.j2, members: [{model: m}]}
        """)
    pipeline = loaded(tmp_path, text, {"x": Mine, "e": Mine})
    assert pipeline.steps[0].steps[0].schema.model is Mine
    assert pipeline.steps[0].steps[0].attempts.max_attempts == 3
    assert pipeline.steps[1].members[0].ask.schema.model is Mine
    with pytest.raises(SchemaRefError, match="not a model of pydantic"):
        loaded(tmp_path, text, {"x": str})
    with pytest.raises(StepConfigError, match="no such step") as raised:
        loaded(tmp_path, text, {"x": Mine, "xx": Mine})
    assert raised.value.suggestion == "x"


def test_vocabularies_are_read_and_found_in_schemas(tmp_path):
    """By file name, and those that stand in a field by step and field."""
    text = MODELS + textwrap.dedent("""
        steps:
          - name: x
            model: m
            prompt: p.j2
            schema: {kind: {type: str, vocab: kinds}, way: {type: str, vocab: {terms: [in vitro]}}}
        """)
    files = {"vocabularies/kinds.yaml": "known: [PET]\n", "vocabularies/broken.yaml": "[1"}
    pipeline = loaded(tmp_path, text, **files)
    assert sorted(pipeline.vocabularies) == ["kinds", "x.way"]
    assert pipeline.steps[0].schema.vocabularies == ("kinds", "x.way")
    assert len(pipeline.warnings) == 1
    assert "broken.yaml" in pipeline.warnings[0]


def test_functions_and_their_inputs(tmp_path):
    """Three types; a validate step may do without a function."""
    text = """
        steps:
          - {name: a, type: transform, fn: "os.path:join", inputs: {x: {y: ["{{ ctx.a }}"]}}}
          - {name: b, type: io, fn: "os.path:join"}
          - {name: c, type: validate, condition: ctx.a is not none}
          - {name: d, type: validate, fn: "os.path:join", condition: true}
        """
    a, b, c, d = loaded(tmp_path, text).steps
    assert [step.kind for step in (a, b, c, d)] == ["transform", "io", "validate", "validate"]
    assert a.inputs.resolve(Scope({"a": 1}, {}, {})) == {"x": {"y": [1]}}
    assert (b.inputs, c.function, c.condition.evaluate(Scope({"a": 1}, {}, {}))) == (None, None, True)
    assert d.condition.evaluate(NOTHING) is True


def test_requests(tmp_path):
    """What is sent is one value with expressions; a method may be one."""
    text = """
        steps:
          - name: a
            type: http
            url: "http://x/{{ ctx.id }}"
            method: post
            headers: {h: "{{ ctx.id }}", n: null}
            params: {q: 1}
            body: ["{{ ctx.id }}"]
            timeout_seconds: 1.5
            retries: 0
            backoff_seconds: 0
            expected_status: [200, 409]
            response_format: full
          - {name: b, type: http, url: "http://x"}
          - {name: c, type: http, url: "http://x", method: "{{ ctx.id }}"}
        """
    a, b, c = loaded(tmp_path, text).steps
    assert a.request.resolve(Scope({"id": 7}, {}, {})) == {
        "url": "http://x/7",
        "headers": {"h": 7, "n": None},
        "params": {"q": 1},
        "body": [7],
    }
    assert (a.method, a.timeout_s, a.retries, a.backoff_s, a.expected_status, a.response_format) == (
        "POST",
        1.5,
        0,
        0,
        (200, 409),
        "full",
    )
    assert (b.method, b.timeout_s, b.retries, b.backoff_s, b.expected_status, b.response_format) == (
        "GET",
        30.0,
        2,
        0.5,
        None,
        "json",
    )
    assert (c.method, c.request.resolve(Scope({"id": "PUT"}, {}, {}))["method"]) == ("", "PUT")


def test_steps_inside_of_steps(tmp_path):
    """A branch may be a single step, and branches may share names."""
    text = """
        steps:
          - name: c
            type: condition
            if: "{{ ctx.a }}"
            then: {name: x, type: validate, condition: ctx.a}
            else:
              - {name: x, type: validate, condition: ctx.b}
              - {name: p, type: parallel, steps: [{name: y, type: validate, condition: steps.x, optional: true}]}
          - {name: z, type: validate, condition: steps.x and steps.y and steps.p.y}
        """
    c, z = loaded(tmp_path, text).steps
    assert [step.name for step in c.then] == ["x"]
    assert [step.name for step in c.otherwise] == ["x", "p"]
    assert c.otherwise[1].steps[0].required is False
    assert c.otherwise[1].steps[0].mark.key_path == "steps[0](c).else[1](p).steps[0](y)"
    assert [read.step for read in z.condition.reads] == ["x", "y", "p"]


def test_an_ensemble_shares_what_its_members_do_not_say(tmp_path):
    """The judge, too; its steps are named after it."""
    text = MODELS + textwrap.dedent("""
        steps:
          - name: e
            type: ensemble
            prompt: p.j2
            schema: {a: int}
            retry_hint: Shared.
            temperature: 0.5
            members:
              - {model: m}
              - {model: m, name: two, required: false, prompt: q.j2, temperature: 0, max_attempts: 1, retry_hint: Own.}
            judge: {model: n, condition: any_succeeded, temperature: 1}
          - name: f
            type: ensemble
            members: [{model: m, prompt: q.j2}]
            judge: {model: n, prompt: p.j2}
          - {name: g, type: validate, condition: 'steps.e.two.a == steps.e.a == steps["e.m"].a'}
        """)
    e, f, _ = loaded(tmp_path, text).steps
    one, two = e.members
    assert [(member.name, member.required, member.ask.name) for member in e.members] == [
        ("m", True, "e.m"),
        ("two", False, "e.two"),
    ]
    assert (one.ask.attempts.retry_hint, two.ask.attempts.retry_hint) == ("Shared.", "Own.")
    assert (one.ask.attempts.max_attempts, two.ask.attempts.max_attempts) == (3, 1)
    assert (one.ask.sampling, two.ask.sampling) == (Sampling(temperature=0.5), Sampling(temperature=0))
    assert one.ask.schema is e.schema is e.judge.ask.schema
    assert (e.judge.decides, e.judge.own_prompt, e.judge.ask.name, e.judge.ask.model) == (
        "any_succeeded",
        False,
        "e._judge",
        "n",
    )
    assert (one.ask.prompt.path.name, two.ask.prompt.path.name, e.judge.ask.prompt.path.name) == (
        "p.j2",
        "q.j2",
        "p.j2",
    )
    assert (f.judge.own_prompt, f.judge.ask.prompt.path.name, f.judge.decides) == (True, "p.j2", "all_succeeded")


def test_two_members_of_one_model_have_two_names(tmp_path):
    """The second one gets a number, with a warning; without any prompt they are asked with an empty one."""
    text = MODELS + "steps:\n  - {name: e, type: ensemble, members: [{model: m}, {model: m}, {model: m, name: m_3}]}\n"
    pipeline = loaded(tmp_path, text)
    assert [member.name for member in pipeline.steps[0].members] == ["m", "m_2", "m_3"]
    assert [member.ask.prompt.render({}, NOTHING) for member in pipeline.steps[0].members] == ["", "", ""]
    assert [("called 'm_2'" in said, "no prompt" in said) for said in pipeline.warnings] == [
        (False, True),
        (True, False),
        (False, True),
        (False, True),
    ]


def test_a_prompt_may_stand_elsewhere(tmp_path):
    """If the file says so; what it includes is below its own directory then, and no further."""
    text = MODELS + "steps:\n  - {name: a, model: m, prompt: ../shared/p.j2}\n"
    files = {"../shared/p.j2": "{% include 'part.j2' %}", "../shared/part.j2": "part"}
    inner = tmp_path / "inner"
    inner.mkdir()
    assert loaded(inner, text, **files).steps[0].prompt.render({}, NOTHING) == "part"
    with pytest.raises(PipelineLoadError, match=r"secret\.j2"):
        loaded(inner, text, **{"../shared/p.j2": "{% include '../secret.j2' %}", "../secret.j2": "secret"})


def test_outputs_and_execution(tmp_path):
    """Every key of them."""
    text = """
        outputs: {dir: "out/{{ ctx.a }}", final_as: last.json}
        execution: {mode: sequential, speculate: false, max_concurrency: 3, place: fabric, budget_usd: 0.5}
        steps: []
        """
    pipeline = loaded(tmp_path, text)
    assert pipeline.outputs.dir.resolve(Scope({"a": 1}, {}, {})) == "out/1"
    assert pipeline.outputs.final_as == "last.json"
    assert pipeline.execution == Execution(
        mode="sequential", speculate=False, max_concurrency=3, place="fabric", budget_usd=0.5
    )
    assert loaded(tmp_path, "outputs: {}\nsteps: []\n").outputs.dir.resolve(NOTHING) == "./outputs"
    bare = loaded(tmp_path, "steps: []\n")
    assert (bare.outputs, bare.execution) == (None, Execution())


@pytest.mark.parametrize("text", ["", "# nothing\n", "~\n", "models: {}\n", "steps:\n"])
def test_a_file_may_do_nothing(tmp_path, text):
    """Then it has no steps."""
    assert loaded(tmp_path, text).steps == ()


@pytest.mark.parametrize("text", ["[1, 2]", "steps: foo", "steps: [foo]", "models: [a]\nsteps: []", "text", "3"])
def test_what_has_another_shape_is_an_error(tmp_path, text):
    """No bare error of Python."""
    with pytest.raises(PipelineLoadError):
        loaded(tmp_path, text)


def test_unknown_keys_are_warned_of(tmp_path):
    """With what was meant, or where they belong; but not what is only there to be named elsewhere."""
    text = """
        x-mine: 1
        defaults: &d {type: validate}
        modles: {}
        steps:
          - {<<: *d, name: a, condition: ctx.a, on_eror: raise, url: x}
        """
    assert words(loaded(tmp_path, text)) == [
        "modles: the pipeline has an unknown key 'modles', which does nothing; did you mean 'models'?",
        "steps[0](a).on_eror: step 'a' has an unknown key 'on_eror', which does nothing; did you mean 'on_error'?",
        "steps[0](a).url: step 'a' has an unknown key 'url', which does nothing: it is one of http steps",
    ]


def test_numbers_and_truth_values_may_come_from_the_environment(tmp_path):
    """Where one is wanted; a key stays a text."""
    text = (
        "models: {m: {provider: mock, timeout: '${T}', seed: '${S}', required: '${R}', api_key: '${S}'}}\nsteps: []\n"
    )
    model = loaded(tmp_path, text, environment={"T": "1.5", "S": "7", "R": "False"}).models["m"]
    assert (model.timeout_s, model.sampling.seed, model.required, model.api_key) == (1.5, 7, False, "7")
    with pytest.raises(PipelineLoadError, match="must be a number"):
        loaded(tmp_path, text, environment={"T": "soon", "S": "7", "R": "true"})


def test_the_first_problem_decides_and_all_are_shown(tmp_path):
    """Models, then outputs, then steps in their order."""
    text = "steps: [{name: a, type: io}]\noutputs: x\nmodels: {m: 1}\n"
    with pytest.raises(PipelineLoadError) as raised:
        loaded(tmp_path, text)
    assert [problem.line for problem in raised.value.problems] == [2, 3, 1]
    assert type(raised.value) is PipelineLoadError
    assert str(raised.value).count("pipeline.yaml:") == 3


def test_many_problems_end_the_reading(tmp_path):
    """Nobody reads more than a hundred at once; that there are more is said."""
    with pytest.raises(PipelineLoadError) as raised:
        loaded(tmp_path, "steps:\n" + "  - {type: io}\n" * 1_000)
    assert len(raised.value.problems) == 101
    assert "there is more" in raised.value.problems[-1].message


def test_one_error_does_not_make_others(tmp_path):
    """What reads a step that is wrong is not told of it."""
    text = "steps:\n  - {name: a, type: io}\n  - {name: b, type: validate, condition: steps.a.x}\n"
    with pytest.raises(StepConfigError) as raised:
        loaded(tmp_path, text)
    assert len(raised.value.problems) == 1


def test_a_large_pipeline_is_read(tmp_path):
    """Five hundred steps, each reading the one before."""
    steps = ["  - {name: s0, type: validate, condition: ctx.a}"]
    steps += [f"  - {{name: s{n}, type: validate, condition: steps.s{n - 1}}}" for n in range(1, 500)]
    assert len(loaded(tmp_path, "steps:\n" + "\n".join(steps) + "\n").steps) == 500


def test_a_vocabulary_that_is_left_out_is_not_called_absent(tmp_path, caplog):
    """The error says what is wrong with its file, and the log says it, too."""
    text = MODELS + "steps: [{name: a, model: m, prompt: p.j2, schema: {o: {type: str, vocab: org}}}]\n"
    (tmp_path / "vocabularies").mkdir()
    for said, reason in [
        ("known: [a, 3]", "known[1]: expected a text, got 3"),
        ("known: [", "org.yaml:2:1: cannot be"),
    ]:
        caplog.clear()
        (tmp_path / "vocabularies" / "org.yaml").write_text(said)
        with pytest.raises(SchemaRefError, match="the vocabulary 'org' is left out: ") as raised:
            loaded(tmp_path, text)
        assert reason in raised.value.message
        assert reason in caplog.text


def test_fields_are_found_whatever_they_are_called(tmp_path):
    """Keys with dots, and words that YAML reads as something else, which are shown as they are written."""
    text = """
    models: {m: {provider: mock}}
    steps:
      - name: a
        model: m
        prompt: p.j2
        schema:
          a: str
          a.b: strr
          "x y.z": {type: str, min_length: -1}
          no: str
          1.50: str
          r: {type: list, items: {yes: int, "d.e": intt}}
    """
    with pytest.raises(SchemaRefError) as raised:
        loaded(tmp_path, text)
    assert [(problem.line, problem.column) for problem in raised.value.problems] == [
        (9, 12),
        (10, 40),
        (11, 7),
        (12, 7),
        (13, 31),
        (13, 48),
    ]
    said = [problem.message for problem in raised.value.problems]
    assert "no is read as false: write it in quotes: 'no'" in said[2]
    assert "1.50 is read as 1.5: write it in quotes: '1.50'" in said[3]
    assert "yes is read as true: write it in quotes: 'yes'" in said[4]


@pytest.mark.parametrize(
    "said",
    [
        "models: {m: {timeout: '${K}'}}",
        "models: {m: {json_mode: '${K}'}}",
        "execution: {mode: '${K}'}",
        "steps: '${K}'",
        "steps: [{name: a, type: validate, condition: '${K}'}]",
        "steps: [{name: a, type: validate, condition: '{{ ${K} }}'}]",
        "steps: [{name: a, type: transform, fn: '${K}'}]",
        "steps: [{name: a, model: '${K}', prompt: p.j2}]",
        "models: {m: {}}\nsteps: [{name: a, model: m, prompt: p.j2, schema: '${K}'}]",
    ],
)
def test_what_comes_from_a_variable_is_not_shown(tmp_path, said):
    """It may be a secret: an error shows what is written."""
    with pytest.raises(PipelineLoadError) as raised:
        loaded(tmp_path, said, environment={"K": "sk-123"})
    assert "${K}" in str(raised.value)
    assert "sk-1" not in str(raised.value)


@pytest.mark.parametrize("said", ["models: {m: {max_retries: '${K}'}}", "execution: {max_concurrency: '${K}'}"])
def test_a_number_of_a_variable_is_not_shown(tmp_path, said):
    """Neither is it."""
    for value in ("-12", "1.25"):
        with pytest.raises(PipelineLoadError) as raised:
            loaded(tmp_path, said, environment={"K": value})
        assert value not in str(raised.value)


def test_a_wrong_read_in_a_template_is_told_where_it_stands(tmp_path):
    """The file of the template that has it, which may be one that is included, and its line."""
    with pytest.raises(StepRefError) as raised:
        loaded(
            tmp_path,
            MODELS + "steps: [{name: a, model: m, prompt: sub/x.j2}]",
            **{"sub/x.j2": "x\n{{ steps.yy }}\n{% include 'y.j2' %}", "sub/y.j2": "\n\n{{ steps.zz.value }}"},
        )
    assert [(problem.file, problem.line, problem.key_path) for problem in raised.value.problems] == [
        (str(tmp_path / "sub" / "x.j2"), 2, "steps[0](a).prompt"),
        (str(tmp_path / "sub" / "y.j2"), 3, "steps[0](a).prompt"),
    ]


def test_a_field_that_is_called_as_something_of_the_step_is_warned_of(tmp_path):
    """Where it is read as if it were the field; in quotes it is."""
    text = MODELS + textwrap.dedent("""\
        steps:
          - {name: a, model: m, prompt: p.j2, schema: {status: str, value: int}}
          - {name: b, model: m, prompt: s.j2, condition: "steps.a.value.status and steps.a['status'] and steps.a.value"}
          - {name: c, type: validate, condition: "steps.a.status == 'open'"}
          - {name: d, type: validate, condition: "steps.b.status == 'success'"}
    """)
    pipeline = loaded(tmp_path, text, **{"s.j2": "x\n{{ steps.a.status }} {{ steps.a['status'] }}"})
    said = "steps.a.status is the status of the step itself; its value has a field 'status', too: steps.a[\"status\"]"
    assert pipeline.warnings == (
        f"{tmp_path / 's.j2'}:2: steps[1](b).prompt: {said}",
        f"{tmp_path / 'pipeline.yaml'}:5:43: steps[2](c).condition: {said}",
    )


@pytest.mark.parametrize(
    ("name", "said"), [("_x", "does not begin with '_'"), ("a/b", "no '/'"), ("a\\b", "no '/'"), ("..", "no '..'")]
)
def test_names_of_steps_are_names_of_files_and_of_expressions(tmp_path, name, said):
    """Also inside of other steps."""
    step = f"{{name: '{name}', type: validate, condition: 'True'}}"
    with pytest.raises(StepConfigError, match="a name") as raised:
        loaded(tmp_path, f"steps:\n  - {step}\n  - {{name: p, type: parallel, steps: [{step}]}}\n")
    assert [said in problem.message for problem in raised.value.problems][:1] == [True]
    assert {problem.line for problem in raised.value.problems} == {2, 3}
