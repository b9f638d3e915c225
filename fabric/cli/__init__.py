"""The command ``fabric``: a command parses its arguments, calls one function, prints.

``write`` has the commands about a program's text, ``run`` those that run it, ``service`` those about a service that
runs or ran. ``report`` is how errors are printed, ``progress`` what `up` shows, ``log_lines`` one line of a log,
``listing`` the table of `ps`.
"""

from __future__ import annotations

__all__ = ["app", "main"]

import os
import sys
from typing import Annotated

import typer

from fabric import __version__
from fabric.cli import run, service, write
from fabric.cli.report import exit_code_of, print_error

app = typer.Typer(
    name="fabric",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run typed graphs of agents: checked as a whole, run as worker processes, drained without loss.",
)
write.register(app)
run.register(app)
service.register(app)


@app.command()
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


def main() -> None:
    """Run the command line and exit."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:  # it would become that of the next file or socket
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115
            if descriptor == 1:
                print_error("stdout is closed", "bad_config")
                sys.exit(2)
    try:
        app()
    except (Exception, BaseExceptionGroup, KeyboardInterrupt) as error:  # noqa: BLE001 - every error has its line and its exit code
        sys.exit(exit_code_of(error))
