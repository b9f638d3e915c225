"""Which bucket and which session a command is about, and how a session stands, in words."""

from __future__ import annotations

__all__ = [
    "BucketUrl",
    "DryRun",
    "Json",
    "SessionId",
    "Sessions",
    "Standing",
    "meant_sessions",
    "new_id",
    "open_log",
    "open_sessions",
    "place_of",
    "print_json",
    "refuse_handler_of_run",
    "refuse_run",
    "run_above",
    "standing_of",
]

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from fabric.cli.listing import duration
from fabric.cli.programs import project_settings
from fabric.cli.report import count_of, out
from fabric.errors import ConfigError, SessionNotFound
from fabric.settings import Place, choose_bucket, choose_session
from fabric.store.bucket import Bucket
from fabric.store.file import FileStore
from fabric.store.keys import session_id
from fabric.store.log import Log
from fabric.store.opening import open_store
from fabric.store.readiness import Failed, Idle, Paused, Ready, Sleeping
from fabric.store.record import Commit
from fabric.wire.payload import encode_json

BucketUrl = Annotated[
    str | None,
    typer.Option(
        "--bucket",
        "-b",
        metavar="URL",
        help="Where sessions are kept: file:///PATH, s3://BUCKET/PREFIX, gs:, az:. Else FABRIC_STORE, store.url of the "
        "settings, that of the current session, or a folder of the user's.",
        show_default=False,
    ),
]
SessionId = Annotated[
    str | None,
    typer.Option("--session", "-s", metavar="ID", help="The session; else the current one.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, one object a line.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


class Sessions(NamedTuple):
    """A bucket of sessions, and where it is."""

    bucket: Bucket
    place: Place

    def meant(self, session: str | None) -> str:
        """Return the id of the session that is meant. Raises ConfigError: it is not said."""
        return choose_session(session, self.place, os.environ)

    def living_children(self, log: Log) -> list[str]:
        """Return the children of a session that were not deleted."""
        return [child for child in log.children() if self.bucket.lives(child)]


def open_sessions(url: str | None) -> Sessions:
    """Return the bucket that is meant.

    Raises:
        ConfigError: no such kind of bucket is known, or one in memory is meant: it would end with this command.
    """
    place = choose_bucket(url, project_settings(), Path.cwd(), os.environ)
    if place.url.partition(":")[0] == "memory":
        raise ConfigError(f"bucket {place.url}: it would end with this command; file:PATH names a folder, which stays")
    store = open_store(place.url)
    if isinstance(store, FileStore) and store.root.exists() and not store.root.is_dir():
        raise ConfigError(f"bucket {place.url}: it is a file, expected a directory, or a path where one can be made")
    return Sessions(Bucket(store), place)


def open_log(url: str | None, session: str | None) -> Log:
    """Return the log of the session that is meant.

    Raises:
        ConfigError: it is not said which bucket or which session is meant.
        SessionNotFound: the bucket has no such session.
    """
    sessions = open_sessions(url)
    return sessions.bucket.open(sessions.meant(session))


def meant_sessions(sessions: Sessions, ids: Iterable[str] | None, session: str | None) -> list[str]:
    """Return the sessions that are named as arguments and with ``-s``, each once; if none is, the current one."""
    said = dict.fromkeys([*(ids or ()), *(() if session is None else (session,))])
    return list(said) or [sessions.meant(None)]


def new_id(said: str | None) -> str:
    """Return the id that ``--id`` says a new session is to have; if it says nothing, an empty one.

    Raises:
        ConfigError: it says none, or one that could not be said again: it would be taken for a flag.
    """
    if said is None:
        return ""
    if not said:
        raise ConfigError("--id '' is no id of a session: say one, or leave --id out for a new one")
    if said.startswith("-"):
        raise ConfigError(f"--id {said}: where it is said again it would be taken for a flag: begin it with a letter")
    return session_id(said)


def run_above(sessions: Sessions, session: str) -> Log | None:
    """Return the run of a program of which a session is that of a handler: such are named RUN/NODE."""
    above = session.rpartition("/")[0]
    while above:
        with suppress(SessionNotFound):
            log = sessions.bucket.open(above)
            if log.manifest.program:
                return log
        above = above.rpartition("/")[0]
    return None


def refuse_handler_of_run(sessions: Sessions, session: str, verb: str) -> None:
    """Raise ConfigError if a session is that of a handler in a run: the run alone tells it what comes, and ends it."""
    run = run_above(sessions, session)
    if run is not None:
        program = run.manifest.path or "PROGRAM"
        raise ConfigError(
            f"{session} is the session of a handler in {run.id}, a run of {program}, and `fabric session {verb}` is "
            f"for sessions of their own: `fabric run {program} --session {run.id}` goes on with the run, and "
            f"`fabric session fork -s {session}` makes a session of it that is on its own"
        )


def refuse_run(log: Log, verb: str) -> None:
    """Raise ConfigError if a session is a run of a program: nothing is pushed to that, and no handler decides in it."""
    if log.manifest.program:
        program = log.manifest.path or "PROGRAM"
        raise ConfigError(
            f"{log.id} is a run of {program}, and `fabric session {verb}` is for sessions of handlers; "
            f"`fabric run {program} --session {log.id}` goes on with it"
        )


def place_of(log: Log, commit: Commit) -> int:
    """Return the number of a commit that is in a log."""
    return next(seq for seq, each in enumerate(log.read()) if each.id == commit.id)


def print_json(fields: Mapping[str, Any]) -> bool:
    """Print one object; return whether it is read."""
    return out([encode_json({"v": 1, **fields}).decode(), "\n"])


class Standing(NamedTuple):
    """How a session stands.

    Attributes:
        status: in a word: ready, idle, paused, sleeping, failed; of a run open or ended.
        detail: more of it, for people; it may be what a handler wrote.
    """

    status: str
    detail: str = ""


def standing_of(log: Log, now: float) -> Standing:
    """Return how a session stands.

    Args:
        log: of it.
        now: seconds since 1970.
    """
    if log.manifest.program:
        return _of_run(log.read())
    match log.readiness(now):
        case Ready(base=base, attempts=attempts):
            return Standing("ready", _tell_attempts(log, base, " failed") if attempts else "")
        case Idle():
            return Standing("idle")
        case Paused(reason=reason):
            return Standing("paused", reason)
        case Sleeping(until=until, reason=reason):
            left = f"{duration(until - now)} more"
            return Standing("sleeping", f"{left}, {reason}" if reason else left)
        case Failed(base=base):
            return Standing("failed", _tell_attempts(log, base))


def _tell_attempts(log: Log, base: int, after: str = "") -> str:
    attempts = log.attempts(base)
    reason = f": {attempts[-1].reason}" if attempts and attempts[-1].reason else ""
    return f"{count_of(len(attempts), 'attempt')}{after}{reason}"


def _of_run(commits: list[Commit]) -> Standing:
    """Return how a run stands. Whether it is running at this moment no log says."""
    entries = (entry for commit in reversed(commits) for entry in reversed(commit.entries))
    last = next((entry.event for entry in entries if entry.event != "emitted"), "")
    return Standing("ended" if last == "finished" else "open")
