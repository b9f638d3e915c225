"""The command that compares two programs."""

from __future__ import annotations

__all__ = ["register"]

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fabric.cli.programs import INCLUDE
from fabric.compiler import check_file, search_path
from fabric.errors import ConfigError
from fabric.graph.diff import compare
from fabric.wire.payload import encode_json

DIFFERENCES = 8


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(diff)


def diff(
    old: Annotated[Path, typer.Argument(help="The program before.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="The program after.", show_default=False)],
    output: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
    include: Annotated[list[Path] | None, INCLUDE] = None,
) -> None:
    """Say in words what is different between two programs: processes, types, configuration, wiring, loops.

    Examples: fabric diff old.plumb new.plumb; git show HEAD:main.plumb > was.plumb; fabric diff was.plumb main.plumb

    Formatting, comments, the order of declarations, names of types and of channels make no difference.

    Exit codes: 0 the programs mean the same, 8 they do not, 2 one of them does not check or cannot be read.
    """
    if output not in ("text", "json"):
        raise ConfigError(f"--format {output}: expected text or json")
    folders = search_path(include)
    before, after = check_file(old, folders), check_file(new, folders)
    changes = compare(before.module, after.module)
    if output == "json":
        said = [msgspec.to_builtins(change) for change in changes]
        typer.echo(encode_json({"v": 1, "same": not changes, "changes": said}).decode())
    else:
        typer.echo("\n".join(change.text for change in changes) or "no differences in meaning")
    if changes:
        raise typer.Exit(DIFFERENCES)
