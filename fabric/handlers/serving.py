"""The program ``python -m fabric.handlers.serving``: the worker behind ``handler { command: ... }``.

A handler in a program has a session of its own. Each message is pushed into it with its span id as key, the handler is
run until the session is quiet, and what it has pushed since is the answer.

    message m comes      push m, key ``message/TRACE/SPAN``      it is there already: nothing is added
                         run until quiet                         it is quiet already: nothing is run
                         what was pushed between m and the next message is given, in order
                         the marker goes back: the fabric counts m as done

Nothing is kept here of how far this came. Whoever is killed on the way is followed by a worker that is given m once
more, and finds in the log what is left to do. So a decision is committed once, and its outputs are given once.

A session that sleeps is not quiet: the message is done when the sleep is over and the handler has nothing more to say.
Messages behind it wait. What a handler pushes belongs to the message that it is at, since outputs of a worker do.

A child that it forks is made, as a session of its own beside the program's: nobody here runs it. ``fabric session run
-s CHILD -- COMMAND`` does.
"""

from __future__ import annotations

__all__ = ["answer_of", "main", "open_served"]

import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from fabric.errors import SessionExists, ValueRejected
from fabric.handlers.records import media_type
from fabric.handlers.running import TIMEOUT_S, Options, Ran, open_runner
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.opening import open_store
from fabric.store.record import Commit, Entry
from fabric.wire.payload import decode_json
from fabric.wire.spec import WorkerSpec
from fabric.worker.context import Message, fail, message, telemetry
from fabric.worker.failure import FunctionFailed
from fabric.worker.function import Function
from fabric.worker.program import run_opened

RETRIES = 2
"""Attempts at a decision behind one that failed, with a growing pause before each, unless the program says how many."""

LOOK_S = 1.0
"""Between two looks into the log of a session that sleeps: somebody may wake it."""

_KEY = "message/"


def main() -> int:
    """Run the worker that the environment describes; return its exit status."""
    return run_opened(open_served)


@asynccontextmanager
async def open_served(spec: WorkerSpec) -> AsyncIterator[Function]:
    """Give what answers messages, while its handler can be run.

    Raises:
        ConfigError, SessionExists: the session cannot be had, or there is another one of its id.
    """
    log = await trio.to_thread.run_sync(_open_log, spec)
    async with open_runner(log, _options(spec)) as run_on:
        served = _Served(spec, log, run_on)
        yield Function(served.answer, bytes)


def _open_log(spec: WorkerSpec) -> Log:
    config = spec.config
    bucket = Bucket(open_store(config["bucket"]))
    agent, metadata = config.get("agent", ""), config.get("metadata", {})
    try:
        log = bucket.start(session=config["session"], agent=agent, metadata=metadata)
    except SessionExists:
        log = bucket.open(config["session"])  # that of a forked run is a fork, too
        manifest = log.manifest
        if manifest.parent is None or (manifest.agent, manifest.metadata) != (agent, metadata):
            raise
    log.read()
    return log


def _options(spec: WorkerSpec) -> Options:
    config = spec.config
    return Options(
        command=config["command"],
        mode=config.get("mode", "command"),
        directory=spec.directory,  # what a command names lies beside its program
        timeout_s=config.get("timeout", TIMEOUT_S),
        retries=config.get("retries", RETRIES),
    )


class _Served:
    """Answers messages with what a handler decides on them.

    Args:
        spec: of the worker.
        log: of its session.
        run_on: runs the handler until the session is quiet.
    """

    def __init__(self, spec: WorkerSpec, log: Log, run_on: Callable[[], Awaitable[Ran]]) -> None:
        self._spec = spec
        self._log = log
        self._run_on = run_on

    async def answer(self, payload: bytes) -> AsyncIterator[Any]:
        """Give the outputs of a message."""
        now = message()
        seq, is_passed = await trio.to_thread.run_sync(self._push, payload, _key_of(now))
        if not is_passed:
            await self._decide()
        for entry in await trio.to_thread.run_sync(self._answer, seq):
            body = await trio.to_thread.run_sync(partial(self._log.decoded, entry))
            yield self._value(entry, body, now)

    def _push(self, payload: bytes, key: str) -> tuple[int, bool]:
        """Add a message to the log, if it is not there. Called in a thread, as all that reads or writes it.

        Returns:
            The number of its commit, and whether another message came after it: then it was done, or given up.
        """
        pushed = self._log.push([self._log.store_body(payload, event="push", content_type="application/json")], key=key)
        commits = self._log.read()
        seq = next(number for number, commit in enumerate(commits) if commit.id == pushed.id)
        return seq, any(commit.key.startswith(_KEY) for commit in commits[seq + 1 :])

    def _answer(self, seq: int) -> list[Entry]:
        """Return what was decided on a message. Called in a thread."""
        return answer_of(self._log.read(), seq, self._log.namespaces())

    async def _decide(self) -> None:
        invocations = committed = 0
        while True:
            ran = await self._run_on()
            invocations, committed = invocations + ran.invocations, committed + ran.committed
            if ran.status == "failed":
                fail(f"handler {self._spec.config['call']!r} of session {self._log.id} failed: {ran.reason}")
            if ran.due_in is None:
                break
            await trio.sleep(min(max(ran.due_in, 0.0), LOOK_S))
        telemetry("handled", session=self._log.id, invocations=invocations, committed=committed, status=ran.status)

    def _value(self, entry: Entry, body: bytes, now: Message) -> Any:
        try:
            return _value_of(entry.content_type, body)
        except ValueRejected as error:
            text = f"handler {self._spec.config['call']!r} wrote {entry.name or 'an object'!r}: {error}"
            raise FunctionFailed(f"worker '{self._spec.name}': {text}", bytes.fromhex(now.span_id)) from None


def _key_of(now: Message) -> str:
    """Return the key of a message; one that nobody has named is never given again."""
    return f"{_KEY}{now.trace_id}/{now.span_id}" if now.span_id else f"{_KEY}{secrets.token_hex(12)}"


def answer_of(commits: Sequence[Commit], seq: int, namespaces: set[str]) -> list[Entry]:
    """Return what a handler has pushed between a message and the next one.

    What makes a child, goes to another session or into memory is for those who are there, and no output.

    Args:
        commits: of the session.
        seq: the number of the message's.
        namespaces: of memory that the session has.
    """
    found: list[Entry] = []
    for commit in commits[seq + 1 :]:
        if commit.key.startswith(_KEY):
            break
        if commit.kind == "handler":
            found += [entry for entry in commit.entries if _is_output(entry, namespaces)]
    return found


def _is_output(entry: Entry, namespaces: set[str]) -> bool:
    remembered = any(entry.name.startswith(namespace) for namespace in namespaces)
    return entry.event == "push" and not entry.fork and not entry.session and not remembered


def _value_of(content_type: str, body: bytes) -> Any:
    """Return an object as a value: JSON as it is, text as a string.

    Raises:
        ValueRejected: it is neither.
    """
    kind = media_type(content_type)
    if kind == "application/json" or kind.endswith("+json"):
        return decode_json(body)
    if kind.startswith("text/"):
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueRejected("$", "text in UTF-8", f"{len(body)} other bytes of {content_type}") from None
    raise ValueRejected("$", "JSON (application/json) or text (text/...)", content_type or "no content type")


if __name__ == "__main__":
    sys.exit(main())
