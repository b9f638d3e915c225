"""Commands that show sessions: what has happened in one, which there are, how one stands."""

from __future__ import annotations

__all__ = ["register"]

import os
import shutil
import time
from collections.abc import Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import msgspec
import typer

from fabric.cli.entry_lines import (
    Row,
    commit_fields,
    render_attempt,
    render_row,
    render_session,
    row_fields,
    say_commit,
)
from fabric.cli.report import out, print_error, print_line
from fabric.cli.session_body import write_bytes
from fabric.cli.session_place import (
    BucketUrl,
    Json,
    SessionId,
    Sessions,
    open_sessions,
    print_json,
    standing_of,
)
from fabric.cli.session_table import SessionRow, render_sessions, row_of_json
from fabric.errors import ConfigError, LogDamaged, SessionNotFound, UnknownName
from fabric.settings import read_current
from fabric.store.bucket import Listed
from fabric.store.log import Log
from fabric.store.record import Commit
from fabric.store.replay import Placed

FOLLOW_S = 0.2
"""Between two looks at a log in a directory."""

READERS = 8
"""So many logs are read at a time to list sessions: reading one is a few requests, one after the other."""

FOLLOW_REMOTE_S = 2.0
"""At one in object storage, where each look is a request that is paid for."""


def register(group: typer.Typer) -> None:
    """Add the commands of this group."""
    group.command()(log)
    group.command()(ls)
    group.command()(show)


# --- log --------------------------------------------------------------------------------------------------------------


def log(
    bucket: BucketUrl = None,
    session: SessionId = None,
    everything: Annotated[
        bool, typer.Option("--all", "-A", help="Also what is inherited, and bodies: text as it is, others in short.")
    ] = False,
    control: Annotated[
        bool, typer.Option("--control", help="Also who committed what, having seen what, and attempts that failed.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Print the log of a session, an entry a line: its place, what it is, its name and type, and its size.

    With -A --json bodies are whole: "text" if they are UTF-8, else "base64".

    Examples: fabric session log -A; fabric session log -s triage-7 -A --json | jq -r .text

    Exit codes: 0; 1 the log is damaged, or the bucket does not answer; 2 no session is meant; 7 there is no such
    session, or it was deleted; 130 after Ctrl-C.
    """
    sessions = open_sessions(bucket)
    found = sessions.bucket.open(sessions.meant(session))
    printer = _Printer(found, bodies=everything, control=control, as_json=as_json)
    begun = [each for each in found.entries() if each.inherited or each.seq < 0]
    going_on = printer.entries([each for each in begun if everything or not each.inherited])
    seen = 0
    while going_on:
        commits = found.read()
        going_on = all(printer.commit(seq, commits[seq]) for seq in range(seen, len(commits)))
        seen = len(commits)
        if not follow:
            break
        time.sleep(FOLLOW_S if sessions.place.url.startswith("file:") else FOLLOW_REMOTE_S)
    if going_on and control:
        printer.attempts()
    if printer.damaged:
        raise typer.Exit(LogDamaged.exit_code)


class _Printer:
    """Prints entries of a log. Each method returns whether what it prints is still read.

    Attributes:
        damaged: whether a body could not be shown.
    """

    def __init__(self, log: Log, *, bodies: bool, control: bool, as_json: bool) -> None:
        self.damaged = False
        self._log = log
        self._bodies = bodies
        self._control = control
        self._json = as_json

    def entries(self, entries: Iterable[Placed]) -> bool:
        """Print entries."""
        return all(self._row(each) for each in entries)

    def commit(self, seq: int, commit: Commit) -> bool:
        """Print the entries of one of its commits."""
        if self._control and not (
            print_json(commit_fields(self._log.id, seq, commit)) if self._json else out([say_commit(seq, commit), "\n"])
        ):
            return False
        return self.entries(
            Placed(self._log.id, seq, index, entry, kind=commit.kind, at=commit.at)
            for index, entry in enumerate(commit.entries)
        )

    def attempts(self) -> bool:
        """Print the attempts to go on from here that failed."""
        for number, attempt in enumerate(self._log.attempts(len(self._log.read())), 1):
            fields = {"session": self._log.id, "event": "attempt", "number": number, **msgspec.structs.asdict(attempt)}
            if not (print_json(fields) if self._json else out(f"{line}\n" for line in render_attempt(number, attempt))):
                return False
        return True

    def _row(self, each: Placed) -> bool:
        row = Row(each, self._body(each) if self._bodies else None, of_run=bool(self._log.manifest.program))
        return print_json(row_fields(row)) if self._json else out(f"{line}\n" for line in render_row(row))

    def _body(self, each: Placed) -> bytes | None:
        try:
            return self._log.decoded(each.entry)
        except LogDamaged as error:  # what comes after it can be shown all the same
            self.damaged = True
            print_error(f"{each.id}: {error}", error.code)
            return None


# --- ls ---------------------------------------------------------------------------------------------------------------


def ls(
    bucket: BucketUrl = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only their ids; no log is read.")] = False,
    as_json: Json = False,
) -> None:
    """List the sessions of a bucket as a tree: forks below what they were forked from. * marks the current one.

    Examples: fabric session ls; fabric session ls -b s3://bucket/sessions --json | jq -r 'select(.status=="failed").id'

    Exit codes: 0 also if there is none; 1 a log is damaged (its session is listed as such), or the bucket does not
    answer; 2 there is no such bucket.
    """
    sessions = open_sessions(bucket)
    listed = sessions.bucket.listed()
    if quiet:
        out(f"{each.id}\n" for each in listed)
        return
    now = time.time()
    known = {each.id for each in listed}
    with ThreadPoolExecutor(READERS) as readers:
        found = readers.map(lambda each: _listed(sessions, each, known, now), listed)
        rows = [row for row in found if row is not None]
    if as_json:
        all(print_json(row_of_json(row)) for row in rows)
    elif rows:
        columns = shutil.get_terminal_size().columns if os.isatty(1) else None
        out(f"{line}\n" for line in render_sessions(rows, now, columns))
    else:
        print_line(f"there are no sessions in {sessions.place.url}; fabric session start begins one")
    if any(row.status == "damaged" for row in rows):
        raise typer.Exit(LogDamaged.exit_code)


def _listed(sessions: Sessions, listed: Listed, known: Container[str], now: float) -> SessionRow | None:
    """Return a session as it is listed; ``None``: it was deleted meanwhile."""
    manifest = listed.manifest
    if manifest is None:
        print_error(f"{listed.id}: {listed.damage}", LogDamaged.code)
        return SessionRow(listed.id, "", "damaged", "", None, now, "", _is_current(sessions, listed.id))
    whose = manifest.id.rpartition("/")[0]
    parent = manifest.parent.session if manifest.parent is not None else whose if whose in known else ""
    of = manifest.path or manifest.program[:12] or manifest.agent
    row = SessionRow(manifest.id, parent, "", "", None, manifest.created, of, _is_current(sessions, manifest.id))
    try:
        log = sessions.bucket.open(manifest.id)
        entries = sum(len(commit.entries) for commit in log.read())
        status, detail = standing_of(log, now)
    except LogDamaged as error:
        print_error(f"{manifest.id}: {error}", error.code)
        return row._replace(status="damaged")
    except SessionNotFound:
        return None
    return row._replace(status=status, detail=detail, entries=entries)


def _is_current(sessions: Sessions, session: str) -> bool:
    current = read_current(os.environ)
    return current is not None and (current.bucket, current.session) == (sessions.place.url, session)


# --- show -------------------------------------------------------------------------------------------------------------


def show(
    place: Annotated[
        str | None,
        typer.Argument(metavar="[SEQ.INDEX]", help="Only the body of this entry, as it is.", show_default=False),
    ] = None,
    bucket: BucketUrl = None,
    session: SessionId = None,
    as_json: Json = False,
) -> None:
    """Print what a session is and how it stands; or the body of one of its entries, all of its bytes.

    Examples: fabric session show; fabric session show 3.0 > photo.png

    Exit codes: 0; 1 the log is damaged, or the bucket does not answer; 2 no session is meant; 7 there is no such
    session or entry.
    """
    sessions = open_sessions(bucket)
    found = sessions.bucket.open(sessions.meant(session))
    if place is not None:
        _write_body(found, place)
        return
    fields = _about(sessions, found)
    if as_json:
        print_json(fields)
    else:
        out(f"{line}\n" for line in render_session(fields, time.time()))


def _write_body(log: Log, place: str) -> None:
    seq, _, index = place.partition(".")
    commits = log.read()
    if not (seq.isdecimal() and index.isdecimal()):
        raise ConfigError(f"{place!r} is no place in a log: expected SEQ.INDEX, as fabric session log shows them")
    if int(seq) >= len(commits) or int(index) >= len(commits[int(seq)].entries):
        raise UnknownName(f"{log.id} has no entry {place}; fabric session log -s {log.id} lists them")
    write_bytes(log.decoded(commits[int(seq)].entries[int(index)]))


def _about(sessions: Sessions, log: Log) -> dict[str, Any]:
    """Return what there is to tell of a session; what is empty is left out."""
    manifest, commits = log.manifest, log.read()
    status, detail = standing_of(log, time.time())
    attempts = log.attempts(len(commits))
    entries = [entry for commit in commits for entry in commit.entries]
    origin = manifest.parent
    fields = {
        "session": log.id,
        "bucket": sessions.place.url,
        "current": _is_current(sessions, log.id),
        "created": manifest.created,
        "agent": manifest.agent,
        "metadata": dict(manifest.metadata),
        "parent": None if origin is None else msgspec.structs.asdict(origin),
        "program": manifest.program,
        "path": manifest.path,
        "status": status,
        "detail": detail,
        "commits": len(commits),
        "entries": len(entries),
        "bytes": sum(entry.size for entry in entries),
        "newest": commits[-1].at if commits else None,
        "children": sessions.living_children(log),
        "attempts": [msgspec.structs.asdict(attempt) for attempt in attempts],
        "undelivered": [msgspec.structs.asdict(missed) for missed in log.undelivered()],
    }
    return {name: value for name, value in fields.items() if value not in (None, "", {}, []) and value is not False}
