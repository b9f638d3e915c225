"""Program text among what is built."""

from __future__ import annotations

__all__ = ["Raw", "nodes_of", "spoken_by_first"]

from typing import Any

import msgspec

from fabric.dsl.origin import Immutable, Origin, built_within, fill, here, shown
from fabric.lang.diagnostic import Report, check_error
from fabric.lang.lexer import tokenize
from fabric.lang.parser import Part, parse, read_part
from fabric.lang.source import Source


class Raw(Immutable):
    """Text of the language, wherever something may stand: a type, a part of a chain, an expression, an implementation.

    It is read where it is put, so a mistake in it is an error there, and it cannot reach further than its place.

    Raises:
        CheckError: where it is put: it is not what belongs there.
    """

    __slots__ = ("origin", "text")

    text: str
    origin: Origin

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"Raw takes a str, got {type(text).__name__}")
        fill(self, text=text, origin=here())

    def __repr__(self) -> str:
        return f"Raw({self.text!r})"


def nodes_of(raw: Raw, part: Part | None) -> tuple[Any, ...]:
    """Return what the parser makes of it, built where the ``Raw`` was.

    Args:
        part: what it has to be; None for declarations.

    Raises:
        CheckError: it is not that.
    """
    source = Source(f"<Raw at {shown(raw.origin, with_text=False)}>", raw.text)
    report = Report(source)
    nodes = parse(source, report).declarations if part is None else read_part(source, part, report)
    if not nodes and not report.has_errors:
        report.add("E0101", source.end, "expected a declaration, found none", help="comments alone cannot be kept")
    if report.has_errors:
        raise check_error(report.diagnostics())
    built = tuple(built_within(node, raw.origin) for node in nodes)
    text = _without_first_bar(source) if part == "type" else raw.text
    return spoken_by_first(built, msgspec.structs.replace(raw.origin, verbatim=text))


def spoken_by_first(nodes: tuple[Any, ...], origin: Origin) -> tuple[Any, ...]:
    """Return nodes of one text, of which the first has that text and the others have none."""
    silent = msgspec.structs.replace(origin, verbatim="")
    return tuple(msgspec.structs.replace(node, span=silent if i else origin) for i, node in enumerate(nodes))


def _without_first_bar(source: Source) -> str:
    """Leave out the bar before the first variant of a sum: it means nothing, and may stand at the start only."""
    first = tokenize(source, Report(source)).tokens[0]
    if first.kind != "|":
        return source.text
    return f"{source.text[: first.span.start]} {source.text[first.span.end :]}"
