"""Filters and tests of templates: those of Jinja, measured, and a ``tojson`` that knows models, records and dates."""

from __future__ import annotations

__all__ = ["COMPARISONS", "FILTERS", "TESTS", "as_json", "check_method"]

import dataclasses
import functools
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, cast
from uuid import UUID

from jinja2 import Environment, Undefined, filters, pass_environment
from jinja2 import tests as jinja_tests
from pydantic import BaseModel

from fabric.pipelines.prompts.limits import (
    MADE_MAX,
    Refused,
    check_numbers,
    check_percent,
    check_size,
    check_text,
    count_of,
    joined,
    rendering,
    size_of,
)

INDENT_MAX: Final = 32
"""More is a mistake, and a deep value would have a text without an end."""

_DIGITS_MAX = 300  # of ``round``
_BYTES_OF_PIECE = 64  # of a text that is split
_LEVELS = 8  # of a model, with an indent

_SIZED = frozenset({"batch", "center", "indent", "slice", "tojson", "truncate", "wordwrap"})
_SIZED_METHODS = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})
_SORTING = frozenset({"dictsort", "groupby", "max", "min", "sort", "unique"})
_SLOW = frozenset({"pprint", "striptags", "title", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"})
_SQUARE = frozenset(
    {"striptags", "urlize", "wordwrap"}
)  # they copy the rest of a word, or of the text, again and again
_OF_VALUES = _SORTING | {
    "abs", "attr", "batch", "count", "d", "default", "first", "float", "int", "items", "join", "last", "length", "list",
    "map", "reject", "rejectattr", "reverse", "round", "select", "selectattr", "slice", "sum",
}  # fmt: skip
"""Filters that do not make a text of the whole value."""

COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda value, many: value in many,
    "notin": lambda value, many: value not in many,
}


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON. What ``json`` writes is written as ``json`` writes it.

    Args:
        value: anything made of data.
        indent: spaces for each level; ``None``: all in one line.

    Raises:
        TypeError: it is not made of data.
        ValueError: the levels are too far apart.
        Refused: it is too long.
    """
    if indent is not None and indent > INDENT_MAX:
        raise ValueError(f"an indent of {indent}; at most {INDENT_MAX} is allowed")
    nodes = check_text(value)
    if isinstance(value, BaseModel):
        check_size(nodes * (indent or 0) * _LEVELS)
        return value.model_dump_json(indent=indent)
    if indent is None:
        return json.dumps(value, ensure_ascii=False, default=_data)
    return joined(json.JSONEncoder(indent=indent, ensure_ascii=False, default=_data).iterencode(value))


def _data(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal | UUID | PurePath):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} has no JSON")


@pass_environment
def _join(environment: Environment, value: Iterable[Any], d: str = "", attribute: Any = None) -> str:
    """Join texts: each is weighed before it is made."""
    glue = str(d)
    if attribute is not None:
        value = map(filters.make_attrgetter(environment, attribute), value)
    kept: list[str] = []
    size = 0
    for element in value:
        check_text(element)
        kept.append(str(element))
        size += len(kept[-1]) + len(glue)
        check_size(size)
    return glue.join(kept)


@pass_environment
def _sum(environment: Environment, iterable: Iterable[Any], attribute: Any = None, start: Any = 0) -> Any:
    """Add up numbers, or lists: those are copied again and again."""
    if attribute is not None:
        iterable = map(filters.make_attrgetter(environment, attribute), iterable)
    kept = list(iterable)
    size = size_of(start) + sum(map(size_of, kept))
    check_size(size)
    rendering.get().count(size * len(kept) >> 14)
    return sum(kept, start)


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that measures what it is given, as far as one can know, and what it gives."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0
    makes_text = name not in _OF_VALUES

    @functools.wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        value, *others = args[first:]
        state = rendering.get()
        state.count(1)
        if isinstance(value, Iterator):
            value = state.counted(value)
            if name in _SORTING:
                value = list(value)
            args = (*args[:first], value, *others)
        if isinstance(value, str | bytes):
            state.count(len(value) >> (3 if name in _SLOW else 12))
        elif makes_text:
            state.count(check_text(value) >> 3)
        elif name in _SORTING:
            state.compare(value)
        elif isinstance(value, Sized) and not isinstance(value, Undefined):
            state.count(len(value) >> 3)
        _check_filter(name, value, others, kwargs)
        return state.made_of(function(*args, **kwargs))

    return limited


def _check_filter(name: str, value: Any, others: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    if name in _SIZED:
        check_numbers((*others, *kwargs.values()))
    if name == "round":
        check_numbers((*others, *kwargs.values()), _DIGITS_MAX)
    if name == "format":
        check_percent(str(value), kwargs or tuple(others))
    if name == "replace":
        check_method(value if isinstance(value, str) else str(value), name, others, kwargs)
    if name == "list" and isinstance(value, str):
        check_size(len(value) * 8)
    if name in ("indent", "wordwrap"):
        longest = max((max(size_of(other), count_of(other)) for other in (*others, *kwargs.values())), default=1)
        check_size(longest * (str(value).count("\n") + 1 if name == "indent" else 1))
    if name in _SQUARE:
        rendering.get().count(_copied(name, str(value), others, kwargs) >> 13)


def _copied(name: str, text: str, others: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Return about how many characters such a filter copies."""
    if name == "striptags":
        return len(text) * text.count("<")
    longest = max(map(len, text.split()), default=0)
    if name == "urlize":
        return longest * sum(text.count(mark) for mark in "()<>")
    width = kwargs.get("width", others[0] if others else 79)
    return longest * longest // max(count_of(width), 1)


def check_method(text: str | bytes, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse a method of a text if what it gives is too long."""
    if name == "translate":
        raise Refused("'translate' of a text")
    check_numbers((*args, *kwargs.values()))
    if name == "expandtabs":
        width = count_of((*args, *kwargs.values(), 8)[0])
        check_size(len(text) + (text.count("\t") if isinstance(text, str) else text.count(b"\t")) * width)
    if name == "replace" and len(args) >= 2:
        times = size_of(text) + 1 if isinstance(text, bytes) else text.count(str(args[0]))
        check_size(size_of(text) + times * size_of(args[1]))
    if name in ("split", "rsplit", "splitlines"):
        mark = next(iter((*args, *kwargs.values())), None)
        pieces = text.count(mark) if type(mark) is type(text) and mark else len(text) // 2
        if pieces * _BYTES_OF_PIECE > MADE_MAX:
            raise Refused(f"a text in {pieces:,} pieces")


def _tests() -> dict[str, Callable[..., Any]]:
    known = cast("dict[str, Callable[..., Any]]", jinja_tests.TESTS)
    found = dict(known)
    by_function = {operator.eq, operator.ne, operator.gt, operator.ge, operator.lt, operator.le}
    for name, function in known.items():
        if function in by_function:
            found[name] = functools.partial(_compared, function)
    return found | {"in": _is_in}


def _compared(function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    rendering.get().compare(left)
    return function(left, right)


def _is_in(value: Any, many: Any) -> bool:
    rendering.get().search(value, many)
    return value in many


_OWN: dict[str, Callable[..., Any]] = {"join": _join, "sum": _sum, "tojson": as_json}
FILTERS: Final = {
    name: _limited(name, function) for name, function in (filters.FILTERS | _OWN).items() if name != "random"
}
TESTS: Final = _tests()
