"""Commands about what is stored of sessions: to check it, to make it small, to take it elsewhere, to let it go."""

from __future__ import annotations

__all__ = ["register"]

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from fabric.cli.entry_lines import escape
from fabric.cli.report import count_of, out, print_line
from fabric.cli.session_place import (
    BucketUrl,
    DryRun,
    Json,
    SessionId,
    Sessions,
    meant_sessions,
    open_log,
    open_sessions,
    print_json,
    refuse_handler_of_run,
    run_above,
)
from fabric.errors import ConfigError, LogDamaged
from fabric.settings import forget_current, read_duration
from fabric.store.archive import read_archive, write_archive
from fabric.store.bodies import COLLECTED_OLDER_THAN_S_MIN
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.probe import probe
from fabric.store.rehearsal import Rehearsal
from fabric.store.verify import Report


def register(group: typer.Typer) -> None:
    """Add the commands of this group."""
    group.command()(export)
    group.command("import")(import_)
    group.command()(verify)
    group.command()(compact)
    group.command()(gc)
    group.command()(delete)


# --- elsewhere --------------------------------------------------------------------------------------------------------


def export(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Sessions; else the current one.")] = None,
    bucket: BucketUrl = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; else stdout.", show_default=False)
    ] = None,
    with_children: Annotated[
        bool, typer.Option("--children", help="Also what was forked from them, and the handlers of a run.")
    ] = False,
    session: SessionId = None,
) -> None:
    """Write all that belongs to sessions into one file: a tar that is a bucket when it is unpacked.

    It has their logs with all bodies, and what they inherit. `fabric session log -A --json` prints a log as JSON lines.

    Examples: fabric session export > session.tar; fabric session export -o all.tar --children review triage-7

    Exit codes: 0; 1 a log is damaged, or the bucket does not answer; 2 no session is meant, or the file cannot be
    written; 7 there is no such session.
    """
    sessions = open_sessions(bucket)
    wanted = [sessions.bucket.open(id_).id for id_ in meant_sessions(sessions, ids, session)]
    if with_children:
        wanted = _with_children(sessions, wanted)
    if output is None and os.isatty(1):
        raise ConfigError("a tar is nothing for a terminal: name a file with -o, or send stdout to one")
    with _writing(output) as file:
        objects = write_archive(sessions.bucket.store, wanted, file)
    print_line(f"exported {count_of(len(wanted), 'session')} in {count_of(objects, 'object')}")


def _with_children(sessions: Sessions, wanted: list[str]) -> list[str]:
    manifests = sessions.bucket.sessions()
    found = dict.fromkeys(wanted)
    grown = True
    while grown:
        below = [
            manifest.id
            for manifest in manifests
            if manifest.id not in found
            and (
                (manifest.parent is not None and manifest.parent.session in found)
                or manifest.id.rpartition("/")[0] in found
            )
        ]
        found |= dict.fromkeys(below)
        grown = bool(below)
    return list(found)


@contextmanager
def _writing(path: Path | None) -> Iterator[BinaryIO]:
    """Give a file that is there when all of it is written, or stdout."""
    if path is None:
        with _told("stdout"), open(1, "wb", closefd=False) as file:
            yield file
        return
    with _told(str(path)):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with open(descriptor, "wb") as file:
                yield file
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"cannot write {name}: {error.strerror}") from None


def import_(
    file: Annotated[
        Path | None, typer.Argument(help="What `fabric session export` wrote; else stdin.", show_default=False)
    ] = None,
    bucket: BucketUrl = None,
) -> None:
    """Bring exported sessions into a bucket, and print their ids. Said again, nothing changes.

    Nothing is brought if a session of one of the ids is there that is another one, or went another way.

    Examples: fabric session import session.tar; fabric session export | ssh host fabric session import -b s3://there/x

    Exit codes: 0; 1 the file is damaged, or the bucket does not answer; 2 it cannot be read, or there is another
    session of that id.
    """
    sessions = open_sessions(bucket)
    if file is None and os.isatty(0):
        print_line("the archive is read from here; fabric session import FILE names one")
    try:
        with tempfile.TemporaryFile() as copy:
            with open(0, "rb", closefd=False) if file is None else file.open("rb") as source:
                shutil.copyfileobj(source, copy)
            probe(sessions.bucket.store)
            imported = read_archive(sessions.bucket.store, copy)
    except OSError as error:
        raise ConfigError(f"cannot read {file or 'stdin'}: {error.strerror}") from None
    out(f"{session}\n" for session in imported.sessions)
    print_line(f"{count_of(imported.created, 'object')} are new, {imported.known} were there")


# --- whole ------------------------------------------------------------------------------------------------------------


def verify(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Sessions; else the current one.")] = None,
    bucket: BucketUrl = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="All sessions of the bucket.")] = False,
    as_json: Json = False,
    session: SessionId = None,
) -> None:
    """Read all of a session and of what it names, and say what is not what was written: what, and where.

    Examples: fabric session verify; fabric session verify --all -b s3://bucket/sessions --json

    Exit codes: 0; 1 something is damaged, or the bucket does not answer; 2 no session is meant; 7 there is no such
    session.
    """
    sessions = open_sessions(bucket)
    if everything and (ids or session is not None):
        raise ConfigError("name sessions or say --all, not both")
    listed = [each.id for each in sessions.bucket.listed()] if everything else None
    wanted = meant_sessions(sessions, ids, session) if listed is None else listed
    damaged = False
    for id_ in wanted:
        report = sessions.bucket.verify(id_)
        damaged |= bool(report.problems)
        if as_json:
            print_json(msgspec.structs.asdict(report))
        else:
            out(f"{line}\n" for line in _report_lines(report))
    if damaged:
        raise typer.Exit(LogDamaged.exit_code)


def _report_lines(report: Report) -> list[str]:
    what = [count_of(getattr(report, name), name.removesuffix("s")) for name in ("commits", "snapshots")]
    entries = "1 entry" if report.entries == 1 else f"{report.entries} entries"
    bodies = "1 large body" if report.bodies == 1 else f"{report.bodies} large bodies"
    state = "DAMAGED" if report.problems else "whole"
    return [
        f"{report.session}: {state}: {', '.join([what[0], entries, bodies, what[1]])}",
        *(f"  damaged: {escape(problem)}" for problem in report.problems),
        *(f"  warning: {escape(warning)}" for warning in report.warnings),
    ]


# --- smaller ----------------------------------------------------------------------------------------------------------


def compact(bucket: BucketUrl = None, session: SessionId = None, dry_run: DryRun = False) -> None:
    """Write a snapshot of a log: who reads it then asks for one object instead of all commits. The log itself stays.

    It happens by itself now and then.

    Examples: fabric session compact; fabric session compact -s triage-7

    Exit codes: 0; 1 the log is damaged, or the bucket does not answer; 2 no session is meant; 7 there is no such
    session.
    """
    log = open_log(bucket, session)
    commits = count_of(len(log.read()), "commit")
    if dry_run:
        print_line(f"would write a snapshot of the {commits} of {log.id}")
    elif log.compact():
        print_line(f"wrote a snapshot of the {commits} of {log.id}")
    else:
        print_line(f"there is a snapshot of all {commits} of {log.id} already")


def gc(
    bucket: BucketUrl = None,
    older_than: Annotated[
        str, typer.Option(metavar="TIME", help="How long a body has to be without a name, from 1h: 7d, 12h.")
    ] = "7d",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove what nobody needs: large bodies that no log names, old snapshots, what killed writers left behind.

    A bucket does not tell how old a body is: the first run notes those without a name, a later one sets them aside,
    where they are still found, and one after that removes them. No log is touched, and nothing is removed while one
    cannot be read.

    Examples: fabric session gc; fabric session gc -b s3://bucket/sessions --older-than 30d --dry-run

    Exit codes: 0; 1 a log is damaged, or the bucket does not answer; 2 there is no such bucket, or the time is short.
    """
    try:
        older_than_s = read_duration(older_than)
    except ValueError:
        raise ConfigError(f"--older-than {older_than}: expected a time from 1h on, such as 12h or 7d") from None
    if older_than_s < COLLECTED_OLDER_THAN_S_MIN:
        raise ConfigError(
            f"--older-than {older_than}: expected a time from 1h on, such as 12h or 7d: what nobody has named for less "
            "may be on its way into a log"
        )
    sessions = open_sessions(bucket)
    store = sessions.bucket.store
    collected = (Bucket(Rehearsal(store)) if dry_run else sessions.bucket).gc(older_than_s)
    if as_json:
        print_json({"dry_run": dry_run, **msgspec.structs.asdict(collected)})
        return
    told = ", ".join(
        f"{count} {name}" for name, count in msgspec.structs.asdict(collected).items() if name != "waiting"
    )
    print_line(f"{'would remove' if dry_run else 'removed'} {told}")
    if collected.waiting:
        print_line(
            f"{collected.waiting} bodies without a name wait: {older_than} to be set aside, then {older_than} to go"
        )


def delete(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Sessions.", show_default=False)] = None,
    bucket: BucketUrl = None,
    session: Annotated[
        str | None, typer.Option("--session", "-s", metavar="ID", help="One more of them.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Delete sessions for good. What was forked from one has to be deleted before it.

    With a run of a program go the sessions of its handlers, and only with it.

    Its id is never used again, and its log stays as a mark of that; its large bodies go with `fabric session gc`.

    Examples: fabric session delete triage-7; fabric session delete -y $(fabric session ls -q)

    Exit codes: 0; 1 not deleted after all, or the bucket does not answer; 2 none is named, or it has children, or is
    that of a handler in a run, or nobody can be asked (say -y); 7 there is no such session.
    """
    if not ids and session is None:
        raise ConfigError("no session is named: to delete the current one, name it, too")
    sessions = open_sessions(bucket)
    logs = [sessions.bucket.open(id_) for id_ in meant_sessions(sessions, ids, session)]
    wanted = _to_delete(sessions, logs)
    what = ", ".join(wanted)
    if dry_run:
        print_line(f"would delete {what} from {sessions.place.url}")
        return
    if not yes:
        if not os.isatty(0):
            raise ConfigError(f"to delete {what} for good, say --yes: nobody can be asked here")
        if not typer.confirm(f"delete {what} from {sessions.place.url} for good?", err=True):
            raise typer.Exit(1)
    for id_ in wanted:
        sessions.bucket.delete(id_)
        forget_current(id_, sessions.place.url, os.environ)
        print_line(f"deleted {id_}")


def _to_delete(sessions: Sessions, logs: Iterable[Log]) -> list[str]:
    """Return what goes with sessions, in order: handlers of a run after it, for without them it could not go on."""
    named = {log.id: log for log in logs}
    handlers: dict[str, Log] = {}
    runs: dict[str, str] = {}
    for run in [log for log in named.values() if log.manifest.program]:
        for manifest in sessions.bucket.sessions(f"{run.id}/"):
            above = None if manifest.program else run_above(sessions, manifest.id)
            if above is not None and above.id == run.id:
                handlers[manifest.id] = sessions.bucket.open(manifest.id)
                runs[manifest.id] = run.id
    others = [log for log in named.values() if log.id not in handlers]
    for log in others:
        if not log.manifest.program:
            refuse_handler_of_run(sessions, log.id, "delete")

    def before(log: Log) -> list[str]:
        return [*sessions.living_children(log), *([runs[log.id]] if log.id in runs else [])]

    return _children_first(before, [*others, *handlers.values()])


def _children_first(children_of: Callable[[Log], list[str]], logs: Iterable[Log]) -> list[str]:
    """Return the ids of sessions so that each can be deleted, after its children.

    Raises:
        ConfigError: one has a child that is not among them.
    """
    children = {log.id: children_of(log) for log in logs}
    found: list[str] = []
    while len(found) < len(children):
        free = [id_ for id_, below in children.items() if id_ not in found and set(below) <= set(found)]
        if not free:
            id_, below = next((id_, below) for id_, below in children.items() if not set(below) <= set(found))
            missing = next(child for child in below if child not in found)
            raise ConfigError(f"{id_} cannot be deleted: {missing} was forked from it, and inherits what it has")
        found += free
    return found
