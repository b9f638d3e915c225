"""``F``: what Python can say of a message, and what it cannot."""

from __future__ import annotations

import copy

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fabric.dsl import F, Filter, Map, Raw, constant, record_of
from fabric.errors import CheckError, ConfigError
from fabric.lang.lexer import RESERVED


def text(expr) -> str:
    return repr(Map.to(expr)).removeprefix("<Map map(").removesuffix(")>")


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (F.a, "a"),
        (F["a"], "a"),
        (F.a.b["c"][0], "a.b.c[0]"),
        (F.value, "value"),
        (F, "value"),
        (F[1], "value[1]"),
        (F.__step == 1, "__step = 1"),
        (F["type_"] != None, "type_ != null"),  # noqa: E711
        (F.a == "x", 'a = "x"'),
        (F.a > 3, "a > 3"),
        ((F.a < 1) | (F.b <= 2) & ~F.c, "a < 1 || b <= 2 && !c"),
        (((F.a < 1) | (F.b > 2)) & F.c, "(a < 1 || b > 2) && c"),
        (~(F.a == 1), "!(a = 1)"),
        (constant(True) & F.a, "true && a"),
        (Raw("false") | F.a, "false || a"),
        (1 + F.a - 2 * F.b / 3 % 4, "1 + a - 2 * b / 3 % 4"),
        (10 - (F.a - 1), "10 - (a - 1)"),
        (1 / F.a, "1 / a"),
        (1 % F.a, "1 % a"),
        (-F.a * -2, "-a * -2"),
        (F.a + Raw("[x]") + {"y": (1, 2.5)}, "a + [x] + { y: (1, 2.5) }"),
        (constant(1e300), "1e+300"),
        (constant(-0.0), "-0.0"),
        (constant('é\n"\\\u2028'), '"é\\n\\"\\\\\u2028"'),
        (record_of(["a", ("b", F.c)]), "{ a: a, b: c }"),
        (F.a + Raw("b || c"), "a + (b || c)"),
        (~(F.a + 1 == Raw("2 (* two *) + b") - F.c), "!(a + 1 = 2 (* two *) + b - c)"),
        (~((F.a + 1) * 2 == 3), "!((a + 1) * 2 = 3)"),
        (Raw("a || b") * F.c, "(a || b) * c"),
        (1 + Raw("!a = b") * F.c, "1 + (!a = b) * c"),
        (Raw("a (* why *)"), "a (* why *)"),
    ],
)
def test_what_can_be_said(expr, expected):
    """Operators of Python, precedence of the language."""
    assert text(expr) == expected


@pytest.mark.parametrize(
    "slip",
    [
        lambda: bool(F.x > 1),
        lambda: F.x > 1 and F.y > 1,
        lambda: F.x > 1 or F.y > 1,
        lambda: not F.x,
        lambda: 0 < F.x < 10,
        lambda: F.a > 0 & F.b < 10,
        lambda: (F.a == 1) & 3,
        lambda: F.a == True & F.b,
        lambda: F.a & True == F.b,
        lambda: (F.a is None) | F.b,
        lambda: F.x in [1, 2],
        lambda: 1 in F.x,
        lambda: list(F.x),
        lambda: {F.x: 1},
        lambda: 1 if F.x else 2,
    ],
)
def test_what_python_would_decide_itself_is_refused(slip):
    """With a hint what to write instead."""
    with pytest.raises(TypeError, match=r"&|==|in a message|there when a message comes|another expression"):
        slip()


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        (lambda: F.type, "reserved word .* 'kind'"),
        (lambda: F["if x"], "cannot be the name of a field"),
        (lambda: F.null, "write None"),
        (lambda: F["not"], "write ~"),
        (lambda: F.x == float("nan"), "no number of JSON"),
        (lambda: constant(10**4000), "at most 4000 digits"),
        (lambda: F.x == (1,), "at least two items"),
        (lambda: Map(F.a + 1, F.b), "no name to be a field by: a \\+ 1"),
        (lambda: Map(F[0], a=1), "no name"),
        (lambda: Map(let=1), "reserved word"),
        (lambda: Filter("score >= 85"), "no condition"),
        (lambda: Filter(None), "no condition"),
        (lambda: Filter({"a": F.a}), "no condition"),
        (lambda: Filter(F.verdict is True), r"F.x == True, F.x, ~F.x .* constant\(False\)"),
        (lambda: Filter(F.x is not None), r"F.x == None; a constant is constant\(True\)"),
        (lambda: Map(F.x is None), "answered by Python"),
        (lambda: Map("draft"), r"Map\(F.x\); to give that text is Map.to\('draft'\)"),
    ],
)
def test_what_the_language_cannot_say_is_refused(slip, words):
    """At the line that says it."""
    with pytest.raises(ConfigError, match=words):
        slip()


@pytest.mark.parametrize("value", [{1, 2}, b"x", object(), int])
def test_what_is_no_constant_is_refused(value):
    """By its Python type."""
    with pytest.raises(TypeError, match=f"got {type(value).__name__}"):
        Filter(F.x == value)


@pytest.mark.parametrize(
    "slip",
    [lambda: f"hello {F.name}", lambda: str(F.name), lambda: f"{F:>5}", lambda: "%s" % F.x],  # noqa: UP031
)
def test_a_text_of_an_expression_is_refused(slip):
    """Its value is not there yet; the way out is told."""
    with pytest.raises(TypeError, match=r'is no text yet: .* "hello " \+ F.name'):
        slip()


def test_a_constant_condition_is_said_to_be_one():
    """And then it is one."""
    assert repr(Filter(constant(True))) == "<Filter filter(true)>"


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True))
@example("_set")
@example("self")
@example("fields")
@example("to")
def test_a_field_may_have_any_name(name):
    """Of an expression every name is a field, and of a map every one may be given."""
    assume(name not in {*RESERVED, "null", "not"} and not (name.startswith("_") and name.endswith("_")))
    assert text(getattr(F, name)) == name
    assert text(getattr(F.a, name)) == f"a.{name}"
    assert repr(Map(**{name: F.a})) == f"<Map map({{ {name}: a }})>"


def test_an_expression_has_no_attribute_of_a_field_s_name():
    """Whatever it inherits."""
    assert [name for name in dir(F) if not (name.startswith("__") and name.endswith("__"))] == []


@pytest.mark.parametrize("key", [-1, True, 1.5])
def test_an_item_has_a_position(key):
    """Counted from 0."""
    with pytest.raises(TypeError, match="counted from 0"):
        F.x[key]


def test_text_that_is_no_expression_is_refused():
    """It cannot reach further than its place."""
    for text_ in ("a) ; filter(b", "a b", "", "a = b = c"):
        with pytest.raises(CheckError, match="Raw at"):
            Filter(Raw(text_))


def test_an_expression_has_nothing_but_fields():
    """Python and notebooks ask for attributes that are no fields; copies are the same."""
    assert not hasattr(F.x, "__len__")
    assert not hasattr(F, "_repr_html_")
    assert copy.deepcopy(F.x) is not None
    assert text(F["_repr_html_"]) == "_repr_html_"
    with pytest.raises(AttributeError, match="cannot be changed"):
        F.x = 3
    assert repr(F) == "F"


def test_expressions_end_somewhere():
    """What no parser would take is refused where it is made, without recursion."""
    expr = F.x
    with pytest.raises(ConfigError, match="nested more than"):  # noqa: PT012
        for _ in range(5000):
            expr = expr + 1
