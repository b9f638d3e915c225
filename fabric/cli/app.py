"""The commands as one application: each group registers its own."""

from __future__ import annotations

__all__ = ["make_app"]

from importlib import import_module
from typing import Annotated

import typer

from fabric import __version__
from fabric.cli.dotenv import EnvFile, NoDotenv, set_variables

GROUPS = {
    "fabric.cli.check": ("check",),
    "fabric.cli.completion": ("completion",),
    "fabric.cli.config": ("config",),
    "fabric.cli.diff": ("diff",),
    "fabric.cli.explain": ("explain",),
    "fabric.cli.fmt": ("fmt",),
    "fabric.cli.keys": ("keys",),
    "fabric.cli.new": ("new",),
    "fabric.cli.write": ("plan", "graph"),
    "fabric.cli.run": ("run", "call", "up", "send"),
    "fabric.cli.chat": ("chat",),
    "fabric.cli.service": ("ps", "logs", "attach", "wait", "down"),
    "fabric.cli.steer": ("stop", "start", "restart"),
    "fabric.cli.approve": ("approve",),
    "fabric.cli.ctl": ("ctl",),
    "fabric.cli.cost": ("cost",),
    "fabric.cli.dead": ("dead",),
    "fabric.cli.doctor": ("doctor",),
    "fabric.cli.watch": ("tail", "top"),
    "fabric.cli.image": ("image",),
    "fabric.cli.ship": ("compose", "k8s"),
    "fabric.cli.session": ("session",),
    "fabric.cli.replay": ("replay",),
    "fabric.cli.why": ("why",),
    "fabric.cli.lsp": ("lsp",),
    "fabric.cli.mcp": ("mcp",),
    "fabric.cli.pipeline": ("pipeline",),
    "fabric.cli.worker": ("worker",),
}
"""Module and commands. Those that start nothing load neither sockets nor an event loop."""


def make_app(command: str | None) -> typer.Typer:
    """Return the application with the group of this command; with all of them if it is none, as for the help."""
    app = typer.Typer(
        name="fabric",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Run typed graphs of agents: checked as a whole, run as worker processes, drained without loss.",
    )
    named = [module for module, commands in GROUPS.items() if command in commands]
    for module in named or GROUPS:
        import_module(module).register(app)
    app.command()(version)
    app.callback()(_before)
    return app


def _before(context: typer.Context, env_file: EnvFile = None, no_dotenv: NoDotenv = False) -> None:
    context.obj = set_variables(context.invoked_subcommand, env_file, no_dotenv)


def version(
    as_json: Annotated[
        bool, typer.Option("--json", help="As one JSON object, with the versions of what matters.")
    ] = False,
) -> None:
    """Print the version.

    Exit codes: 0.
    """
    if not as_json:
        typer.echo(f"fabric {__version__}")
        return
    import platform

    import msgspec
    import trio

    from fabric.transport.sockets import libzmq_version

    versions = {
        "v": 1,
        "fabric": __version__,
        "python": platform.python_version(),
        "libzmq": libzmq_version(),
        "trio": trio.__version__,
    }
    typer.echo(msgspec.json.encode(versions).decode())
