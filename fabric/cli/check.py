"""The command that checks programs."""

from __future__ import annotations

__all__ = ["register"]

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from fabric import __version__
from fabric.cli.programs import INCLUDE, find_program, programs_in, project_settings
from fabric.cli.report import count_of, print_error, print_line, use_color
from fabric.compiler import INSTALLED, Library, read_source, search_path
from fabric.errors import CheckError, ConfigError
from fabric.lang.check import Analysis, analyse
from fabric.lang.diagnostic import Diagnostic, render_all, summary, to_json
from fabric.lang.modules import Found, Missing
from fabric.lang.sarif import to_sarif
from fabric.lang.source import Source
from fabric.lang.syntax import ProtocolDecl
from fabric.wire.payload import encode_json

STDIN = "<stdin>"
"""What the text from stdin is called. What it uses is relative to the working directory."""


class Checked(msgspec.Struct, frozen=True):
    """A program of the run.

    Attributes:
        has: how many types, bindings and protocols, of its own; nothing if it does not pass.
        runs: whether it has something to run; else it is there for others to use.
        ok: whether it passes.
        diagnostics: those that no program before it has.
        unread: why its file could not be read.
    """

    path: str
    has: dict[str, int]
    runs: bool
    ok: bool
    diagnostics: tuple[Diagnostic, ...] = ()
    unread: str = ""


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

    What is wrong in a file that several programs use is said once. A file need not have anything to run if another of
    these uses it, if it lies in a folder where modules are looked for, or if it has nothing but types, protocols and
    tools.

    Exit codes: 0 all is well (warnings are printed), 2 a program does not check or cannot be read; --strict: or there
    is a warning.
    """
    if output not in ("text", "json", "sarif"):
        raise ConfigError(f"--format {output}: expected text, json or sarif")
    settings = project_settings()  # to be checked as well
    named = programs or [str(find_program(None, settings))]
    sources, checked = _read_all(_files(named))
    checked += _check_all(sources, search_path(include), strict)
    match output:
        case "json":
            typer.echo(encode_json(_as_json(checked)).decode())
        case "sarif":
            typer.echo(encode_json(_as_sarif(checked)).decode())
        case _:
            _print_text(checked, strict=strict, quiet=quiet)
    if not all(program.ok for program in checked):
        raise typer.Exit(CheckError.exit_code)


def _files(named: Sequence[str]) -> Iterator[str]:
    """Yield each file that is named or in a folder that is."""
    for name in named:
        if name == "-" or not Path(name).is_dir():
            yield name
            continue
        inside = programs_in(Path(name))
        if not inside:
            raise ConfigError(f"there is no *.plumb file in {name}")
        yield from map(str, inside)


def _read_all(paths: Iterable[str]) -> tuple[dict[str, Source], list[Checked]]:
    """Return the texts by path, and the files that have none."""
    sources: dict[str, Source] = {}
    unread = []
    for path in paths:
        try:
            sources[path] = _read(path)
        except ConfigError as error:
            unread.append(Checked(path, {}, runs=False, ok=False, unread=str(error)))
    return sources, unread


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


def _is_module(path: str, analysis: Analysis, used: set[str], folders: Sequence[Path]) -> bool:
    """Say whether a file is there for others to use."""
    if os.path.realpath(path) in used:
        return True
    *_, main = analysis.files.values()
    if not any(main.processes[name].is_stream for name in main.bindings):
        return True
    return any(Path(path).resolve().parent == folder.resolve() for folder in (*folders, INSTALLED))


def _check_all(sources: dict[str, Source], folders: Sequence[Path], strict: bool) -> list[Checked]:
    noting = _Noting(Library(folders))
    results = {path: analyse(source, noting) for path, source in sources.items()}
    checked = []
    seen: set[tuple[str, int, str, str]] = set()
    for path, analysis in results.items():
        diagnostics = analysis.diagnostics
        if _is_module(path, analysis, noting.used, folders):
            diagnostics = tuple(diagnostic for diagnostic in diagnostics if diagnostic.code != "E0206")
        fails = any(strict or diagnostic.severity == "error" for diagnostic in diagnostics)
        fresh = []
        for diagnostic in diagnostics:
            source, start = diagnostic.source, diagnostic.span.start - diagnostic.source.start
            key = os.path.realpath(source.path), start, diagnostic.code, diagnostic.message
            if key not in seen:
                seen.add(key)
                fresh.append(diagnostic)
        has = {} if fails else _contents(analysis)
        checked.append(Checked(sources[path].path, has, analysis.module is not None, not fails, tuple(fresh)))
    return checked


def _print_text(checked: Sequence[Checked], *, strict: bool, quiet: bool) -> None:
    for program in checked:
        if program.unread:
            print_error(program.unread, ConfigError.code)
        if program.ok and not quiet:
            counted = [count_of(number, what.removesuffix("s")) for what, number in program.has.items()]
            if not program.has["protocols"]:
                del counted[2]
            typer.echo(f"{program.path}: ok ({', '.join(counted)}{'' if program.runs else '; nothing to run'})")
    diagnostics = [diagnostic for program in checked for diagnostic in program.diagnostics]
    if diagnostics or (len(checked) > 1 and not quiet):
        print_line(render_all(diagnostics, use_color(), _closing(checked, diagnostics, strict)))


def _contents(analysis: Analysis) -> dict[str, int]:
    *_, main = analysis.files.values()
    protocols = sum(isinstance(decl, ProtocolDecl) for decl in main.program.declarations)
    return {"types": len(main.types), "bindings": len(main.bindings), "protocols": protocols}


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
        found = [to_json(diagnostic) for diagnostic in program.diagnostics]
        unread = {"error": program.unread} if program.unread else {}
        files.append({"file": program.path, "ok": program.ok, **program.has, "diagnostics": found, **unread})
    return {"v": 1, "ok": all(program.ok for program in checked), "files": files}


def _as_sarif(checked: Sequence[Checked]) -> dict[str, object]:
    from fabric.cli.explain import explanations  # reads a file for each code

    diagnostics = [diagnostic for program in checked for diagnostic in program.diagnostics]
    unread = [program.unread for program in checked if program.unread]
    return to_sarif(diagnostics, explanations(), __version__, _uri, unread)


def _uri(path: str) -> str:
    """Return a URI that is relative to the working directory, or absolute for what lies outside of it."""
    whole = Path(os.path.abspath(path))  # links are not followed
    try:
        return quote(whole.relative_to(Path.cwd()).as_posix())
    except ValueError:
        return whole.as_uri()
