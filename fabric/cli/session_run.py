"""Commands that run a handler: until its session is quiet, once, or for as long as there may be something to do."""

from __future__ import annotations

__all__ = ["register"]

import os
import signal
import time
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fabric.cli.entry_lines import escape, say_time
from fabric.cli.report import count_of, print_line
from fabric.cli.session_place import BucketUrl, SessionId, Sessions, open_sessions, refuse_run, standing_of
from fabric.errors import ConfigError
from fabric.settings import read_duration
from fabric.store.log import Log
from fabric.store.record import Commit

if TYPE_CHECKING:
    from fabric.handlers.running import Options, Ran

COMMAND = typer.Argument(metavar="-- COMMAND", help="The handler: a program and its arguments.", show_default=False)
Timeout = Annotated[str, typer.Option("--timeout", "-t", metavar="TIME", help="That one invocation may take.")]
Retries = Annotated[
    int, typer.Option(help="How many attempts that failed are followed by another one, after a back-off.", min=0)
]
Lenient = Annotated[
    bool, typer.Option("--lenient", help="Lines on its stdout that are no records are shown, and do no harm.")
]
Rpc = Annotated[bool, typer.Option("--rpc", help="One process that serves all invocations, over HTTP.")]
Control = Annotated[
    str, typer.Option(help="What start, fork and wake have as body: json, empty; none: they are left out.")
]
AllowUri = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND",
        help="From where a handler's objects may be fetched: https (as usual), http, file:/DIRECTORY. May be repeated.",
        show_default=False,
    ),
]


def register(group: typer.Typer) -> None:
    """Add the commands of this group."""
    own_flags_first = {"allow_interspersed_args": False}  # those behind the command are its own, also without --
    group.command(context_settings=own_flags_first)(run)
    group.command("exec", context_settings=own_flags_first)(exec_)


def run(
    command: Annotated[list[str] | None, COMMAND] = None,
    bucket: BucketUrl = None,
    session: SessionId = None,
    once: Annotated[bool, typer.Option("--once", help="One decision, and no more.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for pushes and timers, until Ctrl-C.")] = False,
    timeout: Timeout = "10m",
    retries: Retries = 0,
    lenient: Lenient = False,
    rpc: Rpc = False,
    control_records: Control = "json",
    allow_uri: AllowUri = None,
) -> None:
    """Run a handler on a session until it is quiet: it waits for a push or a time, or has nothing to say.

    Each invocation reads the whole log and decides what comes next. What it decides is committed whole when it ends
    with 0, else nothing of it is: then the same is decided anew by the next run, or by this one with --retries.

    Examples: fabric session run -- python handler.py; fabric session run --watch --retries 5 -s triage-7 -- ./handler

    Exit codes: 0; 1 the last decision failed, or the bucket does not answer; 2 no session or handler is meant, or it is
    a run of a program; 7 there is no such session; 130 or 143 after Ctrl-C or SIGTERM, with nothing left
    behind; a second one does not wait for a bucket that is silent.
    """
    if once and watch:
        raise ConfigError("--once makes one decision, --watch waits for all that come: give one of them")
    _run(bucket, session, _Asked(command, timeout, retries, lenient, rpc, control_records, allow_uri, once, watch))


def exec_(
    command: Annotated[list[str] | None, COMMAND] = None,
    bucket: BucketUrl = None,
    session: SessionId = None,
    timeout: Timeout = "10m",
    retries: Retries = 0,
    lenient: Lenient = False,
    rpc: Rpc = False,
    control_records: Control = "json",
    allow_uri: AllowUri = None,
) -> None:
    """Run a handler for one decision: `fabric session run --once`.

    Examples: fabric session exec -- python handler.py; fabric session exec -s triage-7 --timeout 90s -- ./handler

    Exit codes: those of `fabric session run`.
    """
    _run(bucket, session, _Asked(command, timeout, retries, lenient, rpc, control_records, allow_uri, once=True))


class _Asked(NamedTuple):
    """What the flags say; see the options of `run`."""

    command: list[str] | None
    timeout: str
    retries: int
    lenient: bool
    rpc: bool
    control_records: str
    allow_uri: list[str] | None
    once: bool
    watch: bool = False


def _run(bucket: str | None, session: str | None, asked: _Asked) -> None:
    """Run a handler, say what came of it, and exit."""
    if not asked.command:
        raise ConfigError("which handler? Its command stands behind --, as in: fabric session run -- python handler.py")
    sessions = open_sessions(bucket)
    log = sessions.bucket.open(sessions.meant(session))
    refuse_run(log, "run")
    import trio  # only here: who only looks at a log needs no event loop

    ran, number = trio.run(_until_signal, log, _options(asked, sessions))
    if ran is not None:
        _say(log, ran)
        raise typer.Exit(1 if ran.status == "failed" else 0)
    print_line(f"ended by {signal.Signals(number).name}: what was not committed is decided anew by the next run")
    raise typer.Exit(128 + number)


def _options(asked: _Asked, sessions: Sessions) -> Options:
    from fabric.handlers.running import Options

    try:
        timeout_s = read_duration(asked.timeout)
    except ValueError as error:
        raise ConfigError(f"--timeout {asked.timeout}: {error}") from None
    if asked.control_records not in ("json", "empty", "none"):
        raise ConfigError(f"--control-records {asked.control_records}: expected json, empty or none")
    return Options(
        command=asked.command or (),
        mode="rpc" if asked.rpc else "command",
        once=asked.once,
        watch=asked.watch,
        timeout_s=timeout_s,
        retries=asked.retries,
        lenient=asked.lenient,
        control_records=asked.control_records,  # type: ignore[arg-type]  # just checked
        allow=tuple(asked.allow_uri or ("https",)),
        environment={**os.environ, "FABRIC_STORE": sessions.place.url},  # for commands of ours that a handler runs
    )


async def _until_signal(log: Log, options: Options) -> tuple[Ran | None, int]:
    """Run a handler; return what came of it, or which signal came. Its processes have ended in either case.

    A bucket that is silent holds up the first signal, for what waits for it is a thread. The second one does not wait.
    """
    import trio

    from fabric.handlers.running import run as run_handler

    ran: Ran | None = None
    number = 0
    running = trio.CancelScope()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def obey() -> None:
                nonlocal number
                async for came in signals:
                    if number:
                        os._exit(128 + came)  # processes of the handler end with us: somebody guards them
                    number = came
                    running.cancel()

            nursery.start_soon(obey)
            with running:
                ran = await run_handler(log, options, tell=print_line, decided=_say_decided if options.watch else None)
            nursery.cancel_scope.cancel()
    return ran, number


def _say_decided(commit: Commit) -> None:
    """Say what a decision became: nobody waits for the end of a run that watches."""
    entries = "1 entry" if len(commit.entries) == 1 else f"{len(commit.entries)} entries"
    pause = "" if commit.pause is None else f", {'sleeps' if commit.pause.until is not None else 'pauses'}"
    reason = "" if commit.pause is None or not commit.pause.reason else f": {commit.pause.reason}"
    print_line(f"{say_time(commit.at)}  committed {entries}{pause}{escape(reason)}")


def _say(log: Log, ran: Ran) -> None:
    """Say what was done, and how the session stands."""
    if ran.invocations:
        entries = "1 entry" if ran.committed == 1 else f"{ran.committed} entries"
        print_line(f"{count_of(ran.invocations, 'invocation')}, {entries} committed")
    standing = standing_of(log, time.time())
    status = ran.status if ran.status == "failed" else standing.status
    print_line(f"session {log.id}: " + escape(": ".join(filter(None, [status, standing.detail]))))
