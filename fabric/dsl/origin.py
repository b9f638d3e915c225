"""Where in Python an element was built.

A tree that the parser makes has spans of a text. A tree that is built in Python has :class:`Origin` in their place: a
span of nothing that knows a file and a line. So both are the same tree, and what is said of the text can be traced to
the line that built it, by walking the two side by side.
"""

from __future__ import annotations

__all__ = ["HEIGHT_MAX", "NOWHERE", "Immutable", "Origin", "built_within", "fill", "here", "reading_at", "shown"]

import linecache
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar

import msgspec

from fabric.lang.source import Span
from fabric.lang.token_cursor import NESTING_MAX

HEIGHT_MAX = NESTING_MAX + 20
"""Levels of nesting of what is built. The parser counts more exactly, but those who get there recurse before."""

SHOWN_MAX = 100
"""Characters of a line of Python in a diagnostic."""

_PACKAGE = __name__.rpartition(".")[0]
_T = TypeVar("_T")


class Origin(Span, frozen=True, gc=False):
    """The place of a node that was built.

    Attributes:
        path: the Python file as the interpreter names it; empty if nobody knows, as of a constant: then it is where the
            node was put.
        line: counted from 1.
        verbatim: text that stands for the node, as it was given to ``Raw``. Of several nodes of one text the first has
            it, and the others an empty one.
    """

    path: str = ""
    line: int = 0
    verbatim: str | None = None


NOWHERE = Origin(0, 0)

_reading: ContextVar[Origin | None] = ContextVar("reading", default=None)


def here() -> Origin:
    """Return the line that called into this package."""
    if (place := _reading.get()) is not None:
        return place
    frame = sys._getframe(1)
    while (back := frame.f_back) is not None:
        module = frame.f_globals.get("__name__", "")
        if module != _PACKAGE and not module.startswith(f"{_PACKAGE}."):
            break
        frame = back
    return Origin(0, 0, frame.f_code.co_filename, frame.f_lineno)


@contextmanager
def reading_at(place: Origin) -> Iterator[None]:
    """What is built in here was read from a text: that is where it comes from."""
    token = _reading.set(place)
    try:
        yield
    finally:
        _reading.reset(token)


def shown(origin: Origin, *, with_text: bool = True) -> str:
    """Return ``pipeline.py:12: body.wire("checker", …)``, or the place only."""
    path = origin.path
    if os.path.isabs(path) and not (near := os.path.relpath(path)).startswith(os.pardir):
        path = near
    text = linecache.getline(origin.path, origin.line).strip() if with_text else ""
    text = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
    return f"{path}:{origin.line}" + (f": {text}" if text else "")


def built_within(node: _T, origin: Origin) -> _T:
    """Return a tree of the parser with an origin in place of every span."""
    if isinstance(node, Span):
        return origin  # type: ignore[return-value]
    if isinstance(node, msgspec.Struct):
        fields: dict[str, Any] = {name: built_within(getattr(node, name), origin) for name in node.__struct_fields__}
        return type(node)(**fields)
    if isinstance(node, tuple):
        return tuple(built_within(part, origin) for part in node)  # type: ignore[return-value]
    return node


class Immutable:
    """What is built stays as it is: one element may stand in several places. What makes it fills it, with :func:`fill`.

    It has no attribute of a name that a field of a message may have: those of an expression are such fields.
    """

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed: make another one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed: make another one")

    def __copy__(self: _T) -> _T:
        return self

    def __deepcopy__(self: _T, memo: object) -> _T:
        return self


def fill(made: Immutable, **values: object) -> None:
    """Set the attributes of what is being made."""
    for name, value in values.items():
        object.__setattr__(made, name, value)
