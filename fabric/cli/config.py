"""The command that shows what is set, and where."""

from __future__ import annotations

__all__ = ["register"]

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from fabric.cli.config_table import Sources, render_rows, settle
from fabric.cli.programs import project_settings
from fabric.cli.report import out
from fabric.errors import ConfigError
from fabric.settings import Variable, locate_keys, project_file, user_file
from fabric.wire.payload import encode_json


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(name="config", no_args_is_help=True, help="Settings: of files, variables, and the defaults.")
    group.callback()(lambda: None)  # one command alone would be no group
    group.command()(show)
    app.add_typer(group)


def show(
    context: typer.Context,
    origin: Annotated[bool, typer.Option("--origin", help="Where each value comes from.")] = False,
    output: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Print every setting and its value; with --origin, where it comes from.

    A flag wins over an environment variable, that over .env, that over fabric.toml, that over the user's config.toml
    (in $XDG_CONFIG_HOME/fabric), and that over the default. Keys of providers are never shown, only whether they are
    set.

    Examples: fabric config show; fabric config show --origin; fabric config show --format json

    Exit codes: 0; 2 a file, or the value of a variable, is wrong.
    """
    if output not in ("text", "json"):
        raise ConfigError(f"--format {output}: expected text or json")
    rows = list(settle(_sources(context.find_root().obj)))
    if output == "json":
        out([encode_json({"v": 1, "settings": rows}).decode(), "\n"])
    else:
        out(line + "\n" for line in render_rows(rows, str(Path.cwd()), origin=origin))
    if any(row.error for row in rows):
        raise typer.Exit(2)


def _sources(dotenv: Mapping[str, Variable]) -> Sources:
    settings = project_settings()  # first: it complains of what is wrong
    project, user = project_file(Path.cwd()), user_file(os.environ)
    return Sources(
        os.environ,
        dotenv,
        settings,
        {} if project is None else locate_keys(project),
        {} if user is None else locate_keys(user),
    )
