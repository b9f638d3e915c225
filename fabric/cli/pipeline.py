"""The commands about pipelines in YAML, as a group of ours."""

from __future__ import annotations

__all__ = ["register"]

import typer

from fabric.pipelines.cli import make_app


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(make_app(), name="pipeline")
