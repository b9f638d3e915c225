"""Types of the language as Python types."""

from __future__ import annotations

__all__ = ["Checked", "TypeData", "input_type", "map_type", "output_type"]

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

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


def map_type(data: TypeData) -> Any:
    """Return the Python type: ``str``, ``list[int]``, a pydantic model for a record …"""
    raise NotImplementedError


def input_type(result: Checked) -> Any:
    """Return the Python type of a message for the program's main binding."""
    raise NotImplementedError


def output_type(result: Checked) -> Any:
    """Return the Python type of a message that the program's main binding gives."""
    raise NotImplementedError
