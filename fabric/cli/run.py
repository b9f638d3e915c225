"""Commands that run a program, or talk to one that runs.

The event loop and the sockets are imported where they are needed: while the zygote imports what its workers need.
"""

from __future__ import annotations

__all__ = ["register"]

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fabric.cli.report import AnswerPrinter, JsonReport, Progress, print_error, print_line, print_losses, use_color
from fabric.cli.write import PROGRAM, find_program
from fabric.compiler import compile_file
from fabric.errors import ConfigError
from fabric.lang.diagnostic import render_all
from fabric.launch.preload import ZygoteProcess, open_zygote
from fabric.plan.plan import Plan
from fabric.runtime.directory import open_run_directory
from fabric.runtime.services import STATE_DIRECTORY, Running, find_service, project_name, recorded
from fabric.session.events import Finish
from fabric.session.session import Settings
from fabric.settings import ProjectSettings, read_settings
from fabric.wire.lines import LineSplitter, one_line
from fabric.wire.payload import decode_json

Provider = Annotated[str | None, typer.Option(help="For agents that do not say theirs.", envvar="PLUMB_PROVIDER")]
Model = Annotated[str | None, typer.Option(help="For agents that do not say theirs.", envvar="PLUMB_MODEL")]
DEFAULTS = Settings()
ReadyTimeout = Annotated[
    float | None,
    typer.Option(
        help="Seconds until every worker has to be ready.",
        envvar="FABRIC_READY_TIMEOUT",
        min=0.1,
        show_default=f"{DEFAULTS.ready_timeout_s:g}",
    ),
]
Grace = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        "-t",
        help="Seconds of silence before a worker that should end is ended.",
        envvar="FABRIC_GRACE",
        min=0.0,
        show_default=f"{DEFAULTS.grace_s:g}",
    ),
]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.", envvar="FABRIC_LOG_LEVEL")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(run)
    app.command()(call)
    app.command()(up)
    app.command()(send)


def _level(level: str) -> str:
    if level not in ("debug", "info", "warning", "error"):
        raise ConfigError(f"--log-level {level}: expected debug, info, warning or error")
    return level


def _state() -> Path | None:
    """Return the state directory that the environment names."""
    named = os.environ.get("FABRIC_STATE_DIR")
    return Path(named) if named else None


def _compile(
    program: Path, run_directory: str, provider: str | None, model: str | None, project: ProjectSettings
) -> Plan:
    plan, compiled = compile_file(
        program,
        run_directory=run_directory,
        provider=provider or project.provider,
        model=model or project.model,
        resources=os.environ.get("PLUMB_RESOURCES", ""),
    )
    if compiled.warnings:
        print_line(render_all(compiled.warnings, color=use_color()))
    return plan


def _settings(
    project: ProjectSettings, ready_timeout_s: float | None, grace_s: float | None, *, refusal_ends: bool
) -> Settings:
    """Return what was asked for: a flag or a variable, else what the project says, else the default."""
    said = {
        "ready_timeout_s": project.ready_timeout_s if ready_timeout_s is None else ready_timeout_s,
        "grace_s": project.grace_s if grace_s is None else grace_s,
    }
    return Settings(refusal_ends=refusal_ends, **{name: value for name, value in said.items() if value is not None})


def _zygote(plan: Plan, project: ProjectSettings) -> AbstractContextManager[ZygoteProcess | None]:
    return open_zygote(plan.workers if project.launch == "zygote" else ())


def _end(finish: Finish) -> None:
    """Print what has to be said of an end, and exit."""
    if finish.error is not None:
        code, message = finish.error
        print_error(message, code)
    print_losses(finish.losses)
    raise typer.Exit(finish.exit_code)


def run(
    program: Annotated[Path | None, PROGRAM] = None,
    provider: Provider = None,
    model: Model = None,
    ready_timeout: ReadyTimeout = None,
    grace: Grace = None,
    log_level: LogLevel = "error",
) -> None:
    """Run a program on stdin and stdout: one JSON value a line, until the input ends and everything has drained.

    A graph with several inputs reads {"__port": NAME, "msg": VALUE} lines, one with several outputs writes them.

    Examples: echo '"hello"' | fabric run main.plumb; fabric run main.plumb < in.jsonl > out.jsonl

    Exit codes: 0 done, 1 a line or a worker failed, 2 the program or the configuration is wrong, 4 a worker did not
    start, 5 not everything was delivered, 130 or 143 ended by a second signal.
    """
    project = read_settings(Path.cwd())
    settings = _settings(project, ready_timeout, grace, refusal_ends=True)
    _run_lines(find_program(program, project), project, provider, model, settings, _level(log_level), stdin_fd=0)


def _run_lines(
    program: Path,
    project: ProjectSettings,
    provider: str | None,
    model: str | None,
    settings: Settings,
    level: str,
    *,
    stdin_fd: int,
) -> None:
    with open_run_directory(os.environ) as directory:
        plan = _compile(program, directory, provider, model, project)
        with _zygote(plan, project) as zygote:
            import trio

            from fabric.runtime.foreground import run_lines

            serve = partial(run_lines, zygote=zygote, stdin_fd=stdin_fd)
            finish = trio.run(serve, plan, settings, JsonReport(level), os.environ)
    _end(finish)


def call(
    program: Annotated[Path, typer.Argument(help="The program's file.", show_default=False)],
    message: Annotated[
        str | None, typer.Argument(help="JSON; left out: null for a unit input.", show_default=False)
    ] = None,
    provider: Provider = None,
    model: Model = None,
    ready_timeout: ReadyTimeout = None,
    grace: Grace = None,
    log_level: LogLevel = "error",
) -> None:
    """Run a program once on one message; print every output.

    Examples: fabric call main.plumb '"hello"'; fabric call sum.plumb '{"a": 1, "b": 2}'

    Exit codes: as `run`.
    """
    if message is not None and not message.strip():
        raise ConfigError("the message is empty: give a JSON value")
    project = read_settings(Path.cwd())
    settings = _settings(project, ready_timeout, grace, refusal_ends=True)
    with tempfile.TemporaryFile() as stdin:
        stdin.write(one_line((message if message is not None else "null").encode()) + b"\n")
        stdin.seek(0)
        program = find_program(program, project)
        _run_lines(program, project, provider, model, settings, _level(log_level), stdin_fd=stdin.fileno())


def up(
    program: Annotated[Path | None, PROGRAM] = None,
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="Name of the service.", envvar="FABRIC_PROJECT")
    ] = None,
    provider: Provider = None,
    model: Model = None,
    ready_timeout: ReadyTimeout = None,
    grace: Grace = None,
    log_level: LogLevel = "warning",
) -> None:
    """Run a program as a service in the foreground, until Ctrl-C; `fabric send` talks to it.

    Examples: fabric up main.plumb; fabric up -p demo main.plumb

    Exit codes: 0 drained after one Ctrl-C, 1 a worker failed, 2 the program or the configuration is wrong, 4 a worker
    did not start, 5 not everything was delivered, 130 or 143 ended by a second signal.
    """
    started_s = time.monotonic()
    project_settings = read_settings(Path.cwd())
    settings = _settings(project_settings, ready_timeout, grace, refusal_ends=False)
    spec = find_program(program, project_settings)
    with open_run_directory(os.environ) as directory:
        plan = _compile(spec, directory, provider, model, project_settings)
        progress = Progress(plan, started_s, _level(log_level))
        running = Running(project or project_name(spec), os.getpid(), str(spec.resolve()), f"{directory}/service.sock")
        with recorded(running, _state() or Path(STATE_DIRECTORY)), _zygote(plan, project_settings) as zygote:
            import trio

            from fabric.runtime.foreground import run_service

            serve = partial(
                run_service,
                zygote=zygote,
                socket_path=running.socket,
                opened=progress.opened,
                asked_to_stop=progress.asked_to_stop,
            )
            finish, messages, unclaimed = trio.run(serve, plan, settings, progress, os.environ)
    progress.stopped(finish, messages, unclaimed)
    _end(finish)


def send(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPEC] [PORT] [JSON]...",
            help="The program (*.plumb), the input's name, messages; no message: one a line from stdin.",
            show_default=False,
        ),
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="Name of the service.", envvar="FABRIC_PROJECT")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait for, and print, all that comes of the messages.")] = True,
    wait_timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most.", min=0.0)] = None,
) -> None:
    """Send messages to a running service and print what comes back: what descends from them, until nothing of them is
    left.

    Examples: fabric send '"I feel sad today"'; fabric send main.plumb input '1' '2'; fabric send < in.jsonl

    Exit codes: 0, 1 a message was refused or the service ended before it was done, 7 nothing is running.
    """
    spec, port, messages = _sort(arguments or [])
    running = find_service(Path.cwd(), _state(), spec=spec, project=project)
    lines = iter(messages) if messages else _stdin_lines()
    printer = AnswerPrinter()
    import trio

    from fabric.runtime.service_client import talk

    talking = partial(talk, wait=wait, wait_timeout_s=wait_timeout)
    trio.run(talking, running, port, lines, printer)
    if printer.any_failed:
        raise typer.Exit(1)


def _sort(arguments: list[str]) -> tuple[Path | None, str | None, list[bytes]]:
    """Tell program, port and messages apart: ``*.plumb``, a bare word, JSON."""
    spec: Path | None = None
    port: str | None = None
    messages: list[bytes] = []
    for argument in arguments:
        if argument.endswith(".plumb") and spec is None and not messages:
            spec = Path(argument)
        elif argument.isidentifier() and argument not in ("true", "false", "null") and port is None and not messages:
            port = argument
        else:
            decode_json(argument)
            messages.append(one_line(argument.encode()))
    return spec, port, messages


def _stdin_lines() -> Iterator[bytes]:
    """Yield the lines of stdin. Not by sys.stdin: a thread that waits on it cannot be left behind at the exit."""
    splitter, more = LineSplitter(), True
    while more:
        chunk = os.read(0, 64 * 1024)
        more = bool(chunk)
        yield from (line for line in splitter.feed(chunk) if line.strip())
