"""Which bucket and which session a command is about."""

from __future__ import annotations

__all__ = ["BucketUrl", "Json", "SessionId", "Sessions", "open_log", "open_sessions", "refuse_run"]

import os
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from fabric.cli.programs import project_settings
from fabric.errors import ConfigError, SessionNotFound
from fabric.settings import Bucket as Place
from fabric.settings import choose_bucket, choose_session
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.opening import open_store

BucketUrl = Annotated[
    str | None,
    typer.Option(
        "--bucket",
        "-b",
        metavar="URL",
        help="Where sessions are kept: file:///PATH, s3://BUCKET/PREFIX, gs://…, az://….",
        show_default="FABRIC_STORE, else [store] url, else that of the current session, else a folder of the user's",
    ),
]
SessionId = Annotated[
    str | None,
    typer.Option("--session", "-s", metavar="ID", help="The session.", show_default="the one started last"),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, one object a line.")]


class Sessions(NamedTuple):
    """A bucket of sessions, and where it is."""

    bucket: Bucket
    place: Place


def open_sessions(url: str | None) -> Sessions:
    """Return the bucket that is meant.

    Raises:
        ConfigError: no such kind of bucket is known, or one in memory is meant: it would end with this command.
    """
    place = choose_bucket(url, project_settings(), Path.cwd(), os.environ)
    if place.url.partition(":")[0] == "memory":
        raise ConfigError(f"-b {place.url}: it would end with this command; file:PATH names a folder, which stays")
    return Sessions(Bucket(open_store(place.url)), place)


def open_log(url: str | None, session: str | None) -> Log:
    """Return the log of the session that is meant.

    Raises:
        ConfigError: it is not said which bucket or which session is meant.
        SessionNotFound: the bucket has no such session.
    """
    sessions = open_sessions(url)
    return open_in(sessions, choose_session(session, sessions.place, os.environ))


def open_in(sessions: Sessions, session: str) -> Log:
    """Return the log of a session.

    Raises:
        SessionNotFound: the bucket has no such session; what it has is told.
    """
    try:
        return sessions.bucket.open(session)
    except SessionNotFound as error:
        raise SessionNotFound(f"{error}; fabric session ls -b {sessions.place.url} lists what there is") from None


def refuse_run(log: Log, verb: str) -> None:
    """Raise ConfigError if a session is a run of a program: nothing is pushed to that, and no handler decides in it."""
    if log.manifest.program:
        program = log.manifest.path or "PROGRAM"
        raise ConfigError(
            f"{log.id} is a run of {program}, not a session of a handler: `fabric session {verb}` is for those; "
            f"fabric run {program} --session {log.id} goes on with it"
        )
