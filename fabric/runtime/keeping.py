"""Runs that are kept in a bucket: a session's id, where its log is, and what of it has happened so far.

Who starts a run with an id that is there goes on with it. Another coordinator of this host that is still at it is told
from one that was killed by a lock on a file; that is only to give a clear error. What is relied upon is the log: who
commits second has lost the session, wherever he is.
"""

from __future__ import annotations

__all__ = ["Kept", "Reading", "hold_session", "open_run", "read_history", "read_once"]

import fcntl
import hashlib
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec

from fabric.errors import ConfigError, LogDamaged, SessionNotFound
from fabric.plan.digest import changes, digest_of, parts_of
from fabric.plan.plan import Plan
from fabric.runtime.bucket_meter import BucketMeter
from fabric.session.history import (
    LINE_KEYS,
    Emitted,
    Entered,
    History,
    Ordered,
    Retried,
    bytes_of,
    decode_history,
)
from fabric.session.reliving import Inherited
from fabric.settings import state_home
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.opening import open_store
from fabric.store.probe import probe

PARTS = "parts"
"""The key of a run's metadata under which it is written what its program consists of."""

CHANGES_SHOWN = 8


class Kept(msgspec.Struct, frozen=True):
    """A run that is kept in a bucket.

    Attributes:
        url: of the bucket.
        log: of the run, read to its end.
        history: what has happened so far; nothing, once it is forgotten.
        allow_changed: go on without what this program has no place for.
        anew: take all lines of the input, also those that are as they were the last time.
        meter: of the bucket.
        size_bytes: of all that has happened so far.
        inherited: whose the first of the history are, if it is a fork.
        base: how many commits of its own log that is.
        entries: how many have happened so far.
    """

    url: str
    log: Log
    history: list[History] = msgspec.field(default_factory=list)
    allow_changed: bool = False
    anew: bool = False
    meter: BucketMeter | None = None
    size_bytes: int = 0
    inherited: Sequence[Inherited] = ()
    base: int = 0
    entries: int = 0

    def forget(self) -> None:
        """The session has been brought back: what it was brought back from is not kept in memory any more."""
        self.history.clear()
        self.log.forget()

    @property
    def id(self) -> str:
        """Of the session."""
        return self.log.id

    @property
    def emitted(self) -> list[Emitted]:
        """What was written down of its output."""
        return [entry for entry in self.history if isinstance(entry, Emitted)]

    @property
    def last_ticket(self) -> int:
        """No input so far has a higher one."""
        return max(
            (entry.ticket for entry in self.history if isinstance(entry, Entered | Retried | Ordered)), default=0
        )

    def known(self, refused: Container[int] = ()) -> list[tuple[str, bytes]]:
        """Return port and JSON text of each line of the last input, but for those of these tickets: who gives them
        again is told again."""
        if self.anew:
            return []
        lines: list[Entered] = []
        for entry in self.history:
            if isinstance(entry, Entered) and entry.key.startswith(LINE_KEYS):
                if entry.key == f"{LINE_KEYS}1":
                    lines.clear()
                lines.append(entry)
        return [(line.port, bytes_of(line.payload, line.garbled)) for line in lines if line.ticket not in refused]


@contextmanager
def open_run(
    url: str,
    session: str,
    plan: Plan,
    environment: Mapping[str, str],
    *,
    allow_changed: bool = False,
    anew: bool = False,
) -> Iterator[Kept]:
    """Give a run, which is made if it is not there. Blocks.

    Args:
        url: of the bucket.
        session: its id.
        plan: of its program.
        environment: says where locks are.
        allow_changed: go on also with another program than it was made with.
        anew: take all lines of the input.

    Raises:
        ConfigError: it is no run, or one of another program; somebody on this host runs it.
        StoreFailed, LogDamaged: its log cannot be read.
    """
    with hold_session(url, session, environment):
        store = BucketMeter(open_store(url))
        bucket = Bucket(store)
        parts = parts_of(plan)
        try:
            log = bucket.open(session)
        except SessionNotFound:
            probe(store)
            log = bucket.start(session=session, metadata={PARTS: parts}, program=digest_of(parts), path=plan.path)
        _check(log, parts, plan.path, allow_changed=allow_changed)
        inherited, history, size_bytes, base = read_once(log)
        count = len(history)
        yield Kept(store.url, log, history, allow_changed, anew, store, size_bytes, inherited, base, count)


class Reading(NamedTuple):
    """What a log had at one moment. Whatever slips in behind it is somebody else's, and ours comes too late then.

    Attributes:
        inherited: whose the first of the history are, if it is a fork.
        history: what has happened in the run, what it has inherited first.
        size_bytes: of that.
        commits: how many of the log's own that is.
    """

    inherited: list[Inherited]
    history: list[History]
    size_bytes: int
    commits: int


def read_history(log: Log) -> list[History]:
    """Return what has happened in a run, what it has inherited first. Raises as :func:`read_once`."""
    return read_once(log).history


def read_once(log: Log) -> Reading:
    """Read the log of a run to its end.

    Raises:
        LogDamaged: there is something that this version does not know.
    """
    history: list[History] = []
    everything, size_bytes = log.entries(), 0
    commits = log.seen
    for placed in everything:
        if placed.derived:  # how a session begins is nothing that a run did
            continue
        try:
            history.append(decode_history(log.body(placed.entry)))
            size_bytes += placed.entry.size
        except msgspec.DecodeError as error:
            where = f"entry {placed.index} of commit {placed.seq} of {placed.session}"
            raise LogDamaged(f"{where} is none that this version knows: {error}") from None
    owners = groupby(placed.session for placed in everything if not placed.derived)
    inherited = [Inherited(owner, len(list(its))) for owner, its in owners if owner != log.id]
    return Reading(inherited, history, size_bytes, commits)


def _check(log: Log, parts: dict[str, dict[str, str]], path: str, *, allow_changed: bool) -> None:
    manifest = log.manifest
    if not manifest.program:
        raise ConfigError(
            f"session {log.id} is one of handlers, no run of a program: fabric session run -s {log.id} -- COMMAND"
        )
    if manifest.program == digest_of(parts) or allow_changed:
        return
    said = changes(manifest.metadata.get(PARTS, {}), parts)
    more = f"; and {len(said) - CHANGES_SHOWN} more" if len(said) > CHANGES_SHOWN else ""
    what = "; ".join(said[:CHANGES_SHOWN]) + more
    raise ConfigError(
        f"session {log.id} was begun with another program ({manifest.path}). Since then: {what}. "
        "--allow-changed goes on with this one where its channels still fit; or begin another session"
    )


@contextmanager
def hold_session(url: str, session: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Hold a session on this host, by a lock on a file.

    Raises:
        ConfigError: somebody holds it.
    """
    name = hashlib.sha256(f"{url}\0{session}".encode()).hexdigest()[:32]
    descriptor = _open(state_home(environment) / "locks" / name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise ConfigError(
            f"session {session} is run already on this host, by process {holder}: end that, or take another id"
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _open(file: Path) -> int:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot lock the session: {file}: {error.strerror}") from None
