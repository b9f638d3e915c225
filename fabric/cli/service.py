"""Commands about a service that runs, or ran: what it does, what it says, its end."""

from __future__ import annotations

__all__ = ["SERVICE", "WORKERS", "check_workers", "killed", "register", "sort_arguments"]

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import trio
import typer

from fabric.cli.flags import (
    ColorChoice,
    LogFormat,
    LogLevel,
    LogPrefix,
    NoAttach,
    Project,
    Timestamps,
    check_level,
    choose,
    state_directory,
)
from fabric.cli.listing import describe, render_insecure, render_queues, render_table, render_wires, words
from fabric.cli.log_lines import LogLines
from fabric.cli.progress import summary
from fabric.cli.report import count_of, out, print_error, print_line, print_losses, use_color, use_json
from fabric.errors import ConfigError, NoAnswer, NotRunning, UnknownName
from fabric.plan.replicas import known_names, meant
from fabric.runtime.dead_letters import DeadLetters, dead_directory
from fabric.runtime.ending import (
    containers_left,
    drain,
    end_containers_left,
    end_left,
    left_alive,
    outcome_of,
    remove_left,
    wait_ended,
)
from fabric.runtime.log_files import NOTES, Entry, LogReader, log_names, parse_time
from fabric.runtime.processes import is_alive, memory_bytes
from fabric.runtime.service_client import ask
from fabric.runtime.service_protocol import Request, Status
from fabric.runtime.services import (
    Outcome,
    Record,
    find_record,
    find_records,
    log_directory,
    project_name,
    state_directories,
)
from fabric.session.session import Settings
from fabric.wire.payload import encode_json, to_plain

SERVICE = typer.Argument(help="The program of the service; left out: the only service here.", show_default=False)
WORKERS = typer.Argument(
    metavar="[SPEC] [WORKER]...", help="The program of the service (*.plumb); workers.", show_default=False
)
Tail = Annotated[int | None, typer.Option("--tail", "-n", help="Only the last lines of each worker.", min=0)]

FOLLOW_S = 0.1
"""Between two looks at the logs of a service: people do not notice, and a look costs microseconds."""


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(ps)
    app.command()(logs)
    app.command()(attach)
    app.command()(wait)
    app.command()(down)


# --- ps -------------------------------------------------------------------------------------------------------------


def ps(
    program: Annotated[Path | None, SERVICE] = None,
    project: Project = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also services that have ended.")] = False,
    output: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """List the workers of the services here: state, messages, what each waits on, memory.

    IN and OUT are messages that a worker was given and has answered, UNACK those with it, QUEUE those that wait for it,
    OLDEST the age of the oldest of these, DEAD its dead letters. On a narrow terminal some columns are left out.

    Examples: fabric ps; fabric ps -a --format json

    Exit codes: 0, 1 a service runs and does not answer, 7 nothing runs (with -a: nothing is known of any service).
    """
    if output not in ("table", "json"):
        raise ConfigError(f"--format {output}: expected table or json")
    state, records = find_records(Path.cwd(), state_directory(), spec=program, project=project)
    alive = {record.project for record in records if record.alive}
    shown = [record for record in records if everything or record.project in alive]
    found = trio.run(_ask_all, [record for record in shown if record.project in alive])
    rows = []
    for record in records:
        running = record.project in alive and record.alive  # it may have ended while it was asked
        workers = [worker for worker in record.workers if worker.process is not None and is_alive(worker.process)]
        memory = {worker.name: memory_bytes(worker.process) for worker in workers if worker.process}
        dead = _dead_letters(state, record)
        row = describe(record, found.get(record.project), alive=running, memory=memory, dead=dead, now=time.time())
        rows += [row] if record in shown else []
        said = words(row)
        if said is not None and (record in shown or not alive):
            print_line(said)
    if output == "json" and (shown or everything):
        out([encode_json({"v": 1, "services": to_plain(rows)}).decode(), "\n"])
    elif rows:
        columns = shutil.get_terminal_size().columns if os.isatty(1) else None
        out(line + "\n" for line in render_insecure(rows))
        out([render_table(rows, columns), "\n"])
        out(line + "\n" for line in (*render_queues(rows), *render_wires(rows)))
        for row in rows:
            if row.dead_letters:
                letters = count_of(row.dead_letters, "dead letter")
                print_line(f"'{row.project}' has {letters}: fabric dead list -p {row.project}")
    if not shown:
        known = "nothing runs here" if records else f"nothing is known of any service from {Path.cwd()}"
        raise NotRunning(f"{known}; start a service with: fabric up {program or 'SPEC'}")
    if any(row.answers is False for row in rows):
        raise typer.Exit(NoAnswer.exit_code)


def _dead_letters(state: Path, record: Record) -> Counter[str]:
    """Return how many dead letters are kept that were for each worker."""
    with DeadLetters(dead_directory(state, record.project)).open() as letters:
        return Counter(head.worker for head in letters.heads.values())


async def _ask_all(records: Iterable[Record]) -> dict[str, Status]:
    """Ask several services at once how they stand; who does not answer is missing."""
    found: dict[str, Status] = {}

    async def ask_one(record: Record) -> None:
        with suppress(NoAnswer, NotRunning):
            answer = await ask(record, Request(1, do="status"))
            if isinstance(answer.status, Status):
                found[record.project] = answer.status

    async with trio.open_nursery() as nursery:
        for record in records:
            nursery.start_soon(ask_one, record)
    return found


# --- logs -----------------------------------------------------------------------------------------------------------


def logs(
    arguments: Annotated[list[str] | None, WORKERS] = None,
    project: Project = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the service ends.")] = False,
    tail: Tail = None,
    since: Annotated[str | None, typer.Option(help="From this time on: RFC 3339, or an age like 5m.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this time.")] = None,
    timestamps: Timestamps = False,
    log_prefix: LogPrefix = True,
    output: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
    color: ColorChoice = "auto",
) -> None:
    """Print what the workers wrote on stderr and what the coordinator noted (as worker 'fabric'), in the order of time.

    Works while the service runs and after its end, however it ended.

    Examples: fabric logs -f; fabric logs -n 20 --since 5m critic

    Exit codes: 0, 2 a time cannot be read, 7 nothing is known of the service, or it has no such worker.
    """
    if output not in ("text", "json"):
        raise ConfigError(f"--format {output}: expected text or json")
    choose(color)
    after = parse_time(since, time.time()) if since is not None else ""
    before = parse_time(until, time.time()) if until is not None else "~"  # behind every digit
    spec, named = sort_arguments(arguments)
    names = frozenset(named)
    directory, record = _find_logs(spec, project)
    known = sorted({worker.name for worker in record.workers} | {NOTES} if record else log_names(directory))
    check_workers(names, known_names(known))
    names = frozenset(each for name in names for each in meant(name, known))
    lines = LogLines.of(known, color=use_color(1), timestamps=timestamps, prefix=log_prefix, json=output == "json")

    def wanted(entry: Entry) -> bool:
        return after <= entry.ts <= before and entry.concerns(names)

    with LogReader(directory) as reader:
        read = _out_entries(reader.history(wanted, last=tail), lines)
        if read and follow and record is not None:
            trio.run(_follow, record, reader, wanted, lines)
            if not record.alive and outcome_of(directory.parent.parent, record) is None:
                print_line(killed(record))


def _find_logs(spec: Path | None, project: str | None) -> tuple[Path, Record | None]:
    """Return where the logs are, and the record if there is one: `down` removes that of a killed service.

    Raises:
        NotRunning: there are none, or those of several services and none was named.
    """
    here = Path.cwd()
    try:
        state, record = find_record(here, state_directory(), spec=spec, project=project)
        return log_directory(state, record.project), record
    except NotRunning:
        name = project or (project_name(spec) if spec else None)
        for state in state_directories(here, state_directory()):
            found = [path for path in (state / "logs").glob("*") if name in (None, path.name)]
            if len(found) == 1:
                return found[0], None
        raise


def check_workers(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise UnknownName if a worker is named that is not known."""
    for name in names:
        if name not in known:
            raise UnknownName(f"there is no worker '{name}'; the workers are: {', '.join(known)}")


def sort_arguments(arguments: list[str] | None) -> tuple[Path | None, tuple[str, ...]]:
    """Tell the program (``*.plumb``) from names, each of which is returned once.

    Raises:
        ConfigError: there is more than one program.
    """
    given = arguments or []
    specs = [argument for argument in given if argument.endswith(".plumb")]
    if len(specs) > 1:
        raise ConfigError(f"one program at a time, not {', '.join(specs)}")
    names = tuple(dict.fromkeys(argument for argument in given if not argument.endswith(".plumb")))
    return (Path(specs[0]) if specs else None), names


async def _follow(record: Record, reader: LogReader, wanted: Callable[[Entry], bool], lines: LogLines) -> None:
    """Print what comes until the service has ended, or nobody reads it any more."""
    over = False
    while not over:
        with trio.move_on_after(FOLLOW_S):
            await wait_ended(record.process)
            over = True
        over |= not _out_entries(filter(wanted, reader.more()), lines)


# --- attach ---------------------------------------------------------------------------------------------------------


def attach(
    arguments: Annotated[list[str] | None, WORKERS] = None,
    project: Project = None,
    no_attach: NoAttach = None,
    tail: Tail = None,
    timestamps: Timestamps = False,
    log_prefix: LogPrefix = True,
    log_format: LogFormat = "pretty",
    color: ColorChoice = "auto",
    log_level: LogLevel = "warning",
) -> None:
    """Print what the workers of a running service write, from now on, until it ends. Ctrl-C detaches, and leaves it
    running.

    Examples: fabric attach; fabric attach -n 20 --no-attach critic

    Exit codes: 0 detached; else that of the service when it ends, 1 if it was killed; 7 nothing is running.
    """
    choose(color, log_format)
    levels = ("debug", "info", "warning", "error")
    level = levels.index(check_level(log_level))
    spec, named = sort_arguments(arguments)
    names = frozenset(named)
    state, record = find_record(Path.cwd(), state_directory(), spec=spec, project=project)
    if not record.alive:
        raise NotRunning(f"'{record.project}' does not run any more; fabric logs shows what it said")
    known = [*(worker.name for worker in record.workers), NOTES]
    without = frozenset(no_attach or ())
    check_workers((*names, *without), known_names(known))
    names = frozenset(each for name in names for each in meant(name, known))
    without = frozenset(each for name in without for each in meant(name, known))
    lines = LogLines.of(known, color=use_color(1), timestamps=timestamps, prefix=log_prefix, json=use_json())

    def wanted(entry: Entry) -> bool:
        if entry.event in ("session.failed", "fabric.stopped"):  # said at the end
            return False
        loud = entry.line is not None or levels.index(entry.level) >= level
        return loud and entry.concerns(names) and (entry.worker or NOTES) not in without

    with LogReader(log_directory(state, record.project)) as reader:
        if tail is None:
            reader.skip()
        else:
            _out_entries(reader.history(wanted, last=tail), lines)
        detached = trio.run(_attach, record, reader, wanted, lines)
    if detached:
        print_line(f"detached; '{record.project}' (pid {record.process.pid}) runs on")
        return
    raise typer.Exit(_tell_end(record, outcome_of(state, record)))


async def _attach(record: Record, reader: LogReader, wanted: Callable[[Entry], bool], lines: LogLines) -> bool:
    """Follow; return whether the user did not want to any more."""
    detached = False
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def detach() -> None:
                nonlocal detached
                await anext(aiter(signals))
                detached = True
                nursery.cancel_scope.cancel()

            nursery.start_soon(detach)
            await _follow(record, reader, wanted, lines)
            nursery.cancel_scope.cancel()
    return detached


# --- the end --------------------------------------------------------------------------------------------------------


def wait(program: Annotated[Path | None, SERVICE] = None, project: Project = None) -> None:
    """Wait until a service ends, and exit as it did. If it has ended already, at once.

    Examples: fabric wait; fabric wait -p demo && echo drained

    Exit codes: those of `fabric up`; 1 also if its coordinator was killed, 7 nothing is known of such a service.
    """
    state, record = find_record(Path.cwd(), state_directory(), spec=program, project=project)
    trio.run(wait_ended, record.process)
    raise typer.Exit(_tell_end(record, outcome_of(state, record)))


def down(
    program: Annotated[Path | None, SERVICE] = None,
    project: Project = None,
    grace: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            "-t",
            help="Seconds of silence before a worker that should end is ended; left out: as `up` was told.",
            min=0.0,
        ),
    ] = None,
) -> None:
    """End a service: no more input, the rest is finished. Ctrl-C: without waiting for that. Of a service that was
    killed: end and remove what is left.

    Examples: fabric down; fabric down -t 2 -p demo

    Exit codes: 0 drained, ended already or cleared away; 1 it does not answer; 7 nothing is known of such a service;
    else that of the service.
    """
    state, record = find_record(Path.cwd(), state_directory(), spec=program, project=project)
    if record.alive:
        print_line(f"draining '{record.project}' (pid {record.process.pid}) · Ctrl-C ends it without waiting")
        trio.run(_drain, record, grace)
        outcome = outcome_of(state, record)
        if outcome is not None:
            raise typer.Exit(_tell_end(record, outcome))
    elif record.outcome is not None:
        print_line(f"'{record.project}' has ended already, with exit code {record.outcome.exit_code}")
        _end_containers(record, Settings().grace_s if grace is None else grace)  # if its engine was away at its end
        return
    print_line(killed(record))
    for worker in trio.run(left_alive, record):
        assert worker.process is not None
        print_line(f"worker '{worker.name}' (pid {worker.process.pid}) lives on, and is ended")
    grace_s = Settings().grace_s if grace is None else grace
    trio.run(end_left, record, grace_s)
    _end_containers(record, grace_s)
    print_line("cleared away" if remove_left(state, record) else "somebody else has cleared away")


def _end_containers(record: Record, grace_s: float) -> None:
    """Name the containers that a service has left, end and remove them."""
    for left in trio.run(containers_left, record, os.environ):
        print_line(f"{left} is left, and is ended and removed")
    trio.run(end_containers_left, record, os.environ, grace_s)


async def _drain(record: Record, grace_s: float | None) -> None:
    with trio.open_signal_receiver(signal.SIGINT) as signals:

        async def insisting() -> AsyncIterator[int]:
            async for number in signals:
                print_line("ending it without waiting")
                yield number

        await drain(record, grace_s, insisting())


def killed(record: Record) -> str:
    """Say of a service that it was."""
    return f"'{record.project}': its coordinator (pid {record.process.pid}) was killed"


def _tell_end(record: Record, outcome: Outcome | None) -> int:
    """Print how a service ended, and return what to exit with."""
    if outcome is None:
        print_error(killed(record), "coordinator_killed")
        return 1
    print_line(summary(outcome))
    if outcome.error is not None:
        print_error(outcome.error[1], outcome.error[0])
    print_losses(outcome.losses)
    return outcome.exit_code


def _out_entries(entries: Iterable[Entry], lines: LogLines) -> bool:
    return out(lines.render(entry) + "\n" for entry in entries)
