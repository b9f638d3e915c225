"""`fabric lsp`: started by editors."""

from __future__ import annotations

__all__ = ["register"]

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from fabric.cli.programs import INCLUDE
from fabric.compiler import search_path
from fabric.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(lsp)


def lsp(
    include: Annotated[list[Path] | None, INCLUDE] = None,
    stdio: Annotated[
        bool, typer.Option("--stdio", hidden=True, help="Some editors say so; it is the only way.")
    ] = True,
) -> None:
    """Serve an editor: mistakes while typing, types, definitions, completion. It speaks LSP on stdin and stdout.

    Examples: fabric lsp; fabric lsp -I modules

    Exit codes: 0, 1 the editor went away without a word, 2 what it needs is not installed.
    """
    if find_spec("pygls") is None:
        raise ConfigError("the language server is not installed: pip install 'plumb-fabric[lsp]'")
    from fabric.lsp.server import Server  # asyncio and the protocol's types with it

    raise typer.Exit(Server(search_path(include)).run())
