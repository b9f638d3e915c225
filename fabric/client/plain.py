"""Messages of callers as what JSON knows: models and dataclasses of pydantic are dumped by their aliases."""

from __future__ import annotations

__all__ = ["plain"]

import copy
import dataclasses
import datetime
import decimal
import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

_NO_JSON = (
    *(bytes, bytearray, memoryview, set, frozenset),
    *(datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID),
)
"""msgspec would write these as text or lists. What is meant is the sender's; ``fabric.types`` refuses them, too."""


def plain(value: Any) -> Any:
    """Return a value of plain values: models, dataclasses and structs as objects, tuples as lists.

    Raises:
        TypeError: something in it is no JSON, though there may be ways to write it as such.
        ValueError: it contains itself, or is nested too deeply.
    """
    if isinstance(value, str | int | float | None):
        return value
    try:
        if _has_model(value):
            value = _dumped(value)
        return msgspec.to_builtins(value, builtin_types=())
    except RecursionError:
        raise ValueError("it is nested too deeply, or contains itself") from None


def _dumped(value: Any) -> Any:
    """Return a value with what is of pydantic in it as plain values. All else is as it was."""
    if isinstance(value, str | int | float | None) or not _has_model(value):
        return value
    if _is_model(value):
        kind: Any = type(value)
        return _adapter(kind).dump_python(value, mode="json", by_alias=True)
    if isinstance(value, dict):
        return {key: _dumped(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_dumped(part) for part in value]
    fields = {name: _dumped(part) for name, part in _fields(value)}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **fields)
    copied = copy.copy(value)
    for name, part in fields.items():
        object.__setattr__(copied, name, part)  # it may be frozen
    return copied


@lru_cache(maxsize=256)
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter  # it is there: somebody has made the class with it

    return TypeAdapter(kind)


def _is_model(value: Any) -> bool:
    return hasattr(type(value), "__pydantic_serializer__")


def _has_model(value: Any) -> bool:
    found = False
    left, seen = [value], set()  # no recursion: it may be nested deeper than Python calls may be
    while left:
        one = left.pop()
        if isinstance(one, str | int | float | None) or id(one) in seen:
            continue
        seen.add(id(one))
        if _is_model(one):  # it says itself how it is written
            found = True
            continue
        if isinstance(one, _NO_JSON):
            raise TypeError(f"{type(one).__name__} is no JSON value; send str, int, float, bool, None, list or dict")
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
        else:
            left += [part for _, part in _fields(one)]
    return found


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Give the fields of a struct or a dataclass; of other things none."""
    names: tuple[str, ...] = ()
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
    elif dataclasses.is_dataclass(value):
        names = tuple(field.name for field in dataclasses.fields(value))
    for name in names:
        if hasattr(value, name):
            yield name, getattr(value, name)
