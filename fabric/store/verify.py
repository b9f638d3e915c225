"""Reads all of a session and says what is wrong with it. Nothing is changed."""

from __future__ import annotations

__all__ = ["Report", "verify"]

from collections.abc import Sequence

import msgspec

from fabric.errors import FabricError, LogDamaged, SessionNotFound
from fabric.store.bodies import read_body
from fabric.store.copies import commit_copies
from fabric.store.keys import (
    index_key,
    log_key,
    log_prefix,
    manifest_key,
    number_of,
    settled_key,
    snapshot_key,
    snapshots_prefix,
)
from fabric.store.memory_names import MemoryNames
from fabric.store.outbox import Child, Delivery, Errand, Memory
from fabric.store.record import Commit, Manifest, decode_commit
from fabric.store.sessions import inheritance, read_manifest
from fabric.store.settling import Settling
from fabric.store.snapshot import decode_snapshot
from fabric.store.tail import Tail
from fabric.store.world import World

ENTRIES_MANY = 10_000
"""Each decision is given the whole log, about 250 bytes for each entry: from here on it costs more than it should."""


class Report(msgspec.Struct, frozen=True):
    """What is in a session, and what is wrong.

    Attributes:
        session: its id.
        commits, entries, bodies, snapshots: how many; of bodies those that are objects of their own.
        problems: what was written is not there, or not what it was. Each names a key.
        warnings: what a person may want to know, and nothing suffers from.
    """

    session: str
    commits: int
    entries: int
    bodies: int
    snapshots: int
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def verify(world: World, session: str) -> Report:
    """Read all of a session, and of what it names; return what is wrong.

    Raises:
        SessionNotFound: there is none. A deleted one can be verified.
    """
    try:
        manifest = read_manifest(world, session)
    except LogDamaged as error:
        return Report(session, 0, 0, 0, 0, problems=(str(error),))
    return _Verifier(world, manifest).report()


class _Verifier:
    def __init__(self, world: World, manifest: Manifest) -> None:
        self._world = world
        self._store = world.store
        self._manifest = manifest
        self._id = manifest.id
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._bodies: set[str] = set()
        self._delivered: dict[str, tuple[set[str], bool]] = {}
        """By session: the keys of its commits, and whether it was deleted."""
        self._remembered: dict[tuple[str, str], set[str]] = {}
        """By namespace and name: where its versions come from."""

    def report(self) -> Report:
        log = self._read_log()
        raw, commits = [each[0] for each in log], [each[1] for each in log]
        self._check_rule(commits)
        deleted = bool(commits) and commits[-1].tombstone
        for commit in commits if not deleted else ():  # the bodies of a deleted one may be collected
            self._check_bodies(commit)
        snapshots = self._check_snapshots(raw)
        inherited = self._check_ancestors()
        if not deleted:
            self._check_errands(commits, inherited)
        entries = sum(len(commit.entries) for commit in commits)
        if entries > ENTRIES_MANY:
            self._warnings.append(f"it has {entries} entries, and each decision reads all of them: go on in a fork")
        return Report(
            self._id, len(commits), entries, len(self._bodies), snapshots, tuple(self._problems), tuple(self._warnings)
        )

    def _read_log(self) -> list[tuple[bytes, Commit]]:
        """Return all commits before the first that is nowhere. One that a snapshot alone has is taken from there."""
        copies = commit_copies(self._store, self._id)  # first: what they have was in the log before we look there
        there: dict[int, tuple[bytes, Commit]] = {}
        troubles: dict[int, str] = {}
        for key in self._store.list(log_prefix(self._id)):
            seq = number_of(key)
            if seq is None or key != log_key(self._id, seq):
                self._warnings.append(f"{key}: it is no commit, and nobody reads it")
                continue
            raw = self._store.get(key) or b""
            try:
                there[seq] = raw, decode_commit(raw, key)
            except LogDamaged as error:
                troubles[seq] = str(error)
        for seq, copy in enumerate(copies):
            if seq not in there:
                trouble = troubles.pop(seq, f"{log_key(self._id, seq)}: there is no such object")
                self._problems.append(f"{trouble}; {copy.snapshot} has it, and an export takes it from there")
                there[seq] = copy.raw, copy.commit
        whole = next(seq for seq in range(len(there) + 1) if seq not in there)
        known = there.keys() | troubles.keys()
        if whole not in known and (later := min((seq for seq in known if seq > whole), default=-1)) >= 0:
            missing, next_ = log_key(self._id, whole), log_key(self._id, later)
            self._problems.append(f"{missing}: there is no such object, but there is {next_}")
        self._problems.extend(troubles[seq] for seq in sorted(troubles))
        return [there[seq] for seq in range(whole)]

    def _check_rule(self, commits: Sequence[Commit]) -> None:
        ids: dict[str, int] = {}
        keys: dict[str, int] = {}
        decided = -1
        for seq, commit in enumerate(commits):
            key = log_key(self._id, seq)
            if commit.base > seq or (commit.kind == "handler" and commit.base <= decided):
                self._problems.append(
                    f"{key}: it was decided from {commit.base} commits, and number {decided} from them, too"
                )
            if ids.setdefault(commit.id, seq) != seq:
                self._problems.append(f"{key}: it is number {ids[commit.id]} again")
            if commit.kind == "client" and commit.key and keys.setdefault(commit.key, seq) != seq:
                self._problems.append(f"{key}: its key {commit.key!r} is that of number {keys[commit.key]}")
            if commit.tombstone and seq + 1 < len(commits):
                self._problems.append(f"{key}: the session was deleted by it, and went on")
            decided = seq if commit.kind == "handler" else decided

    def _check_bodies(self, commit: Commit) -> None:
        for entry in commit.entries:
            if entry.inline is None and entry.sha256 not in self._bodies:
                self._bodies.add(entry.sha256)
                try:
                    read_body(self._store, entry)
                except LogDamaged as error:
                    self._problems.append(str(error))

    def _check_snapshots(self, log: Sequence[bytes]) -> int:
        keys = self._store.list(snapshots_prefix(self._id))
        for key in keys:
            seq = number_of(key)
            if seq is None or key != snapshot_key(self._id, seq):
                self._warnings.append(f"{key}: it is no snapshot, and nobody reads it")
                continue
            try:
                lines = [line for line, _ in decode_snapshot(self._store.get(key) or b"", self._id, key)]
            except LogDamaged as error:
                self._warnings.append(f"{error}; it is not used")
                continue
            if lines != list(log[: seq + 1]):
                self._problems.append(f"{key}: it is not what the log gives")
        return len(keys)

    def _check_ancestors(self) -> set[str]:
        """Check what it inherits; return the memory namespaces among that."""
        try:
            inherited, _ = inheritance(self._world, self._manifest)
        except (SessionNotFound, LogDamaged) as error:
            self._problems.append(f"{manifest_key(self._id)}: it cannot be read whole: {error}")
            inherited = []
        for entry in [each.entry for each in inherited]:
            if entry.inline is None:
                self._check_bodies(Commit("", "client", 0, 0.0, entries=(entry,)))
        return {each.entry.name for each in inherited if each.entry.event == "memory"}

    def _check_errands(self, commits: Sequence[Commit], inherited: set[str]) -> None:
        settling = Settling(self._world, self._manifest, lambda session, entry, key: None, lambda: inherited)
        waiting = set(settling.unsettled(commits))
        missed = {(each.seq, each.index): each for each in settling.undelivered()}
        for each in missed.values():
            self._warnings.append(
                f"entry {self._id}/{each.seq}/{each.index} was not delivered to {each.session!r}: {each.reason}"
            )
        for seq in range(len(commits)):
            asked = settling.asked(commits, seq)
            undone = [each for each in asked if (seq, each.index) not in missed and not self._is_done(each)]
            elsewhere = [each for each in undone if self._may_be_elsewhere(each)]
            if undone and seq not in waiting and undone != elsewhere:
                self._problems.append(
                    f"{settled_key(self._id, seq)}: it says that all is done that commit {seq} asks of others, "
                    f"and {len(undone) - len(elsewhere)} of it is not"
                )
            elif undone and seq not in waiting:
                self._warnings.append(
                    f"{settled_key(self._id, seq)}: {len(undone)} of what commit {seq} asked of others is not in this "
                    "bucket: it was done in that from which the session was brought"
                )
            elif undone:
                self._warnings.append(
                    f"{log_key(self._id, seq)}: what it asks of others will be done at the next start"
                )

    def _may_be_elsewhere(self, errand: Errand) -> bool:
        """Whether it may be in another bucket: an archive has neither memory nor those with whom a session spoke.

        Of what was made in this one there is a hint, too.
        """
        if isinstance(errand, Memory):
            return True
        session = errand.manifest.id if isinstance(errand, Child) else errand.session
        return all(self._store.get(key) is None for key in (manifest_key(session), index_key(session)))

    def _is_done(self, errand: Errand) -> bool:
        try:
            if isinstance(errand, Child):
                return read_manifest(self._world, errand.manifest.id).parent == errand.manifest.parent
            if isinstance(errand, Delivery):
                keys, deleted = self._pushed_into(errand.session)
                return deleted or errand.key in keys
            where = errand.namespace, errand.name
            if where not in self._remembered:
                self._remembered[where] = MemoryNames(self._world).origins(*where)
            return errand.origin in self._remembered[where]
        except FabricError:
            return False

    def _pushed_into(self, session: str) -> tuple[set[str], bool]:
        if session not in self._delivered:
            commits = Tail(self._store, session, self._world.tell).refresh()
            self._delivered[session] = {each.key for each in commits}, any(each.tombstone for each in commits)
        return self._delivered[session]
