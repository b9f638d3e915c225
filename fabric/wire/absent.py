"""``None`` in Python where a record of the language has no field.

A class writes its fields always: ``note: str | None = None`` says null of a ``note?: string``, which is not absence.
Who writes an object of a class means absence then. Of a plain dict nothing is known: its null is a null.
"""

from __future__ import annotations

__all__ = ["encode_object", "takes_null"]

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fabric.errors import ValueRejected
from fabric.wire.payload import (
    JSON,
    UNIT,
    Alias,
    ListOf,
    Product,
    Record,
    Sum,
    Type,
    Validator,
    decode_json,
    encode_json,
    resolve,
    validator,
)


def encode_object(type_: Validator, plain: Any, value: Any) -> bytes:
    """Return a value as JSON text of the type, as :meth:`Validator.encode` does.

    ``None`` in a field of a class is left out where the type has an optional field that takes no null.

    Args:
        type_: the type.
        plain: the value with what msgspec does not know as plain values.
        value: as somebody's Python code made it.

    Raises:
        ValueRejected: it is not of this type. Its maker's fault, as what follows.
        TypeError, ValueError, RecursionError: JSON cannot say it.
    """
    try:
        return type_.encode(plain)
    except ValueRejected:
        read = decode_json(encode_json(plain))
        pruned = _pruned(type_.type, read, value)
        if pruned == read:
            raise
        return type_.encode(pruned)


def takes_null(type_: Type) -> bool:
    """Say whether null is a value of the type."""
    inner = resolve(type_)
    return inner in (UNIT, JSON) or (isinstance(inner, Sum) and any(map(takes_null, inner.variants)))


def _pruned(type_: Type, read: Any, value: Any) -> Any:
    """Return what was read of a value, without the fields that its classes have and do not mean."""
    match type_, read:
        case Alias(_, inner), _:
            return _pruned(inner, read, value)
        case Record(fields), dict():
            types, parts, absent = {field.name: field for field in fields}, _parts(value), set()
            if not isinstance(value, Mapping):
                absent = {name for name, field in types.items() if field.optional and not takes_null(field.type)}
            return {
                name: _pruned(types[name].type, part, parts.get(name)) if name in types else part
                for name, part in read.items()
                if part is not None or name not in absent
            }
        case ListOf(item), list():
            return [_pruned(item, part, own) for part, own in _beside(read, value)]
        case Product(items), list() if len(items) == len(read):
            return [_pruned(item, part, own) for item, (part, own) in zip(items, _beside(read, value), strict=True)]
        case Sum(variants), _:
            for variant in variants:
                found = _pruned(variant, read, value)
                if _is_of(variant, found):
                    return found
    return read


def _is_of(type_: Type, plain: Any) -> bool:
    try:
        validator(type_).coerce(plain)
    except ValueRejected:
        return False
    return True


def _beside(read: list[Any], value: Any) -> list[tuple[Any, Any]]:
    """Return the items that were read, each with what it was read of; of a stranger nothing is known."""
    known = isinstance(value, Sequence) and len(value) == len(read)
    return list(zip(read, value if known else [{}] * len(read), strict=True))


def _parts(value: Any) -> Mapping[str, Any]:
    """Return what is in the fields of an object, by their names in JSON."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, msgspec.Struct):
        return {field.encode_name: getattr(value, field.name) for field in msgspec.structs.fields(type(value))}
    fields = getattr(type(value), "__pydantic_fields__", None)
    if fields is not None:
        return {field.serialization_alias or name: getattr(value, name) for name, field in fields.items()}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {}
