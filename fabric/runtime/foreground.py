"""Run a plan in the foreground: with stdin and stdout as its boundary, or as a service.

First Ctrl-C or SIGTERM: no more input, the rest is finished. Second: workers are ended. Third: killed.
"""

from __future__ import annotations

__all__ = ["ErrorReport", "ServiceReport", "open_coordinator", "run_lines", "run_service"]

import os
import random
import signal
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec
import trio

from fabric.errors import ConfigError
from fabric.launch.preload import ZygoteProcess
from fabric.launch.process import Workplace
from fabric.launch.runners import open_runners
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Client, Coordinator, Report
from fabric.runtime.descriptors import raise_limit
from fabric.runtime.extras import FLUSH_S, Extras
from fabric.runtime.gateway import LineGateway
from fabric.runtime.http_answers import Served, Watched
from fabric.runtime.http_listen import Listening
from fabric.runtime.http_routes import Site
from fabric.runtime.http_server import HttpServer
from fabric.runtime.journal import Journal
from fabric.runtime.keyring import open_keyring, with_keys
from fabric.runtime.letter_keeper import LetterKeeper
from fabric.runtime.owners import owner_of
from fabric.runtime.prices import Prices
from fabric.runtime.questions import Questions
from fabric.runtime.recorder import Lost, Recorder, Resumed
from fabric.runtime.refusals import Refusals
from fabric.runtime.resuming import serve_again, take_up
from fabric.runtime.service import Service
from fabric.runtime.services import Outcome
from fabric.runtime.tool_host import open_tool_host
from fabric.runtime.tracer import open_tracer
from fabric.runtime.watch import Watch
from fabric.session.events import Approval, Finish, Note
from fabric.session.money import no_rate
from fabric.session.session import Session, Settings
from fabric.transport.gate import Gate
from fabric.transport.sockets import open_sockets

if TYPE_CHECKING:  # sessions that are kept nowhere need no buckets
    from fabric.runtime.keeping import Kept


class ErrorReport(Report, Protocol):
    """A report that also prints errors, and what somebody at the terminal should read."""

    def say(self, text: str) -> None:
        """Somebody is asked something."""
        ...

    def error(self, message: str, code: str, fields: Mapping[str, object]) -> None:
        """Something is wrong, in words and as a code."""
        ...


@asynccontextmanager
async def open_coordinator(
    plan: Plan,
    settings: Settings,
    client: Client,
    report: Report,
    environment: Mapping[str, str],
    zygote: ZygoteProcess | None,
    prices: Prices | None = None,
    *,
    workplace: Workplace | None = None,
    service: str = "",
    kept: Kept | None = None,
) -> AsyncIterator[Coordinator]:
    """Give a coordinator with all that it needs. What is left of its session at the end is ended by force.

    Args:
        workplace: of its workers, instead of a zygote, where there are several sessions.
        service: its name, if it is one; see :func:`fabric.runtime.owners.owner_of`.
        kept: the run that is gone on with, if it is kept in a bucket.

    Raises:
        ConfigError: a kept run's history does not fit the plan; a key is missing or damaged, or something else that
            it needs cannot be had.
    """
    raise_limit(len(plan.workers), sum(worker.runner != "process" for worker in plan.workers))
    async with AsyncExitStack() as stack:
        servers = None
        if plan.servers:  # what tools they have is told to the agents when these are started
            servers = await stack.enter_async_context(
                open_tool_host(plan, environment, report, settings.ready_timeout_s)
            )
            plan = servers.plan
        keyring = open_keyring(plan, environment)
        plan = with_keys(plan, keyring)
        tracer = await stack.enter_async_context(open_tracer(plan, environment, report))
        rate_of = no_rate if prices is None else prices.rate_of
        about = None if tracer is None else tracer.about
        durable = "" if kept is None else kept.id
        session = Session(plan, settings, random.Random(os.urandom(32)), rate_of, about, durable=durable)
        resumed = None
        if kept is not None:
            resumed = _bring_back(session, kept, report)
        launchers = open_runners(
            plan,
            environment,
            zygote,
            workplace=workplace,
            owner=owner_of(plan.path, service),
            complain=lambda text: report.noted(Note("warning", "containers.left", {"reason": text})),
        )
        launcher = await stack.enter_async_context(launchers)
        if keyring is None:
            transport = await stack.enter_async_context(open_sockets())
            yield Coordinator(session, transport, launcher, client, report, servers, tracer, resumed=resumed)
            return
        refusals = Refusals(report.noted)
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(refusals.tell)
        stack.callback(nursery.cancel_scope.cancel)
        gated = open_sockets(gate=Gate(keyring.allowed), refused=refusals)
        transport = await stack.enter_async_context(gated)
        secret = keyring.server.secret
        yield Coordinator(session, transport, launcher, client, report, servers, tracer, secret=secret, resumed=resumed)


def _bring_back(session: Session, kept: Kept, report: Report) -> Resumed:
    relived = session.relive(kept.history, allow_changed=kept.allow_changed, inherited=kept.inherited)
    return Resumed(Recorder(kept.log, report.noted, base=kept.base, place=relived.emitted), relived)


class _Watching:
    """A report that a watch hears, too."""

    def __init__(self, watch: Watch, report: Report) -> None:
        self._watch = watch
        self._report = report

    def noted(self, note: Note) -> None:
        self._watch.noted(note)
        self._report.noted(note)

    def worker_wrote(self, worker: str, line: str) -> None:
        self._watch.worker_wrote(worker, line)
        self._report.worker_wrote(worker, line)


async def _serve_http(listening: Listening, watched: Watched, report: Report) -> None:
    """Serve HTTP, for ever."""

    def broke(error: Exception) -> None:
        report.noted(Note("error", "http.broke", {"error": "".join(traceback.format_exception(error))}))

    site = Site(watched, listening.token, local=listening.local)
    server = HttpServer(site.refuse, site.handle, broke)
    await server.serve(trio.SocketListener(trio.socket.from_stdlib_socket(listening.socket)))


async def _obey_signals(coordinator: Coordinator, interrupted: Callable[[int], object]) -> None:
    """Pass signals on; for ever."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            interrupted(number)
            coordinator.interrupt(number)


async def _until_signal(begin: Callable[[], Awaitable[Lost | None]]) -> Lost | None:
    """Do what comes before a session begins, unless a signal ends it: nothing is lost by that."""
    lost: Lost | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def obey() -> None:
                nonlocal lost
                number = await anext(aiter(signals))
                lost = Lost(
                    "stopped", "ended before it began: what is in the log goes on when it is run again", 128 + number
                )
                nursery.cancel_scope.cancel()

            nursery.start_soon(obey)
            lost = await begin()
            nursery.cancel_scope.cancel()
    return lost


async def run_lines(
    plan: Plan,
    settings: Settings,
    report: ErrorReport,
    environment: Mapping[str, str],
    *,
    prices: Prices | None = None,
    zygote: ZygoteProcess | None = None,
    stdin_fd: int = 0,
    stdout_fd: int = 1,
    terminal_fd: int | None = None,
    extras: Extras | None = None,
    http: Listening | None = None,
    kept: Kept | None = None,
) -> Finish:
    """Run a plan with JSON lines in and out until its input has ended and it has drained; return how it ended.

    Args:
        prices: of models; without them nobody knows.
        zygote: forks the workers that can be forked; without it each is spawned.
        stdin_fd, stdout_fd: the boundary.
        terminal_fd: where somebody is asked to approve calls, if the settings say that this is asked.
        extras: take what is heard on observed ports.
        http: where the session can be watched.
        kept: the run that is gone on with, if it is kept in a bucket.

    Raises:
        ConfigError: see :func:`open_coordinator`.
    """
    watch = Watch(plan, kept) if http is not None else None
    hears: Report = report if watch is None else _Watching(watch, report)
    extras = extras or Extras((), report.error)
    questions = Questions(report.say)
    gateway = LineGateway(plan, report.error, extras.hear, questions)
    writing = trio.CancelScope()
    written = trio.Event()
    insisted: list[int] = []

    def interrupted(number: int) -> None:
        gateway.stop_reading()
        insisted.append(number)
        if len(insisted) > 1:  # nobody may be reading what we write
            writing.cancel()

    async with (
        open_coordinator(plan, settings, gateway, hears, environment, zygote, prices, kept=kept) as coordinator,
        trio.open_nursery() as nursery,
    ):

        async def write() -> None:
            with writing:
                await gateway.write(coordinator, stdout_fd)
            written.set()

        if kept is not None and coordinator.resumed is not None:
            taking_up = partial(take_up, kept, coordinator.resumed, gateway, hears.noted, stdin_fd, stdout_fd)
            lost = await _until_signal(taking_up)
            if lost is not None:
                nursery.cancel_scope.cancel()
                return lost.finish
            kept.forget()
            coordinator.resumed.forget()
        nursery.start_soon(_obey_signals, coordinator, interrupted)
        nursery.start_soon(gateway.read, coordinator, stdin_fd)
        nursery.start_soon(write)
        if http is not None and watch is not None:
            nursery.start_soon(watch.run, coordinator)
            nursery.start_soon(_serve_http, http, Watched(plan, watch, coordinator), hears)
        if terminal_fd is not None:
            nursery.start_soon(questions.ask, terminal_fd, coordinator)
        async with _written(extras):
            finish = await coordinator.run()
        gateway.finish()
        await written.wait()
        if coordinator.resumed is not None and finish.exit_code < 128:
            with trio.move_on_after(settings.grace_s):
                await coordinator.resumed.recorder.close()
        nursery.cancel_scope.cancel()
    extras.report()
    if gateway.broken is not None and finish.error is None:
        return msgspec.structs.replace(finish, exit_code=1, error=("output_closed", gateway.broken))
    if writing.cancelled_caught and finish.exit_code < 128:
        error = ("stopped", "ended before all of the output was written")
        return msgspec.structs.replace(finish, exit_code=128 + insisted[-1], error=error)
    return finish


@asynccontextmanager
async def _written(extras: Extras) -> AsyncIterator[None]:
    """Write the extra outputs meanwhile, and what is left of them at the end as far as their files take it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(extras.write)
        yield
        extras.finish()
        nursery.cancel_scope.deadline = trio.current_time() + FLUSH_S


class ServiceReport(Report, Protocol):
    """A report that also hears how a service comes and goes, and shows what somebody has to approve."""

    def asked(self, approval: Approval) -> None:
        """A call waits for approval; at a terminal the question follows."""
        ...

    def say(self, text: str) -> None:
        """Somebody at the terminal is asked something."""
        ...

    def opened(self) -> None:
        """Every worker is ready."""
        ...

    def asked_to_stop(self) -> None:
        """Somebody wants it to end: a signal, or a client."""
        ...


class _Both:
    """Two reports as one: the journal hears it first."""

    def __init__(self, journal: Journal, report: ServiceReport) -> None:
        self._journal = journal
        self._report = report

    def noted(self, note: Note) -> None:
        self._journal.noted(note)
        self._report.noted(note)

    def worker_wrote(self, worker: str, line: str) -> None:
        self._journal.worker_wrote(worker, line)
        self._report.worker_wrote(worker, line)

    def opened(self) -> None:
        self._journal.opened()
        self._report.opened()

    def asked(self, approval: Approval) -> None:
        self._report.asked(approval)

    def say(self, text: str) -> None:
        self._report.say(text)

    def asked_to_stop(self) -> None:
        self._journal.asked_to_stop()
        self._report.asked_to_stop()


async def run_service(
    plan: Plan,
    settings: Settings,
    report: ServiceReport,
    journal: Journal,
    letters: LetterKeeper,
    environment: Mapping[str, str],
    *,
    prices: Prices | None = None,
    zygote: ZygoteProcess | None = None,
    terminal_fd: int | None = None,
    http: Listening | None = None,
    kept: Kept | None = None,
) -> Outcome:
    """Serve a plan on the local socket of its record until a signal or a client ends it; return how it ended.

    Args:
        terminal_fd: where somebody is asked to approve calls, beside those who answer with a command.
        http: where the service can be watched.
        kept: the run that is gone on with, if it is kept in a bucket.

    Raises:
        ConfigError: the socket cannot be bound; see :func:`open_coordinator`.
    """
    both = _Both(journal, report)
    watch = Watch(plan, kept) if http is not None else None
    hears: Report = both if watch is None else _Watching(watch, both)
    asked = False

    def ask() -> bool:
        """Return whether this is the first time."""
        nonlocal asked
        first, asked = not asked, True
        if first:
            both.asked_to_stop()
        return first

    def drain(grace_s: float | None) -> None:
        if grace_s is not None:
            coordinator.set_grace(grace_s)
        if ask():
            coordinator.interrupt(signal.SIGTERM)

    def insist() -> None:
        if ask():
            coordinator.interrupt(signal.SIGINT)
        coordinator.interrupt(signal.SIGINT)

    questions = Questions(both.say)
    show = both.asked if terminal_fd is None else questions.asked
    service = Service(
        plan,
        letters,
        both.opened,
        hears.noted,
        asked=show,
        asked_no_more=questions.asked_no_more,
        drain=drain,
        insist=insist,
        prices=prices,
    )
    async with (
        open_coordinator(
            plan, settings, service, hears, environment, zygote, prices, service=journal.record.project, kept=kept
        ) as coordinator,
        trio.open_nursery() as nursery,
    ):
        if kept is not None and coordinator.resumed is not None:
            serve_again(kept, coordinator.resumed, service, hears.noted)
            kept.forget()
            coordinator.resumed.forget()
        listener = await _listen(journal.record.socket)
        nursery.start_soon(_obey_signals, coordinator, lambda _: ask())
        nursery.start_soon(service.serve, coordinator, listener)
        nursery.start_soon(journal.keep, report.noted)
        nursery.start_soon(letters.run, hears.noted)
        if http is not None and watch is not None:
            served = Served(service, letters.on_disk, lambda: journal.record)
            nursery.start_soon(watch.run, coordinator)
            nursery.start_soon(_serve_http, http, Watched(plan, watch, coordinator, served), hears)
        if terminal_fd is not None:
            nursery.start_soon(questions.ask, terminal_fd, coordinator)
        finish = await coordinator.run()
        with trio.move_on_after(settings.grace_s):
            await service.finish()
        if coordinator.resumed is not None and finish.exit_code < 128:
            with trio.move_on_after(settings.grace_s):
                await coordinator.resumed.recorder.close()
        await letters.finish()
        await journal.finish()
        nursery.cancel_scope.cancel()
    losses = msgspec.structs.replace(
        finish.losses,
        lost=finish.losses.lost + service.lost,
        dead_lettered=finish.losses.dead_lettered - service.revived,
    )
    exit_code = finish.exit_code
    if exit_code in (0, 5) and finish.error is None:
        exit_code = 5 if losses.lost or losses.dead_lettered else 0
    return Outcome(
        exit_code,
        time.time(),
        0.0,
        finish.error,
        service.messages,
        service.unclaimed,
        losses,
        letters.unkept,
        finish.usage,
        finish.budget,
        prices.source if prices is not None and finish.usage else "",
    )


async def _listen(path: str) -> trio.SocketListener:
    listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        await listening.bind(path)
    except OSError as error:
        listening.close()
        raise ConfigError(f"cannot bind {path}: {error.strerror}") from None
    os.chmod(path, 0o600)
    listening.listen(64)
    return trio.SocketListener(listening)
