"""The sessions of a bucket as a tree: forks, and the handlers of a run, below what they are of. Pure."""

from __future__ import annotations

__all__ = ["SessionRow", "render_sessions", "row_of_json"]

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fabric.cli.entry_lines import escape
from fabric.cli.listing import align, clip, duration

_HEADINGS = ("SESSION", "STATUS", "ENTRIES", "AGE", "OF")

_STATUS_MAX = 48


class SessionRow(NamedTuple):
    """One session.

    Attributes:
        id: of it.
        parent: the session that it was forked from, or the run that its handler is in; empty: none.
        status: in a word: ``ready``, ``paused``, …
        detail: more of it, for people.
        entries: its own.
        created: seconds since 1970.
        of: its agent; of a run its program.
        current: whether it is meant where none is named.
    """

    id: str
    parent: str
    status: str
    detail: str
    entries: int | None
    created: float
    of: str = ""
    current: bool = False


def row_of_json(row: SessionRow) -> dict[str, Any]:
    """Return a session as a JSON object; empty fields are left out."""
    fields = {"v": 1, **row._asdict()}
    return {name: value for name, value in fields.items() if value not in (None, "") and value is not False}


def render_sessions(rows: Iterable[SessionRow], now: float, columns: int | None = None) -> list[str]:
    """Return a line of headings, and one for each session, the oldest first and children below their parents.

    Args:
        rows: in any order; a parent may be missing.
        now: seconds since 1970.
        columns: of the terminal: wider lines are cut; ``None``: all is shown.
    """
    known = {row.id: row for row in sorted(rows, key=lambda row: (row.created, row.id))}
    below: dict[str, list[SessionRow]] = {}
    for row in known.values():
        below.setdefault(row.parent if row.parent in known else "", []).append(row)
    table = [_HEADINGS, *_tree(below[""] if below else (), below, now)]
    return [clip(line, columns) for line in align(table)]


def _tree(
    rows: Sequence[SessionRow], below: Mapping[str, Sequence[SessionRow]], now: float
) -> Iterator[tuple[str, ...]]:
    """Yield the cells of sessions and of what is below them. Chains of forks may be longer than a stack is deep."""
    waiting = [(row, "", "") for row in reversed(rows)]
    while waiting:
        row, before, sign = waiting.pop()
        yield (f"{before}{sign}{escape(row.id)}{' *' * row.current}", *_cells(row, now))
        inner = before + {"": "", "├─ ": "│  ", "└─ ": "   "}[sign]
        children = below.get(row.id, ())
        waiting += [(child, inner, "├─ " if number else "└─ ") for number, child in enumerate(reversed(children))]


def _cells(row: SessionRow, now: float) -> tuple[str, ...]:
    status = f"{row.status}: {row.detail}" if row.detail else row.status
    entries = "-" if row.entries is None else str(row.entries)
    return clip(escape(status), _STATUS_MAX), entries, duration(max(0.0, now - row.created)), escape(row.of)
