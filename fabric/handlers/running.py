"""Runs a handler on a session: whenever it is ready, invokes the handler and commits what it decided, all or nothing.

Nothing is kept here that the log does not say. Whoever is killed in between is followed by somebody who reads the log
and finds the session as ready as it was.
"""

from __future__ import annotations

__all__ = ["TIMEOUT_S", "Options", "Ran", "Status", "open_runner", "run"]

import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal, TypeAlias

import msgspec
import trio

from fabric.errors import ConfigError, HandlerFailed, Superseded, sole
from fabric.handlers.command import NOT_ENDED, CommandHandler
from fabric.handlers.decision import Decision, decide
from fabric.handlers.fetching import Fetches, check_allowed
from fabric.handlers.invocation import Call, Ended, Handler
from fabric.handlers.next_step import Invoke, Mode, Quiet, next_step
from fabric.handlers.objects import ObjectServer, serve_objects
from fabric.handlers.records import Output, parse_output
from fabric.handlers.rpc import serve_rpc
from fabric.handlers.telling import ControlRecords, input_lines
from fabric.launch.guarding import Guard, open_guard
from fabric.store.log import Log
from fabric.store.readiness import Failed, Idle, Paused, Readiness, Ready, Sleeping
from fabric.store.record import PAUSE_TYPE, Attempt, Commit, Entry, Pause
from fabric.store.replay import Placed

TIMEOUT_S = 600.0
"""That an invocation may take: models think for minutes."""

POLL_FIRST_S, POLL_LAST_S = 0.05, 1.0
"""Between two looks for a push: soon after the last event, then ever more seldom. Object storage tells nobody."""

Status: TypeAlias = Literal["ready", "idle", "paused", "sleeping", "failed"]

_STATUS: dict[type[Readiness], Status] = {
    Ready: "ready",
    Idle: "idle",
    Paused: "paused",
    Sleeping: "sleeping",
    Failed: "failed",
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a handler is run.

    Attributes:
        command: the program and its arguments.
        mode: a process for each invocation, or one that serves all of them over HTTP.
        once: one decision, and no more.
        watch: wait for pushes and timers, until cancelled.
        timeout_s: that an invocation may take.
        retries: how many attempts at a decision that failed may be followed by another one, after a back-off.
        lenient: lines on stdout that are no records are shown, and do no harm.
        control_records: what is told of ``start``, ``fork`` and ``wake``.
        allow: from where objects may be fetched that a handler names by uri: ``https``, ``http``, ``file:/DIRECTORY``.
        environment: what handlers have; ``None``: all that we have.
        directory: where they work; ``None``: where we do.
    """

    command: Sequence[str]
    mode: Literal["command", "rpc"] = "command"
    once: bool = False
    watch: bool = False
    timeout_s: float = TIMEOUT_S
    retries: int = 0
    lenient: bool = False
    control_records: ControlRecords = "json"
    allow: Sequence[str] = ("https",)
    environment: Mapping[str, str] | None = None
    directory: str | None = None


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run.

    Attributes:
        invocations: how often the handler was invoked.
        committed: how many entries its decisions have, pauses included.
        status: of the session; ``failed``, too, if the last invocation failed.
        exit: how the last invocation ended, as a shell says it; ``None``: there was none.
        reason: why it failed.
        due_in: of a session that sleeps, how many seconds are left.
        stderr: the last of what the last invocation said.
    """

    invocations: int
    committed: int
    status: Status
    exit: int | None = None
    reason: str = ""
    due_in: float | None = None
    stderr: str = ""


async def run(
    log: Log,
    options: Options,
    *,
    now: Callable[[], float] = time.time,
    stderr: Callable[[bytes], None] | None = None,
    tell: Callable[[str], None] | None = None,
    decided: Callable[[Commit], None] | None = None,
) -> Ran:
    """Run a handler until its session is quiet, or for as long as it is asked to watch.

    Args:
        log: of the session; nobody else uses this object meanwhile.
        now: seconds since 1970, for what is compared with the log. How long processes take is measured otherwise.
        stderr: takes what the handler says, as it comes; ``None``: it goes to ours.
        tell: takes a line for people: why an attempt failed, what it printed that is no record.
        decided: hears what a decision became.

    Raises:
        ConfigError: an option cannot be meant, or it is the log of a program's run.
        StoreFailed, LogDamaged, SessionNotFound: the log cannot be read or written.
    """
    try:
        async with open_runner(log, options, now=now, stderr=stderr, tell=tell, decided=decided) as run_on:
            return await run_on()
    except BaseExceptionGroup as group:
        error = sole(group)
        raise error from error.__cause__


@asynccontextmanager
async def open_runner(
    log: Log,
    options: Options,
    *,
    now: Callable[[], float] = time.time,
    stderr: Callable[[bytes], None] | None = None,
    tell: Callable[[str], None] | None = None,
    decided: Callable[[Commit], None] | None = None,
) -> AsyncIterator[Callable[[], Awaitable[Ran]]]:
    """Give what :func:`run` does, to be called again and again: a handler that serves stays in between."""
    _check(log, options)
    async with open_world(log, options, stderr or _to_stderr) as (objects, handler):

        async def run_on() -> Ran:
            return await _Run(log, options, now, tell or _tell, decided or _not_said, objects, handler).go()

        yield run_on


def _check(log: Log, options: Options) -> None:
    if not options.command:
        raise ConfigError("there is no handler to run: give its command behind --, as in 'run -- python handler.py'")
    if log.manifest.program:
        raise ConfigError(f"session {log.id} is a run of a program; it goes on with 'fabric run --session {log.id}'")
    if not options.timeout_s > 0:
        raise ConfigError(f"timeout {options.timeout_s:g}: expected more than 0 seconds")
    if "\0" in log.manifest.agent:
        raise ConfigError(
            f"session {log.id} is agent {log.manifest.agent!r}: a handler cannot be told a name with a NUL in it, which"
            " ends a variable; start another session, under another name"
        )
    if any("\0" in part for part in options.command):
        raise ConfigError(
            f"handler {list(options.command)!r}: a command cannot have a NUL in it, which ends an argument"
        )
    check_allowed(options.allow)


def _to_stderr(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _not_said(commit: Commit) -> None:
    pass


@asynccontextmanager
async def open_world(
    log: Log, options: Options, show: Callable[[bytes], None]
) -> AsyncIterator[tuple[ObjectServer, Handler]]:
    """Give what handlers need: where they fetch bodies, and what starts them."""
    environment = os.environ if options.environment is None else options.environment
    how = (options.command, environment, options.timeout_s)
    async with _guarded() as guard, serve_objects(log.recall) as objects:
        if options.mode == "command":
            yield objects, CommandHandler(*how, guard, show, directory=options.directory)
        else:
            async with serve_rpc(*how, guard, show, directory=options.directory) as handler:
                yield objects, handler


@asynccontextmanager
async def _guarded() -> AsyncIterator[Guard]:
    guard = await open_guard()
    try:
        yield guard
    finally:
        with trio.CancelScope(shield=True):
            await guard.close()


class _Run:
    def __init__(
        self,
        log: Log,
        options: Options,
        now: Callable[[], float],
        tell: Callable[[str], None],
        decided: Callable[[Commit], None],
        objects: ObjectServer,
        handler: Handler,
    ) -> None:
        self._log = log
        self._options = options
        self._now = now
        self._tell = tell
        self._say_decided = decided
        self._objects = objects
        self._handler = handler
        self._invocations = self._committed = self._decided = 0
        self._failed, self._failed_base = 0, -1
        self._last: Ended | None = None
        self._reason = ""

    async def go(self) -> Ran:
        options = self._options
        mode = Mode(once=options.once, watch=options.watch, retries=options.retries)
        await trio.to_thread.run_sync(self._log.settle)
        while True:
            if self._log.owes:
                await trio.to_thread.run_sync(self._log.catch_up)
            readiness = await trio.to_thread.run_sync(self._log.readiness, self._now())
            if not isinstance(readiness, Ready | Failed) or readiness.base != self._failed_base:
                self._failed, self._reason = 0, ""  # somebody else has decided, or something came
            step = next_step(readiness, mode, decided=self._decided, failed=self._failed)
            if isinstance(step, Quiet):
                return self._ran(readiness)
            if isinstance(step, Invoke):
                await self._invoke()
            else:
                await self._wait(step.until)

    def _ran(self, readiness: Readiness) -> Ran:
        due_in = readiness.until - self._now() if isinstance(readiness, Sleeping) else None
        return Ran(
            invocations=self._invocations,
            committed=self._committed,
            status="failed" if self._failed else _STATUS[type(readiness)],
            exit=None if self._last is None else self._last.exit,
            reason=self._reason,
            due_in=due_in,
            stderr="" if self._last is None else self._last.stderr,
        )

    async def _wait(self, until: float | None) -> None:
        """Wait until the log has grown, or for a time."""
        known = len(await trio.to_thread.run_sync(self._log.read))
        pause_s = POLL_FIRST_S
        while until is None or self._now() < until:
            await trio.sleep(pause_s if until is None else min(pause_s, max(until - self._now(), 0.0)))
            if len(await trio.to_thread.run_sync(self._log.read)) != known:
                return
            if self._log.owes:
                await trio.to_thread.run_sync(self._log.catch_up)
            pause_s = min(2 * pause_s, POLL_LAST_S)

    async def _invoke(self) -> None:
        """Make one attempt at a decision."""
        base, given = await trio.to_thread.run_sync(self._look)
        log = self._log
        call = Call(
            session=log.id,
            agent=log.manifest.agent,
            metadata=log.manifest.metadata,
            id=f"{log.id}:{base}",
            base=base,
            input=input_lines(given, self._objects, log.body, self._options.control_records),
        )
        ended = self._last = await self._handler.invoke(call)
        self._invocations += 1
        try:
            entries, pause = await self._made_of(ended)
        except HandlerFailed as error:
            await self._fail(base, ended, str(error))
            return
        self._failed, self._reason = 0, ""
        try:
            commit = await trio.to_thread.run_sync(log.decide, base, entries, pause)
        except Superseded as error:
            self._tell(str(error))
            return
        self._decided += 1
        self._committed += len(commit.entries)
        self._say_decided(commit)

    def _look(self) -> tuple[int, list[Placed]]:
        """Return how many commits there are, and what a handler is given of just these."""
        while True:
            base = len(self._log.read())
            given = self._log.replay(self._now())
            if len(self._log.read()) == base:
                return base, given

    async def _made_of(self, ended: Ended) -> tuple[list[Entry], Pause | None]:
        """Return what an invocation adds to the log; its large bodies are stored by then.

        Raises:
            HandlerFailed: it adds nothing.
        """
        if ended.reason:
            raise HandlerFailed(ended.reason)
        written = await trio.to_thread.run_sync(partial(parse_output, ended.output, lenient=self._options.lenient))
        for line in written.noise:
            self._tell(line)
        return await self._entries(decide(written.outputs))

    async def _entries(self, decision: Decision) -> tuple[list[Entry], Pause | None]:
        fetches = Fetches(self._options.allow)
        entries = [await self._entry(output, fetches) for output in decision.outputs]
        wait = decision.wait
        if wait is None:
            return entries, None
        said = await self._store(wait.reason, event="pause", content_type=PAUSE_TYPE, metadata=wait.metadata)
        until = None if wait.after_s is None else self._now() + wait.after_s
        return [*entries, said], Pause(wait.reason.decode(errors="replace"), until)

    async def _entry(self, output: Output, fetches: Fetches) -> Entry:
        body, content_type, content_encoding = output.data, output.content_type, output.content_encoding
        if body is None:
            fetched = await fetches.fetch(output.uri)
            body = fetched.body
            content_type = content_type or fetched.content_type
            content_encoding = content_encoding or fetched.content_encoding
        return await self._store(
            body,
            name=output.name,
            content_type=content_type,
            content_encoding=content_encoding,
            schema_url=output.schema_url,
            metadata=output.metadata,
            fork=output.fork,
            session=output.session,
        )

    async def _store(self, body: bytes, **fields: Any) -> Entry:
        return await trio.to_thread.run_sync(partial(self._log.store_body, body, **fields))

    async def _fail(self, base: int, ended: Ended, reason: str) -> None:
        """Keep an attempt that failed, for whoever looks and for the back-off."""
        self._failed, self._failed_base = self._failed + 1 if base == self._failed_base else 1, base
        self._reason = reason
        status = "time-out" if ended.exit == NOT_ENDED else f"exit {ended.exit}" if ended.exit else "output"
        attempt = Attempt(base, self._now(), status=status, reason=reason, stderr=ended.stderr)
        await trio.to_thread.run_sync(self._log.failed, base, attempt)
        self._tell(f"the handler failed: {reason}")
