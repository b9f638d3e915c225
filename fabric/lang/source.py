"""Program texts and places in them.

The files of a program lie side by side in one space of offsets, so that a span alone says in which file it is.
Source: ``go/token``'s FileSet.
"""

from __future__ import annotations

__all__ = ["Source", "Sources", "Span"]

from bisect import bisect_right
from functools import cached_property

import msgspec


class Span(msgspec.Struct, frozen=True, order=True, gc=False):
    """A stretch of a source text: character offsets, ``start`` included, ``end`` excluded."""

    start: int
    end: int


class Source:
    """One file's text.

    Args:
        path: as the user named it; printed in diagnostics.
        text: the whole text.
        start: offset of its first character; see :class:`Sources`.
    """

    def __init__(self, path: str, text: str, start: int = 0) -> None:
        self.path = path
        self.text = text
        self.start = start

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, char in enumerate(self.text) if char == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, both counted from 1, columns in characters."""
        local = offset - self.start
        line = bisect_right(self._line_starts, local)
        return line, local - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return a line, counted from 1, without its line end."""
        start = self._line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")

    @property
    def end(self) -> Span:
        """The place behind the last character."""
        end = self.start + len(self.text)
        return Span(end, end)


class Sources:
    """The files of a program, the main one first."""

    def __init__(self, main: Source) -> None:
        self.main = main
        self._sources = [main]

    def open(self, path: str, text: str) -> Source:
        """Add a file behind the others."""
        self._sources.append(Source(path, text, self._sources[-1].end.start + 1))
        return self._sources[-1]

    @property
    def files(self) -> tuple[Source, ...]:
        """All of them, in the order in which they were opened."""
        return tuple(self._sources)

    @property
    def paths(self) -> tuple[str, ...]:
        """Their paths, as they are shown."""
        return tuple(source.path for source in self._sources)

    def at(self, span: Span) -> Source:
        """Return the file that a span is in."""
        return self._sources[bisect_right(self._sources, span.start, key=lambda source: source.start) - 1]
