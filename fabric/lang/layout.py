"""Pieces of text that know where their lines may break, and how they are written in a given width.

A :class:`Group` is written on one line if it fits, otherwise every :class:`Line` directly in it becomes a line end; the
groups inside it decide again for themselves. Comments that end a line, or stand on one of their own, break the groups
around them. :func:`render` walks with a stack of its own, so nesting costs no recursion.

Source: Wadler, A prettier printer, 2003; Lindig, Strictly Pretty, 2000.
"""

from __future__ import annotations

__all__ = ["BLANK", "LINE", "SOFT", "SPACE", "Choose", "Comment", "Doc", "Group", "Line", "Nest", "group", "render"]

from typing import TypeAlias

import msgspec

INDENT = 2
CLOSE_UP = ("", " ", ",", ")", "]")
"""What stands directly behind a comment."""


class Line(msgspec.Struct, frozen=True):
    """A place where a line may end; ``flat`` stands there if it does not."""

    flat: str


class Choose(msgspec.Struct, frozen=True):
    """One text in a group that is written on one line, another in one that is broken."""

    flat: str
    broken: str


class Blank(msgspec.Struct, frozen=True):
    """An empty line, if a line ends here anyway."""


class Comment(msgspec.Struct, frozen=True):
    """One or several comments that stand together on a line.

    Attributes:
        lines: their text.
        column: where they began in the source if that was the first thing on its line: then the lines behind the first
            keep their place relative to it. Otherwise None.
        begins_line: nothing stood before it on its line.
        ends_line: nothing stands behind it on its line.
        blank: an empty line goes before it.
    """

    lines: tuple[str, ...]
    column: int | None
    begins_line: bool
    ends_line: bool
    blank: bool

    @property
    def stands_alone(self) -> bool:
        """Say whether it has lines of its own."""
        return self.begins_line and self.ends_line


class Nest(msgspec.Struct, frozen=True):
    """Lines that begin in here are indented one step more."""

    of: Doc


class Group(msgspec.Struct, frozen=True):
    """On one line if it fits and need not be broken."""

    of: Doc
    broken: bool


Doc: TypeAlias = "str | Line | Choose | Blank | Comment | Nest | Group | tuple[Doc, ...]"
"""A text has no line ends, but for those in strings, and no spaces around it; :data:`SPACE` is a space."""

SPACE = " "
LINE = Line(" ")
SOFT = Line("")
BLANK = Blank()


def group(*of: Doc, broken: bool = False) -> Group:
    """Return a group. ``broken``: it is, whether it fits or not."""
    return Group(of, broken or _has_to_break(of))


def _has_to_break(doc: Doc) -> bool:
    match doc:
        case tuple():
            return any(map(_has_to_break, doc))
        case Nest(of):
            return _has_to_break(of)
        case Group(_, broken):
            return broken
        case Comment(lines):
            return doc.ends_line or len(lines) > 1
    return False


_Work: TypeAlias = list[tuple[int, bool, Doc]]
"""What is still to be written, the next last: indentation, whether on one line, what."""


def render(doc: Doc, width: int) -> str:
    """Return the text, with a line end behind its last line."""
    out = _Writer()
    work: _Work = [(0, False, doc)]
    while work:
        indent, flat, doc = work.pop()
        match doc:
            case str():
                out.text(doc, indent)
            case tuple():
                work.extend((indent, flat, part) for part in reversed(doc))
            case Nest(of):
                work.append((indent + INDENT, flat, of))
            case Group(of, broken):
                fits = flat or (not broken and _fits(of, work, width - out.reached(indent), width))
                work.append((indent, fits, of))
            case Line(text) if flat:
                out.text(text, indent)
            case Line():
                out.end_line()
            case Choose(text, other):
                out.text(text if flat else other, indent)
            case Blank():
                out.blank()
            case Comment():
                out.comment(doc, indent)
    return out.finish()


def _fits(doc: Doc, rest: _Work, room: int, width: int) -> bool:
    """Say whether something fits into the room on this line, with what comes behind it up to where a line may end."""
    work: list[tuple[bool, Doc]] = [(True, doc)]
    left = len(rest)
    behind_comment = False
    while room >= 0:
        if not work:
            if left == 0:
                return True
            left -= 1
            work.append(rest[left][1:])
        flat, doc = work.pop()
        match doc:
            case str():
                first, *others = doc.split("\n")
                room -= len(first) + (behind_comment and doc[:1] not in CLOSE_UP)
                behind_comment = False
                if others and room >= 0:
                    room = width - len(others[-1])
            case tuple():
                work.extend((flat, part) for part in reversed(doc))
            case Nest(of) | Group(of):
                work.append((flat, of))
            case Line(text):
                if not flat:
                    return True
                room -= len(text)
            case Choose(text, other):
                room -= len(text if flat else other)
            case Comment(lines):
                if doc.ends_line or len(lines) > 1:
                    return doc.stands_alone or len(lines[0]) < room
                room -= len(lines[0]) + 1
                behind_comment = True
    return False


class _Writer:
    """The text so far. Spaces and line ends are held back until something comes behind them."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._column = 0
        self._at_start = True
        self._space = False
        self._behind_comment = False
        self._has_to_end = False
        self._has_blank = True  # there is none at the start of the text

    def reached(self, indent: int) -> int:
        """Return the column at which the next text would stand."""
        return indent if self._at_start or self._has_to_end else self._column + self._space

    def text(self, text: str, indent: int) -> None:
        if not text:
            return
        if text == SPACE:
            self._space = True
            return
        if self._has_to_end:
            self.end_line()
        if self._at_start:
            self._put(" " * indent)
        elif self._space or (self._behind_comment and text[0] not in CLOSE_UP):
            self._put(" ")
        self._put(text)
        self._at_start = self._space = self._behind_comment = self._has_blank = False

    def _put(self, text: str) -> None:
        self._out.append(text)
        self._column = len(text) - text.rindex("\n") - 1 if "\n" in text else self._column + len(text)

    def end_line(self) -> None:
        self._out.append("\n")
        self._column = 0
        self._at_start = True
        self._space = self._behind_comment = self._has_to_end = False

    def blank(self) -> None:
        if self._has_to_end:
            self.end_line()
        if self._at_start and not self._has_blank:
            self._out.append("\n")
            self._has_blank = True

    def comment(self, comment: Comment, indent: int) -> None:
        if comment.stands_alone and not self._at_start:
            self.end_line()
        if comment.blank:
            self.blank()
        begins_line = self._at_start or self._has_to_end
        self._space = True
        self.text(comment.lines[0], indent)
        shift = indent - comment.column if begins_line and comment.column is not None else 0
        for line in comment.lines[1:]:
            bare = line.lstrip(" ")
            self._put("\n" + (" " * max(0, len(line) - len(bare) + shift) + bare if bare else ""))
        self._behind_comment = True
        self._has_to_end = comment.ends_line

    def finish(self) -> str:
        if not self._at_start:
            self.end_line()
        return "".join(self._out)
