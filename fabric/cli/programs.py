"""Which programs a command is about, and where the modules that they use are looked for."""

from __future__ import annotations

__all__ = ["INCLUDE", "PROGRAM", "find_program", "programs_in", "project_settings"]

import os
from pathlib import Path

import typer

from fabric.errors import ConfigError
from fabric.settings import ProjectSettings, read_settings, user_file

PROGRAM = typer.Argument(
    help="The program's file; left out: that of fabric.toml, or the only *.plumb file here.", show_default=False
)
INCLUDE = typer.Option(
    "--include",
    "-I",
    help="A folder where modules are looked for, before those of PLUMB_PATH. May be repeated.",
    show_default=False,
)


def project_settings() -> ProjectSettings:
    """Return the settings that hold in the working directory. Raises ConfigError."""
    return read_settings(Path.cwd(), user_file(os.environ))


def find_program(program: Path | None, project: ProjectSettings) -> Path:
    """Return the program that is meant: the one named, else the project's, else the only one here.

    Raises:
        ConfigError: none was named, and there is not exactly one here.
    """
    if program is not None:
        if program.is_dir():
            raise ConfigError(f"{program} is a directory; name a program, such as {program / 'main.plumb'}")
        return program
    if project.spec is not None:
        here = Path.cwd()
        return project.spec.relative_to(here) if project.spec.is_relative_to(here) else project.spec
    found = sorted(Path().glob("*.plumb"))
    if len(found) == 1:
        return found[0]
    raise ConfigError(
        f"which program? Here are {', '.join(map(str, found))}"
        if found
        else "no program was named, and there is no *.plumb file here"
    )


def programs_in(folder: Path) -> list[Path]:
    """Return the ``*.plumb`` files of a folder and of those below, in order; what is hidden is left out."""
    return sorted(
        path
        for path in folder.rglob("*.plumb")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
