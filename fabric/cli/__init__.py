"""The command ``fabric``: a command parses its arguments, calls one function, prints.

``check``, ``fmt``, ``diff`` and ``explain`` are commands about a program's text, ``write`` has those that show what it
is, ``run`` those that run it, ``chat`` the one that talks to it, ``mcp`` the one that serves programs to models,
``service`` those about a service that runs or ran, ``steer`` those that stop and start one worker of it, ``ctl`` the
one that tells it something, ``approve`` the one that decides about calls of its tools, ``dead`` those about dead
letters, ``session`` those about durable sessions, ``pipeline`` those about pipelines in YAML, ``doctor`` the one that
looks for what is wrong, ``cost`` the one that tells what models took, ``watch`` those that show it while it works,
``lsp`` the one that editors start. ``new`` makes a project, ``config`` shows what is set, ``completion`` is for shells.

``dotenv`` sets variables from ``.env`` before any of them. ``programs`` finds the programs that are meant, ``flags``
has the flags that commands share, ``limits`` those of budgets, ``starting`` what is done before a program is run.
``report`` is how errors are printed, ``progress`` what `up` shows, ``log_lines`` one line of a log, ``listing`` the
table of `ps`, ``letter_table`` that of `dead list`, ``diagnosis`` what `doctor` prints, ``config_table`` what `config
show` does, ``template`` what `new` writes, ``completion_scripts`` what `completion` prints, ``chat_lines`` what `chat`
tells; ``terminal`` is where its lines come from. ``session_place`` finds the bucket and the session that are meant.
``app`` puts the commands together. This module loads nothing until it knows what is asked for.
"""

from __future__ import annotations

__all__ = ["main"]

import os
import sys


def main() -> None:
    """Run the command line and exit."""
    _open_standard_descriptors()
    try:
        if sys.argv[1:] in (["version"], ["--version"]):
            from fabric import __version__

            os.write(1, f"fabric {__version__}\n".encode())
        else:
            from fabric.cli.app import make_app

            make_app(sys.argv[1] if len(sys.argv) > 1 else None)()
    except (Exception, BaseExceptionGroup, KeyboardInterrupt) as error:  # noqa: BLE001 - every error has its line and its exit code
        from fabric.cli.report import exit_code_of

        sys.exit(exit_code_of(error))


def _open_standard_descriptors() -> None:
    """Open those that are closed: their numbers would become those of the next files or sockets."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115
            if descriptor == 1:
                from fabric.cli.report import print_error

                print_error("stdout is closed", "bad_config")
                sys.exit(2)
