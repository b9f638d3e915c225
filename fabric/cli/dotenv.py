"""Variables from ``.env``: they are set before a command looks at the environment, which wins over them."""

from __future__ import annotations

__all__ = ["EnvFile", "NoDotenv", "set_variables"]

import os
from pathlib import Path
from typing import Annotated

import typer

from fabric.errors import ConfigError
from fabric.settings import Variable, project_file, read_dotenv

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
    if command in UNCONCERNED or (no_dotenv and env_file is None):
        return {}
    if no_dotenv:
        raise ConfigError("--env-file names a file, --no-dotenv wants none: give one of them")
    if env_file is not None and not env_file.is_file():
        raise ConfigError(f"--env-file {env_file}: there is no such file")
    settings = project_file(Path.cwd())
    beside = settings.parent if settings is not None else Path()
    found = read_dotenv(env_file if env_file is not None else beside / ".env")
    fresh = {name: variable for name, variable in found.items() if name not in os.environ}
    os.environ.update({name: variable.value for name, variable in fresh.items()})
    return fresh
