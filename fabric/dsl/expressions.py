"""Expressions over a message, for ``Filter`` and ``Map``: ``(F.score >= 85) & ~F.draft``."""

from __future__ import annotations

__all__ = ["Expr", "F", "constant", "expr_of", "fields_of", "record_of", "refuse_answer"]

import math
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from fabric.dsl.names import name_at
from fabric.dsl.origin import HEIGHT_MAX, NOWHERE, Immutable, fill, here
from fabric.dsl.printing import Printer
from fabric.dsl.raw import Raw, nodes_of
from fabric.errors import ConfigError
from fabric.lang import syntax
from fabric.lang.lexer import NUMBER_DIGITS_MAX

_NO_TRUTH = (
    "{what} has no truth value in Python: it is known when a message comes. Write & | ~ for and, or, not,"
    " with each comparison in parentheses: 0 < F.x < 9 is (F.x > 0) & (F.x < 9)"
)
_NO_TEXT = (
    "{what} is no text yet: it is known when a message comes. Put texts together with +, as in"
    ' "hello " + F.name; repr() shows the expression'
)
_SHOWN_MAX = 80
_TOO_LARGE = 10**NUMBER_DIGITS_MAX


class Expr(Immutable):
    """What is computed of a message.

    Every attribute is a field: ``F.a.b``. One whose name Python takes for itself is ``F["class"]``. So what this holds
    has names that no field has.
    """

    __slots__ = ("__height__", "__node__")

    __node__: syntax.Expression
    __height__: int

    def __init__(self, node: syntax.Expression, *parts: Expr) -> None:
        height = 1 + max((part.__height__ for part in parts), default=0)
        if height > HEIGHT_MAX:
            raise ConfigError(
                f"this expression is nested more than {HEIGHT_MAX} levels deep: use two, one behind the other"
            )
        fill(self, __node__=node, __height__=height)

    def __getattr__(self, name: str) -> Expr:
        if name.endswith("_") and name.startswith("_"):  # Python and notebooks ask for these
            raise AttributeError(f"an expression has no {name!r}; the field of that name is F[{name!r}]")
        return self[name]

    def __getitem__(self, key: int | str) -> Expr:
        at = here()
        if isinstance(key, str):
            field = name_at(key, "the name of a field", at)
            return Expr(syntax.SelectExpr(self.__node__, field, at), self)
        if isinstance(key, bool) or not isinstance(key, int) or key < 0:
            raise TypeError(f"an item is chosen by its position, counted from 0, or its name; got {key!r}")
        return Expr(syntax.IndexExpr(self.__node__, key, at), self)

    # --- operators ---

    def __eq__(self, other: object) -> Expr:  # type: ignore[override]
        return _binary("=", self, other)

    def __ne__(self, other: object) -> Expr:  # type: ignore[override]
        return _binary("!=", self, other)

    def __lt__(self, other: object) -> Expr:
        return _binary("<", self, other)

    def __le__(self, other: object) -> Expr:
        return _binary("<=", self, other)

    def __gt__(self, other: object) -> Expr:
        return _binary(">", self, other)

    def __ge__(self, other: object) -> Expr:
        return _binary(">=", self, other)

    def __and__(self, other: object) -> Expr:
        return _binary("&&", self, _condition(other))

    def __rand__(self, other: object) -> Expr:
        return _binary("&&", _condition(other), self)

    def __or__(self, other: object) -> Expr:
        return _binary("||", self, _condition(other))

    def __ror__(self, other: object) -> Expr:
        return _binary("||", _condition(other), self)

    def __invert__(self) -> Expr:
        return Expr(syntax.UnaryExpr("!", self.__node__, here()), self)

    def __neg__(self) -> Expr:
        return Expr(syntax.UnaryExpr("-", self.__node__, here()), self)

    def __add__(self, other: object) -> Expr:
        return _binary("+", self, other)

    def __radd__(self, other: object) -> Expr:
        return _binary("+", other, self)

    def __sub__(self, other: object) -> Expr:
        return _binary("-", self, other)

    def __rsub__(self, other: object) -> Expr:
        return _binary("-", other, self)

    def __mul__(self, other: object) -> Expr:
        return _binary("*", self, other)

    def __rmul__(self, other: object) -> Expr:
        return _binary("*", other, self)

    def __truediv__(self, other: object) -> Expr:
        return _binary("/", self, other)

    def __rtruediv__(self, other: object) -> Expr:
        return _binary("/", other, self)

    def __mod__(self, other: object) -> Expr:
        return _binary("%", self, other)

    def __rmod__(self, other: object) -> Expr:
        return _binary("%", other, self)

    # --- what Python would do with it, and the language cannot ---

    def __bool__(self) -> NoReturn:
        raise TypeError(_NO_TRUTH.format(what=_shown(self)))

    def __contains__(self, item: object) -> NoReturn:
        raise TypeError("'in' cannot be asked of a message; compare with each: (F.x == 1) | (F.x == 2)")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{_shown(self)} cannot be gone through: its items are there when a message comes")

    def __hash__(self) -> NoReturn:
        raise TypeError("an expression cannot be a key or in a set: '==' makes another expression of it")

    def __str__(self) -> NoReturn:
        raise TypeError(_NO_TEXT.format(what=_shown(self)))

    def __format__(self, spec: str) -> NoReturn:
        raise TypeError(_NO_TEXT.format(what=_shown(self)))

    def __repr__(self) -> str:
        return f"<Expr {_shown(self)}>"


class _Message(Expr):
    """The message itself: ``F``. Its fields are ``F.x``."""

    __slots__ = ()

    def __getitem__(self, key: int | str) -> Expr:
        if not isinstance(key, str):
            return super().__getitem__(key)
        at = here()
        if key in ("null", "not"):
            raise ConfigError(f"'{key}' cannot be the name of a field here: write {'None' if key == 'null' else '~'}")
        return Expr(syntax.NameExpr(name_at(key, "the name of a field", at), at))

    def __repr__(self) -> str:
        return "F"


F: Expr = _Message(syntax.NameExpr(syntax.Name("value", NOWHERE), NOWHERE))
"""The message. ``F.x`` is its field ``x``; ``F`` alone, or ``F.value``, is the whole of it."""


def expr_of(given: object) -> Expr:
    """Return an expression for what stands for one: a constant, a dict of expressions, a list, a tuple, ``Raw``.

    Raises:
        ConfigError: the language has no such constant.
        TypeError: it is none of these.
    """
    at = here()
    match given:
        case Expr():
            return given
        case Raw():
            return Expr(nodes_of(given, "expression")[0])
        case Mapping():
            return record_of(given.items())
        case list():
            parts = [expr_of(item) for item in given]
            return Expr(syntax.ListExpr(tuple(part.__node__ for part in parts), at), *parts)
        case tuple():
            parts = [expr_of(item) for item in given]
            if len(parts) < 2:
                raise ConfigError(f"a tuple has at least two items, got {len(parts)}")
            return Expr(syntax.TupleExpr(tuple(part.__node__ for part in parts), at), *parts)
    return constant(given)


def constant(value: object) -> Expr:
    """Return the expression of a constant: a text, a number, a bool or None."""
    at = here()
    plain = scalar_of(value)
    if isinstance(plain, (int, float)) and not isinstance(plain, bool) and math.copysign(1, plain) < 0:
        return -Expr(syntax.LiteralExpr(-plain, at))
    return Expr(syntax.LiteralExpr(plain, at))


def scalar_of(value: object) -> str | int | float | bool | None:
    """Return a constant as the language can write it.

    Raises:
        ConfigError: it cannot.
        TypeError: it is no constant.
    """
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case int():
            if abs(value) >= _TOO_LARGE:
                raise ConfigError(f"a number has at most {NUMBER_DIGITS_MAX} digits")
            return int(value)
        case float():
            if not math.isfinite(value):
                raise ConfigError(f"{value} is no number of JSON")
            return float(value)
    raise TypeError(f"expected an expression such as F.x, or a constant; got {type(value).__name__}: {value!r}")


def record_of(fields: Iterable[tuple[str, object] | str]) -> Expr:
    """Return ``{ a: e, b }`` of pairs; a name alone is the field of that name."""
    at = here()
    nodes: list[tuple[syntax.Name, syntax.Expression]] = []
    parts: list[Expr] = []
    for field in fields:
        name, of = (field, None) if isinstance(field, str) else (field[0], expr_of(field[1]))
        named = name_at(name, "the name of a field", at)
        parts += [of] if of is not None else []
        nodes.append((named, of.__node__ if of is not None else syntax.NameExpr(named, at)))
    return Expr(syntax.RecordExpr(tuple(nodes), at), *parts)


def refuse_answer(given: object) -> None:
    """Refuse what Python makes of ``F.x is True``, which it does not ask the expression.

    Raises:
        ConfigError: it is a bool.
    """
    if isinstance(given, bool):
        raise ConfigError(
            f"{given} was said before any message: 'is' and 'is not' are answered by Python. Write F.x == True, F.x,"
            f" ~F.x or F.x == None; a constant is constant({given})"
        )


def fields_of(fields: tuple[object, ...], named: Mapping[str, object]) -> Expr:
    """Return the record of what ``Map`` was given: fields by their own names, then the others."""
    pairs: list[tuple[str, object] | str] = []
    for field in fields:
        match field.__node__ if isinstance(field, Expr) else None:
            case syntax.NameExpr(name) if field is not F:
                pairs.append((name.text, field))
            case syntax.SelectExpr(_, name):
                pairs.append((name.text, field))
            case _:
                raise ConfigError(
                    f"this has no name to be a field by: {_text(field)}; give it one, as in Map(total=F.a + F.b)"
                )
    return record_of([*pairs, *named.items()])


def _binary(op: syntax.BinaryOp, left: object, right: object) -> Expr:
    at = here()
    one, other = expr_of(left), expr_of(right)
    return Expr(syntax.BinaryExpr(op, one.__node__, other.__node__, at, at), one, other)


def _condition(given: object) -> object:
    """Refuse what comes of missing parentheses: ``F.a == True & F.b`` is ``F.a == (True & F.b)`` to Python."""
    if isinstance(given, (Expr, Raw)):
        return given
    raise TypeError(
        f"& and | join conditions, got {given!r}: they bind more tightly than comparisons in Python, so write each in"
        " parentheses, as in (F.a > 0) & (F.b < 10); a constant is constant(True)"
    )


def _shown(expr: Expr) -> str:
    text = Printer().expression(expr.__node__)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def _text(given: Any) -> str:
    return _shown(given) if isinstance(given, Expr) else repr(given)
