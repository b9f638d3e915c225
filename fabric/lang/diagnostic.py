"""What is wrong with a program, as data, and how it is shown.

Every diagnostic has a stable code. ``E`` is an error, ``W`` a warning; the hundreds are the category. ``CODES`` is
the list of them all. Passes hand what they find to a :class:`Report`; nothing raises.

The text looks like this; carets mark the place, dashes the places that explain it::

    error[E0412]: cannot wire !Verdict to input of type !Draft
       ┌─ review.plumb:14:3
       │
     9 │ let editor : !Draft -> !Draft = agent { }
       │              ------ expected because 'editor' takes !Draft
       ·
    14 │   checker ; editor ; output
       │   ^^^^^^^ 'checker' produces !Verdict (line 7)
       │
       = missing fields: body, title   (Verdict has: verdict, draft)
       = help: did you mean  checker ; map(draft) ; editor ?
       = more: fabric explain E0412
"""

from __future__ import annotations

__all__ = [
    "CODES",
    "SHOWN_MAX",
    "Category",
    "Diagnostic",
    "Report",
    "Severity",
    "check_error",
    "did_you_mean",
    "render_all",
    "render_text",
    "summary",
    "to_json",
]

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Literal, TypeAlias

import msgspec

from fabric.errors import CheckError
from fabric.lang.source import Source, Sources, Span

Severity: TypeAlias = Literal["error", "warning"]
Category: TypeAlias = Literal["parse", "name", "type", "wiring", "protocol", "config"]

CODES: dict[str, tuple[str, Category]] = {
    # code: slug, category
    "E0101": ("syntax_error", "parse"),  # something else was expected here
    "E0102": ("syntax_error", "parse"),  # a character that no token starts with
    "E0103": ("syntax_error", "parse"),  # a string without end
    "E0104": ("syntax_error", "parse"),  # an escape that JSON does not know
    "E0105": ("syntax_error", "parse"),  # a comment without end
    "E0106": ("syntax_error", "parse"),  # a malformed or too large number
    "E0107": ("syntax_error", "parse"),  # a reserved word where a name is expected
    "E0108": ("syntax_error", "parse"),  # nested too deeply
    "W0110": ("legacy_form", "parse"),  # a binding without 'let'
    "W0111": ("legacy_form", "parse"),  # a primitive type with a capital
    "W0112": ("legacy_form", "parse"),  # an agent without '!'
    "E0201": ("unknown_type", "name"),
    "E0202": ("unknown_process", "name"),
    "E0203": ("unknown_port", "name"),
    "E0204": ("unknown_module", "name"),
    "E0205": ("duplicate_name", "name"),
    "E0206": ("no_main", "name"),
    "E0207": ("unknown_module", "name"),  # its file cannot be found or read
    "E0208": ("module_cycle", "name"),
    "W0210": ("naming", "name"),
    "W0211": ("unused_module", "name"),
    "E0401": ("stream_in_data_type", "type"),
    "E0402": ("sum_overlap", "type"),
    "E0403": ("recursive_type", "type"),
    "E0404": ("type_too_large", "type"),
    "E0405": ("bad_signature", "type"),
    "E0410": ("arity_mismatch", "type"),
    "E0412": ("type_mismatch", "type"),
    "E0413": ("expr_type", "type"),
    "E0414": ("unknown_field", "type"),
    "E0415": ("not_lowerable", "type"),
    "E0501": ("unconnected_input", "wiring"),
    "E0502": ("unfed_cycle", "wiring"),
    "E0503": ("duplicate_instance", "wiring"),
    "E0504": ("channel_misuse", "wiring"),
    "E0505": ("unconnected_output", "wiring"),
    "E0506": ("recursive_process", "wiring"),
    "E0507": ("program_too_large", "wiring"),
    "E0508": ("barrier_never_fires", "wiring"),
    "E0509": ("loop_never_drains", "wiring"),
    "W0510": ("unused_input", "wiring"),
    "W0511": ("unused_channel", "wiring"),
    "W0512": ("duplicate_connection", "wiring"),
    "W0513": ("loop_without_exit", "wiring"),
    "W0514": ("unreachable_process", "wiring"),  # no message can come to it
    "W0515": ("unused_process", "wiring"),  # the main process does without it
    "E0601": ("missing_config", "config"),
    "E0602": ("bad_config", "config"),
    "E0603": ("unknown_provider", "config"),
    "E0604": ("unknown_builtin", "config"),
    "E0605": ("tool_misuse", "config"),
    "W0610": ("unknown_config_key", "config"),
    "W0611": ("unknown_control_field", "config"),
    "E0701": ("not_contractive", "protocol"),
    "E0702": ("unknown_protocol", "protocol"),
    "E0703": ("not_dual", "protocol"),
    "E0704": ("protocol_type", "protocol"),  # a port cannot carry a step
    "E0705": ("ambiguous_choice", "protocol"),
    "E0706": ("linearity", "protocol"),
    "E0707": ("bad_wire", "protocol"),
}
"""Slug and category of every code. Codes are never reused (E0901 to E0904 were); a slug may have several."""

SHOWN_MAX = 20
"""So many errors are shown, and as many warnings; nobody reads more before mending the first."""

SUGGESTIONS_MAX = 50
"""After so many diagnostics no more names are compared: a file full of unknown names should still be quick."""

CANDIDATES_MAX = 2_000

TEXT_MAX = 500
"""Characters of a message, a label or a note."""


class Diagnostic(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        code: stable, such as ``E0412``.
        slug: the code in a word, such as ``type_mismatch``.
        message: one line: what is wrong, expected and got.
        label: what to say under the caret.
        related: places that explain it, each with its source and what to say under it.
        notes: lines of more detail.
        help: what to do next.
    """

    code: str
    slug: str
    category: Category
    severity: Severity
    message: str
    source: Source
    span: Span
    label: str = ""
    related: tuple[tuple[Source, Span, str], ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None


class Report:
    """Collects the diagnostics of one program.

    Attributes:
        sources: its files.
        error_count: how many errors were added; it only grows.
    """

    def __init__(self, source: Source) -> None:
        self.sources = Sources(source)
        self.error_count = 0
        self._found: dict[tuple[str, Span, str], Diagnostic] = {}

    def add(
        self,
        code: str,
        span: Span,
        message: str,
        *,
        label: str = "",
        related: Iterable[tuple[Span, str]] = (),
        notes: Iterable[str] = (),
        help: str | None = None,  # noqa: A002  # the word that readers see
    ) -> None:
        """Add a diagnostic; the same one at the same place counts once."""
        message, label, notes = _clipped(message), _clipped(label), map(_clipped, notes)
        slug, category = CODES[code]
        severity: Severity = "warning" if code.startswith("W") else "error"
        self.error_count += severity == "error"
        self._found.setdefault(
            (code, span, message),
            Diagnostic(
                code,
                slug,
                category,
                severity,
                message,
                self.sources.at(span),
                span,
                label,
                tuple((self.sources.at(place), place, _clipped(text)) for place, text in related),
                tuple(notes),
                help and _clipped(help),
            ),
        )

    @property
    def has_errors(self) -> bool:
        """Whether the program is wrong."""
        return self.error_count > 0

    def suggest(self, name: str, candidates: Iterable[str]) -> str | None:
        """Return a help line that names a near miss, if there is one and it is not too late to look."""
        return did_you_mean(name, candidates) if len(self._found) < SUGGESTIONS_MAX else None

    def line(self, span: Span) -> int:
        """Return the number of the line where a span starts, counted from 1."""
        return self.sources.at(span).position(span.start)[0]

    def forget_errors_from(self, offset: int, codes: frozenset[str]) -> None:
        """Drop the errors of some codes at or after a place in the file that was read last: what follows from it."""
        self._found = {
            key: found for key, found in self._found.items() if found.span.start < offset or found.code not in codes
        }

    def forget(self, codes: frozenset[str]) -> None:
        """Drop what was found with these codes; for warnings, since errors stay counted."""
        self._found = {key: found for key, found in self._found.items() if found.code not in codes}

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Return what was found: errors first, each in the order of the text."""
        return tuple(sorted(self._found.values(), key=lambda d: (d.severity, d.span, d.code)))


def _clipped(text: str) -> str:
    """Return a text without its middle if nobody would read it: types can be long."""
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 100]} … {text[-90:]}"


def did_you_mean(name: str, candidates: Iterable[str]) -> str | None:
    """Return ``did you mean 'x'?`` for the nearest candidate, or None."""
    near = [c for c in islice(candidates, CANDIDATES_MAX) if abs(len(c) - len(name)) <= 3]
    lowered = {candidate.lower(): candidate for candidate in near}
    found = difflib.get_close_matches(name.lower(), lowered, 1, 0.6)
    return f"did you mean '{lowered[found[0]]}'?" if found and lowered[found[0]] != name else None


# --- JSON ---------------------------------------------------------------------------------------------------------


def check_error(diagnostics: Sequence[Diagnostic]) -> CheckError:
    """Return what to raise because of these: errors first, and at least one."""
    return CheckError(diagnostics, render_all(diagnostics))


def _place(source: Source, span: Span) -> dict[str, Any]:
    line, column = source.position(span.start)
    end_line, end_column = source.position(span.end)
    return {"file": source.path, "line": line, "column": column, "end_line": end_line, "end_column": end_column}


def to_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """Return a diagnostic as plain JSON values, for editors and CI. Lines and columns count from 1, in characters."""
    return {
        "code": diagnostic.code,
        "slug": diagnostic.slug,
        "category": diagnostic.category,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        **_place(diagnostic.source, diagnostic.span),
        "label": diagnostic.label,
        "related": [{**_place(source, span), "text": text} for source, span, text in diagnostic.related],
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
    }


# --- Text ---------------------------------------------------------------------------------------------------------

_STYLES = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "related": "\x1b[36m",
    "frame": "\x1b[34m",
    "bold": "\x1b[1m",
}
_RESET = "\x1b[0m"
_TAB = "    "
_LINE_MAX = 160
"""Longer lines are cut around the mark, or a minified file would fill the screen."""


class _Mark(msgspec.Struct, frozen=True):
    """What to underline in one line: characters ``start`` to ``end``, counted from 0."""

    line: int
    start: int
    end: int
    style: Literal["error", "warning", "related"]
    label: str


def render_text(diagnostic: Diagnostic, color: bool = False, *, more: bool = False) -> str:
    """Return a diagnostic as lines of text, with ANSI colours if asked for.

    Args:
        more: say where there is more about its code.
    """

    def paint(style: str, text: str) -> str:
        return f"{_STYLES[style]}{text}{_RESET}" if color and text else text

    severity = diagnostic.severity
    marks = {diagnostic.source: list(_marks(diagnostic.source, diagnostic.span, severity, diagnostic.label))}
    for source, span, text in diagnostic.related:
        marks.setdefault(source, []).extend(_marks(source, span, "related", text))
    width = max(2, *(len(str(mark.line)) for in_source in marks.values() for mark in in_source))
    margin = " " * width
    bar = paint("frame", f"{margin} │")
    out = [paint(severity, f"{severity}[{diagnostic.code}]") + paint("bold", f": {_printable(diagnostic.message)}")]
    for source, in_source in marks.items():
        line, column = in_source[0].line, in_source[0].start + 1
        out += [f"{paint('frame', margin + ' ┌─')} {source.path}:{line}:{column}", bar]
        out += _excerpt(source, in_source, width, paint)
    tail = [*diagnostic.notes]
    tail += [f"help: {diagnostic.help}"] if diagnostic.help else []
    tail += [f"more: fabric explain {diagnostic.code}"] if more else []
    if tail:
        out.append(bar)
        out += [f"{paint('frame', margin + ' =')} {_printable(text)}" for text in tail]
    return "\n".join(out)


def _excerpt(source: Source, marks: list[_Mark], width: int, paint: Callable[[str, str], str]) -> list[str]:
    """Return the marked lines of a file, each with what is under it."""
    by_line: dict[int, list[_Mark]] = {}
    for mark in sorted(marks, key=lambda m: (m.line, m.start, m.style == "related")):
        by_line.setdefault(mark.line, []).append(mark)
    margin = " " * width
    bar = paint("frame", f"{margin} │")
    out: list[str] = []
    previous = None
    for number, line_marks in by_line.items():
        if previous is not None and number > previous + 1:
            out.append(paint("frame", f"{margin} ·"))
        previous = number
        text = source.line(number)
        first, last = _window(text, line_marks)
        gutter = paint("frame", f"{number:>{width}} │")
        out.append(f"{gutter} {_cut(text, first, last)}".rstrip())
        for mark in line_marks:
            lead = " " * _columns(_cut(text, first, min(mark.start, last), end_cut=False))
            length = max(1, _columns(_printable(text[mark.start : min(mark.end, last)])))
            sign = "-" if mark.style == "related" else "^"
            under = paint(mark.style, f"{sign * length}{' ' if mark.label else ''}{_printable(mark.label)}")
            out.append(f"{bar} {lead}{under}")
    return out


def _marks(source: Source, span: Span, style: Literal["error", "warning", "related"], label: str) -> tuple[_Mark, ...]:
    """Return the marks of a span: one, or for several lines one at its first and one, with the label, at its last."""
    line, column = source.position(span.start)
    end_line, end_column = source.position(max(span.start, span.end))
    if end_line > line and end_column == 1:  # ends with a line end
        end_line -= 1
        end_column = len(source.line(end_line)) + 1
    if line == end_line:
        return (_Mark(line, column - 1, end_column - 1, style, label),)
    last = source.line(end_line)
    indent = len(last) - len(last.lstrip())
    return (
        _Mark(line, column - 1, len(source.line(line)), style, ""),
        _Mark(end_line, min(indent, end_column - 1), end_column - 1, style, label),
    )


def _window(text: str, marks: Sequence[_Mark]) -> tuple[int, int]:
    """Return which characters of a line to show: all, or for a long one a stretch around its first mark."""
    if len(text) <= _LINE_MAX:
        return 0, len(text)
    first = max(0, min(marks[0].start - _LINE_MAX // 4, len(text) - _LINE_MAX))
    return first, first + _LINE_MAX


def _cut(text: str, first: int, last: int, *, end_cut: bool = True) -> str:
    shown = _printable(text[first:last])
    return ("…" if first else "") + shown + ("…" if end_cut and last < len(text) else "")


def _printable(text: str) -> str:
    """Replace what would move the cursor or reorder the line: tabs by spaces, control signs by pictures."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_picture, text))


def _picture(char: str) -> str:
    if char == "\t":
        return _TAB
    if ord(char) < 32:
        return chr(0x2400 + ord(char))
    return "\ufffd" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char != "\u200d" else char


def _columns(text: str) -> int:
    """Return how many terminal columns a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me") or char == "\u200d"
        else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def summary(diagnostics: Sequence[Diagnostic]) -> str:
    """Return the last line of a check, such as ``1 error, 0 warnings · nothing was started, no tokens spent``."""
    errors = sum(d.severity == "error" for d in diagnostics)
    warnings = len(diagnostics) - errors
    counts = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    return f"{counts} · nothing was started, no tokens spent" if errors else counts


def render_all(diagnostics: Sequence[Diagnostic], color: bool = False, closing: str | None = None) -> str:
    """Return the first :data:`SHOWN_MAX` errors and warnings, counts of the others, and a last line.

    Args:
        closing: the last line; left out, the summary.
    """
    blocks = []
    codes: set[str] = set()  # each is referred to once
    for severity in ("error", "warning"):
        found = [d for d in diagnostics if d.severity == severity]
        for diagnostic in found[:SHOWN_MAX]:
            blocks.append(render_text(diagnostic, color, more=diagnostic.code not in codes) + "\n")
            codes.add(diagnostic.code)
        more = len(found) - SHOWN_MAX
        if more > 0:
            blocks.append(f"… and {more} more {severity}{'s' * (more != 1)}\n")
    return "\n".join([*blocks, summary(diagnostics) if closing is None else closing])
