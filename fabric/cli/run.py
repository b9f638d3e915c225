"""Commands that run a program, or talk to one that runs."""

from __future__ import annotations

__all__ = ["register"]

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import trio
import typer

from fabric import __version__
from fabric.cli.report import JsonReport, TextReport, print_error, print_losses, use_color
from fabric.cli.write import PROGRAM, find_program
from fabric.compiler import Compiled, compile_file
from fabric.errors import ConfigError, FabricError
from fabric.lang.diagnostic import render_all
from fabric.plan.plan import Plan
from fabric.runtime.directory import open_run_directory
from fabric.runtime.foreground import run_lines, run_service
from fabric.runtime.state import Running, find_service, project_name, recorded
from fabric.session.events import Finish, Note
from fabric.session.session import Settings
from fabric.wire.lines import DATA, read_line, write_line
from fabric.wire.payload import decode_json, encode_json

Provider = Annotated[str | None, typer.Option(help="For agents that do not say theirs.", envvar="PLUMB_PROVIDER")]
Model = Annotated[str | None, typer.Option(help="For agents that do not say theirs.", envvar="PLUMB_MODEL")]
ReadyTimeout = Annotated[
    float, typer.Option(help="Seconds until every worker has to be ready.", envvar="FABRIC_READY_TIMEOUT", min=0.1)
]
Grace = Annotated[
    float,
    typer.Option(
        "--timeout",
        "-t",
        help="Seconds of silence before a worker that should end is ended.",
        envvar="FABRIC_GRACE",
        min=0.0,
    ),
]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.", envvar="FABRIC_LOG_LEVEL")]

SETTINGS = Settings()


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


def _compile(program: Path, run_directory: str, provider: str | None, model: str | None) -> tuple[Plan, Compiled]:
    plan, compiled = compile_file(program, run_directory=run_directory, provider=provider, model=model)
    if compiled.warnings:
        typer.echo(render_all(compiled.warnings, color=use_color()), err=True)
    return plan, compiled


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
    ready_timeout: ReadyTimeout = SETTINGS.ready_timeout_s,
    grace: Grace = SETTINGS.grace_s,
    log_level: LogLevel = "error",
) -> None:
    """Run a program on stdin and stdout: one JSON value a line, until the input ends and everything has drained.

    A graph with several inputs reads {"__port": NAME, "msg": VALUE} lines, one with several outputs writes them.

    Examples: echo '"hello"' | fabric run main.plumb; fabric run main.plumb < in.jsonl > out.jsonl

    Exit codes: 0 done, 1 a line or a worker failed, 2 the program or the configuration is wrong, 4 a worker did not
    start, 5 not everything was delivered, 130 or 143 ended by a second signal.
    """
    with open_run_directory(os.environ) as directory:
        plan, _ = _compile(find_program(program), directory, provider, model)
        settings = Settings(ready_timeout_s=ready_timeout, grace_s=grace)
        finish = trio.run(run_lines, plan, settings, JsonReport(_level(log_level)), os.environ)
    _end(finish)


def call(
    program: Annotated[Path, typer.Argument(help="The program's file.", show_default=False)],
    message: Annotated[
        str | None, typer.Argument(help="JSON; left out: null for a unit input.", show_default=False)
    ] = None,
    provider: Provider = None,
    model: Model = None,
    ready_timeout: ReadyTimeout = SETTINGS.ready_timeout_s,
    grace: Grace = SETTINGS.grace_s,
    log_level: LogLevel = "error",
) -> None:
    """Run a program once on one message; print every output.

    Examples: fabric call main.plumb '"hello"'; fabric call sum.plumb '{"a": 1, "b": 2}'

    Exit codes: as `run`.
    """
    line = (message if message is not None else "null").encode()
    with open_run_directory(os.environ) as directory, tempfile.TemporaryFile() as stdin:
        plan, _ = _compile(find_program(program), directory, provider, model)
        stdin.write(b" ".join(line.splitlines()) + b"\n")
        stdin.seek(0)
        settings = Settings(ready_timeout_s=ready_timeout, grace_s=grace)
        lines = partial(run_lines, stdin_fd=stdin.fileno())
        finish = trio.run(lines, plan, settings, JsonReport(_level(log_level)), os.environ)
    _end(finish)


def up(
    program: Annotated[Path | None, PROGRAM] = None,
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="Name of the service.", envvar="FABRIC_PROJECT")
    ] = None,
    provider: Provider = None,
    model: Model = None,
    ready_timeout: ReadyTimeout = SETTINGS.ready_timeout_s,
    grace: Grace = SETTINGS.grace_s,
    log_level: LogLevel = "warning",
) -> None:
    """Run a program as a service in the foreground, until Ctrl-C; `fabric send` talks to it.

    Examples: fabric up main.plumb; fabric up -p demo main.plumb

    Exit codes: 0 drained after one Ctrl-C, 1 a worker failed, 2 the program or the configuration is wrong, 4 a worker
    did not start, 5 not everything was delivered, 130 or 143 ended by a second signal.
    """
    started_s = time.monotonic()
    spec = find_program(program)
    with open_run_directory(os.environ) as directory:
        plan, _ = _compile(spec, directory, provider, model)
        progress = _Progress(plan, started_s, _level(log_level))
        running = Running(project or project_name(spec), os.getpid(), str(spec.resolve()), f"{directory}/service.sock")
        serve = partial(
            run_service, socket_path=running.socket, opened=progress.opened, asked_to_stop=progress.asked_to_stop
        )
        with recorded(running, Path.cwd()):
            settings = Settings(ready_timeout_s=ready_timeout, grace_s=grace)
            finish, messages = trio.run(serve, plan, settings, progress, os.environ)
    progress.stopped(finish, messages)
    _end(finish)


class _Progress(TextReport):
    """What `up` prints."""

    def __init__(self, plan: Plan, started_s: float, level: str) -> None:
        super().__init__(level)
        self._plan = plan
        self._started_s = time.monotonic()
        self._stopping_s = self._started_s
        self._pids: dict[str, int] = {}
        self._width = max((len(worker.name) for worker in plan.workers), default=0)
        loops = sum(component.loop for component in plan.components)
        parts = [_count(len(plan.workers), "worker"), _count(len(plan.graph.channels), "channel")]
        parts += [_count(loops, "feedback loop")] if loops else []
        checked_ms = (self._started_s - started_s) * 1000
        _say(f"fabric {__version__} · {Path(plan.path).name} · {', '.join(parts)} · checked in {checked_ms:.0f} ms")

    def noted(self, note: Note) -> None:
        """Print a worker's start as progress, other notes as lines."""
        name = str(note.fields.get("worker", ""))
        if note.event == "worker.spawned":
            self._pids[name] = note.fields["pid"]
        elif note.event == "worker.ready":
            spec = next(worker.spec for worker in self._plan.workers if worker.name == name)
            kind = "/".join(str(spec.config[key]) for key in ("provider", "model") if key in spec.config)
            what = kind or str(spec.config.get("call") or " ".join(spec.config.get("command", ())))
            took_s = time.monotonic() - self._started_s
            _say(f" ✔ {name:{self._width}}  {what}  ready  {took_s:.2f}s  pid {self._pids.get(name)}")
        else:
            super().noted(note)

    def opened(self) -> None:
        """Every worker is ready."""
        _say("ready · fabric send talks to it · Ctrl-C drains, twice stops")

    def asked_to_stop(self) -> None:
        """The first signal came."""
        self._stopping_s = time.monotonic()
        _say("draining: no more input is taken")

    def stopped(self, finish: Finish, messages: int) -> None:
        """The session is over."""
        took_s = time.monotonic() - self._stopping_s
        sign, how = (" ✔", "drained") if finish.exit_code == 0 else (" ✘", f"ended with exit code {finish.exit_code}")
        out, dead = _count(messages, "message"), _count(finish.losses.dead_lettered, "dead letter")
        _say(f"{sign} {how} in {took_s:.1f}s · {out} out · {dead}")


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _count(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"


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
    running = find_service(Path.cwd(), spec=spec, project=project)
    lines = iter(messages) if messages else _stdin_lines()
    failed = trio.run(partial(_send, running, port, lines, wait=wait, wait_timeout_s=wait_timeout))
    if failed:
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
            messages.append(encode_json(decode_json(argument)))
    return spec, port, messages


def _stdin_lines() -> Iterator[bytes]:
    return (line.strip() for line in sys.stdin.buffer if line.strip())


async def _send(
    running: Running, port: str | None, lines: Iterable[bytes], *, wait: bool, wait_timeout_s: float | None
) -> bool:
    """Talk to a service; return whether anything failed."""
    try:
        stream = await trio.open_unix_socket(running.socket)
    except OSError as error:
        raise FabricError(f"cannot reach '{running.project}' (pid {running.pid}): {error.strerror}") from None
    talk = _Talk(stream, wait=wait)
    with trio.move_on_after(wait_timeout_s if wait_timeout_s is not None else float("inf")) as waiting:
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(talk.write, port, lines)
            await talk.read()
            nursery.cancel_scope.cancel()
    if waiting.cancelled_caught:
        talk.fail(f"not done after {wait_timeout_s:g} s", "timeout", {})
    elif talk.missing:
        talk.fail(f"the service ended before {_count(talk.missing, 'message')} had been answered", "service_ended", {})
    return talk.failed


class _Answer(msgspec.Struct):
    id: int = 0
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: str | None = None
    code: str = ""
    node: str | None = None
    accepted: bool = False
    settled: bool = False


class _Talk:
    """One conversation with a service: requests out, answers printed as they come."""

    def __init__(self, stream: trio.SocketStream, *, wait: bool) -> None:
        self._stream = stream
        self._wait = wait
        self._all_sent = False
        self._reading = trio.CancelScope()
        self.failed = False
        self.missing = 0

    def fail(self, message: str, code: str, fields: dict[str, object]) -> None:
        self.failed = True
        print_error(message, code, fields)

    async def write(self, port: str | None, lines: Iterable[bytes]) -> None:
        """Send each message; stop at the first line that is none."""
        requests = enumerate(lines, 1)
        while (request := await trio.to_thread.run_sync(next, requests, None, abandon_on_cancel=True)) is not None:
            number, line = request
            named, payload = read_line(line)
            try:
                decode_json(payload)
            except FabricError as error:
                self.fail(str(error), "input_type_mismatch", {"line": number})
                break
            self.missing += 1
            raw = encode_json({"id": number, "port": port if named == DATA else named, "msg": msgspec.Raw(payload)})
            try:
                await self._stream.send_all(raw + b"\n")
            except trio.BrokenResourceError:
                return  # the reader sees why
        await self._stream.send_eof()
        self._all_sent = True
        self._stop_if_done()

    async def read(self) -> None:
        """Print answers until all that is waited for has come, or the service hangs up."""
        rest = b""
        with self._reading:
            async for chunk in self._stream:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._take(msgspec.json.decode(line, type=_Answer))
                sys.stdout.buffer.flush()
                self._stop_if_done()

    def _stop_if_done(self) -> None:
        if self._all_sent and not self.missing:
            self._reading.cancel()

    def _take(self, answer: _Answer) -> None:
        if answer.error is not None:
            fields: dict[str, object] = {"line": answer.id} | ({"node": answer.node} if answer.node else {})
            self.fail(answer.error, answer.code, fields)
        elif answer.output is not msgspec.UNSET and self._wait:
            sys.stdout.buffer.write(write_line(DATA, bytes(answer.output)))
        elif answer.settled if self._wait else answer.accepted:
            self.missing -= 1
