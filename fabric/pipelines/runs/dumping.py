"""Values as JSON has them: for files, journals, requests and prompts. The same value gives the same text, always."""

from __future__ import annotations

__all__ = ["dumped", "dumped_text", "text_of"]

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AnySet
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python


def dumped(value: object) -> Any:
    """Return a value as maps, lists, texts, numbers and nothing else.

    Models, dataclasses, dates, paths and the like become what pydantic makes of them; a set becomes a sorted list. What
    pydantic does not know becomes its text, if its class says how.

    Raises:
        ValueError: it cannot be JSON; the text says why.
    """
    try:
        return _in_order(value, to_jsonable_python(value, fallback=_written))
    except Exception as error:  # noqa: BLE001 - its classes are the user's, and what they raise is theirs
        text = f"a value of type {type(value).__name__} cannot be written as JSON: {text_of(error)}"
        raise ValueError(text) from None


def dumped_text(value: object, indent: int | None = None) -> str:
    """Return the JSON text of a value.

    Raises:
        ValueError: as for :func:`dumped`; also for numbers that JSON does not have.
    """
    try:
        return json.dumps(dumped(value), ensure_ascii=False, allow_nan=False, indent=indent)
    except (ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None


def text_of(error: BaseException) -> str:
    """Return the text of an exception, also of one whose class fails to say it."""
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 - the class is the user's
        return f"a {type(error).__qualname__}, whose text raised {type(worse).__qualname__}"


def _written(value: object) -> str:
    kind = type(value)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        raise ValueError(
            f"nothing says how a {kind.__name__} is written"
        )  # its address would be: another one each time
    return str(value)


def _in_order(value: object, plain: Any) -> Any:
    """Sort what came of sets: their own order is another one in each process."""
    if isinstance(value, AnySet) and isinstance(plain, list):
        return sorted(plain, key=lambda each: json.dumps(each, sort_keys=True))
    if isinstance(value, BaseModel) and isinstance(plain, dict):
        fields = {name: getattr(value, name) for name in plain if name in type(value).model_fields}
        return plain | {name: _in_order(each, plain[name]) for name, each in fields.items()}
    if isinstance(value, Mapping) and isinstance(plain, dict) and len(value) == len(plain):
        pairs = zip(value.values(), plain.items(), strict=True)
        return {name: _in_order(each, child) for each, (name, child) in pairs}
    if isinstance(value, Sequence) and isinstance(plain, list) and len(value) == len(plain):
        return [_in_order(each, child) for each, child in zip(value, plain, strict=True)]
    return plain
