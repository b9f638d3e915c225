"""Sessions as one file: a tar of the objects that they are made of, under their keys. Unpacked, it is a bucket.

It has what a session needs to be read and to go on: its manifest and log, the bodies that they name, what is known of
attempts that failed and of what it asked of others, and of a run its program. So it has of all that it was forked from,
and whole: half a log would be another session where it is brought, and begin with what is done already. It has no
snapshot, which can be made again, and no memory namespace, which is not one session's. Parents come before children.

Its last member lists all others with their digests, so that half a file is not taken for a whole one.

A log is all there or there is no archive. A commit that is missing or damaged is taken from a snapshot, and told.

The same sessions give the same bytes.
"""

from __future__ import annotations

__all__ = ["CONTENTS", "Imported", "read_archive", "write_archive"]

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

import msgspec

from fabric.errors import LogDamaged, SessionExists, SessionNotFound
from fabric.store import keys
from fabric.store.bodies import read_body
from fabric.store.copies import commit_copies
from fabric.store.objects import ObjectStore
from fabric.store.record import Commit, Manifest, decode_commit, decode_manifest, digest
from fabric.store.world import tell

CONTENTS = "fabric/archive.json"
"""The name of the last member."""

_PREFIXES = ("sessions/", "blobs/", "index/")


class _Contents(msgspec.Struct, frozen=True):
    """What an archive has.

    Attributes:
        sessions: their ids.
        objects: the digest of each, by key.
    """

    sessions: tuple[str, ...]
    objects: dict[str, str]
    v: int = 1


class Imported(NamedTuple):
    """What came into a bucket.

    Attributes:
        sessions: ids.
        created: objects that were not there.
        known: objects that were, the same.
    """

    sessions: tuple[str, ...]
    created: int
    known: int


# --- out of a bucket --------------------------------------------------------------------------------------------------


def write_archive(
    store: ObjectStore, sessions: Iterable[str], file: BinaryIO, tell: Callable[[str], None] = tell
) -> int:
    """Write sessions, and those that they inherit from, into a file; return how many objects.

    Args:
        store: the bucket.
        sessions: ids.
        file: where to.
        tell: is told of commits that are taken from a snapshot.

    Raises:
        SessionNotFound: there is no such session.
        LogDamaged: what the bucket has is not what was written, and no snapshot has it.
        OSError: the file cannot be written.
    """
    wanted = _with_parents(store, sessions)
    digests: dict[str, str] = {}
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for session in wanted:
            for key, body in _objects(store, session, digests, tell):
                digests[key] = digest(body)
                _add(archive, key, body)
        _add(archive, CONTENTS, msgspec.json.encode(_Contents(tuple(wanted), digests)) + b"\n")
    return len(digests)


def _add(archive: tarfile.TarFile, key: str, body: bytes) -> None:
    member = tarfile.TarInfo(key)
    member.size, member.mode = len(body), 0o600
    archive.addfile(member, io.BytesIO(body))


def _with_parents(store: ObjectStore, sessions: Iterable[str]) -> dict[str, None]:
    """Return the sessions that are wanted and those that they were forked from, each behind its parent."""
    wanted: dict[str, None] = {}
    for session in sessions:
        line = [session]
        while (origin := _manifest(store, line[-1]).parent) is not None and origin.session not in (*wanted, *line):
            line.append(origin.session)
        wanted |= dict.fromkeys(reversed(line))
    return wanted


def _manifest(store: ObjectStore, session: str) -> Manifest:
    key = keys.manifest_key(session)
    raw = store.get(key)
    if raw is None:
        raise SessionNotFound(f"bucket {store.url}: there is no session {session!r}")
    return decode_manifest(raw, key)


def _objects(
    store: ObjectStore, session: str, known: dict[str, str], tell: Callable[[str], None]
) -> Iterator[tuple[str, bytes]]:
    """Yield the objects of a session, bodies before what names them."""
    for key, written, commit in _commits(store, session, tell):
        yield from _bodies(store, commit, known)
        yield key, written
    for key in _others(store, session):
        if (raw := store.get(key)) is not None:
            yield key, raw
    parent = _manifest(store, session).parent
    hints = [] if parent is None else [keys.child_key(parent.session, session)]
    for key in (*hints, keys.index_key(session), keys.manifest_key(session)):
        yield key, store.get(key) or b""


def _commits(store: ObjectStore, session: str, tell: Callable[[str], None]) -> Iterator[tuple[str, bytes, Commit]]:
    """Yield the commits of a log, with their keys.

    Raises:
        LogDamaged: one is missing or damaged, and in no snapshot.
    """
    copies = commit_copies(store, session)  # first: what they have was in the log before we look there
    last = _last(store, session)
    seq = 0
    while (raw := store.get(key := keys.log_key(session, seq))) is not None or seq <= max(last, len(copies) - 1):
        try:
            if raw is None:
                raise LogDamaged(f"{key}: there is no such object")
            commit = decode_commit(raw, key)
        except LogDamaged as error:
            if seq >= len(copies):
                later = f", but there is number {last} of the same log" if raw is None else ""
                raise LogDamaged(f"{error}{later}, and no snapshot has it") from None
            tell(f"{error}; it is taken from {copies[seq].snapshot}")
            raw, commit = copies[seq].raw, copies[seq].commit
        yield key, raw, commit
        seq += 1


def _last(store: ObjectStore, session: str) -> int:
    """Return the last number that is listed; -1: there is none."""
    numbers = ((keys.number_of(key), key) for key in store.list(keys.log_prefix(session)))
    return max((seq for seq, key in numbers if seq is not None and key == keys.log_key(session, seq)), default=-1)


def _others(store: ObjectStore, session: str) -> list[str]:
    """Return what is kept beside a log: attempts, what was delivered, of a run its program."""
    derived = (keys.log_prefix(session), keys.snapshots_prefix(session), keys.children_prefix(session))
    found = store.list(keys.session_prefix(session))
    return [key for key in found if not key.startswith(derived) and key != keys.manifest_key(session)]


def _bodies(store: ObjectStore, commit: Commit, known: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    for entry in commit.entries:
        key = keys.blob_key(entry.sha256)
        if entry.inline is not None or key in known:
            continue
        yield key, read_body(store, entry)


# --- into a bucket ----------------------------------------------------------------------------------------------------


def read_archive(store: ObjectStore, file: BinaryIO) -> Imported:
    """Create the objects of an archive in a bucket. Nothing is created if something else is there already.

    Args:
        file: from which can be read twice.

    Raises:
        LogDamaged: the archive is not whole, or none of ours.
        SessionExists: the bucket has a session of that id that is another one, or went another way.
    """
    try:
        contents = _check(file)
    except LogDamaged as error:
        raise LogDamaged(f"{error}; nothing was brought into {store.url}") from None
    there = {key for key in contents.objects if _is_there(store, key, contents)}
    for key, body in _members(file):
        if key not in there and key != CONTENTS and not store.create(key, body):
            _is_there(store, key, contents)  # somebody was faster: with the same, or not
    return Imported(contents.sessions, len(contents.objects) - len(there), len(there))


def _is_there(store: ObjectStore, key: str, contents: _Contents) -> bool:
    found = store.get(key)
    if found is not None and digest(found) != contents.objects[key]:
        raise SessionExists(
            f"bucket {store.url} has another object at {key}: a session of that id is there already, and it is another "
            "one, or went another way"
        )
    return found is not None


def _check(file: BinaryIO) -> _Contents:
    """Return what an archive has, if that is what it says."""
    found: dict[str, str] = {}
    contents: _Contents | None = None
    for key, body in _members(file):
        if key == CONTENTS:
            try:
                contents = msgspec.json.decode(body, type=_Contents)
            except msgspec.DecodeError as error:
                raise LogDamaged(f"the archive cannot be read: {CONTENTS}: {error}") from None
            continue
        if not key.startswith(_PREFIXES):
            raise LogDamaged(f"the archive has {key!r}, which belongs to no session")
        found[key] = digest(body)
        _check_object(key, body)
    if contents is None:
        raise LogDamaged(f"the archive is not whole: its last member, {CONTENTS}, is missing")
    if contents.objects != found:
        wrong = sorted(key for key in {*contents.objects, *found} if contents.objects.get(key) != found.get(key))
        raise LogDamaged(f"the archive is not what was written: {wrong[0]} is missing, new or changed")
    return contents


def _check_object(key: str, body: bytes) -> None:
    if key.endswith("/manifest.json"):
        decode_manifest(body, key)
    elif "/log/" in key:
        decode_commit(body, key)
    elif key.startswith("blobs/") and key != keys.blob_key(digest(body)):
        raise LogDamaged(f"the archive has {key}, which is not what its digest says")


def _members(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is None:
                    raise LogDamaged(f"the archive has {member.name!r}, which is no file")
                yield member.name, content.read()
    except (tarfile.TarError, EOFError) as error:
        raise LogDamaged(f"the archive cannot be read: {error}") from None
