"""Payload types as data, and validators made from them.

This is the one representation of a value's type. The checker, the relays, the workers and the client all use it; it
travels inside a worker's spec as JSON (``{"kind": "record", "fields": [...]}``).

A validator answers two questions about some bytes: which value do they hold, and may the bytes be passed on as they
are? They may unless validation changed something, which happens for one reason only: ``3.0`` is accepted for an
``int`` and goes on as ``3``.

How values look in Python, everywhere after validation:

====================  ====================================================================
type                  Python value
====================  ====================================================================
string, bool, unit    ``str``, ``bool``, ``None``
int, number           ``int``, ``int | float`` (integers keep their digits)
json                  what ``msgspec.json.decode`` gives: dict, list, str, int, float, bool, None
record                an instance of :func:`struct_of` that record; field ``x`` is the attribute ``f_x``;
                      an optional field that is absent is ``msgspec.UNSET``
list, product         ``list``, ``tuple``
sum                   the value of the one variant that fits
====================  ====================================================================

msgspec validates while it decodes and is used wherever it can express the type. It cannot express a sum of two
records, a record beside ``json`` or two tuples of different length, and it says ``Expected `int``` where a reader of
``.plumb`` needs more. So the fast decoder is tried first; where there is none, or it refused, the value is decoded
without a type and walked by :func:`_walk`, which normalises, finds the variant, and words the refusal.
"""

from __future__ import annotations

__all__ = [
    "BOOL",
    "INT",
    "JSON",
    "NUMBER",
    "PYTHON_TYPES",
    "STRING",
    "UNIT",
    "Alias",
    "Field",
    "ListOf",
    "Prim",
    "Product",
    "Record",
    "Sum",
    "Type",
    "Validator",
    "decode_json",
    "encode_json",
    "json_schema",
    "resolve",
    "show",
    "show_stream",
    "struct_of",
    "to_plain",
    "validator",
]

import math
import types
from collections.abc import Callable
from functools import lru_cache, reduce
from operator import or_
from typing import Any, Literal, TypeAlias

import msgspec

from fabric.errors import ValueRejected

PrimName: TypeAlias = Literal["string", "int", "number", "bool", "unit", "json"]


class Prim(msgspec.Struct, frozen=True, tag="prim", tag_field="kind"):
    """One of the six primitive types."""

    name: PrimName


class Field(msgspec.Struct, frozen=True):
    """A field of a record. An optional one may be absent; ``null`` is not absence."""

    name: str
    type: Type
    optional: bool = False


class Record(msgspec.Struct, frozen=True, tag="record", tag_field="kind"):
    """A JSON object with exactly these fields: unknown ones are refused."""

    fields: tuple[Field, ...]


class ListOf(msgspec.Struct, frozen=True, tag="list", tag_field="kind"):
    """A JSON array whose elements all have one type."""

    item: Type


class Product(msgspec.Struct, frozen=True, tag="product", tag_field="kind"):
    """A JSON array of exactly this length; at least two items."""

    items: tuple[Type, ...]


class Sum(msgspec.Struct, frozen=True, tag="sum", tag_field="kind"):
    """Exactly one of the variants. They are flat, without aliases of sums inside, and pairwise disjoint."""

    variants: tuple[Type, ...]


class Alias(msgspec.Struct, frozen=True, tag="name", tag_field="kind"):
    """A type under the name that the program gave it; means what ``type`` means."""

    name: str
    type: Type


Type: TypeAlias = Prim | Record | ListOf | Product | Sum | Alias

STRING, INT, NUMBER = Prim("string"), Prim("int"), Prim("number")
BOOL, UNIT, JSON = Prim("bool"), Prim("unit"), Prim("json")

PYTHON_TYPES: dict[Any, Type] = {
    str: STRING,
    int: INT,
    float: NUMBER,
    bool: BOOL,
    None: UNIT,
    type(None): UNIT,
    Any: JSON,
    object: JSON,
}
"""What annotations without parts mean."""


def resolve(type_: Type) -> Prim | Record | ListOf | Product | Sum:
    """Look through aliases at the top; those inside stay."""
    while isinstance(type_, Alias):
        type_ = type_.type
    return type_


def show(type_: Type) -> str:
    """Print a type as a program would write it; an alias by its name."""
    match type_:
        case Prim(name) | Alias(name, _):
            return name
        case Record(fields):
            inner = ", ".join(f"{f.name}{'?' if f.optional else ''}: {show(f.type)}" for f in fields)
            return f"{{ {inner} }}" if inner else "{}"
        case ListOf(item):
            return f"[{show(item)}]"
        case Product(items):
            return f"({', '.join(map(show, items))})"
        case Sum(variants):
            return " | ".join(map(show, variants))


def show_stream(type_: Type) -> str:
    """Print the type of a port: ``!T``, and ``!(A | B)``, since ``!`` binds more than ``|``."""
    return f"!({show(type_)})" if isinstance(type_, Sum) else f"!{show(type_)}"


# --- Python types for msgspec -------------------------------------------------------------------------------------

_PRIMITIVES: dict[str, Any] = {
    "string": str,
    "int": int,
    "number": int | float,
    "bool": bool,
    "unit": type(None),
    "json": Any,
}


def _strip(type_: Type) -> Type:
    """Expand every alias, at every depth, so that equal types are equal values and share one struct class."""
    match resolve(type_):
        case Record(fields):
            return Record(tuple(Field(f.name, _strip(f.type), f.optional) for f in fields))
        case ListOf(item):
            return ListOf(_strip(item))
        case Product(items):
            return Product(tuple(map(_strip, items)))
        case Sum(variants):
            return Sum(tuple(map(_strip, variants)))
        case other:
            return other


def struct_of(record: Record) -> type[msgspec.Struct]:
    """Return the class of a record's values. Equal records, whatever their aliases, have one class."""
    return _struct_of(_strip(record))


@lru_cache(maxsize=4096)
def _struct_of(record: Type) -> type[msgspec.Struct]:
    assert isinstance(record, Record)
    fields: list[Any] = []
    for f in record.fields:
        python = _python_type(f.type) or Any
        fields.append(
            (f"f_{f.name}", python | msgspec.UnsetType, msgspec.UNSET) if f.optional else (f"f_{f.name}", python)
        )
    return msgspec.defstruct(
        "Record", fields, rename=lambda name: name[2:], forbid_unknown_fields=True, kw_only=True, gc=False
    )


@lru_cache(maxsize=4096)
def _python_type(type_: Type) -> Any | None:
    """Return the Python type that makes msgspec accept exactly this type's values; ``None`` if there is none."""
    match type_:
        case Prim(name):
            return _PRIMITIVES[name]
        case Record(fields):
            return _struct_of(type_) if all(_python_type(f.type) for f in fields) else None
        case ListOf(item):
            inner = _python_type(item)
            return types.GenericAlias(list, (inner,)) if inner else None
        case Product(items):
            inners = tuple(map(_python_type, items))
            return types.GenericAlias(tuple, inners) if all(inners) else None
        case Sum(variants):
            inners = tuple(map(_python_type, variants))
            if not all(inners):
                return None
            union = reduce(or_, inners)
            try:
                msgspec.json.Decoder(union)
            except TypeError:  # two records, two arrays: more than msgspec can tell apart
                return None
            return union
    raise AssertionError(type_)


# --- The walk: any type, exact refusals ---------------------------------------------------------------------------

EXACT_FLOAT_MAX = 2.0**53
"""Integers up to here are exact as floating-point numbers; ``1e30`` for an ``int`` would become some other integer."""

_Walk: TypeAlias = Callable[[Any], Any]


def _refuse(type_: Type, value: Any) -> ValueRejected:
    words = {Record: "object ", ListOf: "array ", Product: "array "}.get(type(resolve(type_)), "")
    return ValueRejected("$", words + show(type_), _describe(value))


def _describe(value: Any) -> str:
    """Name a plain JSON value for a message: its kind, and itself if it is short."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return f"object with {', '.join(map(repr, list(value)[:6]))}" if value else "object {}"
        case list():
            return f"array of {len(value)}"
    kind = {str: "string", int: "integer", float: "number"}[type(value)]
    text = msgspec.json.encode(value).decode()
    return f"{kind} {text if len(text) <= 40 else text[:37] + '...'}"


def _inside(error: ValueRejected, step: str) -> ValueRejected:
    """Return the error of a part as an error of the whole."""
    return ValueRejected("$" + step + error.path[1:], error.expected, error.got)


@lru_cache(maxsize=4096)
def _walk(type_: Type) -> _Walk:
    """Return a function from a plain JSON value to the typed value; it raises :class:`ValueRejected`."""
    match type_:
        case Prim(name):
            return _walk_prim(type_, name)
        case Record(fields):
            return _walk_record(type_, fields)
        case ListOf(item):
            each = _walk(item)

            def walk_list(value: Any) -> Any:
                if type(value) is not list:
                    raise _refuse(type_, value)
                return [_step(each, v, f"[{i}]") for i, v in enumerate(value)]

            return walk_list
        case Product(items):
            walks = tuple(map(_walk, items))

            def walk_product(value: Any) -> Any:
                if type(value) is not list or len(value) != len(walks):
                    raise _refuse(type_, value)
                return tuple(_step(w, v, f"[{i}]") for i, (w, v) in enumerate(zip(walks, value, strict=True)))

            return walk_product
        case Sum(variants):
            return _walk_sum(type_, variants)
    raise AssertionError(type_)


def _step(walk: _Walk, value: Any, step: str) -> Any:
    try:
        return walk(value)
    except ValueRejected as error:
        raise _inside(error, step) from None


def _walk_prim(type_: Type, name: PrimName) -> _Walk:
    if name == "json":
        return lambda value: value
    if name == "int":

        def walk_int(value: Any) -> Any:
            if type(value) is int:
                return value
            if type(value) is float and value.is_integer() and abs(value) <= EXACT_FLOAT_MAX:
                return int(value)
            raise _refuse(type_, value)

        return walk_int
    accepted: tuple[type, ...] = {"string": (str,), "number": (int, float), "bool": (bool,), "unit": (type(None),)}[
        name
    ]

    def walk_prim(value: Any) -> Any:
        if type(value) in accepted:  # not isinstance: true is no number
            return value
        raise _refuse(type_, value)

    return walk_prim


def _walk_record(type_: Type, fields: tuple[Field, ...]) -> _Walk:
    walks = {f.name: _walk(f.type) for f in fields}
    required = frozenset(f.name for f in fields if not f.optional)
    struct = _struct_of(type_)

    def walk_record(value: Any) -> Any:
        if type(value) is not dict:
            raise _refuse(type_, value)
        typed = {}
        for name, field in value.items():
            walk = walks.get(name)
            if walk is None:
                raise ValueRejected("$", f"object {show(type_)}", f"unknown field {name!r}")
            typed[f"f_{name}"] = _step(walk, field, f".{name}")
        missing = required - value.keys()
        if missing:
            raise ValueRejected("$", f"object {show(type_)}", f"no field {min(missing)!r}")
        return struct(**typed)

    return walk_record


def _walk_sum(type_: Type, variants: tuple[Type, ...]) -> _Walk:
    """Find the variant by shape, records by their field names, so that a refusal is about the one that was meant."""
    walks = tuple((variant, _walk(variant)) for variant in variants)

    def fits(variant: Type, value: Any) -> bool:
        match variant:
            case Record(fields):
                return type(value) is dict and (
                    {f.name for f in fields if not f.optional} <= value.keys() <= {f.name for f in fields}
                )
            case Product(items):
                return type(value) is list and len(value) == len(items)
            case ListOf():
                return type(value) is list
        return type(value) is not dict and type(value) is not list

    def walk_sum(value: Any) -> Any:
        candidates = [walk for variant, walk in walks if fits(variant, value)]
        for walk in candidates:
            try:
                return walk(value)
            except ValueRejected:
                if len(candidates) == 1 and type(value) in (dict, list):
                    raise
        raise _refuse(type_, value)

    return walk_sum


# --- Validators ---------------------------------------------------------------------------------------------------


class Validator:
    """Check payloads against one type.

    Attributes:
        type: the type, with its aliases, for messages.
        fast: gives the value of most payloads that are of the type; what it refuses has to go through :meth:`check`.
            ``None``: there is no such function for the type.
    """

    __slots__ = ("_python", "_walk", "fast", "type")

    def __init__(self, type_: Type) -> None:
        self.type = type_
        stripped = _strip(type_)
        python = _python_type(stripped)
        self._python = python
        self.fast: Callable[[bytes], Any] | None = msgspec.json.Decoder(python).decode if python else None
        self._walk = _walk(stripped)

    def check(self, payload: bytes) -> tuple[Any, bytes]:
        """Return the value, and the bytes to pass on: the same ones unless validation changed something.

        Raises:
            ValueRejected: the bytes are not JSON, or not of this type. The sender's fault.
        """
        if self.fast is not None:
            try:
                return self.fast(payload), payload
            except (msgspec.DecodeError, ValueError, RecursionError):
                pass  # the walk below accepts 3.0 for an int, or words the refusal
        plain = decode_json(payload)
        value = self.coerce(plain)
        if self.fast is None and not _changed(plain, value):
            return value, payload
        try:
            return value, encode_json(value)
        except RecursionError:
            raise ValueRejected("$", show(self.type), "a value nested too deeply") from None

    def encode(self, plain: Any) -> bytes:
        """Return a value that somebody's Python code made as JSON text of the type.

        Raises:
            ValueRejected: it is not of this type. Its maker's fault, as what follows.
            TypeError, ValueError, RecursionError: JSON cannot say it.
        """
        payload = encode_json(plain)
        if b"null" in payload:
            if _has_no_number(plain):
                raise ValueError("NaN and infinity are no numbers")
        elif self._python is not None:
            try:
                msgspec.convert(plain, self._python)
            except (msgspec.ValidationError, RecursionError):
                pass  # as in check
            else:
                return payload
        return self.check(payload)[1]

    def decode(self, payload: bytes) -> Any:
        """Return the value alone; raises as :meth:`check` does."""
        return self.check(payload)[0]

    def coerce(self, plain: Any) -> Any:
        """Return the typed value of a plain JSON value, such as a computed ``json``; raises :class:`ValueRejected`."""
        try:
            return self._walk(plain)
        except RecursionError:
            raise ValueRejected("$", show(self.type), "a value nested too deeply") from None


def _has_no_number(plain: Any) -> bool:
    """Say whether a float is in it that JSON would write as null."""
    left = [plain]  # no recursion, as below
    while left:
        value = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return True
        if isinstance(value, list | tuple | set | frozenset):
            left += value
        elif isinstance(value, dict):
            left += value.values()
    return False


def _changed(plain: Any, value: Any) -> bool:
    """Say whether normalisation replaced a number. Compares what was read with what would be written."""
    try:  # sorted: a record's fields come in the order of its type, which is no change
        return _has_integral_float(plain) and _encode_sorted(plain) != _encode_sorted(value)
    except RecursionError:
        return True


def _has_integral_float(plain: Any) -> bool:
    left = [plain]  # no recursion: what could be decoded may be nested deeper than Python calls may be
    while left:
        value = left.pop()
        if type(value) is float and value.is_integer():
            return True
        if type(value) is list:
            left += value
        elif type(value) is dict:
            left += value.values()
    return False


@lru_cache(maxsize=4096)
def validator(type_: Type) -> Validator:
    """Return the validator of a type; made once per type."""
    return Validator(type_)


_decode = msgspec.json.Decoder().decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
encode_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode
"""Write a value, typed or plain, as compact JSON."""


def decode_json(payload: bytes | str) -> Any:
    """Read JSON without a type. Strict: no NaN, UTF-8 only, the last of equal keys wins, integers keep their digits.

    Raises:
        ValueRejected: not JSON, or nested too deeply.
    """
    try:
        return _decode(payload)
    except RecursionError:
        raise ValueRejected("$", "JSON", "a value nested too deeply") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueRejected("$", "JSON", f"malformed text ({error})") from None


def to_plain(value: Any) -> Any:
    """Return a typed value as plain JSON values: what its JSON text would be read as."""
    return _decode(encode_json(value))  # to_builtins would leave tuples, which are no JSON


def json_schema(type_: Type) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) that accepts exactly the values of a type."""
    match resolve(type_):
        case Prim(name):
            return (
                {}
                if name == "json"
                else {"type": {"int": "integer", "unit": "null", "bool": "boolean"}.get(name, name)}
            )
        case Record(fields):
            return {
                "type": "object",
                "properties": {f.name: json_schema(f.type) for f in fields},
                "required": [f.name for f in fields if not f.optional],
                "additionalProperties": False,
            }
        case ListOf(item):
            return {"type": "array", "items": json_schema(item)}
        case Product(items):
            return {
                "type": "array",
                "prefixItems": [json_schema(i) for i in items],
                "items": False,
                "minItems": len(items),
            }
        case Sum(variants):
            return {"oneOf": [json_schema(v) for v in variants]}
