"""Compile a route to one Python function.

A route is a tree of filters, maps and validations that ends in sinks. The function decodes a message at most once,
keeps intermediate results as Python values, encodes what was changed once, and passes on unchanged what was not:

    def route(payload, emit, origin):
        at = 'input'
        try:
            try:
                v0 = decode0(payload)
            except ...:
                v0, payload = check0(payload)
            at = 'filter@3'
            if v0.f_n > 0:
                emit(0, payload, origin)
                at = 'dial'
                n1 = v0.f_n - 1
                v1 = R1(f_n=n1)
                p1 = encode(v1)
                emit(1, p1, origin)
        except ...

``at`` says, at the price of one store, which node refused a message. A record that a map makes is made only if somebody
needs it as a whole: the next map takes its fields from where they are, so that a chain costs what it computes.
Evaluation is 0.05-0.08 µs an expression; a queue and a task a morphism would be 15 times slower as a whole.
"""

from __future__ import annotations

__all__ = ["RouteError", "RouteFunction", "compile_route"]

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from fabric.errors import ValueRejected
from fabric.lang.typed import (
    Binary,
    Expr,
    Index,
    Input,
    Literal_,
    MakeList,
    MakeProduct,
    MakeRecord,
    Select,
    Unary,
)
from fabric.plan.plan import Check, Emit, Route, Step, Transform
from fabric.session import values
from fabric.wire.payload import (
    INT,
    JSON,
    NUMBER,
    STRING,
    ListOf,
    Product,
    Record,
    Sum,
    Type,
    Validator,
    encode_json,
    resolve,
    struct_of,
    to_plain,
    validator,
)

RouteFunction: TypeAlias = Callable[[bytes, Callable[[int, bytes, Any], None], Any], None]
"""Takes a payload, ``emit`` and whatever the caller knows it by, and calls ``emit(sink, payload, origin)`` for each
place that the message reaches. Raises :class:`RouteError`."""


class RouteError(Exception):
    """A message was refused on its way.

    Attributes:
        node: the node that refused it.
        cause: ``ValueRejected``: the wrong type; ``EvaluationError``: an expression has no value for it.
    """

    def __init__(self, node: str, cause: ValueRejected | values.EvaluationError) -> None:
        super().__init__(f"{node}: {cause}")
        self.node = node
        self.cause = cause


def compile_route(route: Route) -> RouteFunction:
    """Return the function of a route."""
    writer = _Writer()
    writer.route(route)
    namespace = writer.constants
    source = "\n".join(writer.lines)
    exec(compile(source, f"<route {route.source.node}.{route.source.port}>", "exec"), namespace)  # noqa: S102
    compiled: RouteFunction = namespace["route"]
    return compiled


_ATOM = re.compile(r"\w+|v\d+\.f_\w+")
"""Source that may stand in many places, at the price of a load: a variable, a constant, a field of a record."""


class _Value:
    """A message at one point of a route: how to name its payload and its value, and the type that the value has.

    Any may be missing, not all: a payload that nobody has decoded yet, a value that nobody has encoded yet, a record
    that nobody has put together yet from its fields (the variables that hold them, or fields of the value before).
    """

    def __init__(
        self, type_: Type, payload: str | None, value: str | None, fields: dict[str, str] | None = None
    ) -> None:
        self.type = type_
        self.payload = payload
        self.value = value
        self.fields = fields

    def again(self) -> _Value:
        """Return it for a branch: a name that is bound there must not be taken for bound behind it."""
        return _Value(self.type, self.payload, self.value, self.fields)


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {
            name: getattr(values, name) for name in values.__all__ if name not in ("Absent", "EvaluationError")
        }
        self.constants |= {
            "copy": msgspec.Struct.__copy__,  # type: ignore[attr-defined]
            "encode": encode_json,
            "plain": to_plain,
            "RouteError": RouteError,
            "Refused": (ValueRejected, values.EvaluationError),
            "Absent": values.Absent,
            "EvaluationError": values.EvaluationError,
            "ValueRejected": ValueRejected,
            "Undecoded": (msgspec.DecodeError, ValueError, RecursionError),
        }
        self._indent = 0
        self._count = 0
        self._structs: dict[str, type[msgspec.Struct]] = {}

    def _line(self, text: str) -> None:
        self.lines.append("    " * self._indent + text)

    def _fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _constant(self, prefix: str, value: Any) -> str:
        name = self._fresh(prefix)
        self.constants[name] = value
        return name

    # --- statements ---

    def route(self, route: Route) -> None:
        self._line("def route(payload, emit, origin):")
        self._indent += 1
        self._line(f"at = {route.source.node!r}")
        self._line("try:")
        self._indent += 1
        message = _Value(route.type, "payload", None)
        if not route.trusted:
            message.value = self._fresh("v")
            self._decode_checked(message.value, "payload", validator(route.type))
        self._steps(route.steps, message)
        self._line("pass")
        self._indent -= 1
        self._line("except Refused as cause:")
        self._line("    raise RouteError(at, cause) from None")
        self._line("except RecursionError:")
        self._line("    raise RouteError(at, EvaluationError('a value nested too deeply')) from None")

    def _steps(self, steps: tuple[Step, ...], message: _Value) -> None:
        for step in steps:
            match step:
                case Emit(sink):
                    self._line(f"emit({sink}, {self._payload(message)}, origin)")
                case Check():
                    self._check(step, message)
                case Transform():
                    self._line(f"at = {step.node!r}")
                    self._transform(step, self._as(message, step.input))

    def _payload(self, message: _Value) -> str:
        if message.payload is None:
            message.payload = self._fresh("p")
            self._line(f"{message.payload} = encode({self._value(message)})")
        return message.payload

    def _decode_checked(self, value: str, payload: str, checker: Validator) -> None:
        """Decode and validate; the payload may be replaced by a normalised one."""
        self._note_struct(value, checker.type)
        check = self._constant("check", checker.check)
        if checker.fast is None:
            self._line(f"{value}, {payload} = {check}({payload})")
            return
        decode = self._constant("decode", checker.fast)
        self._line("try:")
        self._line(f"    {value} = {decode}({payload})")
        self._line("except Undecoded:")
        self._line(f"    {value}, {payload} = {check}({payload})")

    def _value(self, message: _Value) -> str:
        if message.value is None and message.fields is not None:
            message.value = self._record_of(message.fields, struct_of(_record(message.type)))
        elif message.value is None:
            message.value = self._fresh("v")
            decode = self._constant("decode", validator(message.type).decode)
            self._line(f"{message.value} = {decode}({message.payload})")
        return message.value

    def _note_struct(self, value: str, type_: Type) -> None:
        record = resolve(type_)
        if isinstance(record, Record):
            self._structs[value] = struct_of(record)

    def _record_of(self, fields: dict[str, str], struct: type[msgspec.Struct]) -> str:
        """Put a record together; if it shares fields with another of its kind as a copy of that, which is cheaper."""
        made = self._fresh("v")
        for original, its_struct in self._structs.items():
            changed = {name: source for name, source in fields.items() if source != f"{original}.f_{name}"}
            if its_struct is struct and len(changed) < len(fields):
                self._line(f"{made} = copy({original})")
                for name, source in changed.items():
                    self._line(f"{made}.f_{name} = {source}")
                break
        else:
            arguments = ", ".join(f"f_{name}={source}" for name, source in fields.items())
            self._line(f"{made} = {self._constant('R', struct)}({arguments})")
        self._structs[made] = struct
        return made

    def _as(self, message: _Value, type_: Type) -> _Value:
        """Return the message as a value of a type that it is known to fit, converted where values look different."""
        if _looks_alike(message.type, type_):
            return message
        if message.payload is not None:
            return _Value(type_, message.payload, None)
        value = self._fresh("v")
        self._line(f"{value} = {self._coerce(type_)}(plain({self._value(message)}))")
        return _Value(type_, None, value)

    def _coerce(self, type_: Type) -> str:
        return self._constant("coerce", validator(type_).coerce)

    def _check(self, step: Check, message: _Value) -> None:
        self._line(f"at = {step.node!r}")
        checked = _Value(step.type, None, self._fresh("v"))
        if message.payload is not None:
            checked.payload = self._fresh("p")
            check = self._constant("check", validator(step.type).check)
            work = f"{checked.value}, {checked.payload} = {check}({message.payload})"
        else:
            work = f"{checked.value} = {self._coerce(step.type)}(plain({self._value(message)}))"
        if not step.drops:
            self._line(work)
            self._steps(step.then, checked)
            return
        fits = self._fresh("fits")
        self._line(f"{fits} = True")
        self._line("try:")
        self._line(f"    {work}")
        self._line("except ValueRejected:")
        self._line(f"    {fits} = False")
        self._line(f"if {fits}:")
        self._block(step.then, checked)

    def _block(self, steps: tuple[Step, ...], message: _Value) -> None:
        self._indent += 1
        self._steps(steps, message)
        self._line("pass")
        self._indent -= 1

    def _transform(self, step: Transform, message: _Value) -> None:
        if step.kind == "filter":
            assert step.expr is not None
            kept = self._fresh("kept")
            # A message whose variant lacks a field that the filter asks for is not selected.
            condition = self._boolean(step.expr, message)
            if _may_be_absent(step.expr):
                self._line("try:")
                self._line(f"    {kept} = {condition}")
                self._line("except Absent:")
                self._line(f"    {kept} = False")
            else:
                self._line(f"{kept} = {condition}")
            if not step.select and not _looks_alike(message.type, step.output):
                whole = self._value(message)
                narrowed = _Value(step.output, message.payload, self._fresh("v"))
                self._line(f"if {kept}:")
                self._line("    try:")
                self._line(f"        {narrowed.value} = {self._coerce(step.output)}(plain({whole}))")
                self._line("    except ValueRejected:")
                self._line(f"        {kept} = False")
                self._line(f"if {kept}:")
                self._block(step.then, narrowed)
                return
            self._line(f"if {kept}:")
            self._indent += 1
            branch = message.again()
            if step.select:
                self._line("try:")
                self._indent += 1
                branch = self._selected(branch, step)
                self._indent -= 1
                self._line("except Absent:")
                self._line(f"    {kept} = False")
                self._line(f"if {kept}:")
                self._block(step.then, branch)
            else:
                self._steps(step.then, self._selected(branch, step))
            self._line("pass")
            self._indent -= 1
            return
        if step.kind == "map":
            assert step.expr is not None
            result = self._computed(step.expr, message)
        else:
            source = self._value(message)
            value, of = self._fresh("v"), resolve(message.type)
            if isinstance(step.index, str):
                self._line(f"{value} = {self._select(source, step.index, message.type)}")
                result = _Value(_field_type(of, step.index), None, value)
            else:
                assert isinstance(of, Product)
                assert step.index is not None
                self._line(f"{value} = {source}[{step.index}]")
                result = _Value(of.items[step.index], None, value)
        self._steps(step.then, self._selected(result, step))

    def _computed(self, expr: Expr, message: _Value) -> _Value:
        """Return the value of an expression; a record as the variables that hold its fields."""
        if isinstance(expr, MakeRecord) and expr.fields:
            optional = {field.name for field in _record(expr.type).fields if field.optional}
            fields = {}
            for name, part in expr.fields:
                source = self._maybe(part, message) if name in optional else self._expr(part, message)
                if not _ATOM.fullmatch(source):
                    fresh = self._fresh("n")
                    self._line(f"{fresh} = {source}")
                    source = fresh
                fields[name] = source
            return _Value(expr.type, None, None, fields)
        value = self._fresh("v")
        self._line(f"{value} = {self._expr(expr, message)}")
        return _Value(expr.type, None, value)

    def _selected(self, message: _Value, step: Transform) -> _Value:
        """Descend into the selected fields, and give the result the output's type."""
        if step.select:
            value, type_ = self._value(message), message.type
            for name in step.select:
                value, type_ = self._select(value, name, type_), _field_type(type_, name)
            selected = self._fresh("v")
            self._line(f"{selected} = {value}")
            message = _Value(type_, None, selected)
        return self._as(message, step.output)

    # --- expressions ---

    def _expr(self, expr: Expr, message: _Value) -> str:
        """Return Python source for an expression about a message."""
        match expr:
            case Literal_(value):
                return repr(value)
            case Input():
                return self._value(message)
            case Select(Input(), name) if message.value is None and message.fields is not None:
                variable = message.fields[name]
                return f"present({variable}, {name!r})" if _is_optional(message.type, name) else variable
            case Select(of, name):
                return self._select(self._expr(of, message), name, of.type)
            case Index(of, index):
                source = self._expr(of, message)
                return f"{source}[{index}]" if isinstance(resolve(of.type), Product) else f"item({source}, {index})"
            case MakeRecord(fields, type_):
                record = resolve(type_)
                assert isinstance(record, Record)
                optional = {field.name for field in record.fields if field.optional}
                struct = self._constant("R", struct_of(record))
                arguments = (
                    f"f_{name}={self._maybe(part, message) if name in optional else self._expr(part, message)}"
                    for name, part in fields
                )
                return f"{struct}({', '.join(arguments)})"
            case MakeList(items):
                return f"[{', '.join(self._expr(part, message) for part in items)}]"
            case MakeProduct(items):
                return f"({', '.join(self._expr(part, message) for part in items)},)"
            case Unary("!", of):
                return f"(not {self._boolean(of, message)})"
            case Unary(_, of):
                source = self._expr(of, message)
                return f"bounded(-{source})" if resolve(of.type) == INT else f"negative({source})"
            case Binary():
                return self._binary(expr, message)

    def _maybe(self, expr: Expr, message: _Value) -> str:
        """Return source for a field that may stay absent."""
        if isinstance(expr, Select) and isinstance(resolve(expr.of.type), Record):
            if isinstance(expr.of, Input) and message.value is None and message.fields is not None:
                return message.fields[expr.field]
            return f"{self._expr(expr.of, message)}.f_{expr.field}"
        return self._expr(expr, message)

    def _select(self, source: str, name: str, type_: Type) -> str:
        match resolve(type_):
            case Record():
                variable = f"{source}.f_{name}"
                return f"present({variable}, {name!r})" if _is_optional(type_, name) else variable
            case Sum(variants):
                total = all(_has_field(variant, name) for variant in variants)
                return f"{source}.f_{name}" if total else f"variant_member({source}, {name!r})"
        return f"member({source}, {name!r})"

    def _boolean(self, expr: Expr, message: _Value) -> str:
        source = self._expr(expr, message)
        return f"truth({source})" if resolve(expr.type) == JSON else source

    def _binary(self, expr: Binary, message: _Value) -> str:
        if expr.op in ("&&", "||"):
            word = "and" if expr.op == "&&" else "or"
            return f"({self._boolean(expr.left, message)} {word} {self._boolean(expr.right, message)})"
        left, right = self._expr(expr.left, message), self._expr(expr.right, message)
        types = resolve(expr.left.type), resolve(expr.right.type)
        numeric = all(type_ in (INT, NUMBER) for type_ in types)
        textual = types == (STRING, STRING)
        match expr.op:
            case "=" | "!=":
                word = "==" if expr.op == "=" else "!="
                if numeric or textual:
                    return f"({left} {word} {right})"
                return f"equal({left}, {right})" if expr.op == "=" else f"(not equal({left}, {right}))"
            case "<" | "<=" | ">" | ">=":
                return f"({left} {expr.op} {right})" if numeric or textual else f"compare({expr.op!r}, {left}, {right})"
            case "/":
                return f"quotient({left}, {right})"
            case "%":
                return f"{'int_modulo' if types == (INT, INT) else 'modulo'}({left}, {right})"
        if textual:
            return f"({left} {expr.op} {right})"
        if types == (INT, INT):
            # What one constant adds, or takes, will not make a number too long before the sun goes out.
            slow = expr.op in "+-" and (isinstance(expr.left, Literal_) or isinstance(expr.right, Literal_))
            return f"({left} {expr.op} {right})" if slow else f"bounded({left} {expr.op} {right})"
        return f"arithmetic({expr.op!r}, {left}, {right})"


def _has_field(type_: Type, name: str) -> bool:
    record = resolve(type_)
    return isinstance(record, Record) and any(f.name == name and not f.optional for f in record.fields)


def _record(type_: Type) -> Record:
    record = resolve(type_)
    assert isinstance(record, Record)
    return record


def _is_optional(record: Type, name: str) -> bool:
    return any(field.name == name and field.optional for field in _record(record).fields)


def _field_type(type_: Type, name: str) -> Type:
    """Return the type of a field; of a sum, what its variants agree on as far as values look alike."""
    match resolve(type_):
        case Record(fields):
            return next(field.type for field in fields if field.name == name)
        case Sum(variants):
            found = [_field_type(v, name) for v in variants if isinstance(resolve(v), Record) and _has_field(v, name)]
            return found[0] if len(set(map(repr, found))) == 1 else Sum(tuple(found))
    return JSON


def _may_be_absent(expr: Expr) -> bool:
    """Say whether evaluation may raise :class:`Absent`: a field of a sum or of ``json`` is selected somewhere."""
    match expr:
        case Select(of, name):
            here = resolve(of.type)
            partial = isinstance(here, Sum) and not all(_has_field(variant, name) for variant in here.variants)
            return partial or here == JSON or _may_be_absent(of)
        case Index(of) | Unary(_, of):
            return _may_be_absent(of)
        case Binary(_, left, right):
            return _may_be_absent(left) or _may_be_absent(right)
        case MakeRecord(fields):
            return any(_may_be_absent(part) for _, part in fields)
        case MakeList(items) | MakeProduct(items):
            return any(map(_may_be_absent, items))
    return False


def _looks_alike(source: Type, target: Type) -> bool:
    """Say whether every value of ``source`` is, as a Python value, a value of ``target`` already."""
    source, target = resolve(source), resolve(target)
    match source, target:
        case Sum(variants), _:
            return all(_looks_alike(variant, target) for variant in variants)
        case _, Sum(variants):
            return any(_looks_alike(source, variant) for variant in variants)
        case Record(), Record():
            return struct_of(source) is struct_of(target)
        case ListOf(left_item), ListOf(right_item):
            return _looks_alike(left_item, right_item)
        case Product(left_items), Product(right_items):
            return len(left_items) == len(right_items) and all(map(_looks_alike, left_items, right_items))
    return source == target or (source == INT and target == NUMBER)
