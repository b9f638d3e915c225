"""Types of the expressions inside ``map`` and ``filter``.

A bare name is a field of the message; ``value`` is the message itself, unless it has a field of that name. Of a sum, a
field may be named if some variant has it: a ``filter`` then drops the other variants, a ``map`` needs all variants to
have it. Of ``json`` everything may be named; what it is shows when a message comes.

Reading an optional field that is absent fails at run time. A record that copies one, ``{ b: a }``, copies its absence.
"""

from __future__ import annotations

__all__ = ["infer", "narrowed", "select_path"]

from typing import Literal, TypeAlias

import msgspec

from fabric.lang import syntax, typed
from fabric.lang.diagnostic import Report
from fabric.lang.source import Span
from fabric.lang.types import field_of, is_consistent, is_too_large, join, make_sum, record_variants
from fabric.wire.payload import (
    BOOL,
    INT,
    JSON,
    NUMBER,
    STRING,
    UNIT,
    Field,
    ListOf,
    Product,
    Record,
    Sum,
    Type,
    resolve,
    show,
)

Use: TypeAlias = Literal["map", "filter"]


def infer(expr: syntax.Expression, input_: Type, use: Use, report: Report) -> typed.Expr:
    """Return the typed expression for messages of a type. A part that is wrong is reported and has type ``json``."""
    inferred = _Inference(input_, use, report).infer(expr)
    if is_too_large(inferred.type):
        message = "the type of what this makes is too large"
        report.add("E0404", expr.span, message, help="declare the types in between, and use 'json' for some")
        inferred = msgspec.structs.replace(inferred, type=JSON)
    if use == "filter" and resolve(inferred.type) not in (BOOL, JSON):
        report.add(
            "E0413",
            expr.span,
            f"a filter needs a bool, this is {show(inferred.type)}",
            label=show(inferred.type),
            help="compare it with something, as in  filter(mark >= 70)",
        )
    return inferred


def narrowed(expr: typed.Expr, input_: Type) -> Type | None:
    """Return what passes a filter: of a sum, the variants that have all fields of the message that it mentions.

    None if no variant has them all: the filter would drop everything.
    """
    inner = resolve(input_)
    if not isinstance(inner, Sum):
        return input_
    names = _mentioned(expr) & {field.name for record in record_variants(inner) for field in record.fields}
    if not names:
        return input_
    kept = [v for v in inner.variants if _has_all(v, names)]
    if len(kept) == len(inner.variants):
        return input_
    return make_sum(kept) if kept else None


def _has_all(variant: Type, names: set[str]) -> bool:
    record = resolve(variant)
    return isinstance(record, Record) and names <= {field.name for field in record.fields}


def _mentioned(expr: typed.Expr) -> set[str]:
    match expr:
        case typed.Select(typed.Input(), field):
            return {field}
        case typed.Select(of) | typed.Index(of) | typed.Unary(_, of):
            return _mentioned(of)
        case typed.Binary(_, left, right):
            return _mentioned(left) | _mentioned(right)
        case typed.MakeRecord(fields):
            return set().union(*(_mentioned(part) for _, part in fields))
        case typed.MakeList(items) | typed.MakeProduct(items):
            return set().union(*map(_mentioned, items))
    return set()


def select_path(type_: Type, fields: tuple[syntax.Name, ...], report: Report) -> Type:
    """Return the type at the end of ``.a.b``, starting from values of a type."""
    for name in fields:
        type_ = _field_type(type_, name, "map", report) or JSON
    return type_


def _field_type(type_: Type, name: syntax.Name, use: Use, report: Report) -> Type | None:
    """Return the type of a field, or report that there is none."""
    inner = resolve(type_)
    if inner == JSON:
        return JSON
    records = record_variants(inner)
    found = [field for record in records if (field := field_of(record, name.text))]
    names = {field.name: None for record in records for field in record.fields}
    if not found:
        what = "these messages are" if isinstance(inner, Sum) else "this is"
        report.add(
            "E0414",
            name.span,
            f"there is no field '{name.text}' in {show(type_)}",
            notes=[f"its fields are: {', '.join(names)}"] if names else [],
            help=f"write '{_CONSTANTS[name.text]}'"
            if name.text in _CONSTANTS
            else report.suggest(name.text, names)
            if names
            else f"{what} {show(type_)}, which has no fields",
        )
        return None
    if isinstance(inner, Sum) and use == "map" and len(found) < len(inner.variants):
        lacking = [show(v) for v in inner.variants if not _has_all(v, {name.text})]
        report.add(
            "E0414",
            name.span,
            f"not every message has a field '{name.text}'",
            notes=[f"of {show(type_)} these lack it: {', '.join(lacking)}"],
            help="select the messages first: filter(...) ; map(...)",
        )
        return None
    joined = join(field.type for field in found)
    if joined is None:
        report.add(
            "E0413",
            name.span,
            f"field '{name.text}' has types that cannot be told apart: {', '.join(show(f.type) for f in found)}",
        )
    return joined


_CONSTANTS = {"True": "true", "False": "false", "None": "null", "nil": "null"}
"""What other languages write."""

_NUMERIC = (INT, NUMBER)


class _Inference:
    def __init__(self, input_: Type, use: Use, report: Report) -> None:
        self._input = input_
        self._use = use
        self._report = report

    def infer(self, expr: syntax.Expression) -> typed.Expr:
        match expr:
            case syntax.LiteralExpr(value, span):
                types = {str: STRING, bool: BOOL, int: INT, float: NUMBER, type(None): UNIT}
                return typed.Literal_(value, types[type(value)], span)
            case syntax.NameExpr(name):
                return self._name(name)
            case syntax.SelectExpr(of, field, span):
                return self._select(self.infer(of), field, span)
            case syntax.IndexExpr(of, index, span):
                return self._index(self.infer(of), index, span)
            case syntax.RecordExpr():
                return self._record(expr)
            case syntax.ListExpr(items, span):
                parts = tuple(map(self.infer, items))
                item = join(part.type for part in parts) if parts else JSON
                if item is None:
                    self._report.add(
                        "E0413",
                        span,
                        f"the items of this list have types that cannot be told apart: {_types(parts)}",
                    )
                return typed.MakeList(parts, ListOf(item or JSON), span)
            case syntax.TupleExpr(items, span):
                parts = tuple(map(self.infer, items))
                return typed.MakeProduct(parts, Product(tuple(part.type for part in parts)), span)
            case syntax.UnaryExpr():
                return self._unary(expr)
            case syntax.BinaryExpr():
                return self._binary(expr)

    # --- fields ---

    def _name(self, name: syntax.Name) -> typed.Expr:
        whole = typed.Input(self._input, name.span)
        if name.text != "value":
            return self._select(whole, name, name.span)
        has_field = any(field_of(record, "value") for record in record_variants(self._input))
        return self._select(whole, name, name.span) if has_field else whole

    def _select(self, of: typed.Expr, field: syntax.Name, span: Span) -> typed.Expr:
        if isinstance(of, typed.Input) and not record_variants(of.type) and resolve(of.type) != JSON:
            self._report.add(
                "E0414",
                field.span,
                f"there is no field '{field.text}': the messages are {show(of.type)}",
                help="'value' is the whole message",
            )
            return typed.Select(of, field.text, JSON, span)
        type_ = _field_type(of.type, field, self._use, self._report)
        return typed.Select(of, field.text, JSON if type_ is None else type_, span)

    def _index(self, of: typed.Expr, index: int, span: Span) -> typed.Expr:
        type_: Type = JSON
        match resolve(of.type):
            case Product(items) if index < len(items):
                type_ = items[index]
            case Product(items):
                self._report.add(
                    "E0413", span, f"{show(of.type)} has {len(items)} items, counted from 0; there is no [{index}]"
                )
            case ListOf(item):
                type_ = item
            case inner if inner != JSON:
                self._report.add(
                    "E0413", span, f"{show(of.type)} has no items", help="[0] selects from a list or a tuple"
                )
        return typed.Index(of, index, type_, span)

    def _record(self, expr: syntax.RecordExpr) -> typed.Expr:
        parts: dict[str, typed.Expr] = {}
        places: dict[str, Span] = {}
        fields = []
        for name, value in expr.fields:
            part = self.infer(value)
            if name.text in parts:
                self._report.add(
                    "E0205",
                    name.span,
                    f"field '{name.text}' is given twice",
                    related=[(places[name.text], "first given here")],
                )
                continue
            parts[name.text], places[name.text] = part, name.span
            fields.append(Field(name.text, part.type, _may_be_absent(part)))
        return typed.MakeRecord(tuple(parts.items()), Record(tuple(fields)), expr.span)

    # --- operators ---

    def _unary(self, expr: syntax.UnaryExpr) -> typed.Expr:
        of = self.infer(expr.of)
        wanted = (BOOL,) if expr.op == "!" else _NUMERIC
        inner = resolve(of.type)
        if inner not in (*wanted, JSON):
            words = "a bool" if expr.op == "!" else "a number"
            self._report.add(
                "E0413", expr.of.span, f"'{expr.op}' needs {words}, this is {show(of.type)}", label=show(of.type)
            )
            return typed.Unary(expr.op, of, JSON, expr.span)
        type_: Type = BOOL if expr.op == "!" else INT if inner == INT else NUMBER
        return typed.Unary(expr.op, of, type_, expr.span)

    def _binary(self, expr: syntax.BinaryExpr) -> typed.Expr:
        left, right = self.infer(expr.left), self.infer(expr.right)
        a, b = resolve(left.type), resolve(right.type)
        type_: Type = BOOL
        match expr.op:
            case "&&" | "||":
                for side in (left, right):
                    if resolve(side.type) not in (BOOL, JSON):
                        self._report.add(
                            "E0413",
                            side.span,
                            f"'{expr.op}' needs a bool on both sides, this is {show(side.type)}",
                            label=show(side.type),
                        )
            case "=" | "!=":
                if not (is_consistent(a, b) or is_consistent(b, a)):
                    outcome = "never" if expr.op == "=" else "always"
                    word = "equal" if expr.op == "=" else "different"
                    self._mismatch(expr, left, right, f"{show(left.type)} and {show(right.type)} are {outcome} {word}")
            case "<" | "<=" | ">" | ">=":
                if not (_all_in((a, b), (*_NUMERIC, JSON)) or _all_in((a, b), (STRING, JSON))):
                    self._mismatch(
                        expr, left, right, f"'{expr.op}' orders two numbers or two strings, not {_types((left, right))}"
                    )
            case _:
                type_ = self._arithmetic(expr, left, right)
        return typed.Binary(expr.op, left, right, type_, expr.span)

    def _arithmetic(self, expr: syntax.BinaryExpr, left: typed.Expr, right: typed.Expr) -> Type:
        a, b = resolve(left.type), resolve(right.type)
        if expr.op == "+" and _all_in((a, b), (STRING, JSON)):
            return JSON if a == b == JSON else STRING
        if _all_in((a, b), (*_NUMERIC, JSON)):
            return INT if a == b == INT and expr.op != "/" else NUMBER
        words = "two numbers or two strings" if expr.op == "+" else "two numbers"
        self._mismatch(expr, left, right, f"'{expr.op}' needs {words}, not {_types((left, right))}")
        return JSON

    def _mismatch(self, expr: syntax.BinaryExpr, left: typed.Expr, right: typed.Expr, message: str) -> None:
        self._report.add(
            "E0413",
            expr.op_span,
            message,
            related=[(left.span, show(left.type)), (right.span, show(right.type))],
            help="write the number without quotes" if _quotes_a_number(left, right) else None,
        )


def _quotes_a_number(left: typed.Expr, right: typed.Expr) -> bool:
    """Whether one side is a number, and the other one the text of one."""
    return any(
        isinstance(text, typed.Literal_) and str(text.value).replace(".", "", 1).isdigit() and other.type in _NUMERIC
        for text, other in ((left, right), (right, left))
    )


def _may_be_absent(expr: typed.Expr) -> bool:
    if not isinstance(expr, typed.Select):
        return False
    record = resolve(expr.of.type)
    field = field_of(record, expr.field) if isinstance(record, Record) else None
    return field is not None and field.optional


def _all_in(types: tuple[Type, ...], allowed: tuple[Type, ...]) -> bool:
    return all(type_ in allowed for type_ in types)


def _types(parts: tuple[typed.Expr, ...]) -> str:
    return " and ".join(dict.fromkeys(show(part.type) for part in parts))
