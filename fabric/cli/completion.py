"""The command that prints what a shell needs to complete our commands.

What there is to complete is put into the script when it is printed, so that a key press starts nothing. Only the names
of workers are asked for, by ``fabric completion workers``, which reads the records of services and opens no socket; and
the ids of sessions, by ``fabric completion sessions LINE``, which lists those of the bucket that the line names.
"""

from __future__ import annotations

__all__ = ["register"]

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from fabric.cli.completion_scripts import SHELLS, Flag, Verb, bash, fish, zsh
from fabric.cli.template import template_names
from fabric.errors import ConfigError
from fabric.lang.config import PROVIDERS
from fabric.lang.diagnostic import CODES, did_you_mean

_WORKERS = ("attach", "ctl", "logs", "restart", "start", "stop")
_PROGRAMS = frozenset(
    {*_WORKERS, "approve", "call", "chat", "check", "cost", "diff", "doctor", "down", "fmt", "graph", "keys", "plan"}
    | {"ps", "run", "send", "tail", "top", "up", "wait"}
)
_CHOICES = {
    "--color": ("auto", "always", "never"),
    "--log-format": ("pretty", "json"),
    "--log-level": ("debug", "info", "warning", "error"),
    "--progress": ("auto", "tty", "plain", "json", "quiet"),
    "--provider": tuple(PROVIDERS),
}
_OF_WORKERS = ("--attach", "--no-attach", "--worker")
_SESSIONS = ("session delete", "session export", "session use", "session verify")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(completion)


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell.", show_default=False)],
    line: Annotated[str, typer.Argument(hidden=True)] = "",
) -> None:
    """Print a script by which a shell completes commands, flags, programs, sessions and the workers of services here.

    Examples: eval "$(fabric completion bash)"; fabric completion zsh > "${fpath[1]}/_fabric";
    fabric completion fish > ~/.config/fish/completions/fabric.fish

    Exit codes: 0; 2 there is no such shell.
    """
    match shell:
        case "workers":  # for the scripts
            typer.echo("".join(f"{name}\n" for name in _workers()), nl=False)
        case "sessions":
            typer.echo("".join(f"{name}\n" for name in _sessions(line)), nl=False)
        case "bash":
            typer.echo(bash(_verbs()), nl=False)
        case "zsh":
            typer.echo(zsh(_verbs()), nl=False)
        case "fish":
            typer.echo(fish(_verbs()), nl=False)
        case _:
            hint = did_you_mean(shell, SHELLS)
            raise ConfigError(f"no script for {shell!r}; {hint or 'expected bash, zsh or fish'}")


def _workers() -> list[str]:
    from fabric.cli.flags import state_directory
    from fabric.plan.replicas import known_names
    from fabric.runtime.services import find_records  # only here: a key press waits for what is imported

    _, services = find_records(Path.cwd(), state_directory(), spec=None, project=None)
    return sorted(known_names(worker.name for service in services if service.alive for worker in service.workers))


def _sessions(line: str) -> list[str]:
    """Return the ids of the bucket that a command line names, as far as it is typed."""
    from fabric.cli.session_place import open_sessions

    return [manifest.id for manifest in open_sessions(_bucket_of(line)).bucket.sessions()]


def _bucket_of(line: str) -> str | None:
    """Return what a command line that is being typed says with -b."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that is not closed yet
        return None
    named: str | None = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in ("-b", "--bucket"):
            named = following
        elif word.startswith("--bucket="):
            named = word.removeprefix("--bucket=")
        elif word.startswith("-b") and not word.startswith("--"):
            named = word.removeprefix("-b")
    return named or None


def _verbs() -> list[Verb]:
    from fabric.cli.app import make_app

    app: Any = get_command(make_app(None))
    commands: dict[str, Any] = dict(sorted(app.commands.items()))
    verbs = [Verb("", "", _flags(app), tuple(commands), takes_program=False, takes_worker=False)]
    for name, command in commands.items():
        verbs += _with_inner(name, command)
    return verbs


def _with_inner(name: str, command: Any) -> Iterator[Verb]:
    """Yield a command, and behind it those of its group, as deep as they go; what is hidden is not offered."""
    inner = {part: one for part, one in sorted(getattr(command, "commands", {}).items()) if not one.hidden}
    yield _verb(name, command, tuple(inner))
    for part, one in inner.items():
        yield from _with_inner(f"{name} {part}", one)


def _verb(name: str, command: Any, inner: tuple[str, ...]) -> Verb:
    words = {"completion": SHELLS, "explain": tuple(CODES), "new": template_names()}.get(name, inner)
    program = name in _PROGRAMS or name.startswith("dead ")
    return Verb(
        name, _first_sentence(command.help), _flags(command), words, program, name in _WORKERS, name in _SESSIONS
    )


def _flags(command: Any) -> tuple[Flag, ...]:
    flags = [_flag(option) for option in command.params if option.param_type_name == "option"]
    return (*flags, Flag(("-h", "--help"), "Show what it does, and how"))


def _flag(option: Any) -> Flag:
    names = tuple(sorted((*option.opts, *option.secondary_opts), key=len))
    says = _first_sentence(option.help)
    if option.is_flag:
        return Flag(names, says)
    choices = _CHOICES.get(names[-1], ())
    if "--format" in names:  # its help lists them: "text, json or sarif."
        choices = tuple(re.findall(r"[a-z]+", re.sub(r"^.*:|\bor\b|\..*", "", option.help)))
    return Flag(
        names,
        says,
        takes_value=True,
        choices=choices,
        is_worker=names[-1] in _OF_WORKERS,
        is_session=names[-1] == "--session",
    )


def _first_sentence(text: str) -> str:
    line = " ".join(text.split("\n\n")[0].split())
    return line.split(". ")[0].rstrip(".")
