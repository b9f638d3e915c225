"""How commands print errors, notes and progress, always on stderr: words for people, JSON lines for programs."""

from __future__ import annotations

__all__ = ["JsonReport", "TextReport", "exit_code_of", "print_error", "print_losses", "use_color"]

import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from fabric.errors import FabricError, ProgramError, sole
from fabric.lang.diagnostic import render_all
from fabric.session.events import LossReport, Note
from fabric.wire.payload import encode_json, to_plain

_RANK = {"debug": 0, "info": 1, "warning": 2, "error": 3}


def use_color() -> bool:
    """Whether stderr is a terminal that wants colors. See no-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_error(message: str, code: str, fields: Mapping[str, object] | None = None) -> None:
    """Write ``{"error": …, "code": …}``."""
    _line(encode_json({"error": message, "code": code, **(fields or {})}).decode())


def print_losses(losses: LossReport) -> None:
    """Write the loss report, if anything was lost, dead-lettered or left without a partner."""
    if losses != LossReport():
        _line(encode_json(to_plain(losses)).decode())


def exit_code_of(error: BaseException) -> int:
    """Print an error that ended a command, and return what to exit with."""
    found = sole(error)
    match found:
        case ProgramError(diagnostics=diagnostics):
            _line(render_all(diagnostics, color=use_color()))
            return found.exit_code
        case FabricError():
            print_error(str(found), found.code)
            return found.exit_code
        case KeyboardInterrupt():
            return 130
    traceback.print_exception(error)
    print_error(
        f"{type(found).__name__}: {found}. This is a bug; please report it with the lines above.", "internal_error"
    )
    return 70


class JsonReport:
    """JSON lines.

    Args:
        level: the lowest level of notes that is written.
    """

    def __init__(self, level: str) -> None:
        self._rank = _RANK[level]

    def error(self, message: str, code: str, fields: Mapping[str, object]) -> None:
        """Write an error line."""
        print_error(message, code, fields)

    def noted(self, note: Note) -> None:
        """Write a log line."""
        if _RANK[note.level] >= self._rank and note.event != "session.failed":
            _line(encode_json({"log": note.level, "event": note.event, **_printable(note.fields)}).decode())

    def worker_wrote(self, worker: str, line: str) -> None:
        """Pass a worker's line on as it is: it is JSON already, or text for people."""
        _line(line)


class TextReport:
    """Lines for people, each with the name of what it is about in front."""

    def __init__(self, level: str) -> None:
        self._rank = _RANK[level]

    def error(self, message: str, code: str, fields: Mapping[str, object]) -> None:
        """Write an error line."""
        print_error(message, code, fields)

    def noted(self, note: Note) -> None:
        """Write what a note says."""
        if _RANK[note.level] >= self._rank and note.event != "session.failed":
            fields = _printable(note.fields)
            name = fields.pop("worker", "fabric")
            _line(f"{name} | {note.event}" + "".join(f" {key}={value}" for key, value in fields.items()))

    def worker_wrote(self, worker: str, line: str) -> None:
        """Write a worker's line under its name."""
        _line(f"{worker} | {line}")


def _printable(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value.decode(errors="replace") if isinstance(value, bytes) else value for key, value in fields.items()}
