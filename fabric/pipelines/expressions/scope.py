"""What expressions and templates see of a run, and how its values are read: fields, items, and what is said of steps.

``steps.x`` is the step itself: ``.value``, ``.status``, ``.attempts`` and ``.last_attempt`` are its own, whatever else
is asked of it is asked of its value; where its value is meant, it is its value. ``steps["x"]["status"]`` is an item, so
it is that of the value. A step in an ensemble is one of the ensemble: ``steps.ens.member``.

What is not there is ``None`` in a map, and of ``None``. Of other values a field has to be there. Nothing here reads a
name that begins with an underscore, a method, or what Python keeps of its own running: frames, code, functions.
"""

from __future__ import annotations

__all__ = ["ABSENT", "OWN_OF_STEPS", "Scope", "StepRead", "field_of", "item_of", "part_of_step", "plain"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    TracebackType,
)
from typing import Any, Final

import msgspec

from fabric.pipelines.results import StepResult


@dataclass(frozen=True)
class Scope:
    """What expressions and templates see.

    Attributes:
        ctx: the input of the run.
        steps: what is done so far, by name.
        env: the environment, as far as the pipeline may see it.
    """

    ctx: Mapping[str, Any]
    steps: Mapping[str, StepResult]
    env: Mapping[str, str] = field(default_factory=dict)


class StepRead(msgspec.Struct, frozen=True):
    """A place that reads results of steps.

    Attributes:
        step: name; ``None``: whichever the input says, so it may be any.
        fields: what is read of its value, as far as it is known: ``steps.x.value.a`` and ``steps.x.a`` both read a. Of
            a step that has steps in it the first one may be one of those: ``steps.ens.member``.
        offset: of this place in the text, in characters.
        own: what of the step itself is read, other than its value: ``steps.x.status``.
        template: the one in which it stands, by its path from the directory; empty: not in the file of one.
        line: of the template.
    """

    step: str | None
    fields: tuple[str, ...] = ()
    offset: int = 0
    own: str = ""
    template: str = ""
    line: int = 0


class _Absent(Enum):
    """There is no such field."""

    ABSENT = 0


ABSENT: Final = _Absent.ABSENT

OWN_OF_STEPS: Final = ("value", "status", "attempts", "last_attempt")

_FIELDLESS = (str, bytes, bytearray, int, float, complex, list, tuple, set, frozenset, range, type)
_INTERNAL = (
    AsyncGeneratorType,
    BuiltinMethodType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)
_METHODS = (MethodType, BuiltinMethodType, MethodWrapperType)


def plain(value: Any) -> Any:
    """Return a value as it leaves an expression: of a step, its value."""
    return value.value if isinstance(value, StepResult) else value


def part_of_step(result: StepResult, name: str, steps: Mapping[str, StepResult]) -> Any:
    """Return what ``steps.x.name`` is: the step's own, a step in it, or a field of its value; or ``ABSENT``."""
    if name in OWN_OF_STEPS:
        return getattr(result, name)
    inner = steps.get(f"{result.name}.{name}")
    return field_of(result.value, name) if inner is None else inner


def field_of(value: Any, name: str) -> Any:
    """Return a field of a value, or ``ABSENT``."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return value.get(name)
    if (
        name.startswith("_")
        or (isinstance(value, _FIELDLESS) and not _is_record(value))
        or isinstance(value, _INTERNAL)
    ):
        return ABSENT
    found = getattr(value, name, ABSENT)
    return ABSENT if isinstance(found, _METHODS) else found


def _is_record(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def item_of(value: Any, key: Any) -> Any:
    """Return an item of a value, or a slice of it, or ``ABSENT``. A text names a field, too.

    Raises:
        TypeError: it has no items of this kind.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(key, str):
        return field_of(value, key) if not hasattr(type(value), "__getitem__") or _is_record(value) else value[key]
    if isinstance(value, type):
        raise TypeError("a class has no items")
    try:
        return value[key]
    except LookupError:
        return ABSENT
