"""All that is wrong with the files of a pipeline, collected while they are read."""

from __future__ import annotations

__all__ = ["Place", "Problems", "near"]

import difflib
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.nodes import Scalar
from fabric.pipelines.spec import Mark

# Nobody mends more at once; each costs a search for what was meant.
_ERRORS_MAX = 100
_WARNINGS_MAX = 200

# As far apart as a typing error may be: the threshold that users know from Python's own suggestions.
_CUTOFF = 0.6
# Comparing is slow: of more names only those that begin alike are looked at.
_COMPARED_MAX = 300
_CHARS_COMPARED_MAX = 100
# Of a value in a message.
_CHARS_SHOWN = (80, 40)


class _Placed(Protocol):
    @property
    def line(self) -> int | None: ...

    @property
    def column(self) -> int | None: ...


class Place(msgspec.Struct, frozen=True):
    """A place in the file that is read, counted from 1."""

    line: int | None = None
    column: int | None = None


class Problems:
    """What was found so far.

    Args:
        file: the path of the pipeline's file, as it was given.

    Attributes:
        errors: in the order in which they were found.
        warnings: a line each.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.errors: list[PipelineLoadError] = []
        self.warnings: list[str] = []

    def error(
        self,
        kind: type[PipelineLoadError],
        message: str,
        place: _Placed | None = None,
        key_path: str = "",
        suggestion: str | None = None,
        file: str | None = None,
    ) -> None:
        """Remember an error; ``file`` is another one than the pipeline's. So many of them are raised at once."""
        # What stands in no file has line 0: model_overrides, say.
        line, column = (None, None) if place is None else (place.line or None, place.column or None)
        message = _as_written(message, place)
        self.errors.append(kind(message, file or self.file, line, column, key_path, suggestion))
        if len(self.errors) >= _ERRORS_MAX:
            self.errors.append(PipelineLoadError(f"there is more; the first {_ERRORS_MAX} are shown", self.file))
            self.raise_if_any()

    def warn(
        self,
        message: str,
        place: _Placed | None = None,
        key_path: str = "",
        suggestion: str | None = None,
        file: str | None = None,
    ) -> None:
        """Remember a warning."""
        parts = [file or self.file, *([] if place is None else [place.line, place.column])]
        where = ":".join(str(part) for part in parts if part)
        message = _as_written(message, place)
        text = f"{where}: {key_path}: {message}" if key_path else f"{where}: {message}"
        if len(self.warnings) < _WARNINGS_MAX:
            self.warnings.append(text if suggestion is None else f"{text}; did you mean {suggestion!r}?")
        elif len(self.warnings) == _WARNINGS_MAX:
            self.warnings.append(f"{self.file}: there is more; the first {_WARNINGS_MAX} are shown")

    def mark(self, place: _Placed, key_path: str = "") -> Mark:
        """Return a place of this file."""
        return Mark(self.file, place.line, place.column, key_path)

    def raise_if_any(self) -> None:
        """Raise the first error, with all of them."""
        if self.errors:
            first = self.errors[0]
            first.problems = tuple(self.errors)
            raise first


def _as_written(message: str, place: object) -> str:
    """Return a message about a value into which variables were put with the value as it is written.

    They may be secrets, and messages end in logs.
    """
    if not isinstance(place, Scalar) or not place.expanded or not isinstance(place.value, str):
        return message
    value, text = place.value.strip(), place.text.strip()
    for said, written in ((value, text), (_inside(value), _inside(text))):
        # Messages cut what is long.
        for chars in (len(said), *_CHARS_SHOWN):
            if said[:chars] and said[:chars] in message:
                return message.replace(said[:chars], written)
    return message


def _inside(text: str) -> str:
    return text.removeprefix("{{").removesuffix("}}").strip()


def near(word: Any, known: Iterable[Any]) -> str | None:
    """Return which of the known names was meant, perhaps."""
    text = str(word)
    names = [str(name) for name in known]
    if len(names) > _COMPARED_MAX:
        names = [name for name in names if name[:1] == text[:1]][:_COMPARED_MAX]
    found = difflib.get_close_matches(text[:_CHARS_COMPARED_MAX], names, 1, _CUTOFF)
    return found[0] if found else None
