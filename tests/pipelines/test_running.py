"""What a run does with its steps: what is at once, what is in order, what a failure leaves."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fabric.errors import ConfigError
from fabric.pipelines import BatchRunner, PipelineRunner, RunContext
from fabric.pipelines.errors import BudgetExceeded, ExpressionEvalError, SchemaValidationError
from tests.support.pipeline_folders import Tape, folder_of, mock
from tests.support.pipeline_functions import module_of

PATIENCE_S = 20.0


def same(v: Any = None, **others: Any) -> Any:
    """Return what it is given."""
    return v


def boom(**given: Any) -> Any:
    """Fail."""
    raise RuntimeError("boom")


def run(folder: Path, text: str, given: dict[str, Any] | None = None, **options: Any) -> RunContext:
    """Run a pipeline once."""
    return PipelineRunner(folder_of(folder, text)).run(given or {}, **options)


def statuses(context: RunContext) -> dict[str, str]:
    """Return how each step ended, in order."""
    return {name: step.status for name, step in context.steps.items()}


# --- At once ----------------------------------------------------------------------------------------------------------


def test_independent_steps_are_under_way_at_once(tmp_path: Path) -> None:
    """Eight functions wait for each other: one after the other they would never end."""
    all_there = threading.Barrier(8, timeout=PATIENCE_S)
    m = module_of(meet=all_there.wait)
    steps = "".join(f"  - {{name: s{n}, type: transform, fn: '{m}:meet'}}\n" for n in range(8))

    context = run(tmp_path, f"steps:\n{steps}")

    assert not context.failed, context.failure_state
    assert list(context.steps) == [f"s{n}" for n in range(8)]


def test_a_result_is_forwarded_past_a_slow_step(tmp_path: Path) -> None:
    """The third step reads the second one, and the first one waits for the third: it is not in the way."""
    done = threading.Event()
    m = module_of(wait=lambda: done.wait(PATIENCE_S), same=same, tell=lambda v: done.set() or v)

    context = run(
        tmp_path,
        f"""
        steps:
          - {{name: slow, type: transform, fn: '{m}:wait'}}
          - {{name: quick, type: transform, fn: '{m}:same', inputs: {{v: 1}}}}
          - {{name: reads, type: transform, fn: '{m}:tell', inputs: {{v: "{{{{ steps.quick.value }}}}"}}}}
        """,
    )

    assert [step.value for step in context.steps.values()] == [True, 1, 1]
    assert list(context.steps) == ["slow", "quick", "reads"]


def test_no_more_than_the_file_says_is_performed_at_once(tmp_path: Path) -> None:
    """Six functions meet in pairs: each sees one other at most."""
    lock, pair, here, most = threading.Lock(), threading.Barrier(2, timeout=PATIENCE_S), [0], [0]

    def meet() -> None:
        with lock:
            here[0] += 1
            most[0] = max(most[0], here[0])
        pair.wait()
        with lock:
            here[0] -= 1
        pair.wait()

    m = module_of(meet=meet)
    steps = "".join(f"  - {{name: s{n}, type: transform, fn: '{m}:meet'}}\n" for n in range(6))

    context = run(tmp_path, f"execution: {{max_concurrency: 2}}\nsteps:\n{steps}")

    assert not context.failed, context.failure_state
    assert most == [2]


@pytest.mark.parametrize("kind", ["io", "validate"])
def test_nothing_passes_a_fence(tmp_path: Path, kind: str) -> None:
    """What stands behind a step with effects begins when that is done, though it reads nothing of it."""
    seen: list[str] = []
    m = module_of(note=lambda v: seen.append(v) or True)
    text = "".join(
        f"  - {{name: {name}, type: {type_}, fn: '{m}:note', inputs: {{v: {name}}}}}\n"
        for name, type_ in [("a", "transform"), ("b", kind), ("c", "transform"), ("d", kind)]
    )

    run(tmp_path, f"steps:\n{text}")

    assert seen == ["a", "b", "c", "d"]


def test_a_mock_plays_its_replies_in_the_order_of_the_steps(tmp_path: Path) -> None:
    """Steps that share a mock get their replies as one after the other would, in every run anew."""
    m = module_of(same=same)
    text = mock('{"n": 1}', '{"n": 2}', '{"n": 3}') + (
        "steps:\n"
        "  - name: p\n    type: parallel\n    steps:\n"
        "      - {name: a, model: default, prompt: prompts/extract.j2}\n"
        "      - {name: b, model: default, prompt: prompts/extract.j2}\n"
        f"  - {{name: t, type: transform, fn: '{m}:same'}}\n"
        "  - {name: c, model: default, prompt: prompts/extract.j2}\n"
    )
    runner = PipelineRunner(folder_of(tmp_path, text))

    for _ in range(2):
        context = runner.run({"text": "x"})
        assert [context.steps[name].value for name in "abc"] == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_in_sequential_mode_one_step_follows_the_other(tmp_path: Path) -> None:
    """Two threads would be two; all is called in this one."""
    threads: list[int] = []
    m = module_of(note=lambda: threads.append(threading.get_ident()))
    steps = "".join(f"  - {{name: s{n}, type: transform, fn: '{m}:note'}}\n" for n in range(3))

    run(tmp_path, f"execution: {{mode: sequential}}\nsteps:\n{steps}")

    assert threads == [threading.get_ident()] * 3


def test_a_function_that_has_the_run_for_itself_is_called_in_the_callers_thread(tmp_path: Path) -> None:
    """So what a thread opened (a connection to SQLite) can be used in it, as if the steps were a plain loop."""
    m = module_of(where=lambda **given: threading.get_ident())

    context = run(
        tmp_path,
        f"""
        steps:
          - {{name: a, type: transform, fn: '{m}:where'}}
          - {{name: b, type: transform, fn: '{m}:where', inputs: {{v: "{{{{ steps.a.value }}}}"}}}}
          - {{name: c, type: io, fn: '{m}:where'}}
        """,
    )

    assert {step.value for step in context.steps.values()} == {threading.get_ident()}


def test_which_thread_a_function_gets_does_not_depend_on_how_long_others_take(tmp_path: Path) -> None:
    """When the third step begins, the first one has long ended; it might not have."""
    done = threading.Event()
    m = module_of(tell=done.set, wait=lambda: done.wait(PATIENCE_S), where=lambda **given: threading.get_ident())

    context = run(
        tmp_path,
        f"""
        steps:
          - {{name: a, type: transform, fn: '{m}:tell'}}
          - {{name: b, type: transform, fn: '{m}:wait'}}
          - {{name: c, type: transform, fn: '{m}:where', inputs: {{v: "{{{{ steps.b.value }}}}"}}}}
          - {{name: d, type: io, fn: '{m}:where'}}
        """,
    )

    here = threading.get_ident()
    assert [context.steps[name].value == here for name in "cd"] == [False, True]


def test_as_many_functions_at_once_as_the_file_says(tmp_path: Path) -> None:
    """More than trio calls in threads at once by itself."""
    meet = threading.Barrier(50, timeout=PATIENCE_S)
    m = module_of(meet=meet.wait)
    steps = "".join(f"  - {{name: s{n}, type: transform, fn: '{m}:meet'}}\n" for n in range(50))

    context = run(tmp_path, f"execution: {{max_concurrency: 50}}\nsteps:\n{steps}")

    assert not context.failed, context.failure_state


@pytest.mark.parametrize("mode", ["dataflow", "sequential"])
def test_what_a_function_does_to_its_inputs_no_other_step_sees(tmp_path: Path, mode: str) -> None:
    """Lists and maps are its own, at any depth, also those of ``ctx``; other values are the same."""

    def spoil(v: dict[str, Any], w: dict[str, Any]) -> bool:
        v["rows"][0].append("spoilt")
        w["spoilt"] = True
        return w["leaf"] is leaf

    leaf = object()
    m = module_of(make=lambda: {"rows": [[1]]}, spoil=spoil, same=same)
    given = {"leaf": leaf}

    context = run(
        tmp_path,
        f"""
        execution: {{mode: {mode}}}
        steps:
          - {{name: a, type: transform, fn: '{m}:make'}}
          - {{name: b, type: transform, fn: '{m}:spoil', inputs: {{v: "{{{{ steps.a.value }}}}", w: "{{{{ ctx }}}}"}}}}
          - {{name: c, type: transform, fn: '{m}:same', inputs: {{v: "{{{{ steps.a.value }}}}"}}}}
        """,
        given,
    )

    assert [step.value for step in context.steps.values()] == [{"rows": [[1]]}, True, {"rows": [[1]]}]
    assert given == {"leaf": leaf}


def test_what_an_io_step_does_to_its_inputs_is_an_effect(tmp_path: Path) -> None:
    """It has an order, so all behind it see it, and the caller."""
    m = module_of(add=lambda v: v.append("added"), same=same)
    steps = "".join(
        f"  - {{name: {name}, type: {type_}, fn: '{m}:{function}', inputs: {{v: '{{{{ ctx.v }}}}'}}}}\n"
        for name, type_, function in [("a", "transform", "same"), ("b", "io", "add"), ("c", "transform", "same")]
    )
    given: dict[str, Any] = {"v": []}

    context = run(tmp_path, f"steps:\n{steps}", given)

    assert [step.value for step in context.steps.values()] == [[], None, ["added"]]
    assert given == {"v": ["added"]}


# --- Failures ---------------------------------------------------------------------------------------------------------


def test_the_first_failure_in_the_order_of_the_file_counts(tmp_path: Path) -> None:
    """The second step fails at once, the first one when that is known; the first one is the failure of the run."""
    failed = threading.Event()

    def late() -> None:
        assert failed.wait(PATIENCE_S)
        raise ValueError("late")

    def early() -> None:
        failed.set()
        raise ValueError("early")

    m = module_of(late=late, early=early)

    steps = "".join(f"  - {{name: {n}, type: transform, fn: '{m}:{f}'}}\n" for n, f in [("a", "late"), ("b", "early")])
    context = run(tmp_path, f"steps:\n{steps}")

    assert context.failure_state is not None
    assert (context.failure_state.step_name, str(context.failure_state.exception)) == ("a", "late")
    assert statuses(context) == {"a": "failed"}


def test_what_was_under_way_behind_a_failure_leaves_no_trace_but_its_tokens(tmp_path: Path) -> None:
    """The model was asked before the step in front of it failed; no step, log or hook knows of it."""
    asked = threading.Event()
    tape = Tape('{"a": 1}', concurrent=True)

    def fail() -> None:
        assert asked.wait(PATIENCE_S)
        raise ValueError("no")

    m = module_of(fail=fail, tell=lambda v: asked.set())
    text = f"""
    models: {{t: {{provider: {tape.provider}, model: tt}}}}
    steps:
      - {{name: a, type: transform, fn: '{m}:fail'}}
      - {{name: b, type: llm, model: t, prompt: prompts/extract.j2}}
      - {{name: c, type: transform, fn: '{m}:tell', inputs: {{v: "{{{{ steps.b.value }}}}"}}}}
    """
    runner = PipelineRunner(folder_of(tmp_path, text))
    heard: list[str] = []
    runner.on_llm_call(lambda step, model, said: heard.append(step))

    context = runner.run({"text": "x"})

    assert statuses(context) == {"a": "failed"}
    assert (len(tape.calls), context.summary().llm_calls, heard) == (1, 0, [])
    assert context.summary().discarded_tokens > 0


def test_without_speculation_no_model_is_asked_before_it_is_certain(tmp_path: Path) -> None:
    """With ``speculate: false`` nothing is spent behind a step that may fail."""
    tape = Tape('{"a": 1}')
    m = module_of(boom=boom)

    context = run(
        tmp_path,
        f"""
        execution: {{speculate: false}}
        models: {{t: {{provider: {tape.provider}, model: tt}}}}
        steps:
          - {{name: a, type: transform, fn: '{m}:boom'}}
          - {{name: b, type: llm, model: t, prompt: prompts/extract.j2}}
        """,
        {"text": "x"},
    )

    assert (context.failed, tape.calls, context.summary().discarded_tokens) == (True, [], 0)


def test_a_condition_that_has_no_value_fails_its_step(tmp_path: Path) -> None:
    """It does not come out of ``run``, and ``on_error`` applies to it."""
    m = module_of(same=same)
    text = f"steps:\n  - {{name: a, type: transform, fn: '{m}:same', condition: 'ctx.n < ctx.s'%s}}\n"

    context = run(tmp_path, text % "", {"n": 1, "s": "x"})
    let_pass = run(tmp_path, text % ", on_error: continue", {"n": 1, "s": "x"})

    assert context.failure_state is not None
    assert isinstance(context.failure_state.exception, ExpressionEvalError)
    assert (let_pass.failed, statuses(let_pass)) == (False, {"a": "failed"})


@pytest.mark.parametrize("child", ["condition", "parallel"])
def test_a_step_inside_of_another_has_on_error_on_failure_and_condition_of_its_own(tmp_path: Path, child: str) -> None:
    """They mean the same at any depth."""
    told: list[str] = []
    m = module_of(boom=boom, same=same, told=lambda name, error, context: told.append(name))
    opened = "type: parallel\n    steps:" if child == "parallel" else "type: condition\n    if: 'True'\n    then:"
    text = f"""steps:
  - name: outer
    {opened}
      - {{name: a, type: transform, fn: '{m}:boom', on_error: continue, on_failure: '{m}:told'}}
      - {{name: b, type: transform, fn: '{m}:same', condition: 'False'}}
      - {{name: c, type: transform, fn: '{m}:same', inputs: {{v: 3}}}}
"""

    context = run(tmp_path, text)

    assert statuses(context) == {"a": "failed", "b": "skipped", "c": "success", "outer": "success"}
    assert context.steps["outer"].value == (3 if child == "condition" else {"a": None, "b": None, "c": 3})
    assert told == ["a"]


def test_a_required_child_of_parallel_fails_its_parent_and_all_children_are_kept(tmp_path: Path) -> None:
    """The parent's error is a RuntimeError caused by that of the first such child in the file."""
    m = module_of(boom=boom, same=same)

    context = run(
        tmp_path,
        f"""
        steps:
          - name: p
            type: parallel
            steps:
              - {{name: a, type: transform, fn: '{m}:same', inputs: {{v: 1}}}}
              - {{name: b, type: transform, fn: '{m}:boom'}}
              - {{name: c, type: transform, fn: '{m}:boom', required: false}}
        """,
    )

    assert context.failure_state is not None
    assert context.failure_state.step_name == "p"
    assert isinstance(context.failure_state.exception, RuntimeError)
    assert str(context.failure_state.exception.__cause__) == "boom"
    assert statuses(context) == {"a": "success", "b": "failed", "c": "failed", "p": "failed"}


def test_a_failure_in_a_branch_is_reported_under_the_step_that_branches(tmp_path: Path) -> None:
    """The exception is the child's own; what comes behind it in the branch was skipped."""
    m = module_of(boom=boom, same=same)

    context = run(
        tmp_path,
        f"""
        steps:
          - name: route
            type: condition
            if: ctx.go
            then:
              - {{name: a, type: transform, fn: '{m}:boom'}}
              - {{name: b, type: io, fn: '{m}:same'}}
            else: {{name: z, type: transform, fn: '{m}:same'}}
        """,
        {"go": True},
    )

    assert context.failure_state is not None
    assert (context.failure_state.step_name, str(context.failure_state.exception)) == ("route", "boom")
    assert statuses(context) == {"a": "failed", "b": "skipped", "z": "skipped", "route": "failed"}


def test_skip_remaining_in_a_branch_ends_the_branch(tmp_path: Path) -> None:
    """The steps behind the branch are none of its rest."""
    m = module_of(boom=boom, same=same)

    context = run(
        tmp_path,
        f"""
        steps:
          - name: route
            type: condition
            if: 'True'
            then:
              - {{name: a, type: transform, fn: '{m}:boom', on_error: skip_remaining}}
              - {{name: b, type: transform, fn: '{m}:same'}}
          - {{name: c, type: transform, fn: '{m}:same', inputs: {{v: 1}}}}
        """,
    )

    assert statuses(context) == {"a": "failed", "b": "skipped", "route": "success", "c": "success"}


def test_a_step_with_steps_inside_is_skipped_with_all_of_them(tmp_path: Path) -> None:
    """So an expression that reads one of them reads None."""
    m = module_of(same=same)

    context = run(
        tmp_path,
        f"""
        steps:
          - name: p
            type: parallel
            condition: ctx.go
            steps: [{{name: a, type: transform, fn: '{m}:same', inputs: {{v: 1}}}}]
          - {{name: t, type: transform, fn: '{m}:same', inputs: {{v: "{{{{ steps.a.value is none }}}}"}}}}
        """,
    )

    assert statuses(context) == {"a": "skipped", "p": "skipped", "t": "success"}
    assert context.steps["t"].value is True


def test_a_gate_without_a_function_says_which_condition_does_not_hold(tmp_path: Path) -> None:
    """It is a failure, not a step that was skipped."""
    context = run(tmp_path, "steps:\n  - {name: gate, type: validate, condition: ctx.doc is not none}\n")

    assert context.failure_state is not None
    assert isinstance(context.failure_state.exception, SchemaValidationError)
    assert "ctx.doc is not none" in str(context.failure_state.exception)


def test_a_step_whose_model_may_be_missing_is_skipped(tmp_path: Path) -> None:
    """``required: false`` of a model whose key is not set."""
    text = """
    models: {m: {provider: openai_compat, model: x, api_key: "${NO_SUCH_KEY_IS_SET}", required: false}}
    steps:
      - {name: a, type: llm, model: m, prompt: prompts/extract.j2}
    """

    context = run(tmp_path, text, {"text": "x"})

    assert (context.failed, statuses(context)) == (False, {"a": "skipped"})


# --- Hooks, dry runs --------------------------------------------------------------------------------------------------


def test_hooks_are_told_in_the_order_of_the_file_inner_steps_first(tmp_path: Path) -> None:
    """In the caller's thread, whichever step ended first; those that were skipped have not ended."""
    m = module_of(same=same, boom=boom)
    text = f"""
    steps:
      - name: p
        type: parallel
        steps:
          - {{name: a, type: transform, fn: '{m}:same', inputs: {{v: 1}}}}
          - {{name: b, type: transform, fn: '{m}:boom', required: false}}
          - {{name: c, type: transform, fn: '{m}:same', condition: 'False'}}
      - {{name: d, type: transform, fn: '{m}:same', inputs: {{v: 2}}}}
    """
    runner = PipelineRunner(folder_of(tmp_path, text))
    told: list[object] = []
    runner.on_run_start(lambda given: told.append(dict(given)))
    runner.on_run_end(lambda context: told.append(context.failed))

    @runner.on_step_end
    def step_end(name: str, value: Any, context: RunContext) -> None:
        told.append((name, value, context.steps[name].status, threading.get_ident()))

    runner.run({"x": 1})

    here = threading.get_ident()
    assert told == [
        {"x": 1},
        ("a", 1, "success", here),
        ("b", None, "failed", here),
        ("p", {"a": 1, "b": None, "c": None}, "success", here),
        ("d", 2, "success", here),
        False,
    ]


def test_a_hook_that_fails_is_logged_and_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither does ``on_failure``."""
    m = module_of(boom=boom, fails=lambda *told: 1 / 0)
    text = f"steps:\n  - {{name: a, type: transform, fn: '{m}:boom', on_error: continue, on_failure: '{m}:fails'}}\n"
    runner = PipelineRunner(folder_of(tmp_path, text))
    runner.on_step_end(lambda *told: {}["nothing"])

    context = runner.run({})

    assert (context.failed, statuses(context)) == (False, {"a": "failed"})
    assert "on_failure of step 'a'" in caplog.text
    assert "a hook of on_step_end" in caplog.text


def test_a_dry_run_asks_nobody_and_changes_nothing(tmp_path: Path) -> None:
    """Functions without effects run; what was not asked is in the log, and says so."""
    called: list[str] = []
    tape = Tape('{"a": 1}')
    m = module_of(save=lambda: called.append("io"), look=lambda: called.append("transform"))

    context = run(
        tmp_path,
        f"""
        models: {{t: {{provider: {tape.provider}, model: tt}}}}
        outputs: {{dir: "{tmp_path}/out"}}
        steps:
          - {{name: x, type: llm, model: t, prompt: prompts/extract.j2}}
          - {{name: get, type: http, url: "http://127.0.0.1:9/"}}
          - {{name: save, type: io, fn: '{m}:save'}}
          - {{name: look, type: transform, fn: '{m}:look'}}
        """,
        {"text": "x"},
        dry_run=True,
    )

    assert not context.failed, context.failure_state
    assert (tape.calls, called) == ([], ["transform"])
    assert [log.raw_output for log in context.summary().attempt_logs] == ["[dry-run]"]
    assert not (tmp_path / "out").exists()


def test_overrides_are_of_one_run(tmp_path: Path) -> None:
    """The next run has the models of the file again, and its mock begins anew."""
    text = mock('{"n": 1}') + "steps:\n  - {name: a, model: default, prompt: prompts/extract.j2}\n"
    runner = PipelineRunner(folder_of(tmp_path, text))

    values = [
        runner.run({"text": "x"}, model_overrides=over).steps["a"].value["n"]
        for over in ({"default": {"mock_responses": ['{"n": 11}']}}, {"default": {"mock_responses": ['{"n": 22}']}}, {})
    ]

    assert values == [11, 22, 1]


def test_an_input_that_is_no_map_is_refused(tmp_path: Path) -> None:
    """``ctx`` is a map in every expression."""
    runner = PipelineRunner(folder_of(tmp_path, "steps: []"))

    with pytest.raises(TypeError, match="is a map"):
        runner.run([("a", 1)])  # type: ignore[arg-type]


def test_a_prompt_that_is_not_there_fails_its_step_and_no_prompt_asks_with_nothing(tmp_path: Path) -> None:
    """Both were warned of when the file was read; a wrong name is never taken for an empty question."""
    tape = Tape('{"a": 1}')
    models = f"models: {{t: {{provider: {tape.provider}, model: tt}}}}\nsteps:\n"

    absent = run(tmp_path, models + "  - {name: x, model: t, prompt: prompts/extrct.j2}\n")
    none = run(tmp_path, models + "  - {name: x, model: t}\n")

    assert absent.failure_state is not None
    assert "prompts/extrct.j2" in str(absent.failure_state.exception)
    assert (none.failed, [call["messages"][-1]["content"] for call in tape.calls]) == (False, [""])


def test_both_branches_may_have_a_step_of_the_same_name(tmp_path: Path) -> None:
    """The one of the branch that was taken is in the results."""
    m = module_of(same=same)
    text = f"""
    steps:
      - name: route
        type: condition
        if: ctx.go
        then: {{name: a, type: transform, fn: '{m}:same', inputs: {{v: then}}}}
        else: {{name: a, type: transform, fn: '{m}:same', inputs: {{v: else}}}}
      - {{name: t, type: transform, fn: '{m}:same', inputs: {{v: "{{{{ steps.a.value }}}}"}}}}
    """

    contexts = [run(tmp_path, text, {"go": go}) for go in (True, False)]

    assert [context.steps["t"].value for context in contexts] == ["then", "else"]
    assert [statuses(context)["a"] for context in contexts] == ["success", "success"]


def test_members_of_an_ensemble_that_share_a_mock_are_asked_in_order(tmp_path: Path) -> None:
    """Each question is in the log once; the ensemble has those of its members and of its judge."""
    text = mock('{"n": 1}', '{"n": 2}', '{"n": 3}') + (
        "steps:\n  - name: e\n    type: ensemble\n    prompt: prompts/extract.j2\n    schema: {n: int}\n"
        "    members: [{model: default, name: one}, {model: default, name: two}]\n    judge: {model: default}\n"
    )
    runner = PipelineRunner(folder_of(tmp_path, text))
    ended: list[str] = []
    runner.on_step_end(lambda name, value, context: ended.append(name))

    context = runner.run({"text": "x"})

    assert {name: step.value.n for name, step in context.steps.items()} == {"e.one": 1, "e.two": 2, "e": 3}
    assert [log.step for log in context.summary().attempt_logs] == ["e.one", "e.two", "e._judge"]
    assert len(context.steps["e"].attempts) == 3
    assert ended == ["e"]


def test_a_template_that_looks_at_all_steps_waits_for_all_of_them(tmp_path: Path) -> None:
    """It sees them in the order of the file."""
    m = module_of(same=same)
    tape = Tape('{"a": 1}')
    path = folder_of(
        tmp_path,
        f"""
        models: {{t: {{provider: {tape.provider}, model: tt}}}}
        steps:
          - {{name: b, type: transform, fn: '{m}:same', inputs: {{v: 1}}}}
          - {{name: a, type: transform, fn: '{m}:same', inputs: {{v: 2}}}}
          - {{name: x, model: t, prompt: all.j2}}
        """,
        {"all.j2": "{% for name in steps %}{{ name }},{% endfor %}"},
    )

    context = PipelineRunner(path).run({})

    assert not context.failed, context.failure_state
    assert tape.calls[-1]["messages"][-1]["content"] == "b,a,"


def test_a_budget_ends_a_run_at_the_same_question_every_time(tmp_path: Path) -> None:
    """With a budget questions are asked one after the other: what is left is known before each."""
    tape = Tape('{"a": 1}')
    steps = "".join(f"  - {{name: s{n}, model: t, prompt: prompts/extract.j2}}\n" for n in range(4))
    text = (
        "execution: {budget_usd: 0.5}\n"
        f"models: {{t: {{provider: {tape.provider}, model: tt, pricing: {{input_per_1k: 0, output_per_1k: 100}}}}}}\n"
        f"steps:\n{steps}"
    )

    context = run(tmp_path, text, {"text": "x"})

    assert context.failure_state is not None
    assert isinstance(context.failure_state.exception, BudgetExceeded)
    spent = context.summary().cost_usd
    assert f"${spent:.2f} of $0.50 are spent" in str(context.failure_state.exception)
    assert len(tape.calls) == context.summary().llm_calls == int(context.failure_state.step_name[1:])


def test_questions_about_terms_are_paid_from_the_budget_of_the_run(tmp_path: Path) -> None:
    """The question of the step has spent it; without a budget each term would be asked about."""
    tape = Tape('{"k": ["one", "two"]}')
    text = (
        "execution: {budget_usd: 0.5}\n"
        f"models: {{t: {{provider: {tape.provider}, model: tt, pricing: {{input_per_1k: 0, output_per_1k: 1000}}}}}}\n"
        "steps:\n"
        "  - {name: a, model: t, prompt: prompts/extract.j2, schema: {k: {type: 'list[str]', vocab: v}}}\n"
    )
    files = {"vocabularies/v.yaml": "known: [other]\ngrowth_policy: llm\n"}

    context = PipelineRunner(folder_of(tmp_path, text, files)).run({"text": "x"})

    assert not context.failed, context.failure_state
    assert [suggestion.raw_value for suggestion in context.summary().vocab_suggestions] == ["one", "two"]
    assert len(tape.calls) == 1


def test_what_a_branch_leaves_is_in_the_order_of_the_file(tmp_path: Path) -> None:
    """The branches have the same names in another order, and an ensemble has members in front of it."""
    asks = "type: llm, model: default, prompt: prompts/extract.j2"
    members = "members: [{model: default, name: one}, {model: default, name: two}]"
    text = mock(*(f'{{"n": {n}}}' for n in range(1, 6))) + (
        f"steps:\n  - name: route\n    type: condition\n    if: ctx.go\n    then:\n"
        f"      - {{name: e, type: ensemble, prompt: prompts/extract.j2, schema: {{n: int}}, {members}}}\n"
        f"      - {{name: a, {asks}}}\n      - {{name: b, {asks}}}\n"
        f"    else:\n      - {{name: b, {asks}}}\n      - {{name: a, {asks}}}\n      - {{name: c, {asks}}}\n"
    )
    runner = PipelineRunner(folder_of(tmp_path, text))
    called: list[str] = []
    runner.on_llm_call(lambda step, model, text: called.append(step))

    then, otherwise = runner.run({"go": True, "text": ""}), runner.run({"go": False, "text": ""})

    assert [log.raw_output for log in then.summary().attempt_logs] == [f'{{"n": {n}}}' for n in range(1, 5)]
    assert list(then.steps) == ["e.one", "e.two", "e", "a", "b", "c", "route"]
    assert [log.raw_output for log in otherwise.summary().attempt_logs] == [f'{{"n": {n}}}' for n in range(1, 4)]
    assert list(otherwise.steps) == ["e", "b", "a", "c", "route"]
    assert called == ["e.one", "e.two", "a", "b", "b", "a", "c"]


def test_what_is_skipped_is_written_down_as_if_it_was_carried_out(tmp_path: Path) -> None:
    """What is inside of a step comes before it, at any depth."""
    m = module_of(same=same)
    text = f"""
    steps:
      - name: outer
        type: parallel
        condition: ctx.go
        steps:
          - {{name: inner, type: parallel, steps: [{{name: leaf, type: transform, fn: '{m}:same'}}]}}
    """

    skipped, done = (run(tmp_path, text, {"go": go}) for go in (False, True))

    assert list(skipped.steps) == list(done.steps) == ["leaf", "inner", "outer"]


# --- What is left behind by what does not count -----------------------------------------------------------------------


def slow_to_fail(done: threading.Event) -> Any:
    """Return a function that fails when a step behind it is done; or, if none may be, when it has waited a little."""

    def fail() -> None:
        done.wait(0.2)
        raise RuntimeError("boom")

    return fail


@pytest.mark.parametrize("mode", ["sequential", "dataflow"])
def test_replies_of_a_mock_that_do_not_count_are_played_again(tmp_path: Path, mode: str) -> None:
    """The branch fails when the step behind the failure has got a reply already; the next step gets that reply."""
    done = threading.Event()
    m = module_of(fail=slow_to_fail(done), tell=lambda v: done.set())
    asks = "type: llm, model: default, prompt: prompts/extract.j2"
    steps = f"""execution: {{mode: {mode}}}
steps:
  - name: branch
    type: condition
    if: "true"
    on_error: continue
    then:
      - {{name: a, {asks}}}
      - {{name: b, type: transform, fn: '{m}:fail'}}
      - {{name: c, {asks}}}
      - {{name: d, type: transform, fn: '{m}:tell', inputs: {{v: "{{{{ steps.c.value }}}}"}}}}
  - {{name: e, {asks}}}
"""

    context = run(tmp_path, mock('{"n": 1}', '{"n": 2}', '{"n": 3}') + steps, {"text": "x"})

    assert statuses(context) == {
        "a": "success", "b": "failed", "c": "skipped", "d": "skipped", "branch": "failed", "e": "success",
    }  # fmt: skip
    assert context.steps["e"].value == {"n": 2}
    assert done.is_set() == (mode == "dataflow")


@pytest.mark.parametrize("mode", ["sequential", "dataflow"])
def test_vocabularies_grow_by_the_reply_that_is_due(tmp_path: Path, mode: str) -> None:
    """The model that decides is the mock that a step asked which does not count."""
    done = threading.Event()
    m = module_of(fail=slow_to_fail(done), tell=lambda v: done.set())
    asks = "type: llm, model: default, prompt: prompts/extract.j2"
    text = (
        mock('{"k": "new"}', "yes", "no")
        + f"""
execution: {{mode: {mode}}}
steps:
  - {{name: a, {asks}, schema: {{k: {{type: str, vocab: things}}}}}}
  - {{name: b, type: transform, fn: '{m}:fail'}}
  - {{name: c, {asks}}}
  - {{name: d, type: transform, fn: '{m}:tell', inputs: {{v: "{{{{ steps.c.value }}}}"}}}}
"""
    )
    path = folder_of(tmp_path, text, {"vocabularies/things.yaml": "known: [old]\ngrowth_policy: llm\npersist: true\n"})

    context = PipelineRunner(path).run({"text": "x"})

    assert [log.raw_output for log in context.metadata["attempt_logs"]] == ['{"k": "new"}', "yes"]
    assert "new" in (tmp_path / "vocabularies/things.yaml").read_text()


@pytest.mark.parametrize("kept", ["", "cache: {enabled: true, dir: answers}", "execution"])
def test_what_outlives_a_run_is_not_asked_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    """Nobody asks a client that may count, keeps an answer, or spends a budget for a step that is not due."""
    monkeypatch.chdir(tmp_path)
    tape = Tape("1", "2", concurrent=bool(kept))
    m = module_of(fail=slow_to_fail(threading.Event()), same=same)
    cache, budget = ("", "execution: {budget_usd: 1}\n") if kept == "execution" else (kept, "")
    text = (
        budget
        + tape.block(cache)
        + f"""
steps:
  - name: b
    type: condition
    if: ctx.fail
    then: [{{name: f, type: transform, fn: '{m}:fail'}}]
  - {{name: p, type: parallel, steps: [{{name: c, type: llm, model: default, prompt: prompts/extract.j2}}]}}
"""
    )
    runner = PipelineRunner(folder_of(tmp_path, text))

    failed, fine = (runner.run({"text": "x", "fail": fail}) for fail in (True, False))

    assert (failed.failed, fine.failed) == (True, False)
    assert (fine.steps["c"].value, fine.summary().cache_hits, len(tape.calls)) == (1, 0, 1)


def test_a_cache_is_one_however_its_folder_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second step asks the same, and takes the answer that the first one has kept."""
    monkeypatch.chdir(tmp_path)
    tape = Tape("1", concurrent=True)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    models = "".join(
        f"  m{n}: {{provider: {tape.provider}, model: x, cache: {{enabled: true, dir: {folder}}}}}\n"
        for n, folder in enumerate(["real", "./no/../real", "link", tmp_path / "real"])
    )
    steps = "".join(f"  - {{name: s{n}, type: llm, model: m{n}, prompt: prompts/extract.j2}}\n" for n in range(4))

    context = run(tmp_path, f"models:\n{models}steps:\n{steps}", {"text": "x"})

    assert (context.summary().cache_hits, len(tape.calls)) == (3, 1)


def test_what_a_conversation_took_that_is_cancelled_is_counted(tmp_path: Path) -> None:
    """The step behind is asked a second time when the one in front fails: the first answer has been paid for."""
    asked_again, ended = threading.Event(), threading.Event()

    class Slow(Tape):
        def create(self, **request: Any) -> Any:
            if self.calls:
                asked_again.set()
                ended.wait(PATIENCE_S)
            return super().create(**request)

    def fail() -> None:
        asked_again.wait(PATIENCE_S)
        raise RuntimeError("boom")

    tape = Slow("no JSON", "{}", concurrent=True)
    m = module_of(fail=fail)
    steps = f"""steps:
  - {{name: a, type: transform, fn: '{m}:fail'}}
  - {{name: b, type: llm, model: default, prompt: prompts/extract.j2, schema: {{n: int}}}}
"""
    runner = PipelineRunner(folder_of(tmp_path, tape.block() + steps))

    context = runner.run({"text": "x"})
    ended.set()

    assert statuses(context) == {"a": "failed"}
    assert (context.summary().llm_calls, context.metadata["discarded_tokens"]) == (0, 10)
    counted = {sample.name: sample.value for sample in runner.account.samples()}
    assert counted["fabric_llm_input_tokens_total"] == 7


def test_no_key_is_in_a_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Providers say the key in their errors: one of the environment, one of the file, one of this run."""
    monkeypatch.setenv("SOME_TOKEN", "secret-of-environment")
    keys = ["${SOME_TOKEN}", "secret-of-file", "later"]
    tapes = [Tape(PermissionError(f"wrong key {key}")) for key in ("secret-of-environment", *keys[1:])]
    tapes[2] = Tape(PermissionError("wrong key secret-of-run"))
    blocks = "".join(
        f"  m{n}: {{provider: {tape.provider}, model: x, api_key: '{key}'}}\n"
        for n, (tape, key) in enumerate(zip(tapes, keys, strict=True))
    )
    asks = "type: llm, prompt: prompts/extract.j2"
    steps = "".join(f"  - {{name: s{n}, {asks}, model: m{n}, on_error: continue}}\n" for n in range(3))
    steps += """  - name: e
    type: ensemble
    prompt: prompts/extract.j2
    members: [{model: fine, name: a}, {model: fine, name: b}]
    judge: {model: m0}
"""
    mocked = mock("{}", name="fine").removeprefix("models:\n")
    runner = PipelineRunner(folder_of(tmp_path, f"models:\n{blocks}{mocked}steps:\n{steps}"))

    context = runner.run({"text": "x"}, model_overrides={"m2": {"api_key": "secret-of-run"}})

    assert not context.failed
    assert "secret" in str(context.summary().attempt_logs[0].errors), "they are hidden in logs, and nowhere else"
    assert "secret" not in caplog.text
    said = ["wrong key ${SOME_TOKEN}", "wrong key ${models.m1.api_key}", "wrong key ${models.m2.api_key}"]
    assert all(text in caplog.text for text in said)
    assert "the judge was not heard" in caplog.text


def test_what_does_not_count_is_not_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The question has failed when the step in front of it fails."""
    asked = threading.Event()

    class Refusing(Tape):
        def create(self, **request: Any) -> Any:
            asked.set()
            return super().create(**request)

    tape = Refusing(PermissionError("no"), concurrent=True)
    m = module_of(fail=slow_to_fail(threading.Event()))
    steps = f"""steps:
  - {{name: a, type: transform, fn: '{m}:fail'}}
  - {{name: b, type: llm, model: default, prompt: prompts/extract.j2}}
"""

    run(tmp_path, tape.block() + steps, {"text": "x"})

    assert asked.is_set()
    assert [record.getMessage() for record in caplog.records] == ["step 'a' failed: RuntimeError: boom"]


def test_a_hook_is_called_and_not_awaited(tmp_path: Path) -> None:
    """One that would do nothing is refused when it is added."""

    async def hook(*_: object) -> None: ...

    file = folder_of(tmp_path, "steps: []\n")
    runner, batch = PipelineRunner(file), BatchRunner(file, progress=False)
    for add in (
        runner.on_run_start,
        runner.on_run_end,
        runner.on_step_end,
        runner.on_llm_call,
        batch.on_batch_item_end,
    ):
        with pytest.raises(ConfigError, match=r"hook of on_\w+, '.*hook', is an async function"):
            add(hook)
    with pytest.raises(ConfigError, match="is not a function"):
        runner.on_run_end(3)


def test_a_parser_that_would_end_the_process_could_not_read(tmp_path: Path) -> None:
    """As if it had raised anything else."""
    m = module_of(leave=lambda text: sys.exit(3))
    text = mock("x") + f"steps:\n  - {{name: a, model: default, prompt_string: x, parser: '{m}:leave'}}\n"
    context = run(tmp_path, text)
    assert context.failure_state is not None
    assert "it would end the process: SystemExit(3)" in str(context.failure_state.exception)
