"""Commands about durable sessions: what comes in, and what becomes of a session.

Nothing here is kept in memory: each command reads the log of a session in its bucket, and adds to it. Those that run a
handler are in ``session_run``, those that show what there is in ``session_log``, those about what is stored in
``session_keep``; ``session_place`` finds the bucket and the session that are meant, ``session_body`` reads what is
pushed, ``entry_lines`` and ``session_table`` make lines of a log and of a list.
"""

from __future__ import annotations

__all__ = ["register"]

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fabric.cli import session_keep, session_log, session_run
from fabric.cli.entry_lines import say_size
from fabric.cli.report import out, print_line
from fabric.cli.session_body import check_text, compress, guess_type, read_body, read_metadata
from fabric.cli.session_place import (
    BucketUrl,
    DryRun,
    Json,
    SessionId,
    Sessions,
    new_id,
    open_log,
    open_sessions,
    place_of,
    print_json,
    refuse_handler_of_run,
    refuse_run,
)
from fabric.errors import ConfigError, FabricError
from fabric.settings import Current, write_current
from fabric.store.keys import check_namespace, check_push_key
from fabric.store.probe import probe


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
    group.command()(share)
    group.command()(use)
    session_keep.register(group)
    app.add_typer(group)


def _make_current(sessions: Sessions, session: str) -> None:
    write_current(Current(sessions.place.url, session), os.environ)


# --- start ------------------------------------------------------------------------------------------------------------


def start(
    bucket: BucketUrl = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="Its id; left out: a new one. Said again, it is the same session.",
            show_default=False,
        ),
    ] = None,
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
    check_text({"--agent": agent})
    session = new_id(id_)
    sessions = open_sessions(bucket)
    if dry_run:
        print_line(f"would start {session or 'a session'} in {sessions.place.url}")
        return
    probe(sessions.bucket.store)
    log = sessions.bucket.start(session=session, agent=agent, metadata=said)
    _make_current(sessions, log.id)
    _print_session(log.id, sessions, as_json)


def _print_session(session: str, sessions: Sessions, as_json: bool, **fields: str) -> None:
    if as_json:
        print_json({"session": session, "bucket": sessions.place.url, **fields})
    else:
        out([session, "\n"])


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
        typer.Option("--type", metavar="TYPE", help="Its content type; else JSON, text or bytes.", show_default=False),
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

    Prints where it is: the session, and the place in its log.

    Examples: echo '{"kind":"input","text":"hello"}' | fabric session push; fabric session push --file cat.png --name
    photo --key upload-17

    Exit codes: 0; 1 the bucket does not answer, or the key is that of another push; 2 no session or body is meant, or
    it is a run of a program or of a handler in one; 7 there is no such session.
    """
    fields: dict[str, Any] = {"name": name, "schema_url": schema, "metadata": read_metadata(meta or (), "--meta")}
    check_text({"--name": name, "--type": kind or "", "--schema": schema, "--key": key})
    check_push_key(key)
    compress(b"", encoding)  # it complains before anything is read
    sessions = open_sessions(bucket)
    log = sessions.bucket.open(sessions.meant(session))
    refuse_run(log, "push")
    refuse_handler_of_run(sessions, log.id, "push")
    plain = read_body(body, file)
    fields |= {"content_type": kind or guess_type(plain), "content_encoding": encoding or ""}
    if dry_run:
        print_line(f"would push {say_size(len(plain))} of {fields['content_type']} into {log.id}")
        return
    entry = log.store_body(compress(plain, encoding), **fields)
    commit = log.push([entry], key=key)
    seq, kept = place_of(log, commit), commit.entries[0]
    if kept != entry:
        raise FabricError(
            f"--key {key} is that of another push, {log.id} {seq}.0 ({say_size(kept.size)}, {kept.content_type}, "
            f"sha256 {kept.sha256[:12]}…): nothing was pushed; another object wants another key"
        )
    if as_json:
        print_json({"session": log.id, "seq": seq, "index": 0, "sha256": kept.sha256})
    else:
        out([f"{log.id} {seq}.0\n"])


# --- fork, wake, share, use -------------------------------------------------------------------------------------------


def fork(
    bucket: BucketUrl = None,
    session: SessionId = None,
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="N", help="Inherit only the commits before this one; left out: all.", min=0),
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Its id; left out: a new one.", show_default=False)
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
    child_id = new_id(id_)
    sessions = open_sessions(bucket)
    log = sessions.bucket.open(sessions.meant(session))
    if dry_run:
        print_line(f"would fork {log.id} " + ("at its end" if at is None else f"before its commit {at}"))
        return
    child = log.fork(at, session=child_id)
    _make_current(sessions, child.id)
    _print_session(child.id, sessions, as_json, parent=log.id)


def wake(bucket: BucketUrl = None, session: SessionId = None, dry_run: DryRun = False) -> None:
    """Wake a session that waits: the next `fabric session run` invokes its handler.

    Examples: fabric session wake; fabric session wake -s triage-7

    Exit codes: 0; 1 the bucket does not answer; 2 no session is meant, or it is a run of a program; 7 there is no such
    session.
    """
    log = open_log(bucket, session)
    refuse_run(log, "wake")
    if dry_run:
        print_line(f"would wake {log.id}")
    else:
        log.wake()


def share(
    namespace: Annotated[str, typer.Argument(metavar="NAMESPACE", help="A name without '/'.", show_default=False)],
    bucket: BucketUrl = None,
    session: SessionId = None,
    dry_run: DryRun = False,
) -> None:
    """Give a session a memory namespace: what its handler writes as NAMESPACE/NAME all sessions see that have it, too.

    They see the newest version of each object. What was written before stays the session's own. Said again, nothing
    changes.

    Examples: fabric session share notes; fabric session share -s triage-7 team

    Exit codes: 0; 1 the bucket does not answer; 2 no session is meant, it is a run of a program, or that is no name; 7
    there is no such session.
    """
    log = open_log(bucket, session)
    refuse_run(log, "share")
    check_namespace(namespace)
    if dry_run:
        print_line(f"would give {log.id} the memory namespace {namespace}")
    else:
        log.share(namespace)


def use(
    id_: Annotated[str | None, typer.Argument(metavar="ID", help="The session.", show_default=False)] = None,
    bucket: BucketUrl = None,
    session: Annotated[
        str | None, typer.Option("--session", "-s", metavar="ID", help="The same.", show_default=False)
    ] = None,
) -> None:
    """Make a session the current one: the one that is meant where none is named.

    Examples: fabric session use triage-7; fabric session use -b file:///tmp/pug triage-7

    Exit codes: 0; 1 the bucket does not answer; 2 there is no such bucket, or not one session is named; 7 it has no
    such session.
    """
    said = {id_, session} - {None}
    if len(said) != 1:
        raise ConfigError(f"{len(said)} sessions are named, expected one: fabric session ls lists those that are there")
    sessions = open_sessions(bucket)
    _make_current(sessions, sessions.bucket.open(said.pop() or "").id)
