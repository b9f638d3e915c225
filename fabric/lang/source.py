"""Program text and places in it."""

from __future__ import annotations

__all__ = ["Source", "Span"]

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
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, char in enumerate(self.text) if char == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, both counted from 1, columns in characters."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return a line, counted from 1, without its line end."""
        start = self._line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")
