"""Commands that show a service while it works: the messages on its channels, and a table of who does how much."""

from __future__ import annotations

__all__ = ["look_at", "register"]

import os
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import trio
import typer

from fabric.cli.flags import ColorChoice, Project, Timestamps, choose, state_directory
from fabric.cli.log_lines import color_of
from fabric.cli.report import out, print_error, print_line, use_color
from fabric.cli.service import SERVICE, killed, sort_arguments
from fabric.cli.top import Look, compare, render_top
from fabric.errors import ConfigError, NotRunning, UnknownName
from fabric.graph.ir import Graph
from fabric.graph.svg import Live
from fabric.plan.replicas import node_of
from fabric.runtime.ending import outcome_of, wait_ended
from fabric.runtime.log_files import timestamp
from fabric.runtime.processes import cpu_s, memory_bytes
from fabric.runtime.service_client import ask, listen
from fabric.runtime.service_protocol import Answer, Request, Status
from fabric.runtime.services import Record, find_record, find_service
from fabric.wire.payload import encode_json, to_plain

LOOK_S = 1.0
"""Between two looks of `top`: figures that change faster cannot be read."""


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(tail)
    app.command()(top)


# --- tail -----------------------------------------------------------------------------------------------------------


def tail(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPEC] CHANNEL...",
            help="The program (*.plumb); channels: 'a->b' or 'a→b' with nodes or ports, 'a' for all that leave it.",
            show_default=False,
        ),
    ] = None,
    project: Project = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="All channels.")] = False,
    messages: Annotated[int | None, typer.Option("--messages", "-n", help="End after so many messages.", min=1)] = None,
    output: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
    timestamps: Timestamps = False,
    color: ColorChoice = "auto",
) -> None:
    """Print the messages on channels of a running service, from now on, until Ctrl-C or its end.

    The service does not wait for who reads this: what comes too fast is left out, and counted.

    Examples: fabric tail composer; fabric tail -n 10 'composer->checker'; fabric tail --all --format json

    Exit codes: 0, 1 the service was killed, 2 no channel is named (they are listed), 7 nothing is running, or it has no
    such channel.
    """
    if output not in ("text", "json"):
        raise ConfigError(f"--format {output}: expected text or json")
    choose(color)
    spec, names = sort_arguments(arguments)
    state, service = find_record(Path.cwd(), state_directory(), spec=spec, project=project)
    if not service.alive:
        raise NotRunning(f"'{service.project}' does not run any more; fabric up starts it again")
    if not names and not everything:
        known = trio.run(_status, service).channels
        listed = ", ".join(f"{name} ({count})" for name, count in known.items())
        raise ConfigError(f"which channel? Those of '{service.project}', with their messages so far: {listed}")
    printer = _Messages(messages, json=output == "json", timestamps=timestamps)
    try:
        trio.run(listen, service, [Request(1, do="tail", channels=() if everything else names)], printer.hear)
    except KeyboardInterrupt:
        return
    if printer.enough:
        return
    trio.run(wait_ended, service.process)
    if outcome_of(state, service) is None:
        print_error(killed(service), "coordinator_killed")
        raise typer.Exit(1)
    print_line(f"'{service.project}' has ended")


class _Messages:
    """Prints messages on stdout.

    Attributes:
        enough: whether no more are wanted.
    """

    def __init__(self, limit: int | None, *, json: bool, timestamps: bool) -> None:
        self.enough = False
        self._left = limit
        self._json = json
        self._timestamps = timestamps
        self._color = use_color(1)

    def hear(self, answer: Answer) -> bool:
        """Print a message; return whether more are wanted.

        Raises:
            UnknownName: there is no such channel.
        """
        if answer.error:
            raise UnknownName(answer.error)
        if answer.left_out and self._json:
            out([encode_json({"left_out": answer.left_out}).decode(), "\n"])
        elif answer.left_out:
            print_line(f"… {answer.left_out} messages left out")
        if not answer.channel:
            return True
        self.enough = not out([self._line(answer), "\n"])
        if self._left is not None:
            self._left -= 1
            self.enough |= self._left == 0
        return not self.enough

    def _line(self, answer: Answer) -> str:
        assert isinstance(answer.msg, msgspec.Raw)
        ts = timestamp(time.time())
        if self._json:
            fields = {"ts": ts, "channel": answer.channel, "trace": answer.trace, "msg": answer.msg}
            return encode_json(fields).decode()
        name = f"\x1b[{color_of(answer.channel)}m{answer.channel} |\x1b[0m" if self._color else f"{answer.channel} |"
        return f"{ts} " * self._timestamps + f"{name} {bytes(answer.msg).decode()}"


async def _status(service: Record) -> Status:
    answer = await ask(service, Request(1, do="status"))
    assert isinstance(answer.status, Status)
    return answer.status


# --- top ------------------------------------------------------------------------------------------------------------


def top(
    program: Annotated[Path | None, SERVICE] = None,
    project: Project = None,
    output: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Show what the workers of a service do at the moment, each second anew, until Ctrl-C or its end.

    IN/s and OUT/s are messages that a worker is given and answers, STILL is how long it has shown no sign of life.
    Where stdout is no terminal, and in JSON: once, for one second.

    Examples: fabric top; fabric top -p demo --format json

    Exit codes: 0, 1 the service does not answer, 7 nothing is running.
    """
    if output not in ("table", "json"):
        raise ConfigError(f"--format {output}: expected table or json")
    service = find_service(Path.cwd(), state_directory(), spec=program, project=project)
    in_place = output == "table" and os.isatty(1) and os.environ.get("TERM") != "dumb"
    try:
        trio.run(_top, service, output == "json", in_place)
    except KeyboardInterrupt:
        return


async def _top(service: Record, json: bool, in_place: bool) -> None:
    before, drawn = await _look(service), 0
    while True:
        await trio.sleep(LOOK_S)
        try:
            now = await _look(service)
        except NotRunning:
            if not in_place:
                raise
            print_line(f"'{service.project}' has ended")
            return
        found = compare(service.project, before, now)
        if json:
            out([encode_json({"v": 1, **to_plain(found)}).decode(), "\n"])
        elif not in_place:
            out(line + "\n" for line in render_top(found))
        if not in_place:
            return
        drawn = _redraw(render_top(found), drawn)
        before = now


def _redraw(lines: list[str], drawn: int) -> int:
    """Draw lines over the last ones, in one write, as many as the terminal has room for; return how many."""
    size = shutil.get_terminal_size()
    shown = [line[: size.columns - 1] for line in lines[: size.lines - 1]]
    up = f"\x1b[{drawn}F" if drawn else ""
    out([up, "".join(f"{line}\x1b[K\n" for line in shown), "\x1b[J"])
    return len(shown)


async def _look(service: Record) -> Look:
    """Ask how a service stands, and the system what its workers use.

    Raises:
        NotRunning: it has ended.
        NoAnswer: it does not answer.
    """
    status = await _status(service)
    now = find_service(Path.cwd(), state_directory(), spec=None, project=service.project)  # workers may be new
    processes = {worker.name: worker.process for worker in now.workers if worker.process is not None}
    used = {name: cpu_s(process) for name, process in processes.items()}
    memory = {name: memory_bytes(process) for name, process in processes.items()}
    return Look(
        time.monotonic(),
        status,
        {name: process.pid for name, process in processes.items() if memory[name] is not None},
        {name: seconds for name, seconds in used.items() if seconds is not None},
        {name: size for name, size in memory.items() if size is not None},
    )


# --- graph --live ---------------------------------------------------------------------------------------------------


def look_at(spec: Path, project: str | None, graph: Graph) -> Live:
    """Return what moves in the running service of a program, from two looks a second apart.

    Raises:
        NotRunning: none runs, or it ends meanwhile.
        NoAnswer: it does not answer.
        ConfigError: what runs has other channels than the program has now.
    """
    service = find_service(Path.cwd(), state_directory(), spec=spec, project=project)
    before, now = trio.run(_look_twice, service)
    took_s = now.at_s - before.at_s
    sources = {f"{channel.source.node}.{channel.source.port}": channel.source for channel in graph.channels}
    if not now.status.ports.keys() <= sources.keys():
        raise ConfigError(f"{spec} has been changed since '{service.project}' was started: there is nothing to compare")
    rates = {sources[name]: (count - before.status.ports[name]) / took_s for name, count in now.status.ports.items()}
    depths: Counter[str] = Counter()
    for worker in now.status.workers:
        depths[node_of(worker.name)] += worker.waiting + worker.unacknowledged
    for queue in now.status.queues:
        depths[queue.node] += queue.waiting + queue.ahead
    depths |= {barrier: sum(slots.values()) for barrier, slots in now.status.barriers.items()}
    return Live(rates, depths)


async def _look_twice(service: Record) -> tuple[Look, Look]:
    before = await _look(service)
    await trio.sleep(LOOK_S)
    return before, await _look(service)
