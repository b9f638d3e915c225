"""The copies of commits that are in snapshots: the only ones, if a commit is missing in its log or damaged."""

from __future__ import annotations

__all__ = ["CommitCopy", "commit_copies"]

from typing import NamedTuple

from fabric.errors import LogDamaged
from fabric.store.keys import number_of, snapshot_key, snapshots_prefix
from fabric.store.objects import ObjectStore
from fabric.store.record import Commit
from fabric.store.snapshot import decode_snapshot


class CommitCopy(NamedTuple):
    """A commit as a snapshot has it.

    Attributes:
        snapshot: its key.
        raw: as the commit is in the log.
        commit: the same.
    """

    snapshot: str
    raw: bytes
    commit: Commit


def commit_copies(store: ObjectStore, session: str) -> list[CommitCopy]:
    """Return the commits of the newest snapshot that can be read, from 0 on. Those that cannot are passed over."""
    for key in reversed(store.list(snapshots_prefix(session))):
        seq = number_of(key)
        raw = store.get(key) if seq is not None and key == snapshot_key(session, seq) else None
        if raw is None:
            continue
        try:
            found = decode_snapshot(raw, session, key)
        except LogDamaged:
            continue
        return [CommitCopy(key, line, commit) for line, commit in found]
    return []
