"""Routes as functions: every expression means what the language says, and bytes that nothing changed are passed on."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of

from fabric.errors import ValueRejected
from fabric.session.morphisms import RouteError, compile_route
from fabric.session.values import EvaluationError


def through(implementation: str, payload: bytes, signature: str = "!int -> !int", types: str = "") -> list[bytes]:
    """Return what leaves the route of a main binding that is one implementation."""
    plan = plan_of(f"{types}\nlet main : {signature} = {implementation}\n")
    out: list[bytes] = []
    compile_route(plan.routes[0])(payload, lambda _, payload, origin: out.append(payload), None)
    return out


def value_of(expression: str, value: Any, signature: str, types: str = "") -> Any:
    out = through(f"map({expression})", json.dumps(value).encode(), signature, types)
    assert len(out) == 1
    return json.loads(out[0])


@pytest.mark.parametrize(
    ("expression", "value", "signature", "expected"),
    [
        ("value + 1", 2, "!int -> !int", 3),
        ("value - 1 - 1", 2, "!int -> !int", 0),
        ("2 + value * 3", 4, "!int -> !int", 14),
        ("(2 + value) * 3", 4, "!int -> !int", 18),
        ("-value", 4, "!int -> !int", -4),
        ("value / 2", 5, "!int -> !number", 2.5),
        ("value % 3", 5, "!int -> !int", 2),
        ("value % 3", -5, "!int -> !int", 1),
        ("value * 2", 5, "!number -> !number", 10.0),
        ("value * 2", 10**30, "!int -> !int", 2 * 10**30),
        ('value + "!"', "hi", "!string -> !string", "hi!"),
        ("value > 3 && value < 7", 5, "!int -> !bool", True),
        ("value > 3 || 1 / 0 > 1", 5, "!int -> !bool", True),
        ("!(value = 3)", 3, "!int -> !bool", False),
        ("not value", True, "!bool -> !bool", False),
        ("value != 3", 4, "!int -> !bool", True),
        ('value < "b"', "a", "!string -> !bool", True),
        ("value = null", None, "!unit -> !bool", True),
        ("{a: value, b: [value, 2]}", 1, "!int -> !{ a: int, b: [int] }", {"a": 1, "b": [1, 2]}),
        ("(value, value + 1)", 1, "!int -> !(int, int)", [1, 2]),
        ("value[1]", [1, "x"], "!(int, string) -> !string", "x"),
        ("value[0]", ["x"], "![string] -> !string", "x"),
        ("a.b", {"a": {"b": 7}}, "!{ a: { b: int } } -> !int", 7),
        ("class", {"class": 7}, "!{ class: int } -> !int", 7),
        ("value", {"value": 7}, "!{ value: int } -> !int", 7),
        ("value", {"a": 1}, "!{ a: int } -> !{ a: int }", {"a": 1}),
        ("x.y + 1", {"x": {"y": 2}}, "!json -> !json", 3.0),
        ("value[1]", [1, "x"], "!json -> !json", "x"),
        ("kind", {"kind": "a", "more": 1}, "!json -> !string", "a"),
        ("n", {"n": 1}, "!({ n: int, a: int } | { n: int }) -> !int", 1),
        ("a = b", {"a": 1, "b": 1.0}, "!{ a: int, b: number } -> !bool", True),
        ("a = b", {"a": [1, {"x": 2}], "b": [1, {"x": 2.0}]}, "!{ a: json, b: json } -> !bool", True),
        ("a = b", {"a": True, "b": 1}, "!{ a: json, b: json } -> !bool", False),
    ],
)
def test_an_expression_has_its_value(expression: str, value: Any, signature: str, expected: Any):
    """One case each of the reference's operators."""
    result = value_of(expression, value, signature)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("implementation", "payload", "signature", "message"),
    [
        ("map(1 / value)", b"0", "!int -> !number", "division by zero"),
        ("map(value % 0)", b"1", "!int -> !int", "division by zero"),
        ("map(value * value)", b"1e200", "!number -> !number", "number out of range"),
        ("map(value[3])", b"[1]", "![int] -> !int", "no element 3"),
        ("map(x)", b"{}", "!json -> !json", "field 'x' is absent"),
        ("map(x + 1)", b'{"x":"a"}', "!json -> !json", 'cannot compute "a" + 1'),
        ("map(x < 1)", b'{"x":"a"}', "!json -> !bool", 'cannot compare "a" < 1'),
        ("filter(x)", b'{"x":"a"}', "!json -> !json", 'expected bool, got "a"'),
        ("filter(x = 1)", b"{}", "!{ x?: int } -> !{ x?: int }", "field 'x' is absent"),
    ],
)
def test_an_expression_without_a_value_is_an_error_of_its_node(
    implementation: str, payload: bytes, signature: str, message: str
):
    """Not a dropped message, not a Python exception."""
    with pytest.raises(RouteError) as caught:
        through(implementation, payload, signature)
    assert isinstance(caught.value.cause, EvaluationError)
    assert (caught.value.node, str(caught.value.cause)) == ("main", message)


def test_a_message_of_the_wrong_type_is_refused_where_it_enters():
    """With what was expected and got."""
    with pytest.raises(RouteError, match='expected int, got string "x"') as caught:
        through("map(value + 1)", b'"x"')
    assert isinstance(caught.value.cause, ValueRejected)


@pytest.mark.parametrize(
    ("implementation", "payload", "signature", "expected"),
    [
        ("filter(n > 1)", b'{ "n" : 2 }', "!{ n: int } -> !{ n: int }", [b'{ "n" : 2 }']),
        ("filter(n > 1)", b'{"n":1}', "!{ n: int } -> !{ n: int }", []),
        ("id", b'{ "n" : 2.0 }', "!{ n: int } -> !{ n: int }", [b'{"n":2}']),
        ("id", b'{ "n" : 2.50 }', "!{ n: number } -> !{ n: number }", [b'{ "n" : 2.50 }']),
        ("filter(n > 1).n", b'{"n":2}', "!{ n: int } -> !int", [b"2"]),
        ('filter(fix != "")', b'"text"', "!(string | { fix: string }) -> !{ fix: string }", []),
        ('filter(fix != "")', b'{"fix":"x"}', "!(string | { fix: string }) -> !{ fix: string }", [b'{"fix":"x"}']),
        ('filter(kind = "usage")', b'{"kind":"usage","n":1}', "!json -> !json", [b'{"kind":"usage","n":1}']),
        ('filter(kind = "usage")', b'{"n":1}', "!json -> !json", []),
        ('filter(n = 1 || x = "").x', b'{"n":1}', "!({ n: int } | { n: int, x: string }) -> !string", []),
        ("project(1)", b'[1,"x"]', "!(int, string) -> !string", [b'"x"']),
    ],
)
def test_bytes_are_passed_on_unless_something_changed(
    implementation: str, payload: bytes, signature: str, expected: list[bytes]
):
    """A filter does not write again what it read; ``3.0`` for an int becomes ``3``."""
    assert through(implementation, payload, signature) == expected


def test_a_name_bound_in_one_branch_is_not_taken_for_bound_in_the_next():
    """Both branches of the fan-out encode the changed message, whichever condition holds."""
    plan = plan_of(
        "let twice : !int -> !int = map(value * 2)\n"
        "let main : !int -> !(int, int) = plumb(i, o) {\n"
        "  i ; twice\n  twice ; filter(value > 100) ; o1\n  twice ; o2\n  (o1 * o2) ; barrier ; o\n}\n"
        "let o1 : !int -> !int = id\nlet o2 : !int -> !int = id\n"
    )
    out: list[tuple[int, bytes]] = []
    route = next(route for route in plan.routes if route.source.node == "i")
    compile_route(route)(b"3", lambda sink, payload, origin: out.append((sink, payload)), None)
    assert [payload for _, payload in out] == [b"6"]


def test_an_optional_field_that_is_absent_stays_absent():
    """It is neither null nor an error when it is only passed on."""
    signature = "!{ a: int, b?: int } -> !{ a: int, b?: int }"
    assert through("map({a: a + 1, b: b})", b'{"a":1}', signature) == [b'{"a":2}']
    assert json.loads(through("map({a: a + 1, b: b})", b'{"a":1,"b":5}', signature)[0]) == {"a": 2, "b": 5}


INTS = st.integers(-(10**6), 10**6)


@st.composite
def arithmetic(draw: st.DrawFn, depth: int = 3) -> str:
    """Text of an int expression over ``a`` and ``b`` that Python reads the same way."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(["a", "b", "3", "17"]))
    left, right = draw(arithmetic(depth - 1)), draw(arithmetic(depth - 1))
    return f"({left} {draw(st.sampled_from('+-*'))} {right})"


@given(arithmetic(), INTS, INTS)
def test_int_arithmetic_is_pythons(text: str, a: int, b: int):
    """Exact, however large."""
    assert value_of(text, {"a": a, "b": b}, "!{ a: int, b: int } -> !int") == eval(text, {"a": a, "b": b})


@given(arithmetic(), arithmetic(), st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), INTS, INTS)
def test_comparisons_are_pythons(left: str, right: str, op: str, a: int, b: int):
    """``=`` is equality."""
    python = {"=": "=="}.get(op, op)
    result = value_of(f"{left} {op} {right}", {"a": a, "b": b}, "!{ a: int, b: int } -> !bool")
    assert result is eval(f"{left} {python} {right}", {"a": a, "b": b})


@given(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
def test_number_arithmetic_is_that_of_floats(a: float, b: float):
    """Also of integers: the result of ``number`` is written with a point."""
    result = value_of("a * b + a", {"a": a, "b": b}, "!{ a: number, b: number } -> !number")
    assert math.isclose(result, a * b + a) or result == a * b + a
