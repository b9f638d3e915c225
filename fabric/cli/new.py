"""The command that makes a project."""

from __future__ import annotations

__all__ = ["register"]

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from fabric.cli.listing import align
from fabric.cli.report import print_line
from fabric.cli.template import TEMPLATES, folder_name_fault, template_files, template_names
from fabric.errors import ConfigError
from fabric.lang.diagnostic import did_you_mean


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(new)


def new(
    template: Annotated[str, typer.Argument(help="What the project is made of; --list shows what there is.")] = "hello",
    folder: Annotated[
        Path | None, typer.Argument(help="Where to make it; left out: a folder of that name.", show_default=False)
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the templates; make nothing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files; make nothing.")] = False,
) -> None:
    """Make a folder with a project that works at once: a program, settings, a test. No key is needed.

    Nothing is overwritten: if one of the files is there already, none is made.

    Examples: fabric new; fabric new review newsroom; fabric new --list

    Exit codes: 0; 2 there is no such template, or the folder cannot be made or has such files.
    """
    if list_:
        typer.echo("\n".join(align(list(TEMPLATES.items()))))
        return
    if template not in TEMPLATES:
        known = f"expected {', '.join(template_names())}"
        raise ConfigError(f"there is no template {template!r}; {did_you_mean(template, template_names()) or known}")
    folder = folder if folder is not None else Path(template)
    files = template_files(template, folder.resolve().name)
    _check(folder, files)
    if not dry_run:
        _write(folder, files)
    typer.echo("\n".join(str(folder / name) for name in files))
    if not dry_run:
        print_line(f"made {folder}; next: {_next(folder)}")


def _check(folder: Path, files: Mapping[str, bytes]) -> None:
    """Raises ConfigError: the folder cannot be made, or has one of the files."""
    fault = None if folder.exists() else folder_name_fault(folder.name)
    if fault:
        raise ConfigError(f"{folder.name!r} is no name for a folder of a project; {fault}")
    there = [name for name in files if (folder / name).exists() or (folder / name).is_symlink()]
    if there:
        raise ConfigError(f"{folder} has {', '.join(there)} already, and nothing is overwritten; name another folder")


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as file:
                file.write(content)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from None


def _next(folder: Path) -> str:
    enter = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    return f"{enter}fabric check"
