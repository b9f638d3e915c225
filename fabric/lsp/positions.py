"""Lines and columns as editors count them.

The protocol counts lines and columns from 0, and columns in the units of an encoding: of UTF-16 unless client and
server agree on another. A line ends with ``\\n``, ``\\r\\n`` or ``\\r`` and nothing else. (``str.splitlines`` also ends
one at a form feed and at U+2028, and so does the workspace of pygls, which is why texts are kept here.)
Source: Language Server Protocol 3.17, "Position" and "PositionEncodingKind".
"""

from __future__ import annotations

__all__ = ["UNITS", "Lines", "difference", "edit"]

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping

_LINE_END = re.compile(r"\r\n|\n|\r")


def _utf16(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)


def _utf8(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


UNITS: Mapping[str, Callable[[str], int]] = {"utf-8": _utf8, "utf-16": _utf16, "utf-32": len}
"""How long a text is, by the name of an encoding."""


class Lines:
    """The lines of a text. ``encoding``: one of :data:`UNITS`."""

    def __init__(self, text: str, encoding: str = "utf-16") -> None:
        self._text = text
        self._units = UNITS[encoding]
        ends = list(_LINE_END.finditer(text))
        self._starts = [0, *(end.end() for end in ends)]
        self._ends = [*(end.start() for end in ends), len(text)]

    def offset(self, line: int, column: int) -> int:
        """Return the character that a position is before; one behind the end of its line is at the end of it."""
        if line >= len(self._starts):
            return len(self._text)
        start, end = self._starts[line], self._ends[line]
        content = self._text[start:end]
        if content.isascii():
            return min(start + column, end)
        for i, char in enumerate(content):
            column -= self._units(char)
            if column < 0:
                return start + i
        return end

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of a character."""
        line = bisect_right(self._starts, offset) - 1
        content = self._text[self._starts[line] : min(offset, self._ends[line])]
        return line, len(content) if content.isascii() else self._units(content)


def edit(text: str, start: tuple[int, int], end: tuple[int, int], new: str, encoding: str = "utf-16") -> str:
    """Return a text with what stands between two positions replaced."""
    lines = Lines(text, encoding)
    first, last = lines.offset(*start), lines.offset(*end)
    return text[:first] + new + text[max(first, last) :]


def difference(old: str, new: str) -> tuple[int, int, str]:
    """Return the one stretch in which two texts differ: from, to, and what replaces it. A small edit keeps cursors."""
    limit = min(len(old), len(new))
    start = next((i for i in range(limit) if old[i] != new[i]), limit)
    limit -= start
    back = next((i for i in range(limit) if old[-1 - i] != new[-1 - i]), limit)
    return start, len(old) - back, new[start : len(new) - back]
