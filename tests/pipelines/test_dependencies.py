"""What a step needs of those before it, as literal numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fabric.pipelines.expressions.expression import bind, parse_expression
from fabric.pipelines.prompt import parse_prompt
from fabric.pipelines.runs.dependencies import Needs, is_fence, models_of, names_of, needs
from fabric.pipelines.spec import (
    Attempts,
    ConditionStep,
    EnsembleStep,
    FunctionStep,
    HttpStep,
    Judge,
    LlmStep,
    Mark,
    Member,
    ParallelStep,
    Step,
)

HERE = Mark("p.yaml")


def call(name: str, kind: Any = "transform", **keys: Any) -> FunctionStep:
    inputs = bind(keys.pop("inputs")) if "inputs" in keys else None
    return FunctionStep(name=name, mark=HERE, kind=kind, inputs=inputs, **keys)


def ask(name: str, model: str = "m", prompt: str = "", **keys: Any) -> LlmStep:
    return LlmStep(name=name, mark=HERE, model=model, prompt=parse_prompt(prompt, Path()), **keys)


def http(name: str, method: str = "GET", url: str = "u") -> HttpStep:
    return HttpStep(name=name, mark=HERE, method=method, request=bind({"url": url}))


def parallel(name: str, *steps: Step) -> ParallelStep:
    return ParallelStep(name=name, mark=HERE, steps=steps)


def branch(name: str, decides: str, then: tuple[Step, ...] = (), otherwise: tuple[Step, ...] = ()) -> ConditionStep:
    return ConditionStep(name=name, mark=HERE, decides=parse_expression(decides), then=then, otherwise=otherwise)


def needed(*steps: Step) -> list[Needs]:
    return list(needs(steps))


def reads(*steps: Step) -> list[tuple[int, ...]]:
    return [need.reads for need in needed(*steps)]


def test_steps_read_where_their_expressions_and_templates_say() -> None:
    """Inputs, conditions, variables, prompts, system prompts, error templates and requests are all read."""
    assert reads(
        call("a"),
        call("b", inputs={"x": ["{{ steps.a.value }}", "{{ ctx.a }}"]}),
        call("c", condition=parse_expression("steps.b.x and steps['a']")),
        ask("d", prompt="{{ steps.c.x }}", vars=bind(["{{ steps.a }}"]), system=parse_prompt("{{ steps.b }}", Path())),
        ask("e", attempts=Attempts(error_template=parse_prompt("{{ steps.d.x }}", Path()))),
        http("f", url="http://x/{{ steps.e.value }}"),
        call("g"),
    ) == [(), (0,), (0, 1), (0, 1, 2), (3,), (4,), ()]  # fmt: skip


def test_what_only_the_input_says_may_be_any_earlier_step() -> None:
    """``steps`` as a whole, and a name that depends on the input, read all that is before."""
    any_of = [
        call("c", inputs={"x": text}) for text in ("{{ steps }}", "{{ steps[ctx.k] }}", "{{ active_models(steps) }}")
    ]
    for step in (*any_of, ask("c", prompt="{% for k in steps %}{% endfor %}")):
        assert reads(call("a"), call("b"), step, call("d"))[2:] == [(0, 1), ()]


def test_names_that_are_not_earlier_in_the_row_are_no_needs() -> None:
    """A step of an outer row is done; a later one, or itself, is an error that others find."""
    assert reads(call("a", inputs="{{ steps.a or steps.b or steps.outer }}"), call("b")) == [(), ()]


def test_a_step_reads_what_the_steps_in_it_read() -> None:
    """Branches, children, members and the judge; their own names are theirs."""
    inner = branch("inner", "steps.a.ok", (call("t", inputs="{{ steps.b }}"), call("u", inputs="{{ steps.t }}")))
    ensemble = EnsembleStep(
        name="ens",
        mark=HERE,
        members=(Member(name="one", required=True, ask=ask("ens.one", prompt="{{ steps.c }}")),),
        judge=Judge(
            decides="all_succeeded",
            own_prompt=True,
            ask=ask("ens._judge", prompt="{{ steps.d }} {{ steps.ens.one }}"),
        ),
    )  # fmt: skip
    row = [call(name) for name in "abcd"]
    assert reads(*row, parallel("p", inner, call("w")), ensemble)[4:] == [(0, 1), (2, 3)]


def test_inner_steps_are_read_through_the_step_that_has_them() -> None:
    """A child by its own name or its parent's, a member by its full name, a name that both branches have."""
    ensemble = EnsembleStep(name="ens", mark=HERE, members=(Member(name="one", required=True, ask=ask("ens.one")),))
    row = [
        call("first"),
        parallel("p", call("x"), branch("q", "true", (call("y"),), (call("y"),))),
        ensemble,
    ]
    texts = ["steps.x", "steps.p.x", "steps.y", "steps.q", "steps.ens.one", "steps['ens.one']"]
    found = reads(*row, *(call(f"r{number}", inputs=f"{{{{ {text} }}}}") for number, text in enumerate(texts)))
    assert found[3:] == [(1,), (1,), (1,), (1,), (2,), (2,)]
    assert list(names_of(row[1])) == ["p", "x", "q", "y", "y"]
    assert list(names_of(ensemble)) == ["ens", "ens.one"]


def test_fences_are_what_has_effects_and_what_has_one_in_it() -> None:
    """io, validate, and http that changes something, at any depth."""
    fences = [call("a", "io"), call("b", "validate"), http("c", "POST"), http("d", "delete"), http("e", "PATCH")]
    assert all(map(is_fence, fences))
    assert not any(map(is_fence, [call("a"), ask("b"), http("c"), http("d", "get"), http("e", "HEAD")]))
    assert is_fence(parallel("p", call("x"), branch("q", "true", (), (call("y", "io"),))))
    assert not is_fence(parallel("p", call("x"), branch("q", "true", (ask("y"),))))
    assert [need.fence for need in needed(call("x"), call("y", "io"))] == [False, True]


def test_the_models_of_a_step_are_those_of_the_steps_in_it() -> None:
    """In the order of the file; one may come twice."""
    assert list(models_of(parallel("p", ask("x", "one"), call("y"), ask("z", "two"), ask("w", "one")))) == [
        "one", "two", "one",
    ]  # fmt: skip
