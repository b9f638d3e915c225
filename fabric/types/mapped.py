"""Types of the language as Python types."""

from __future__ import annotations

__all__ = ["Checked", "TypeData", "input_type", "map_type", "output_type"]

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from fabric.errors import ConfigError
from fabric.wire.payload import Type

TypeData: TypeAlias = dict[str, Any]


class _Binding(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def input_type(self) -> TypeData: ...
    @property
    def output_type(self) -> TypeData: ...


class Checked(Protocol):
    """What is needed of a result of ``fabric.check``."""

    @property
    def main(self) -> str:
        """The name of the binding that runs."""
        ...

    @property
    def bindings(self) -> Sequence[_Binding]:
        """What the program declares."""
        ...


def map_type(data: TypeData, *, strict: bool = False) -> Any:
    """Return the Python type: ``str``, ``list[int]``, a pydantic model for a record …

    A model has the name that the program gives to the type, and takes what the program takes: no other fields, no
    ``"1"`` for an ``int``, but ``3.0``. A field that may be absent is ``None`` then, and is not written. One whose name
    is a word of Python or of pydantic has another attribute (``class_``) and that name as its alias.

    Args:
        data: the type. Of a stream it is that of a message; several ports give a tuple of theirs.
        strict: mark the types outside of models as well, so that a ``TypeAdapter`` of ``list[int]`` refuses ``["1"]``.

    Raises:
        ConfigError: this is no type.
    """
    from fabric.types.records import python_type  # pydantic with it

    match data:
        case {"kind": "stream", "item": item}:
            return map_type(item, strict=strict)
        case {"kind": "product", "items": [{"kind": "stream"}, *_] as items}:
            return tuple[tuple(map_type(part, strict=strict) for part in items)]  # type: ignore[misc]
    try:
        type_ = msgspec.convert(data, Type)
    except msgspec.ValidationError as error:
        raise ConfigError(f"this is no type of the language: {error}") from None
    return python_type(type_, strict)


def input_type(result: Checked) -> Any:
    """Return the Python type of a message for the program's main binding; of several inputs a tuple of theirs."""
    return map_type(_main(result).input_type)


def output_type(result: Checked) -> Any:
    """Return the Python type of a message that the program's main binding gives; as :func:`input_type`."""
    return map_type(_main(result).output_type)


def _main(result: Checked) -> _Binding:
    if not hasattr(result, "bindings"):
        raise TypeError(f"expected the result of fabric.check(...), got {result!r}")
    return next(binding for binding in result.bindings if binding.name == result.main)
