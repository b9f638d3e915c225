"""What expressions must not be: everything that the list does not name, with a sentence that says what to do."""

from __future__ import annotations

import ast
import contextlib
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.pipelines.errors import ExpressionEvalError, ExpressionSecurityError
from fabric.pipelines.expressions.expression import Scope, bind, parse_expression
from fabric.pipelines.expressions.whitelist import DEPTH_MAX, TEXT_CHARS_MAX

REFUSED = {
    "__import__('os')": "disallowed function '__import__'",
    "eval('1')": "disallowed function 'eval'",
    "step(eval('1'))": "disallowed function 'step'",
    "lenn(ctx.x)": "disallowed function 'lenn'",
    "ctx.do()": "direct function calls",
    "__import__('os').system('x')": "direct function calls",
    "''.format(ctx)": "direct function calls",
    "(lambda: 1)()": "direct function calls",
    "len(ctx.a)(1)": "direct function calls",
    "ctx.(": "syntax",
    "": "syntax",
    "ctx.a ctx.b": "syntax",
    "\0": "syntax",
    "\ud800": "syntax",
    "ctx.a; ctx.b": "syntax",
    "ctx.a = 1": "syntax",
    "1_": "syntax",
    "9" * 5_000: "syntax",
    "ctx.it's": "syntax",
    "step.y": "'step' is not a valid root",
    "x": "'x' is not a valid root",
    "__builtins__": "is not a valid root",
    "ctx.__class__": "'__class__' is not allowed",
    "ctx.a._b": "'_b' is not allowed",
    "steps.x.__class__.__mro__": "is not allowed",
    "steps._x": "'_x' is not allowed",
    "''.__class__": "'__class__' is not allowed",
    "first_non_none.__globals__": "is a function",
    "len": "is a function",
    "steps[0]": "steps are known by names",
    "steps[1:]": "steps are known by names",
    "ctx.a + 1": "arithmetic",
    "2 ** 9999999": "arithmetic",
    "'a' * 1000000000": "arithmetic",
    "-ctx.a": "arithmetic",
    "- -1": "arithmetic",
    "~1": "arithmetic",
    "-True": "arithmetic",
    "'%s' % ctx.a": "arithmetic",
    "ctx.a | lower": "filters belong to prompts",
    "lambda: 1": "a lambda",
    "[x for x in ctx.y]": "a comprehension",
    "{x for x in ctx.y}": "a comprehension",
    "{x: x for x in ctx.y}": "a comprehension",
    "first_non_none(x for x in ctx.y)": "a comprehension",
    "{'a': 1}": "a map in braces",
    "{1}": "a set",
    "f'{ctx}'": "an f-string",
    "(y := 1)": "':='",
    "[*ctx.a]": "'*'",
    "len(*ctx.a)": "one by one",
    "len(obj=ctx.a)": "one by one",
    "len(1, 2)": "takes one argument, 2 are given",
    "await ctx.a": "",
    "(yield)": "'yield'",
    "b'x'": "a bytes is not allowed",
    "1j": "a complex is not allowed",
    "...": "a ellipsis is not allowed",
    "ctx.a[1:2, 3]": "a slice",
    "ctx.a[(lambda: 1)]": "a lambda",
    "ctx.a[steps._x]": "'_x' is not allowed",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text)[:30])
def test_what_is_not_on_the_list_is_refused(text: str) -> None:
    """Each is an ExpressionSecurityError when the file is read, and says what is wrong."""
    with pytest.raises(ExpressionSecurityError) as caught:
        parse_expression(text)
    assert REFUSED[text] in str(caught.value)


def test_a_root_that_was_meant_is_suggested() -> None:
    """A name that is nearly right is offered."""
    with pytest.raises(ExpressionSecurityError) as caught:
        parse_expression("step.x.value")
    assert caught.value.suggestion == "steps"


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100 + "ctx" + ")" * 100,
        "(" * 4_000 + "ctx" + ")" * 4_000,
        "not " * 2_000 + "ctx",
        "- " * 4_000 + "1",
        "ctx" + ".a" * 4_000,
        "ctx" + "[0]" * 2_000,
        "[" * 90 + "]" * 90,
        "1 if 1 else " * 600 + "1",
        "len(" * 1_000 + "ctx" + ")" * 1_000,
    ],
    ids=lambda text: text[:8],
)
def test_what_is_deep_is_refused_or_harmless(text: str) -> None:
    """No depth of nesting ends Python; parentheses that change nothing may be let pass."""
    with contextlib.suppress(ExpressionSecurityError):
        parse_expression(text).evaluate(Scope({}, {}))


def test_depth_and_length_have_limits() -> None:
    """The limits are where they say."""
    assert parse_expression("ctx" + ".a" * (DEPTH_MAX - 1)).evaluate(Scope({}, {})) is None
    with pytest.raises(ExpressionSecurityError, match=f"{DEPTH_MAX} levels"):
        parse_expression("ctx" + ".a" * DEPTH_MAX)
    assert parse_expression(repr("a" * (TEXT_CHARS_MAX - 2))).evaluate(Scope({}, {})) == "a" * (TEXT_CHARS_MAX - 2)
    with pytest.raises(ExpressionSecurityError, match="at most"):
        parse_expression(repr("a" * TEXT_CHARS_MAX))


def generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    "text",
    [
        "ctx.generator.gi_frame",
        "ctx.generator.gi_code",
        "ctx.function.func_globals",
        "ctx.module.system",
        "ctx.kind.mro",
        "ctx.text.format",
        "ctx.code.co_code",
        "ctx['generator']['gi_frame']",
        "ctx.error.with_traceback",
        "ctx.bound.im_func",
    ],
)
def test_what_python_keeps_of_its_own_running_is_not_read(text: str) -> None:
    """Frames, code, modules, classes and methods have no fields, whatever they are called."""
    values = {
        "generator": generator(), "function": generator, "module": sys, "kind": int, "text": "x",
        "code": generator.__code__, "error": ValueError(), "bound": [].append,
    }  # fmt: skip
    assert parse_expression(text).evaluate(Scope(values, {})) is None


@given(st.text(max_size=60))
def test_reading_raises_nothing_else(text: str) -> None:
    """Whatever a file says is an expression, or an ExpressionSecurityError."""
    for read in (parse_expression, bind):
        with contextlib.suppress(ExpressionSecurityError):
            read(text)


PIECES = st.sampled_from(
    ["ctx", "steps", "env", ".", "a", "__class__", "[", "]", "(", ")", "0", "-", "'", '"', "{{", "}}", " ", "not ",
     "is ", "none", "len", "first_non_none", ",", "if ", "else ", "lambda ", ":", "=", "==", "in ", "*", "\\", "\n",
     "#", "f'", "ü"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=25).map("".join))
def test_reading_what_is_nearly_an_expression_raises_nothing_else(text: str) -> None:
    """The same for texts made of what expressions are made of; and evaluating raises an ExpressionEvalError at most."""
    try:
        expression = parse_expression(text)
    except ExpressionSecurityError:
        return
    with contextlib.suppress(ExpressionEvalError):
        expression.evaluate(Scope({"a": {"a": [1, "x"]}}, {}, {"a": "b"}))


NAMES = ("p", "q", "r")
CONSTANTS = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.sampled_from(["", "a", "ab", "none"])).map(repr)
LEAVES = st.one_of(CONSTANTS, st.sampled_from([f"ctx[{name!r}]" for name in NAMES]))
COMPARISONS = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "is not"])


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    chain = st.tuples(inner, st.lists(st.tuples(COMPARISONS, inner), min_size=1, max_size=3))
    return st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda text: f"(not {text})"),
        chain.map(lambda parts: f"({parts[0]} {' '.join(' '.join(pair) for pair in parts[1])})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} if {parts[1]} else {parts[2]})"),
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({', '.join(parts)},)"),
        st.tuples(st.lists(inner, min_size=1, max_size=3), st.integers(-1, 1)).map(
            lambda parts: f"[{', '.join(parts[0])}][{parts[1]}:]"
        ),
        inner.map(lambda text: f"len([{text}])"),
        inner.map(lambda text: f"first_non_none(None, {text})"),
    )


EXPRESSIONS = st.recursive(LEAVES, larger, max_leaves=12)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.sampled_from(["", "a", "ab"])),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def pythons(text: str, ctx: dict[str, Any]) -> Any:
    """Return what Python says, or the error it raises. This is the only place that compiles one."""
    scope = {"ctx": ctx, "first_non_none": lambda *values: next((v for v in values if v is not None), None)}
    try:
        code = compile(ast.parse(text, mode="eval"), "text", "eval", dont_inherit=True)
        return eval(code, {"__builtins__": {"len": len}}, scope)
    except TypeError:
        return TypeError


@given(EXPRESSIONS, st.fixed_dictionaries(dict.fromkeys(NAMES, VALUES)))
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_the_value_is_the_one_of_python(text: str, ctx: dict[str, Any]) -> None:
    """On what the list allows we say what Python says; only ``None`` is emptier with us: nothing is in it."""
    try:
        ours = parse_expression(text).evaluate(Scope(ctx, {}))
    except ExpressionEvalError:
        ours = TypeError
    wanted = pythons(text, ctx)
    if wanted is TypeError and ours is not TypeError:
        assert " in " in text  # a container that is None
        return
    assert (type(ours), ours) == (type(wanted), wanted)
