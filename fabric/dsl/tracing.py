"""From a place in the rendered text to the line of Python that built what stands there."""

from __future__ import annotations

__all__ = ["BuiltCheckError", "Place", "traced"]

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from fabric.dsl.origin import NOWHERE, Origin, shown
from fabric.errors import CheckError
from fabric.lang import syntax
from fabric.lang.diagnostic import Diagnostic, Report, render_all
from fabric.lang.parser import parse
from fabric.lang.source import Source, Span


class Place(msgspec.Struct, frozen=True):
    """A line of Python. ``line`` counts from 1."""

    path: str
    line: int


class BuiltCheckError(CheckError):
    """A program that was built in Python does not check.

    Its text shows each place in the rendered program, and the line of Python that built it.

    Attributes:
        origins: for each of ``diagnostics`` the line that built what it is about; ``None`` if that is nothing which was
            built, such as a mistake in a file that the program uses.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic], origins: Sequence[Place | None]) -> None:
        super().__init__(diagnostics, render_all(diagnostics))
        self.origins: tuple[Place | None, ...] = tuple(origins)


def traced(
    diagnostics: Sequence[Diagnostic], tree: syntax.Program, source: Source
) -> tuple[tuple[Diagnostic, ...], tuple[Place | None, ...]]:
    """Return the diagnostics with a note each that says where in Python it was built, and these places.

    Files of one program share a space of offsets: no place of another file is one of the tree's.

    Args:
        tree: what was built.
        source: the text that was made of it.
    """
    if not diagnostics:
        return (), ()
    places = list(_places(tree, parse(source, Report(source)), NOWHERE))
    noted: list[Diagnostic] = []
    found: list[Place | None] = []
    for diagnostic in diagnostics:
        origin = _innermost(places, diagnostic.span)
        if origin.path:
            diagnostic = msgspec.structs.replace(diagnostic, notes=(*diagnostic.notes, f"built at {shown(origin)}"))
        noted.append(diagnostic)
        found.append(Place(origin.path, origin.line) if origin.path else None)
    return tuple(noted), tuple(found)


def _places(built: Any, read: Any, around: Origin) -> Iterator[tuple[Span, Origin]]:
    """Walk two trees that are the same but for their spans: give those of the text, with those of Python."""
    if isinstance(built, msgspec.Struct) and not isinstance(built, Span):
        span = getattr(built, "span", NOWHERE)
        around = span if isinstance(span, Origin) and span.path else around
        if isinstance(built, syntax.Program):
            yield from _places(built.declarations, read.declarations, around)
            return
        if hasattr(read, "span"):
            yield read.span, around
        for name in built.__struct_fields__:
            yield from _places(getattr(built, name), getattr(read, name), around)
    elif isinstance(built, tuple):
        for one, other in zip(built, read, strict=True):
            yield from _places(one, other, around)


def _innermost(places: list[tuple[Span, Origin]], wanted: Span) -> Origin:
    """Return the place of the smallest node that covers a span; of several as small, the innermost."""
    best, size = NOWHERE, -1
    for span, origin in places:
        if span.start <= wanted.start and wanted.end <= span.end and (size < 0 or span.end - span.start <= size):
            best, size = origin, span.end - span.start
    return best
