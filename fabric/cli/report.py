"""How commands print errors, notes and progress, always on stderr: words for people, JSON lines for programs."""

from __future__ import annotations

__all__ = [
    "AnswerPrinter",
    "JsonReport",
    "Progress",
    "TextReport",
    "count_of",
    "exit_code_of",
    "print_error",
    "print_line",
    "print_losses",
    "use_color",
]

import errno
import os
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fabric import __version__
from fabric.errors import FabricError, OutputClosed, ProgramError, sole
from fabric.lang.diagnostic import render_all
from fabric.plan.plan import Plan
from fabric.session.events import Finish, LossReport, Note
from fabric.wire.lines import DATA, write_line
from fabric.wire.payload import encode_json, to_plain

_RANK = {"debug": 0, "info": 1, "warning": 2, "error": 3}


def use_color() -> bool:
    """Whether stderr is a terminal that wants colors. See no-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()


def print_line(text: str) -> None:
    """Write a line to stderr. Nobody may be there to read it, or no room: that must not keep a session from ending."""
    with suppress(OSError):
        os.write(2, text.encode(errors="replace") + b"\n")


def print_error(message: str, code: str, fields: Mapping[str, object] | None = None) -> None:
    """Write ``{"error": …, "code": …}``."""
    print_line(encode_json({"error": message, "code": code, **(fields or {})}).decode())


def print_losses(losses: LossReport) -> None:
    """Write the loss report, if anything was lost, dead-lettered or left without a partner."""
    if losses != LossReport():
        print_line(encode_json(to_plain(losses)).decode())


def exit_code_of(error: BaseException) -> int:
    """Print an error that ended a command, and return what to exit with."""
    found = sole(error)
    match found:
        case BrokenPipeError() | OSError(errno=errno.ENOSPC):
            print_error(f"cannot write the output: {found.strerror}", OutputClosed.code)
            return OutputClosed.exit_code
        case ProgramError(diagnostics=diagnostics):
            print_line(render_all(diagnostics, color=use_color()))
            return found.exit_code
        case FabricError():
            print_error(str(found), found.code)
            return found.exit_code
        case KeyboardInterrupt():
            return 130
    print_line("".join(traceback.format_exception(error)))
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
            print_line(encode_json({"log": note.level, "event": note.event, **_printable(note.fields)}).decode())

    def worker_wrote(self, worker: str, line: str) -> None:
        """Pass a worker's line on as it is: it is JSON already, or text for people."""
        print_line(line)


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
            print_line(f"{name} | {note.event}" + "".join(f" {key}={value}" for key, value in fields.items()))

    def worker_wrote(self, worker: str, line: str) -> None:
        """Write a worker's line under its name."""
        print_line(f"{worker} | {line}")


def _printable(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value.decode(errors="replace") if isinstance(value, bytes) else value for key, value in fields.items()}


class Progress(TextReport):
    """What `up` prints."""

    def __init__(self, plan: Plan, started_s: float, level: str) -> None:
        super().__init__(level)
        self._plan = plan
        self._started_s = time.monotonic()
        self._stopping_s = self._started_s
        self._pids: dict[str, int] = {}
        self._width = max((len(worker.name) for worker in plan.workers), default=0)
        loops = sum(component.loop for component in plan.components)
        parts = [count_of(len(plan.workers), "worker"), count_of(len(plan.graph.channels), "channel")]
        parts += [count_of(loops, "feedback loop")] if loops else []
        checked_ms = (self._started_s - started_s) * 1000
        print_line(
            f"fabric {__version__} · {Path(plan.path).name} · {', '.join(parts)} · checked in {checked_ms:.0f} ms"
        )

    def noted(self, note: Note) -> None:
        """Print a worker's start as progress, other notes as lines."""
        name = str(note.fields.get("worker", ""))
        if note.event == "worker.spawned":
            self._pids[name] = note.fields["pid"]
        elif note.event == "worker.ready":
            spec = next(worker.spec for worker in self._plan.workers if worker.name == name)
            kind = "/".join(str(spec.config[key]) for key in ("provider", "model") if key in spec.config)
            what = kind or str(spec.config.get("call") or " ".join(spec.config.get("command", ())))
            took_s = time.monotonic() - self._started_s
            print_line(f" ✔ {name:{self._width}}  {what}  ready  {took_s:.2f}s  pid {self._pids.get(name)}")
        else:
            super().noted(note)

    def opened(self) -> None:
        """Every worker is ready."""
        print_line("ready · fabric send talks to it · Ctrl-C drains, twice stops")

    def asked_to_stop(self) -> None:
        """The first signal came."""
        self._stopping_s = time.monotonic()
        print_line("draining: no more input is taken")

    def stopped(self, finish: Finish, messages: int, unclaimed: int) -> None:
        """The session is over."""
        took_s = time.monotonic() - self._stopping_s
        sign, how = (" ✔", "drained") if finish.exit_code == 0 else (" ✘", f"ended with exit code {finish.exit_code}")
        unread = f" ({unclaimed} of them claimed by nobody)" if unclaimed else ""
        out, dead = count_of(messages, "message"), count_of(finish.losses.dead_lettered, "dead letter")
        print_line(f"{sign} {how} in {took_s:.1f}s · {out} out{unread} · {dead}")


def count_of(count: int, name: str) -> str:
    """Say how many of something."""
    return f"{count} {name}{'s' * (count != 1)}"


class AnswerPrinter:
    """Prints what a service answers: outputs on stdout, failures on stderr."""

    def __init__(self) -> None:
        self.any_failed = False

    def output(self, payload: bytes) -> None:
        """Print an output. Raises OutputClosed: nobody reads it."""
        try:
            os.write(1, write_line(DATA, payload))
        except OSError as error:
            raise OutputClosed(f"cannot write the output: {error.strerror}") from None

    def failed(self, message: str, code: str, line: int, node: str) -> None:
        """Print an error line."""
        self.any_failed = True
        print_error(message, code, ({"line": line} if line else {}) | ({"node": node} if node else {}))
