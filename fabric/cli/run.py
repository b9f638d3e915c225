"""Commands that run a program, or talk to one that runs.

The event loop and the sockets are imported where they are needed: while the zygote imports what its workers need.
"""

from __future__ import annotations

__all__ = ["register"]

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from fabric.cli.flags import (
    ApprovalTimeout,
    Attach,
    AutoApprove,
    ColorChoice,
    Docroot,
    Grace,
    Http,
    Include,
    Insecure,
    LogFormat,
    LogLevel,
    LogPrefix,
    Model,
    NoAttach,
    Project,
    Provider,
    ReadyTimeout,
    Restarts,
    RunnerChoice,
    Timestamps,
    TokenFile,
    check_level,
    check_runner,
    choose,
    state_directory,
)
from fabric.cli.kept import AllowChanged, Anew, ApproveInDoubt, BucketUrl, KeptSession, Wanted, keep, wanted_of
from fabric.cli.limits import BudgetCalls, BudgetTokens, BudgetUsd, MaxTime, print_spent, show_limits
from fabric.cli.log_lines import LogLines
from fabric.cli.programs import PROGRAM, find_program, project_settings
from fabric.cli.progress import PROGRESS, Screen, choose_progress
from fabric.cli.report import (
    AnswerPrinter,
    JsonReport,
    print_error,
    print_line,
    print_losses,
    use_color,
    use_json,
)
from fabric.cli.starting import Asked, compile_program, zygote_of
from fabric.errors import ConfigError, FabricError, sole
from fabric.graph.observe import SIDE_PORTS
from fabric.launch.preload import ZygoteProcess
from fabric.plan.place import say_insecure, unsecured
from fabric.plan.plan import Plan
from fabric.plan.replicas import known_names, meant
from fabric.runtime.detach import Child, Parent, fork
from fabric.runtime.directory import open_run_directory
from fabric.runtime.http_listen import HTTP_OFF, Listening, bind, keep_token
from fabric.runtime.prices import Prices
from fabric.runtime.processes import identify
from fabric.runtime.services import (
    STATE_DIRECTORY,
    Outcome,
    Record,
    find_service,
    hold_name,
    project_name,
    read_record,
    record_file,
)
from fabric.runtime.services import token_file as token_file_of
from fabric.runtime.starting import limits_of, prices_of, settings_of, unasked
from fabric.session.events import Finish, Level, Note
from fabric.session.settings import Settings
from fabric.settings import ProjectSettings
from fabric.wire.lines import LineSplitter, one_line
from fabric.wire.payload import decode_json

if TYPE_CHECKING:
    from fabric.runtime.keeping import Kept


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(run)
    app.command()(call)
    app.command()(up)
    app.command()(send)


def _end(finish: Finish) -> NoReturn:
    """Print what has to be said of an end, and exit."""
    if finish.error is not None:
        code, message = finish.error
        print_error(message, code)
    print_losses(finish.losses)
    print_spent(finish.usage, finish.budget)
    raise typer.Exit(finish.exit_code)


def run(
    program: Annotated[Path | None, PROGRAM] = None,
    provider: Provider = None,
    model: Model = None,
    include: Include = None,
    ready_timeout: ReadyTimeout = None,
    grace: Grace = None,
    restarts: Restarts = None,
    docroot: Docroot = None,
    runner: RunnerChoice = None,
    auto_approve: AutoApprove = False,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    budget_calls: BudgetCalls = None,
    max_time: MaxTime = None,
    approval_timeout: ApprovalTimeout = None,
    insecure: Insecure = False,
    log_level: LogLevel = "error",
    extra: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Write what workers say on a port that nobody reads, telemetry or ctrl_out, to a file: lines"
            " WORKER TAB JSON. - is stderr. Repeatable.",
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="ADDR:PORT", help="Where it can be watched over HTTP: /metrics, /livez, /readyz."),
    ] = None,
    session: KeptSession = None,
    bucket: BucketUrl = None,
    allow_changed: AllowChanged = False,
    anew: Anew = False,
    approve_in_doubt: ApproveInDoubt = False,
) -> None:
    """Run a program on stdin and stdout: one JSON value a line, until the input ends and everything has drained.

    A graph with several inputs reads {"__port": NAME, "msg": VALUE} lines, one with several outputs writes them.

    With --session it is kept in a bucket: whatever kills it, the same command goes on with it. Lines of the last input
    are not taken again, also when it had ended; lines behind them are new, and so is all that begins in another way. A
    file on stdout gets each line once, a pipe may get the last ones twice.

    Examples: echo '"hello"' | fabric run main.plumb; fabric run main.plumb < in.jsonl > out.jsonl;
    fabric run --extra telemetry=t.log main.plumb < in.jsonl; fabric run --session monday main.plumb < in.jsonl >> out

    Exit codes: 0 done, 1 a line or a worker failed, 2 the program or the configuration is wrong, 3 the budget is used
    up or the time is over, and what came out until then was delivered, 4 a worker did not start, 5 not everything was
    delivered, 6 a call was not approved, 130 or 143 ended by a second signal.
    """
    project = project_settings()
    limits = limits_of(project, budget_usd, budget_tokens, budget_calls, max_time)
    settings = settings_of(
        project,
        ready_timeout,
        grace,
        restarts,
        limits=limits,
        refusal_ends=True,
        auto_approve=auto_approve,
        approval_timeout_s=approval_timeout,
        approve_in_doubt=approve_in_doubt,
    )
    asked = Asked(
        provider, model, include, docroot, _extras(extra or ()), runner=check_runner(runner), insecure=insecure
    )
    level = check_level(log_level)
    wanted = wanted_of(session, bucket, project, settings, allow_changed=allow_changed, anew=anew)
    with _listening(http or HTTP_OFF, None) as (listening, _):
        spec = find_program(program, project)
        _run_lines(spec, project, asked, settings, level, stdin_fd=0, http=listening, wanted=wanted)


def _run_lines(
    program: Path,
    project: ProjectSettings,
    asked: Asked,
    settings: Settings,
    level: str,
    *,
    stdin_fd: int,
    http: Listening | None = None,
    wanted: Wanted | None = None,
) -> None:
    with open_run_directory(os.environ) as directory:
        files = asked.extra_files
        plan = compile_program(program, directory, asked, project, metered=settings.limits.metered)
        prices = prices_of(plan, project, settings.limits)
        for label in files.keys() - set(plan.extras.values()):
            raise ConfigError(f"--extra {label}: no worker of the program has a port '{label}' that nobody reads")
        report, extras = JsonReport(level), None
        insecure = unsecured(plan)
        if insecure:
            report.noted(Note("warning", "fabric.insecure", {"reason": say_insecure(insecure)}))
        with ExitStack() as stack:
            if files:
                from fabric.runtime.extras import open_extras

                extras = stack.enter_context(open_extras(files, report.error))
            plan, kept = stack.enter_context(keep(wanted, plan, asked, project))
            zygote = stack.enter_context(zygote_of(plan, project))
            import trio

            from fabric.runtime.foreground import run_lines
            from fabric.runtime.questions import open_terminal

            asks = settings.approval == "ask" or (kept is not None and settings.in_doubt == "ask")
            terminal_fd = stack.enter_context(open_terminal(wanted=asks and os.isatty(2)))
            if terminal_fd is None:
                settings = unasked(settings)
            serve = partial(
                run_lines,
                prices=prices,
                zygote=zygote,
                stdin_fd=stdin_fd,
                terminal_fd=terminal_fd,
                extras=extras,
                http=http,
                kept=kept,
            )
            finish = trio.run(serve, plan, settings, report, os.environ)
    _end(finish)


def _extras(said: Iterable[str]) -> dict[str, str]:
    """Return what ``--extra`` says: name of the port to name of the file.

    Raises:
        ConfigError: it cannot be read, there is no such port, or two would write to one file.
    """
    files: dict[str, str] = {}
    for one in said:
        label, equals, file = one.partition("=")
        if not equals or not file or label not in SIDE_PORTS:
            raise ConfigError(f"--extra {one}: expected NAME=FILE, with NAME one of {', '.join(SIDE_PORTS)}")
        if label in files or (file in files.values() and file != "-"):
            what = f"'{label}'" if label in files else f"the file {file}"
            raise ConfigError(f"--extra {one}: {what} is given twice")
        files[label] = file
    return files


def call(
    program: Annotated[Path, typer.Argument(help="The program's file.", show_default=False)],
    message: Annotated[
        str | None, typer.Argument(help="JSON; left out: null for a unit input.", show_default=False)
    ] = None,
    provider: Provider = None,
    model: Model = None,
    include: Include = None,
    ready_timeout: ReadyTimeout = None,
    grace: Grace = None,
    restarts: Restarts = None,
    docroot: Docroot = None,
    runner: RunnerChoice = None,
    auto_approve: AutoApprove = False,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    budget_calls: BudgetCalls = None,
    max_time: MaxTime = None,
    approval_timeout: ApprovalTimeout = None,
    log_level: LogLevel = "error",
    session: KeptSession = None,
    bucket: BucketUrl = None,
    allow_changed: AllowChanged = False,
    approve_in_doubt: ApproveInDoubt = False,
) -> None:
    """Run a program once on one message; print every output. With --session, as `run`.

    Examples: fabric call main.plumb '"hello"'; fabric call sum.plumb '{"a": 1, "b": 2}'

    Exit codes: as `run`.
    """
    if message is not None and not message.strip():
        raise ConfigError("the message is empty: give a JSON value")
    project = project_settings()
    limits = limits_of(project, budget_usd, budget_tokens, budget_calls, max_time)
    settings = settings_of(
        project,
        ready_timeout,
        grace,
        restarts,
        limits=limits,
        refusal_ends=True,
        auto_approve=auto_approve,
        approval_timeout_s=approval_timeout,
        approve_in_doubt=approve_in_doubt,
    )
    with tempfile.TemporaryFile() as stdin:
        stdin.write(one_line((message if message is not None else "null").encode()) + b"\n")
        stdin.seek(0)
        program = find_program(program, project)
        asked = Asked(provider, model, include, docroot, runner=check_runner(runner))
        wanted = wanted_of(session, bucket, project, settings, allow_changed=allow_changed)
        level = check_level(log_level)
        _run_lines(program, project, asked, settings, level, stdin_fd=stdin.fileno(), wanted=wanted)


def up(
    program: Annotated[Path | None, PROGRAM] = None,
    project: Project = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Leave it running, and return when every worker is ready.")
    ] = False,
    wait_timeout: Annotated[
        float | None, typer.Option(help="With -d: seconds to wait at most until every worker is ready.", min=0.0)
    ] = None,
    provider: Provider = None,
    model: Model = None,
    include: Include = None,
    ready_timeout: ReadyTimeout = None,
    grace: Grace = None,
    restarts: Restarts = None,
    docroot: Docroot = None,
    runner: RunnerChoice = None,
    auto_approve: AutoApprove = False,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    budget_calls: BudgetCalls = None,
    max_time: MaxTime = None,
    approval_timeout: ApprovalTimeout = None,
    insecure: Insecure = False,
    http: Http = None,
    token_file: TokenFile = None,
    attach: Attach = None,
    no_attach: NoAttach = None,
    log_prefix: LogPrefix = True,
    timestamps: Timestamps = False,
    progress: Annotated[
        str, typer.Option(help="How the start is shown: auto, tty, plain, json or quiet.", envvar="FABRIC_PROGRESS")
    ] = "auto",
    log_format: LogFormat = "pretty",
    color: ColorChoice = "auto",
    log_level: LogLevel = "warning",
    session: KeptSession = None,
    bucket: BucketUrl = None,
    allow_changed: AllowChanged = False,
    approve_in_doubt: ApproveInDoubt = False,
) -> None:
    """Run a program as a service until Ctrl-C or `fabric down`; `fabric send` talks to it. With -d, leave it running.

    With --session it is kept in a bucket: whatever kills it, the same command goes on with what it had taken.

    Examples: fabric up main.plumb; fabric up -d -p demo main.plumb; fabric up --session desk -b s3://bucket/desks

    Exit codes: 0 drained after one Ctrl-C (with -d: it is ready), 1 a worker failed, 2 the program or the configuration
    is wrong, 3 the budget is used up or the time is over, and it has drained by itself, 4 a worker did not start, 5 not
    everything was delivered, 130 or 143 ended by a second signal.
    """
    started_s = time.monotonic()
    choose(color, log_format)
    if progress not in PROGRESS:
        raise ConfigError(f"--progress {progress}: expected {', '.join(PROGRESS)}")
    level = check_level(log_level)
    said = project_settings()
    limits = limits_of(said, budget_usd, budget_tokens, budget_calls, max_time)
    settings = settings_of(
        said,
        ready_timeout,
        grace,
        restarts,
        limits=limits,
        refusal_ends=False,
        auto_approve=auto_approve,
        approval_timeout_s=approval_timeout,
        approve_in_doubt=approve_in_doubt,
    )
    wanted = wanted_of(session, bucket, said, settings, allow_changed=allow_changed)
    spec = find_program(program, said)
    # What depends on the terminal is decided here: a service that was left running has none.
    how = {"color": use_color(), "timestamps": timestamps, "prefix": log_prefix, "json": use_json()}
    columns, in_place = shutil.get_terminal_size().columns, os.isatty(2)
    child: Child | None = None
    if detach:
        os.environ["FABRIC_COLOR"] = "always" if use_color() else "never"
        process = fork()
        if isinstance(process, Parent):
            _watch(process, wait_timeout)
        else:
            child = process
    with ExitStack() as stack:
        listening, why = stack.enter_context(_listening(http or said.http, token_file))
        directory = stack.enter_context(open_run_directory(os.environ))
        name = project or project_name(spec)
        asked = Asked(provider, model, include, docroot, runner=check_runner(runner), insecure=insecure, service=name)
        plan = compile_program(spec, directory, asked, said, metered=limits.metered)
        prices = prices_of(plan, said, limits)
        plan, kept = stack.enter_context(keep(wanted, plan, asked, said))
        lines = LogLines.of((worker.name for worker in plan.workers), **how)
        shown = "json" if use_json() else choose_progress(progress, len(plan.workers), in_place=in_place)
        attached = _attached(plan, attach, no_attach, child)
        screen = Screen(
            plan,
            lines,
            shown,
            level,
            attached=attached,
            write=print_line,
            columns=columns,
            child=child,
            budget=show_limits(limits),
            http=listening.url if listening is not None else f"no HTTP: {why}" if why else "",
            kept=(kept.url, kept.id) if kept is not None else None,
        )
        screen.begin(time.monotonic() - started_s)
        with zygote_of(plan, said) as zygote:
            socket, at_terminal = f"{directory}/service.sock", child is None and os.isatty(0) and os.isatty(2)
            outcome = _serve(
                plan,
                name,
                socket,
                settings,
                screen,
                level,
                zygote,
                prices,
                at_terminal=at_terminal,
                http=listening,
                kept=kept,
            )
    if outcome.error is not None:
        print_error(outcome.error[1], outcome.error[0])
    print_losses(outcome.losses)
    raise typer.Exit(outcome.exit_code)


@contextmanager
def _listening(said: str | None, token_file: Path | None) -> Iterator[tuple[Listening | None, str]]:
    """Give the socket of the HTTP server, if there is to be one, and why there is none, if one was wanted.

    Raises:
        ConfigError: it cannot be had.
    """
    listening, why = bind(said, token_file)
    try:
        yield listening, why
    finally:
        if listening is not None:
            listening.socket.close()


def _watch(service: Parent, wait_timeout_s: float | None) -> NoReturn:
    """Show how a service comes up that is to be left running, and exit."""
    started = service.wait_started(wait_timeout_s)
    if started:
        raise typer.Exit(0)
    if started is None:
        text = f"not ready after {wait_timeout_s:g} s; it goes on: fabric ps shows how far it is, fabric down ends it"
        print_error(text, "ready_timeout")
        raise typer.Exit(4)
    code = service.wait_ended()
    if code < 0:
        print_error(f"the coordinator (pid {service.pid}) was killed by signal {-code}", "coordinator_killed")
        raise typer.Exit(1)
    if code == 0 and not service.interrupted:
        print_error("it was asked to end before it was ready", "worker_not_started")
        raise typer.Exit(4)
    raise typer.Exit(code or 128 + service.interrupted)


def _attached(
    plan: Plan, only: list[str] | None, without: list[str] | None, child: Child | None
) -> Callable[[str], bool]:
    """Return which workers' lines are printed."""
    names = [worker.name for worker in plan.workers]
    known = known_names(names)
    for name in (*(only or ()), *(without or ())):
        if name not in known:
            raise ConfigError(f"there is no worker '{name}'; the workers are: {', '.join(sorted(known))}")
    hidden = {worker for name in without or () for worker in meant(name, names)}
    shown = set() if child else {worker for name in only or names for worker in meant(name, names)} - hidden
    return lambda name: name in shown


def _refuse_left(before: Record | None) -> None:
    """Refuse to replace the record of a killed service as long as it is all that is known of its workers."""
    if before is None or before.outcome is not None:
        return
    import trio

    from fabric.runtime.ending import left_alive

    left = trio.run(left_alive, before)
    if left:
        names = ", ".join(f"{worker.name} (pid {worker.process.pid})" for worker in left if worker.process)
        raise ConfigError(f"'{before.project}' was killed, and left {names} alive; fabric down ends them")


def _serve(
    plan: Plan,
    project: str,
    socket: str,
    settings: Settings,
    screen: Screen,
    level: Level,
    zygote: ZygoteProcess | None,
    prices: Prices,
    *,
    at_terminal: bool,
    http: Listening | None,
    kept: Kept | None,
) -> Outcome:
    """Run the service under its name, and write down how it ended, whatever happens."""
    import trio

    from fabric.runtime.dead_letters import DeadLetters, dead_directory
    from fabric.runtime.foreground import run_service
    from fabric.runtime.journal import Journal
    from fabric.runtime.letter_keeper import LetterKeeper
    from fabric.runtime.log_files import timestamp
    from fabric.runtime.questions import open_terminal

    us = identify(os.getpid())
    assert us is not None
    state = state_directory() or Path(STATE_DIRECTORY)
    with hold_name(project, state), ExitStack() as stack:
        _refuse_left(read_record(record_file(state, project)))
        if http is not None:
            http = keep_token(http, token_file_of(state, project))
            stack.callback(token_file_of(state, project).unlink, missing_ok=True)
        watched = {"http": http.url, "token_file": str(Path(http.token_file).resolve())} if http is not None else {}
        letters = LetterKeeper(DeadLetters(dead_directory(state, project)), timestamp(time.time()))
        logged: Level = "debug" if level == "debug" else "info"
        journal = Journal(plan, project, state, socket, process=us, level=logged, **watched)
        try:
            terminal_fd = stack.enter_context(open_terminal(wanted=at_terminal and settings.approval == "ask"))
            serve = partial(run_service, prices=prices, zygote=zygote, terminal_fd=terminal_fd, http=http, kept=kept)
            outcome = trio.run(serve, plan, settings, screen, journal, letters, os.environ)
        except BaseException as error:
            found = sole(error)
            code, word = (found.exit_code, found.code) if isinstance(found, FabricError) else (70, "internal_error")
            code = 130 if isinstance(found, KeyboardInterrupt) else code
            journal.end(Outcome(code, time.time(), error=(word, str(found))))
            raise
        outcome = journal.end(outcome)
        screen.stopped(outcome, journal.unwritten)
    return outcome


def send(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPEC] [PORT] [JSON]...",
            help="The program (*.plumb), the input's name, messages; no message: one a line from stdin.",
            show_default=False,
        ),
    ] = None,
    project: Project = None,
    wait: Annotated[bool, typer.Option(help="Wait for, and print, all that comes of the messages.")] = True,
    wait_timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most.", min=0.0)] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Of the message, for a service with --session: sent again with its key, it is done once, and its"
            " answers come again. Of several, the second is KEY/2, and so on.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Send messages to a running service and print what comes back: what descends from them, until nothing of them is
    left.

    Examples: fabric send '"I feel sad today"'; fabric send main.plumb input '1' '2'; fabric send < in.jsonl;
    fabric send --key order-17 '{"item": "tea"}'

    Exit codes: 0, 1 a message was refused or the service ended before it was done, 7 nothing is running.
    """
    if key is not None and not key:
        raise ConfigError("--key: expected a word for the message, got nothing")
    spec, port, messages = _sort(arguments or [])
    running = find_service(Path.cwd(), state_directory(), spec=spec, project=project)
    lines = iter(messages) if messages else _stdin_lines()
    printer = AnswerPrinter()
    import trio

    from fabric.runtime.service_client import talk

    talking = partial(talk, wait=wait, wait_timeout_s=wait_timeout, key=key or "")
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
