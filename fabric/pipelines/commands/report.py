"""How the commands of pipelines print what they have, and how they end."""

from __future__ import annotations

__all__ = [
    "BAD_INPUT",
    "FAILED",
    "AtPlace",
    "Form",
    "MetricsFile",
    "answering",
    "logged",
    "printing_apart",
    "problem_of",
    "read_place",
    "say",
    "say_error",
    "write_metrics",
    "write_out",
]

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fabric.errors import ConfigError, FabricError
from fabric.pipelines.batches.item import item_under_way
from fabric.pipelines.errors import PipelineLoadError

if TYPE_CHECKING:
    from fabric.pipelines.runs.accounting import Account
    from fabric.pipelines.spec import Place

BAD_INPUT = 1
"""What a command ends with if its input or its pipeline is wrong."""

FAILED = 2
"""What a command ends with if its pipeline failed."""

Form = Annotated[str, typer.Option("--format", help="How errors are printed: text or json.")]

AtPlace = Annotated[
    str | None,
    typer.Option(
        "--place", help="Where steps are carried out that do not say it: local or fabric.", show_default=False
    ),
]

MetricsFile = Annotated[
    Path | None,
    typer.Option("--metrics", metavar="FILE", help="Write there what it took, for Prometheus.", show_default=False),
]


def say(text: str) -> None:
    """Write a line for people. Nobody may be there to read it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        return


def say_error(message: str, form: str, **fields: object) -> None:
    """Write an error: as it is, or as one JSON object in one line."""
    say(json.dumps({"error": message, **fields}, default=str) if form == "json" else message)


def write_out(text: str, path: Path | None) -> None:
    """Write a result to a file, or to stdout.

    Raises:
        ConfigError: it cannot be written there.
    """
    if path is None:
        print(text, flush=True)
        return
    try:
        path.write_text(text + "\n", "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    say(f"Wrote {path}")


def write_metrics(account: Account, path: Path | None) -> None:
    """Write what runs took, if that is wanted: as a file for the textfile collector of Prometheus's node exporter.

    Raises:
        ConfigError: it cannot be written there.
    """
    if path is not None:
        from fabric.metrics import Page

        try:
            path.write_bytes(Page(account.samples).write()[1])
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def answering(form: str) -> Iterator[None]:
    """Print the errors of files and of input that a command meets, and end it."""
    if form not in ("text", "json"):
        say(f"--format {form!r}: expected text or json")
        raise typer.Exit(2)
    try:
        yield
    except PipelineLoadError as error:
        if form == "json":
            say_error(error.message, form, code="load_error", problems=[problem_of(each) for each in error.problems])
        else:
            say(f"Validation error:\n{error}")
        raise typer.Exit(BAD_INPUT) from None
    except FabricError as error:
        say_error(f"Error: {error}" if form == "text" else str(error), form, code=error.code)
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def problem_of(error: PipelineLoadError) -> dict[str, object]:
    """Return what is wrong with a file as data."""
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "key_path": error.key_path,
        "suggestion": error.suggestion,
    }


def read_place(said: str | None) -> Place | None:
    """Return the place that is meant. Raises ConfigError: there is none of that name."""
    match said:
        case None | "local" | "fabric":
            return said
    raise ConfigError(f"--place {said!r}: expected local or fabric")


class _Lines(logging.Handler):
    """Writes to what is stderr at that moment: text, or JSON as all logs of the fabric."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self._form = form

    def emit(self, record: logging.LogRecord) -> None:
        item = item_under_way.get()
        if self._form == "json":
            whose = {} if item is None else {"item": item[0]}
            say(json.dumps({"log": record.levelname.lower(), **whose, "message": record.getMessage()}, default=str))
        else:
            prefix = "" if item is None else f"item {item[0]!r}: "
            say(f"{record.levelname}: {prefix}{record.getMessage()}")


@contextmanager
def printing_apart() -> Iterator[None]:
    """Let what functions of the user's print go to stderr: stdout has results and nothing else."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def logged(form: str, level: int = logging.WARNING) -> Iterator[None]:
    """Show what is logged by pipelines, from this level on, while a command runs."""
    logger = logging.getLogger("fabric.pipelines")
    handler = _Lines(form)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
