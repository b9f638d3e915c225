"""The command that prints programs in the canonical style, in their files."""

from __future__ import annotations

__all__ = ["register"]

import difflib
import os
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fabric.cli.programs import programs_in
from fabric.cli.report import print_diagnostics, print_error
from fabric.errors import CheckError, ConfigError
from fabric.lang.diagnostic import Diagnostic, check_error
from fabric.lang.format import format_source
from fabric.lang.source import Source

STDIN = Path("-")
WOULD_CHANGE = 8
"""Exit code of ``--check``: none that a program which cannot be read, or a run, ends with."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fmt")(format_files)


def format_files(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files; folders are searched for *.plumb; - is stdin.", show_default="this folder"),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; name the files that would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change.")] = False,
) -> None:
    """Print programs in the one canonical style: in their files, or with - from stdin to stdout.

    Examples: fabric fmt; fabric fmt main.plumb lib/; fabric fmt --check --diff; fabric fmt - < main.plumb

    Comments stay, and so does what the program means. A file that cannot be read stays as it is.

    Exit codes: 0, 2 a file does not parse, or cannot be read or written; the others are done all the same.
    8 with --check: files would change.
    """
    failed, changed = False, False
    for file in _find(files or [Path()]):
        try:
            changed |= _format_file(file, check, diff)
        except CheckError as error:
            failed = True
            print_diagnostics(error.diagnostics)
        except ConfigError as error:
            failed = True
            print_error(str(error), error.code)
    if failed:
        raise typer.Exit(CheckError.exit_code)
    if check and changed:
        raise typer.Exit(WOULD_CHANGE)


def _find(named: Sequence[Path]) -> dict[Path, None]:
    """Return the files that are meant, in order, each once."""
    found: dict[Path, None] = {}
    for path in named:
        found |= dict.fromkeys(programs_in(path) if path != STDIN and path.is_dir() else [path])
    return found


def _format_file(file: Path, check: bool, diff: bool) -> bool:
    """Format one file; return whether that changes it.

    Raises:
        CheckError: it does not parse.
        ConfigError: it cannot be read or written.
    """
    raw = _read(file)
    text, mistakes = _format(file, raw)
    if text is None:
        raise check_error(mistakes)
    new = text.encode()
    changed = new != raw
    if diff and changed:
        lines = difflib.unified_diff(_lines(raw.decode()), _lines(text), str(file), f"{file} (formatted)")
        typer.echo("".join(lines), nl=False)
    if check and changed:
        typer.echo(f"{file} would change", err=True)
    if check or diff:
        return changed
    if file == STDIN:
        sys.stdout.buffer.write(new)
        sys.stdout.buffer.flush()
    elif changed:
        _write(file, new)
        typer.echo(f"{file} formatted", err=True)
    return changed


def _lines(text: str) -> list[str]:
    lines = [f"{line}\n" for line in text.split("\n")]
    return (
        lines[:-1] if text.endswith("\n") or not text else [*lines[:-1], f"{lines[-1]}\\ No newline at end of file\n"]
    )


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None


def _format(file: Path, raw: bytes) -> tuple[str | None, tuple[Diagnostic, ...]]:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {file}: it is not UTF-8 text (byte {error.start})") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # as the compiler reads files, also inside of strings
    return format_source(Source("stdin" if file == STDIN else str(file), text))


def _write(file: Path, new: bytes) -> None:
    """Put a new text in the place of a file's, at once and with its mode; of a link, in the place of what it names."""
    target = file.resolve()
    temporary = None
    try:
        if not os.access(target, os.W_OK):  # renaming would not ask
            raise PermissionError(0, "it may not be written")
        mode = stat.S_IMODE(target.stat().st_mode)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(new)
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None
