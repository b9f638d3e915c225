"""Removes what nobody needs: bodies that no log names, old snapshots, hints that came true, what killed writers left.

A body is written before the commit that names it, so one that nobody names may be one whose commit is on its way. It
is removed only if it has been in that state for a while. A bucket does not tell how old an object is, so what nobody
names is written down, and removed by a later run.

A body may also be wanted again in the very moment in which it is removed: its writer finds it there, and does not
write it. So it is set aside, where readers find it, too, and its writer brings it back after the commit. If he is
killed before that, a later run does: it reads all logs, brings back what they name, and removes the rest of what is
aside for a while. The run that sets a body aside never removes it.

If a log cannot be read, nothing is removed: what it names is not known.
"""

from __future__ import annotations

__all__ = ["Collected", "collect"]

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from fabric.errors import ConfigError, LogDamaged
from fabric.store.bodies import COLLECTED_OLDER_THAN_S_MIN
from fabric.store.keys import (
    aside_key,
    aside_of,
    blob_key,
    blob_of,
    ending_key,
    errors_prefix,
    index_key,
    log_key,
    number_of,
    snapshot_key,
    snapshots_prefix,
    text_of,
    unused_key,
)
from fabric.store.objects import Sweeping
from fabric.store.record import Unused, decode_commit, decode_manifest, decode_unused, decode_version, encode
from fabric.store.sessions import lives
from fabric.store.world import World, create_surely

SNAPSHOTS_KEPT = 2
"""The newest one, and that which a reader may just have found."""


class Collected(msgspec.Struct, frozen=True):
    """What was removed, by kind.

    Attributes:
        bodies: that nobody named.
        waiting: bodies that nobody names, not long enough yet, or that are set aside.
        snapshots: older ones.
        hints: of sessions that are deleted, and such as early versions left.
        temporaries: left behind by writers that were killed.
    """

    bodies: int = 0
    waiting: int = 0
    snapshots: int = 0
    hints: int = 0
    temporaries: int = 0


def collect(world: World, older_than_s: float) -> Collected:
    """Remove what nobody needs.

    Args:
        world: whose bucket it is.
        older_than_s: how long a body has to be without a name to be set aside, and to be aside to be removed: longer
            than any writer takes from body to commit.

    Raises:
        ConfigError: that is not long enough.
        LogDamaged: a log cannot be read. Nothing was removed.
    """
    if older_than_s < COLLECTED_OLDER_THAN_S_MIN:
        raise ConfigError(
            f"what nobody has named for {older_than_s:g} seconds may be on its way into a log: expected at least "
            f"{COLLECTED_OLDER_THAN_S_MIN:g} seconds"
        )
    begun = world.now()
    logs = _Logs(world)
    named = logs.named()
    bodies, aside = _clear_aside(world, named, begun - older_than_s)
    waiting = aside + _set_aside(world, named, older_than_s)
    snapshots, hints = _collect_snapshots(world, logs), _collect_hints(world, logs)
    store = world.store
    temporaries = store.sweep(older_than_s, world.now()) if isinstance(store, Sweeping) else 0
    _list_lost(world, logs)
    return Collected(bodies, waiting, snapshots, hints, temporaries)


class _Logs:
    """All logs of a bucket, from a listing of all that there is: hints are not trusted here.

    Attributes:
        living, deleted: ids of sessions.
    """

    def __init__(self, world: World) -> None:
        self._store = world.store
        self._parents: dict[str, str] = {}
        self._bodies: dict[str, set[str]] = defaultdict(set)
        """Digests of the large bodies that a session names."""
        self.deleted: set[str] = set()
        for key in self._store.list("sessions/"):
            part, _, rest = key.removeprefix("sessions/").partition("/")
            session = text_of(part)
            if session is None:
                continue  # it is not ours
            seq = number_of(key)
            if rest == "manifest.json":
                manifest = decode_manifest(self._store.get(key) or b"", key)
                self._bodies.setdefault(session, set())
                if manifest.parent is not None:
                    self._parents[session] = manifest.parent.session
            elif seq is not None and key == log_key(session, seq):
                commit = decode_commit(self._store.get(key) or b"", key)
                self._bodies[session] |= {entry.sha256 for entry in commit.entries if entry.inline is None}
                if commit.tombstone:
                    self.deleted.add(session)
        self.living = self._bodies.keys() - self.deleted

    def named(self) -> set[str]:
        """Return the digests of bodies that are named by what can still be read."""
        read = set(self.living)
        for session in self.living:
            parent = self._parents.get(session)
            while parent is not None and parent not in read:
                read.add(parent)
                parent = self._parents.get(parent)
        versions = [key for key in self._store.list("memory/") if number_of(key) is not None]
        bodies = ((self._store.get(key), key) for key in versions)
        entries = (decode_version(raw, key).entry for raw, key in bodies if raw is not None)
        remembered = {entry.sha256 for entry in entries if entry.inline is None}
        return remembered.union(*(self._bodies.get(session, ()) for session in read))


def _clear_aside(world: World, named: set[str], until: float) -> tuple[int, int]:
    """Bring back what is named after all, and remove the rest, if it is aside long enough.

    Args:
        world: whose bucket it is.
        named: what is named by logs, which were read after that time.
        until: seconds since 1970: what was set aside later stays there.

    Returns:
        how many were removed, and how many are still there.
    """
    store = world.store
    removed, left = set(), set()
    for key in store.list("aside/"):
        sha256, since = aside_of(key) or ("", 0.0)
        if sha256 in named and (body := store.get(key)) is not None:
            create_surely(store, blob_key(sha256), body)
            store.delete(key)
        elif sha256 and sha256 not in named and since <= until:
            store.delete(key)
            removed.add(sha256)
        elif sha256:
            left.add(sha256)
    return len(removed - left), len(left)


def _set_aside(world: World, named: set[str], older_than_s: float) -> int:
    """Set bodies aside that are without a name for long enough; return how many are or will be."""
    store, now = world.store, world.now()
    there = {sha256 for key in store.list("blobs/") if (sha256 := blob_of(key)) is not None}
    unused = there - named
    since, notes = _notes(world)
    new = unused - since.keys()
    doomed = sorted(sha256 for sha256 in unused if since.get(sha256, now) <= now - older_than_s)
    left = unused - set(doomed)
    if new & left:
        create_surely(store, unused_key(now), encode(Unused(now, tuple(sorted(new & left)))))
    for sha256 in doomed:
        body = store.get(blob_key(sha256))
        if body is not None:
            create_surely(store, aside_key(sha256, now), body)
            store.delete(blob_key(sha256))
    for key, note in notes.items():
        if not left.intersection(note.sha256):
            store.delete(key)
    return len(unused)


def _notes(world: World) -> tuple[dict[str, float], dict[str, Unused]]:
    """Return since when bodies are known to be without a name, and where that is written."""
    since: dict[str, float] = {}
    notes: dict[str, Unused] = {}
    for key in world.store.list("unused/"):
        try:
            note = decode_unused(world.store.get(key) or b"", key)
        except LogDamaged as error:
            world.tell(f"{error}; it is not used")
            continue
        notes[key] = note
        for sha256 in note.sha256:
            since[sha256] = min(note.at, since.get(sha256, note.at))
    return since, notes


def _collect_snapshots(world: World, logs: _Logs) -> int:
    removed = 0
    for session in sorted(logs.living | logs.deleted):
        keys = [
            key
            for key in world.store.list(snapshots_prefix(session))
            if (seq := number_of(key)) is not None and key == snapshot_key(session, seq)
        ]
        old = keys if session in logs.deleted else keys[:-SNAPSHOTS_KEPT]
        removed += _delete(world, old)
        if session in logs.deleted:
            _delete(world, world.store.list(errors_prefix(session)))
    return removed


def _collect_hints(world: World, logs: _Logs) -> int:
    """Remove hints that came true, and those of early versions, which nobody reads: when a session was to be woken."""
    hinted = {index_key(session) for session in logs.deleted} | {ending_key(session) for session in logs.deleted}
    there = [*world.store.list("index/"), *world.store.list("ending/")]
    return _delete(world, [*world.store.list("due/"), *(key for key in there if key in hinted)])


def _list_lost(world: World, logs: _Logs) -> None:
    """List sessions that are there, and not listed."""
    listed = set(world.store.list("index/"))
    for session in sorted(logs.living):
        if index_key(session) not in listed:
            create_surely(world.store, index_key(session), b"")
            if not lives(world, session):  # it was deleted since we read its log
                world.store.delete(index_key(session))


def _delete(world: World, keys: Iterable[str]) -> int:
    number = 0
    for key in keys:
        world.store.delete(key)
        number += 1
    return number
