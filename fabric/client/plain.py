"""Messages of callers as what JSON knows: models and dataclasses of pydantic are dumped by their aliases."""

from __future__ import annotations

__all__ = ["plain"]

import copy
import dataclasses
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec


def plain(value: Any) -> Any:
    """Return a value of plain values: models, dataclasses and structs as objects, tuples as lists.

    Raises:
        TypeError: something in it is no JSON.
        ValueError: it contains itself, or is nested too deeply.
    """
    if isinstance(value, str | int | float | None):
        return value
    try:
        if "pydantic" in sys.modules and _has_model(value):  # else nobody can have made one
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
    left, seen = [value], set()  # no recursion: it may be nested deeper than Python calls may be
    while left:
        one = left.pop()
        if isinstance(one, str | int | float | None) or id(one) in seen:
            continue
        if _is_model(one):
            return True
        seen.add(id(one))
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
        else:
            left += [part for _, part in _fields(one)]
    return False


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
