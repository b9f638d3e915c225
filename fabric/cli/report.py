"""How commands print errors, notes and answers: words for people, JSON lines for programs."""

from __future__ import annotations

__all__ = [
    "AnswerPrinter",
    "JsonReport",
    "count_of",
    "exit_code_of",
    "out",
    "print_diagnostics",
    "print_error",
    "print_line",
    "print_losses",
    "use_color",
    "use_json",
]

import errno
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from fabric.errors import CheckError, FabricError, OutputClosed, sole
from fabric.lang.diagnostic import Diagnostic, render_all, to_json
from fabric.session.events import LossReport, Note
from fabric.wire.lines import DATA, write_line
from fabric.wire.payload import encode_json, to_plain

_RANK = {"debug": 0, "info": 1, "warning": 2, "error": 3}


def use_color(descriptor: int = 2) -> bool:
    """Whether what is written there should be colored. See no-color.org and bixense.com/clicolors.

    ``FABRIC_COLOR``, which ``--color`` sets, comes before what other programs obey as well.
    """
    said = os.environ.get("FABRIC_COLOR", "auto")
    if said in ("always", "never"):
        return said == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return os.environ.get("CLICOLOR") != "0" and os.environ.get("TERM") != "dumb" and os.isatty(descriptor)


def use_json() -> bool:
    """Whether every line on stderr is to be one JSON object: ``FABRIC_LOG_FORMAT``, which ``--log-format`` sets."""
    return os.environ.get("FABRIC_LOG_FORMAT") == "json"


def print_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    """Print what the checker has to say of a program."""
    if use_json():
        for diagnostic in diagnostics:
            print_line(encode_json(to_json(diagnostic)).decode())
    else:
        print_line(render_all(diagnostics, color=use_color()))


def print_line(text: str) -> None:
    """Write a line to stderr. Nobody may be there to read it, or no room: that must not keep a session from ending."""
    with suppress(OSError):
        os.write(2, text.encode(errors="replace") + b"\n")


def print_error(message: str, code: str, fields: Mapping[str, object] | None = None) -> None:
    """Write ``{"error": …, "code": …}``. What is named in it may be no text, such as the name of a file."""
    text = message.encode(errors="backslashreplace").decode()
    print_line(encode_json({"error": text, "code": code, **(fields or {})}).decode())


def print_losses(losses: LossReport) -> None:
    """Write the loss report, if anything was lost, dead-lettered, left without a partner, cut short or refused."""
    if losses != LossReport():
        told = to_plain(losses)
        for name in ("unfinished", "rejected"):  # few programs have protocols, and few workers send what is refused
            if not told[name]:
                del told[name]
        print_line(encode_json(told).decode())


def exit_code_of(error: BaseException) -> int:
    """Print an error that ended a command, and return what to exit with."""
    found = sole(error)
    match found:
        case BrokenPipeError() | OSError(errno=errno.ENOSPC):
            print_error(f"cannot write the output: {found.strerror}", OutputClosed.code)
            return OutputClosed.exit_code
        case CheckError(diagnostics=diagnostics):
            print_diagnostics(diagnostics)
            return found.exit_code
        case FabricError():
            print_error(str(found), found.code)
            return found.exit_code
        case KeyboardInterrupt():
            return 130
    trace = "".join(traceback.format_exception(error))
    if not use_json():
        print_line(trace)
    print_error(
        f"{type(found).__name__}: {found}. This is a bug; please report it with its traceback.",
        "internal_error",
        {"traceback": trace} if use_json() else {},
    )
    return 70


class JsonReport:
    """JSON lines.

    Args:
        level: the lowest level of notes that is written.
    """

    def __init__(self, level: str) -> None:
        self._rank = _RANK[level]

    def say(self, text: str) -> None:
        """Write lines for whoever sits at the terminal."""
        print_line(text)

    def error(self, message: str, code: str, fields: Mapping[str, object]) -> None:
        """Write an error line."""
        print_error(message, code, fields)

    def noted(self, note: Note) -> None:
        """Write a log line."""
        said = _RANK[note.level] >= self._rank
        said |= note.event == "session.waiting"  # for who sits and waits as well
        said |= note.event in (
            "session.resumed",
            "history.skipped",
            "input.another",
            "input.known",
            "store.retried",
        )  # for who wonders what is done
        said |= note.event == "tracing.ended"  # for who asked for traces, and did not get all
        said |= note.event == "tool.denied" and note.level == "warning"  # it makes the exit code
        if said and note.event != "session.failed":
            fields = {
                key: value.decode(errors="replace") if isinstance(value, bytes) else value
                for key, value in note.fields.items()
            }
            print_line(encode_json({"log": note.level, "event": note.event, **fields}).decode())

    def worker_wrote(self, worker: str, line: str) -> None:
        """Pass a worker's line on as it is: it is JSON already, or text for people."""
        print_line(line)


def count_of(count: int, name: str) -> str:
    """Say how many of something."""
    return f"{count} {name}{'s' * (count != 1)}"


def out(texts: Iterable[str]) -> bool:
    """Write to stdout; return whether it is read. Who reads may have seen enough, which is no failure.

    Raises:
        OutputClosed: it cannot be written for another reason.
    """
    try:
        sys.stdout.writelines(texts)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter tries again at its end
        if not isinstance(error, BrokenPipeError):
            raise OutputClosed(f"cannot write the output: {error.strerror}") from None
        return False
    return True


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
