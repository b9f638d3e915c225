"""Variables from ``.env``: they are set before a command looks at the environment, which wins over them."""

from __future__ import annotations

__all__ = ["EnvFile", "NoDotenv", "set_variables"]

import os
from pathlib import Path
from typing import Annotated

import typer

from fabric.settings import Variable, find_variables

UNCONCERNED = frozenset({"completion", "explain", "fmt", "lsp", "new", "version"})
"""Commands that look at no settings: a mistake in ``.env`` does not keep them from working."""

EnvFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Variables from this file instead of .env.", envvar="FABRIC_ENV_FILE"),
]
NoDotenv = Annotated[
    bool, typer.Option("--no-dotenv", help="No variables from .env.", envvar="FABRIC_NO_DOTENV", show_default=False)
]


def set_variables(command: str | None, env_file: Path | None, no_dotenv: bool) -> dict[str, Variable]:
    """Set the variables of the file that is meant, but for those that the environment has; return them.

    Raises:
        ConfigError: the file is wrong, or was named and is not there.
    """
    if command in UNCONCERNED:
        return {}
    flags = {"FABRIC_ENV_FILE": str(env_file or ""), "FABRIC_NO_DOTENV": "1" if no_dotenv else ""}
    found = find_variables(Path.cwd(), {**os.environ, **flags})
    os.environ.update({name: variable.value for name, variable in found.items()})
    return found
