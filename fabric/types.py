"""Types of the language as Python types, and back.

As data a type is a dict, as in a worker's spec: ``{"kind": "list", "item": {"kind": "prim", "name": "int"}}``;
see :mod:`fabric.wire.payload`. Beside those there are streams, ``{"kind": "stream", "item": …}``.
"""

from __future__ import annotations

__all__ = ["TypeData", "from_python", "input_type", "map_type", "output_type"]

from typing import Any, Protocol, TypeAlias

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
    def main(self) -> str: ...
    @property
    def bindings(self) -> list[Any]: ...


def map_type(data: TypeData) -> Any:
    """Return the Python type: ``str``, ``list[int]``, a pydantic model for a record …"""
    raise NotImplementedError


def input_type(result: Checked) -> Any:
    """Return the Python type of a message for the program's main binding."""
    raise NotImplementedError


def output_type(result: Checked) -> Any:
    """Return the Python type of a message that the program's main binding gives."""
    raise NotImplementedError


def from_python(python_type: Any) -> Type:
    """Return the type of the language for a Python type.

    A pydantic model, a dataclass, a msgspec struct or a TypedDict becomes an ``Alias`` with the class's name.

    Raises:
        ConfigError: the language has no such type; says which part of it.
    """
    raise NotImplementedError
