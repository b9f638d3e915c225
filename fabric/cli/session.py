"""Commands about durable sessions: what comes in, and what becomes of a session.

Nothing here is kept in memory: each command reads the log of a session in its bucket, and adds to it. Those that run a
handler are in ``session_run``, those that show what there is in ``session_log``, those about what is stored in
``session_keep``; ``session_place`` finds the bucket and the session that are meant.
"""

from __future__ import annotations

__all__ = ["register"]

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fabric.cli import session_keep, session_log, session_run
from fabric.cli.entry_lines import say_size
from fabric.cli.report import print_line
from fabric.cli.service import out
from fabric.cli.session_body import compress, guess_type, read_body, read_metadata
from fabric.cli.session_place import (
    BucketUrl,
    DryRun,
    Json,
    SessionId,
    Sessions,
    open_in,
    open_log,
    open_sessions,
    refuse_run,
)
from fabric.errors import ConfigError
from fabric.settings import Current, write_current
from fabric.store.log import Log
from fabric.store.probe import probe
from fabric.store.record import Commit, Entry
from fabric.wire.payload import encode_json


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(
        name="session",
        no_args_is_help=True,
        help="Durable sessions: append-only logs in a bucket, and handlers that decide what comes next.",
    )
    group.command()(start)
    group.command()(push)
    session_run.register(group)
    session_log.register(group)
    group.command()(fork)
    group.command()(wake)
    group.command()(use)
    session_keep.register(group)
    app.add_typer(group)


def _answer(fields: dict[str, object], text: str, as_json: bool) -> None:
    """Print what a program or a person goes on with."""
    out([encode_json({"v": 1, **fields}).decode() if as_json else text, "\n"])


def _make_current(sessions: Sessions, session: str) -> None:
    write_current(Current(sessions.place.url, session), os.environ)


# --- start ------------------------------------------------------------------------------------------------------------


def start(
    bucket: BucketUrl = None,
    id_: Annotated[
        str, typer.Option("--id", metavar="ID", help="Its id; left out: a new one. Said again, it is the same session.")
    ] = "",
    agent: Annotated[str, typer.Option(help="What its handlers are told that they are.")] = "",
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="K=V", help="Told to its handlers. May be repeated.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Start a session, make it the current one, and print its id.

    The bucket is tried first: it has to refuse to create the same object twice.

    Examples: fabric session start; fabric session start -b s3://bucket/sessions --agent triage --metadata team=ops

    Exit codes: 0; 1 the bucket does not answer; 2 it is none, or cannot keep a log, or there is another session of that
    id.
    """
    said = read_metadata(metadata or (), "--metadata")
    sessions = open_sessions(bucket)
    if dry_run:
        print_line(f"would start {id_ or 'a session'} in {sessions.place.url}")
        return
    probe(sessions.bucket.store)
    log = sessions.bucket.start(session=id_, agent=agent, metadata=said)
    _make_current(sessions, log.id)
    _answer({"session": log.id, "bucket": sessions.place.url}, log.id, as_json)


# --- push -------------------------------------------------------------------------------------------------------------


def push(
    body: Annotated[
        str | None, typer.Argument(help="What is pushed; left out, or -: what stdin has.", show_default=False)
    ] = None,
    bucket: BucketUrl = None,
    session: SessionId = None,
    file: Annotated[Path | None, typer.Option("--file", help="The file that is pushed.", show_default=False)] = None,
    name: Annotated[str, typer.Option(help="By which a handler finds it.")] = "",
    kind: Annotated[
        str | None,
        typer.Option("--type", metavar="TYPE", help="Its content type.", show_default="JSON, else text, else bytes"),
    ] = None,
    schema: Annotated[str, typer.Option(metavar="URL", help="Its schema.")] = "",
    meta: Annotated[list[str] | None, typer.Option("--meta", metavar="K=V", help="May be repeated.")] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Store it compressed: gzip or zstd. Handlers see it as it was.")
    ] = None,
    key: Annotated[
        str, typer.Option(help="By which this push is known: said again with the same key, it is pushed once.")
    ] = "",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Push an object into a session: an event, for its handler to decide about. Its bytes are kept as they are.

    Prints where it is: the session, and its place in the log.

    Examples: echo '{"kind":"input","text":"hello"}' | fabric session push; fabric session push --file cat.png --name
    photo --key upload-17

    Exit codes: 0; 1 the bucket does not answer, or the key is that of another push; 2 no session or body is meant, or
    it is a run of a program; 7 there is no such session.
    """
    said = read_metadata(meta or (), "--meta")
    log = open_log(bucket, session)
    refuse_run(log, "push")
    plain = read_body(body, file)
    stored = compress(plain, encoding)
    fields = {"name": name, "content_type": kind or guess_type(plain), "schema_url": schema, "metadata": said}
    _check_text(fields)
    if dry_run:
        print_line(f"would push {say_size(len(plain))} of {fields['content_type']} into {log.id}")
        return
    entry = log.store_body(stored, content_encoding=encoding or "", **fields)
    commit = log.push([entry], key=key)
    kept = commit.entries[0]
    if msgspec.structs.replace(kept, text=None, data=None) != msgspec.structs.replace(entry, text=None, data=None):
        seq = place_of(log, commit)
        raise FabricError(
            f"--key {key} is that of another push, {log.id} {seq}.0 ({say_size(kept.size)}, sha256 {kept.sha256[:12]}): "
            "nothing was pushed; another object wants another key"
        )
    seq = place_of(log, commit)
    _answer({"session": log.id, "seq": seq, "index": 0, "sha256": kept.sha256}, f"{log.id} {seq}.0", as_json)


# --- fork, wake, use --------------------------------------------------------------------------------------------------


def fork(
    bucket: BucketUrl = None,
    session: SessionId = None,
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="N", help="Inherit only the commits before this one; left out: all.", min=0),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Fork a session: a new one that begins with all that this one has, make it the current one, and print its id.

    Nothing is copied. `fabric session log` shows the numbers of commits. A run of a program can be forked, too.

    Examples: fabric session fork; fabric session fork -s review --at 12

    Exit codes: 0; 1 the bucket does not answer; 2 no session is meant, or it has not so many commits; 7 there is no
    such session.
    """
    sessions = open_sessions(bucket)
    log = open_in(sessions, session_meant(sessions, session))
    if dry_run:
        print_line(f"would fork {log.id}" + (f" before commit {at}" if at is not None else " at its end"))
        return
    child = log.fork(at)
    _make_current(sessions, child.id)
    _answer({"session": child.id, "parent": log.id, "bucket": sessions.place.url}, child.id, as_json)


def wake(bucket: BucketUrl = None, session: SessionId = None, dry_run: DryRun = False) -> None:
    """Wake a session that waits: its handler is invoked by the next `fabric session run`.

    Examples: fabric session wake; fabric session wake -s triage-7

    Exit codes: 0; 1 the bucket does not answer; 2 no session is meant, or it is a run of a program; 7 there is no such
    session.
    """
    log = open_log(bucket, session)
    refuse_run(log, "wake")
    if dry_run:
        print_line(f"would wake {log.id}")
        return
    log.wake()


def use(
    session: Annotated[str, typer.Argument(metavar="ID", help="The session.", show_default=False)],
    bucket: BucketUrl = None,
) -> None:
    """Make a session the current one: the one that is meant where none is named.

    Examples: fabric session use triage-7; fabric session use -b file:///tmp/pug triage-7

    Exit codes: 0; 1 the bucket does not answer; 2 it is none; 7 it has no such session.
    """
    sessions = open_sessions(bucket)
    _make_current(sessions, open_in(sessions, session).id)
