"""What templates may call: methods of data, of users' own classes, and users' own functions. Nothing else.

A function is a user's own if its file is no part of Python and of what is installed beside it. So a class of a user
that extends one of a library has its own methods in templates, and not those of the library: they may have effects.
"""

from __future__ import annotations

__all__ = ["is_callable", "is_readable"]

import datetime
import decimal
import functools
import inspect
import sysconfig
from collections.abc import Mapping, Sequence, Set, ValuesView
from pathlib import PurePath
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from jinja2.runtime import BlockReference, LoopContext, Macro, Undefined
from jinja2.utils import Cycler, Joiner, Namespace
from pydantic import BaseModel

_DATA: Final = (
    Mapping, Sequence, Set, ValuesView, float, int, complex, datetime.date, datetime.time, datetime.timedelta,
    datetime.tzinfo, decimal.Decimal,
)  # fmt: skip
_HOMES_OF_DATA: Final = frozenset({
    "_collections_abc", "_decimal", "_pydecimal", "builtins", "collections", "collections.abc", "datetime", "decimal",
    "markupsafe", "types",
})  # fmt: skip
"""Modules whose methods of data have no effects that Jinja's sandbox does not know."""

_CLOCKS: Final = frozenset({"now", "today", "utcnow"})
_MODEL_METHODS: Final = frozenset({"dict", "json", "model_dump", "model_dump_json"})
_OF_JINJA: Final = (BlockReference, Cycler, Joiner, LoopContext, Macro, Undefined)
_CLASSES: Final = (dict, Cycler, Joiner, Namespace)


def is_readable(owner: Any, name: str, value: Any) -> bool:
    """Whether a template may read an attribute: what it may not call it cannot read, either.

    Args:
        owner: whose attribute it is.
        name: of the attribute.
        value: that it has.
    """
    if isinstance(owner, ModuleType | FunctionType | functools.partial):
        return False
    kind = owner if isinstance(owner, type) else type(owner)
    if issubclass(kind, BaseModel) and hasattr(BaseModel, name) and name not in kind.model_fields:
        return name in _MODEL_METHODS
    return not callable(value) or isinstance(value, type) or is_callable(value)


def is_callable(value: Any) -> bool:
    """Whether a template may call something."""
    if isinstance(value, type):
        return value in _CLASSES
    if isinstance(value, _OF_JINJA):
        return True
    if isinstance(value, FunctionType):
        return _is_own(value)
    if isinstance(value, MethodType | BuiltinMethodType):
        return _is_method(value)
    return _is_own(inspect.getattr_static(type(value), "__call__", None))


def _is_method(method: MethodType | BuiltinMethodType) -> bool:
    owner, name = method.__self__, method.__name__
    kind = owner if isinstance(owner, type) else type(owner)
    definer = next((each for each in kind.__mro__ if name in vars(each)), None)
    if definer is None:  # a function of a module, or one that is called otherwise where it was defined
        return isinstance(method, MethodType) and _is_own(method.__func__)
    if definer.__module__ in _HOMES_OF_DATA and issubclass(definer, _DATA):
        return name not in _CLOCKS
    if issubclass(kind, BaseModel) and hasattr(BaseModel, name):
        return name in _MODEL_METHODS
    if isinstance(owner, _OF_JINJA):
        return True
    return isinstance(method, MethodType) and _is_own(method.__func__)


def _is_own(function: Any) -> bool:
    """Whether a function is a user's own."""
    inner = inspect.unwrap(function) if callable(function) else None
    return isinstance(inner, FunctionType) and not _is_installed(inner.__code__.co_filename)


@functools.lru_cache(maxsize=1_000)
def _is_installed(file: str) -> bool:
    path = PurePath(file)
    return (
        file.startswith("<frozen ")
        or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
        or any(path.is_relative_to(place) for place in _PLACES)
    )


_PLACES: Final = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
