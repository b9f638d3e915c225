"""The command that checks programs."""

from __future__ import annotations

__all__ = ["register"]

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from fabric import __version__
from fabric.cli.programs import INCLUDE, find_program, programs_in, search_path
from fabric.cli.report import count_of, print_line, use_color
from fabric.compiler import Library, read_source
from fabric.errors import ConfigError, ProgramError
from fabric.lang.check import check_source
from fabric.lang.diagnostic import Diagnostic, render_all, summary, to_json
from fabric.lang.modules import Found, Missing
from fabric.lang.sarif import to_sarif
from fabric.lang.source import Source
from fabric.lang.typed import Module
from fabric.settings import read_settings
from fabric.wire.payload import encode_json

STDIN = "<stdin>"
"""What the text from stdin is called. What it uses is relative to the working directory."""


class Checked(msgspec.Struct, frozen=True):
    """A program of the run.

    Attributes:
        module: ``None`` if it does not check, or is a file that others use and has nothing to run.
        ok: whether it passes.
        diagnostics: those that no program before it has.
    """

    path: str
    module: Module | None
    ok: bool
    diagnostics: tuple[Diagnostic, ...]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(
    programs: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders to look through for *.plumb, or - for stdin.", show_default=False),
    ] = None,
    output: Annotated[str, typer.Option("--format", help="text, json or sarif.")] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail as well.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print what is wrong and nothing else.")] = False,
    include: Annotated[list[Path] | None, INCLUDE] = None,
) -> None:
    """Check programs: syntax, names, types, wiring.

    Examples: fabric check main.plumb; fabric check --strict .; fabric check --format sarif . > fabric.sarif

    What is wrong in a file that several programs use is said once. A file that others use need not have anything to
    run, if it was found in a folder.

    Exit codes: 0 all is well (warnings are printed), 2 a program does not check or cannot be read; --strict: or there
    is a warning.
    """
    if output not in ("text", "json", "sarif"):
        raise ConfigError(f"--format {output}: expected text, json or sarif")
    settings = read_settings(Path.cwd())  # to be checked as well
    named = programs or [str(find_program(None, settings))]
    found = dict(_files(named))
    checked = _check_all({path: _read(path) for path in found}, found, Library(search_path(include)), strict)
    match output:
        case "json":
            typer.echo(encode_json(_as_json(checked)).decode())
        case "sarif":
            diagnostics = [diagnostic for program in checked for diagnostic in program.diagnostics]
            typer.echo(encode_json(_as_sarif(diagnostics)).decode())
        case _:
            _print_text(checked, strict=strict, quiet=quiet)
    if not all(program.ok for program in checked):
        raise typer.Exit(ProgramError.exit_code)


def _files(named: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield each file, and whether it was named itself."""
    for name in named:
        if name == "-" or not Path(name).is_dir():
            yield name, True
            continue
        inside = programs_in(Path(name))
        if not inside:
            raise ConfigError(f"there is no *.plumb file in {name}")
        yield from ((str(path), False) for path in inside if str(path) not in named)


def _read(path: str) -> Source:
    if path != "-":
        return read_source(path)
    try:
        return Source(STDIN, sys.stdin.buffer.read().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read stdin: it is not UTF-8 text (byte {error.start})") from None


class _Noting:
    """A library that notes which files are asked for."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.used: set[str] = set()

    def find(self, name: str, *, is_path: bool, importer: str) -> Found | Missing:
        found = self._library.find(name, is_path=is_path, importer=importer)
        if isinstance(found, Found):
            self.used.add(os.path.realpath(found.path))
        return found


def _check_all(sources: dict[str, Source], named: dict[str, bool], library: Library, strict: bool) -> list[Checked]:
    noting = _Noting(library)
    results = {path: check_source(source, noting) for path, source in sources.items()}
    checked = []
    seen: set[tuple[str, int, str, str]] = set()
    for path, (module, diagnostics) in results.items():
        if not named[path] and os.path.realpath(path) in noting.used:
            diagnostics = tuple(diagnostic for diagnostic in diagnostics if diagnostic.code != "E0206")
        fails = any(strict or diagnostic.severity == "error" for diagnostic in diagnostics)
        fresh = []
        for diagnostic in diagnostics:
            source, start = diagnostic.source, diagnostic.span.start - diagnostic.source.start
            key = os.path.realpath(source.path), start, diagnostic.code, diagnostic.message
            if key not in seen:
                seen.add(key)
                fresh.append(diagnostic)
        checked.append(Checked(sources[path].path, module, not fails, tuple(fresh)))
    return checked


def _print_text(checked: Sequence[Checked], *, strict: bool, quiet: bool) -> None:
    for program in checked:
        if program.ok and not quiet:
            typer.echo(f"{program.path}: ok ({_contents(program.module)})")
    diagnostics = [diagnostic for program in checked for diagnostic in program.diagnostics]
    if diagnostics or (len(checked) > 1 and not quiet):
        print_line(render_all(diagnostics, use_color(), _closing(checked, diagnostics, strict)))


def _contents(module: Module | None) -> str:
    if module is None:
        return "nothing to run, used by others"
    counted = [count_of(len(module.types), "type"), count_of(_count_bindings(module), "binding")]
    if module.protocols:
        counted.append(count_of(len(module.protocols), "protocol"))
    return ", ".join(counted)


def _count_bindings(module: Module) -> int:
    """Return how many the file has itself, as with its types."""
    return sum(module.sources.at(binding.span) is module.source for binding in module.bindings.values())


def _closing(checked: Sequence[Checked], diagnostics: Sequence[Diagnostic], strict: bool) -> str:
    """Return the last line: how many programs, how much is wrong, why that is a failure."""
    counts = summary(diagnostics)
    failed = sum(not program.ok for program in checked)
    if len(checked) > 1:
        counts = f"{len(checked)} programs, {failed or 'none'} of which fail{'s' * (failed == 1)} · {counts}"
    if strict and any(diagnostic.severity == "warning" for diagnostic in diagnostics):
        counts += " · warnings fail (--strict)"
    return counts


def _as_json(checked: Sequence[Checked]) -> dict[str, object]:
    files = []
    for program in checked:
        module = program.module
        counts: dict[str, int] = {}
        if module is not None:
            counts = {"types": len(module.types), "protocols": len(module.protocols)}
            counts["bindings"] = _count_bindings(module)
        found = [to_json(diagnostic) for diagnostic in program.diagnostics]
        files.append({"file": program.path, "ok": program.ok, **counts, "diagnostics": found})
    return {"v": 1, "ok": all(program.ok for program in checked), "files": files}


def _as_sarif(diagnostics: Sequence[Diagnostic]) -> dict[str, object]:
    from fabric.cli.explain import explanations  # reads a file for each code

    return to_sarif(diagnostics, explanations(), __version__, _uri)


def _uri(path: str) -> str:
    """Return a URI that is relative to the working directory, or absolute for what lies outside of it."""
    whole = Path(os.path.abspath(path))  # links are not followed
    try:
        return quote(whole.relative_to(Path.cwd()).as_posix())
    except ValueError:
        return whole.as_uri()
