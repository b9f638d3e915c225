"""How much templates may ask for: rounds of loops, characters, memory. What would be too much is refused beforehand.

A value is weighed before it becomes a text: a list may have itself in it a hundred times over, and be small in memory.
What is in it twice is looked at once.
"""

from __future__ import annotations

__all__ = [
    "CHARS_MAX", "MADE_MAX", "NUMBER_MAX", "ROUNDS_MAX", "Refused", "Rendering", "check_bits", "check_numbers",
    "check_percent", "check_size", "check_text", "count_of", "joined", "nodes_of", "rendering", "size_of",
]  # fmt: skip

import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import msgspec
from jinja2.utils import Namespace
from pydantic import BaseModel

from fabric.pipelines.results import StepResult

ROUNDS_MAX: Final = 1_000_000
"""Rounds of all loops of a text, and what takes as long: a second or two."""

CHARS_MAX: Final = 32 * 2**20
"""Of a text, and of each part of one. No model reads a tenth of it."""

MADE_MAX: Final = 512 * 2**20
"""Bytes of all texts and lists that are made on the way to one text."""

NUMBER_MAX: Final = 1_000_000
"""For widths, counts and indents."""

_BITS_MAX = 10_000
_CHARS_OF_ELEMENT = 8  # of a list: what it takes in memory
_CHARS_OF_LEAF = 32  # of what has no parts that we know: a date, say
_NODES_OF_ROUND = 32  # so many parts of a value are compared while a loop goes round
_PERCENT = re.compile(r"%(?:\([^()]*(\()?[^()]*\))?[-#0 +]*(\*|\d*)(?:\.(\*|\d*))?")


class Refused(Exception):
    """A template does what it must not, or asks for too much."""


@dataclass
class Rendering:
    """A text that is being made.

    Attributes:
        steps: what is done so far; ``None``: templates are not those of a run.
        rounds: of loops, and what takes as long, until now.
        made: bytes of texts and lists until now.
    """

    steps: Mapping[str, StepResult] | None = None
    rounds: int = 0
    made: int = 0

    def count(self, rounds: int) -> None:
        """Note a round of a loop, or what takes as long as some.

        Raises:
            Refused: there were too many.
        """
        self.rounds += rounds
        if self.rounds > ROUNDS_MAX:
            raise Refused(f"more than {ROUNDS_MAX:,} rounds of loops, or what takes as long")

    def counted(self, iterable: Iterable[Any]) -> Iterator[Any]:
        """Yield what a loop goes over."""
        for element in iterable:
            self.count(1)
            yield element

    def compare(self, value: Any, times: int = 1) -> None:
        """Note that a value is compared so many times: with whatever, that takes no longer than its parts say."""
        self.count(nodes_of(value) * times // _NODES_OF_ROUND)

    def search(self, value: Any, many: Any) -> None:
        """Note that a value is looked for."""
        if isinstance(many, str | bytes):
            self.count(len(many) >> 12)
        elif isinstance(many, Mapping | Set):
            self.compare(value)
        elif isinstance(many, Sequence) and not isinstance(many, range):
            self.compare(value, len(many))

    def take(self, size: int) -> None:
        """Note memory that is taken.

        Raises:
            Refused: it is too much.
        """
        self.made += size
        if self.made > MADE_MAX:
            raise Refused(f"texts and lists of more than {MADE_MAX:,} bytes on the way")

    def made_of(self, value: Any) -> Any:
        """Return what was made, measured.

        Raises:
            Refused: it is too long, or too much was made.
        """
        if isinstance(value, str | bytes | list | tuple):
            check_size(size_of(value))
            self.take(sys.getsizeof(value))
        return value


rendering: ContextVar[Rendering] = ContextVar("rendering")


def joined(parts: Iterable[str]) -> str:
    """Return texts one after the other.

    Raises:
        Refused: that is too long.
    """
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        check_size(size)
        kept.append(part)
    rendering.get().take(size)
    return "".join(kept)


def check_text(value: Any) -> int:
    """Return how many parts a value has, if its text, or its JSON, is not too long.

    Raises:
        Refused: it is.
    """
    if isinstance(value, str | bytes):
        check_size(len(value))
        return 1
    chars, nodes = _Scale(CHARS_MAX).weigh(value)
    check_size(chars)
    return nodes


def nodes_of(value: Any) -> int:
    """Return how many parts a value has, each as often as it is in it."""
    return 1 if isinstance(value, str | bytes | int | float | None) else _Scale(None).weigh(value)[1]


class _Scale:
    """Weighs one value.

    Args:
        chars_max: to stop at.
    """

    def __init__(self, chars_max: int | None) -> None:
        self._chars_max = chars_max
        self._known: dict[int, tuple[int, int, Any]] = {}  # with the value, so that no other one gets its id
        self._rendering = rendering.get()

    def weigh(self, value: Any) -> tuple[int, int]:
        """Return about how many characters and how many parts a value has."""
        if isinstance(value, str):
            return len(value) + 2, 1
        if isinstance(value, bytes | bytearray):
            return 4 * len(value) + 3, 1
        if isinstance(value, int):
            return value.bit_length() // 3 + 2, 1
        parts = _parts(value)
        if parts is None:
            return _CHARS_OF_LEAF, 1
        known = self._known.get(id(value))
        if known is None:
            self._known[id(value)] = (5, 1, value)  # if it is in itself, Python writes dots
            known = self._known[id(value)] = (*self._whole(parts), value)
        return known[0], known[1]

    def _whole(self, parts: Iterable[Any]) -> tuple[int, int]:
        chars, nodes, number = 2, 1, 0
        for part in parts:
            number += 1
            more, inner = self.weigh(part)
            chars += more + 2
            nodes += inner
            if self._chars_max is not None and chars > self._chars_max:
                break
        self._rendering.count(number >> 4)
        return chars, nodes


def _parts(value: Any) -> Iterable[Any] | None:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Mapping):
        return chain(value.keys(), value.values())
    if isinstance(value, BaseModel):
        return _parts({**value.__dict__, **(value.__pydantic_extra__ or {})})
    if isinstance(value, float | range | type | None):
        return None
    if isinstance(value, Sequence | Set | ValuesView):
        return value
    if isinstance(value, Namespace):
        return _parts(object.__getattribute__(value, "_Namespace__attrs"))
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return None


def check_percent(text: str, values: Any) -> None:
    """Refuse what ``%`` gives if it is too long."""
    size, places = len(text), 0
    for found in _PERCENT.finditer(text):
        opened, *widths = found.groups()
        if opened or "*" in widths:
            raise Refused(f"a width of more than {NUMBER_MAX:,}, or one that is not written, in {text[:80]!r}")
        places += 1
        size += _width(widths[0] or "0") + _width(widths[1] or "0")
    check_size(size)
    if isinstance(values, tuple):
        check_text(values)
    else:
        each = values.values() if isinstance(values, Mapping) else [values]
        check_size(size + places * max((_Scale(CHARS_MAX).weigh(value)[0] for value in each), default=0))


def _width(digits: str) -> int:
    if len(digits) > 6:
        raise Refused(f"a width of more than {NUMBER_MAX:,}")
    return int(digits)


def check_numbers(values: Iterable[Any], most: int = NUMBER_MAX) -> None:
    """Refuse widths and counts."""
    for value in values:
        if isinstance(value, int) and abs(value) > most:
            raise Refused(f"a width or count of {value.bit_length()} bits; at most {most:,} is allowed")


def check_size(size: int) -> None:
    """Refuse what is too long."""
    if size > CHARS_MAX:
        raise Refused(f"a text or list of more than {CHARS_MAX:,} characters or elements")


def check_bits(bits: int) -> None:
    """Refuse numbers that are too long."""
    if bits > _BITS_MAX:
        raise Refused(f"a number of more than {_BITS_MAX:,} bits")


def size_of(value: Any) -> int:
    """Return how long a text is, or a list alone."""
    if isinstance(value, str | bytes):
        return len(value)
    return len(value) * _CHARS_OF_ELEMENT if isinstance(value, list | tuple) else 0


def count_of(value: Any) -> int:
    """Return how often a number repeats something."""
    return max(value, 0) if isinstance(value, int) else 0
