"""What expressions are worth, what they read, and how they stand in texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from fabric.pipelines.errors import ExpressionEvalError, ExpressionSecurityError
from fabric.pipelines.expressions.expression import Scope, StepRead, bind, parse_expression
from fabric.pipelines.results import AttemptLog, StepResult


class Paper(BaseModel):
    """An answer of a model."""

    title: str = "On Growth"
    value: int = 7
    status: str = "draft"


@dataclass
class Row:
    """A value of a transform step."""

    cells: list[int] = field(default_factory=lambda: [1, 2])

    def method(self) -> int:
        return 1


def results(**values: Any) -> dict[str, StepResult]:
    return {name: StepResult(name, value) for name, value in values.items()}


STEPS = {
    **results(paper=Paper(), row=Row(), map={"value": 3, "a": {"b": 4}}, text="words", items=[5, 6], number=0),
    "gone": StepResult("gone", None, "skipped"),
    "asked": StepResult("asked", Paper(), attempts=[AttemptLog("x", 1, "error"), AttemptLog("x", 2, "success")]),
    "ens": StepResult("ens", Paper(title="merged")),
    "ens.one": StepResult("ens.one", Paper(title="first")),
    "ens.gpt-4": StepResult("ens.gpt-4", Paper(title="fourth")),
}  # fmt: skip
SCOPE = Scope({"a": {"b": [1, {"c": 2}]}, "none": None, "n": 3, "it's": 1, "_id": 9, "row": Row()}, STEPS, {"KEY": "k"})


def value(text: str) -> Any:
    return parse_expression(text).evaluate(SCOPE)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ctx.a.b[1].c", 2),
        ("ctx['a']['b'][0]", 1),
        ('ctx["_id"]', 9),
        ("ctx.a.b[:1]", [1]),
        ("ctx.no.such[3]['key'].x", None),
        ("ctx.a.b[9]", None),
        ("ctx.n.x", None),
        ("ctx.n['x']", None),
        ("ctx.row.nothing", None),
        ("ctx.row.cells", [1, 2]),
        ("len(ctx.missing)", 0),
        ("1 in ctx.missing", False),
        ("1 not in ctx.missing", True),
        ("ctx.missing is none", True),
        ("ctx.n is not none and ctx.n > 2", True),
        ("env.KEY", "k"),
        ("env['KEY']", "k"),
        ("env.OTHER", None),
        ("-1 < 0 < ctx.n", True),
        ("+2", 2),
        ("'yes' if ctx.n == 3 else 'no'", "yes"),
        ("[ctx.n, (1, 2)]", [3, (1, 2)]),
        ("true and not false", True),
        ("'there is none left'", "there is none left"),
        ("first_non_none(ctx.x, ctx.n)", 3),
        ("first_non_none()", None),
        ("active_models(steps.map)", ["value", "a"]),
        ("active_models(ctx.a) == ['b']", True),
        ("active_models(ctx.missing)", []),
        ("ctx.n  # with a comment", 3),
        ("ctx.n ==\n  3", True),
    ],
)
def test_expressions_are_worth_what_python_says(text: str, wanted: Any) -> None:
    """Python's rules hold; ``ctx`` is null-safe at any depth; ``None`` is empty."""
    assert value(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("steps.paper", Paper()),
        ("steps.paper.value", Paper()),
        ("steps.paper.value.value", 7),
        ("steps.paper['value']", 7),
        ("steps.paper.title", "On Growth"),
        ("steps.paper.status", "success"),
        ("steps.paper.value.status", "draft"),
        ("steps['paper']['status']", "draft"),
        ("steps.map.value", {"value": 3, "a": {"b": 4}}),
        ("steps['map']['value']", 3),
        ("steps.map.value.value", 3),
        ("steps.map.a.b", 4),
        ("steps.map.nothing", None),
        ("steps.text.value", "words"),
        ("steps.items.value", [5, 6]),
        ("steps.items[1]", 6),
        ("steps.gone.value", None),
        ("steps.gone.value.title", None),
        ("steps.gone.title", None),
        ("steps.gone.status", "skipped"),
        ("steps.never", None),
        ("steps.never.value.title", None),
        ("steps.asked.last_attempt.attempt_number", 2),
        ("len(steps.asked.attempts)", 2),
        ("steps.paper.last_attempt", None),
        ("steps.row.cells[0]", 1),
        ("steps.ens.title", "merged"),
        ("steps.ens.one", Paper(title="first")),
        ("steps.ens.one.title", "first"),
        ("steps.ens.one.value.title", "first"),
        ("steps.ens['gpt-4'].title", "fourth"),
        ("steps['ens.one'].title", "first"),
        ("(steps.gone or steps.paper).value.title", "On Growth"),
        ("first_non_none(steps.gone, steps.paper).title", "On Growth"),
        ("(steps.paper if steps.gone else steps.ens).title", "merged"),
        ("'paper' in steps", True),
        ("steps[ctx.which or 'text'].value", "words"),
        ("steps.number or 'zero'", "zero"),
        ("not steps.number", True),
        ("steps.gone is none", True),
        ("[steps.text]", ["words"]),
    ],
)
def test_a_step_is_a_view_of_its_value(text: str, wanted: Any) -> None:
    """``value``, ``status`` and the attempts are the step's own; the rest is its value's, and items always are."""
    assert value(text) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps.paper.titel", "steps.paper has no field 'titel': it is a Paper"),
        ("steps.items[7]", "steps.items has no item 7"),
        ("steps.text.upper", "has no field 'upper'"),
        ("steps.row.method", "has no field 'method'"),
        ("ctx.none > 3", "ctx.none is None"),
        ("len(ctx.n)", "TypeError"),
        ("active_models(ctx.n)", "takes a map, not a int"),
        ("steps[ctx.n]", "steps are known by names, not by 3"),
    ],
)
def test_what_has_no_value_says_why(text: str, said: str) -> None:
    """An expression without a value is an error that shows the expression and what is missing."""
    with pytest.raises(ExpressionEvalError) as caught:
        value(text)
    assert said in str(caught.value)
    assert repr(text) in str(caught.value)


class Sour:
    """A value that cannot even be compared."""

    def __eq__(self, other: object) -> bool:
        raise LookupError("sour")

    __hash__ = None  # type: ignore[assignment]


def test_whatever_a_value_raises_is_an_error_of_the_expression() -> None:
    """Values of users' classes may raise anything: that is an ExpressionEvalError, with the cause."""
    with pytest.raises(ExpressionEvalError, match="LookupError: sour") as caught:
        parse_expression("ctx.s == 1").evaluate(Scope({"s": Sour()}, {}))
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("ctx.a", ()),
        ("steps.x", (StepRead("x", (), 0),)),
        ("steps.x.value.a.b", (StepRead("x", ("a", "b"), 0),)),
        ("steps.x.a['b'][0].c", (StepRead("x", ("a", "b"), 0),)),
        ("steps['x']['value']", (StepRead("x", ("value",), 0),)),
        ("steps.x.status", (StepRead("x", (), 0, "status"),)),
        ("steps.x.last_attempt.tokens", (StepRead("x", (), 0, "last_attempt"),)),
        ("'ü' and steps.x", (StepRead("x", (), 8),)),
        ("  steps.x", (StepRead("x", (), 2),)),
        ("len(steps)", (StepRead(None, (), 4),)),
        ("steps[ctx.k].value", (StepRead(None, (), 0),)),
        ("steps[steps.x.name].value", (StepRead(None, (), 0), StepRead("x", ("name",), 6))),
        ("steps.e.one.value.a", (StepRead("e", ("one", "value", "a"), 0),)),
    ],
)
def test_reads_are_found(text: str, reads: tuple[StepRead, ...]) -> None:
    """Each place that reads a step is known when the file is read, with the fields and where it stands."""
    assert parse_expression(text).reads == reads


def test_variables_of_the_environment_are_known() -> None:
    """The names that are read are known when the file is read; others cannot be."""
    assert parse_expression("env.A or env['B']").env_names == ("A", "B")
    for text in ("env[ctx.x]", "env", "len(env)", "env[0]"):
        with pytest.raises(ExpressionSecurityError, match=r"env\.NAME"):
            parse_expression(text)


def test_braces_around_a_whole_expression_may_be_left_out() -> None:
    """Conditions are written with braces and without."""
    assert parse_expression("{{ ctx.n }}").text == "ctx.n"
    assert parse_expression(" {{ '}}' }} ").evaluate(SCOPE) == "}}"
    with pytest.raises(ExpressionSecurityError, match="these are several"):
        parse_expression("{{ ctx.a }} and {{ ctx.b }}")


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("plain", "plain"),
        ("{{ ctx.n }}", 3),
        ("  {{ ctx.a }}\n", {"b": [1, {"c": 2}]}),
        ("{{ ctx.n }}-{{ ctx.n }}", "3-3"),
        ("<{{ ctx.missing }}>", "<>"),
        ("{{ '{{' }} and {{ \"}}\" }}", "{{ and }}"),
        ("{{ '\\'}}' }}!", "'}}!"),
        ({"a": ["{{ ctx.n }}", {"b": "n = {{ ctx.n }}"}], "c": None}, {"a": [3, {"b": "n = 3"}], "c": None}),
        ("{{ steps.paper }}", Paper()),
        ("", ""),
        ("{% if x %}", "{% if x %}"),
    ],
)  # fmt: skip
def test_values_of_the_file_are_resolved(data: Any, wanted: Any) -> None:
    """A text that is one expression has its value and type; in others they become text, and None nothing."""
    assert bind(data).resolve(SCOPE) == wanted


def test_values_that_are_resolved_are_new() -> None:
    """What a function does to its inputs is not seen by the next run."""
    bound = bind({"a": [1]})
    bound.resolve(SCOPE)["a"].append(2)
    assert bound.resolve(SCOPE) == {"a": [1]}
    assert bound.constant
    assert not bind(["{{ ctx.n }}"]).constant


def test_a_step_reaches_functions_as_its_value() -> None:
    """No proxy leaves an expression: a dict is a dict."""
    assert type(bind("{{ steps.map }}").resolve(SCOPE)) is dict
    assert type(bind("{{ steps.map.a }}").resolve(SCOPE)) is dict


def test_all_that_is_wrong_in_a_value_is_said_with_its_place() -> None:
    """bind collects the errors of all its expressions."""
    with pytest.raises(ExpressionSecurityError) as caught:
        bind({"a": [{"b": "{{ x }}"}], "c": "{{ ctx.n", "d": "{{ ctx.n }}"})
    assert [problem.key_path for problem in caught.value.problems] == ["a[0].b", "c"]
    assert "is not closed" in caught.value.problems[1].message


def test_a_number_without_a_text_is_an_error() -> None:
    """Python refuses to write integers of a million digits; that is an error of the expression."""
    with pytest.raises(ExpressionEvalError, match="ValueError"):
        bind("n = {{ ctx.n }}").resolve(Scope({"n": 1 << 100_000}, {}))
