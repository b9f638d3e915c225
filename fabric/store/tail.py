"""The commits of one session, read once: the newest snapshot, then one number after the other until there is none."""

from __future__ import annotations

__all__ = ["Tail"]

from collections.abc import Callable

from fabric.errors import LogDamaged, StoreFailed
from fabric.store.keys import log_key, log_prefix, number_of, snapshot_key, snapshots_prefix
from fabric.store.objects import ObjectStore
from fabric.store.record import Commit, decode_commit
from fabric.store.snapshot import decode_snapshot, encode_snapshot, is_due, snapshot_lines
from fabric.store.world import create_surely

_FORGOTTEN = Commit("", "system", 0, 0.0)
"""Stands for a commit of which nobody needs more than that it is there."""


class Tail:
    """What is known of a log. It only grows.

    Args:
        store: the bucket.
        session: whose log it is.
        tell: is told of snapshots that are not used.

    Attributes:
        commits: from 0 on, all that are known.
        begun: it was read at least once.
    """

    def __init__(self, store: ObjectStore, session: str, tell: Callable[[str], None]) -> None:
        self.commits: list[Commit] = []
        self._store = store
        self._session = session
        self._tell = tell
        self.begun = False
        self._snapshot = 0
        """How many commits are in the newest snapshot that we know; ``_raw`` are those after it."""
        self._snapshot_bytes = 0
        self._raw: list[bytes] = []
        self._torn: list[str] = []
        self._forgets = False

    def forget(self) -> None:
        """Keep no commits from now on, only how many there are. The next refresh begins anew."""
        self._forgets = True
        self.commits[:] = [_FORGOTTEN] * len(self.commits)

    def refresh(self) -> list[Commit]:
        """Read what is new; return all commits.

        Raises:
            LogDamaged: one is missing or not what was written.
        """
        if self._forgets:
            self._forgets = self.begun = False
            self._snapshot = self._snapshot_bytes = 0
            self.commits.clear()
            self._raw.clear()
        listed = -1
        if not self.begun:
            self._read_snapshot()
            listed = self._last_listed()
        while (raw := self._store.get(log_key(self._session, len(self.commits)))) is not None:
            self.add(raw)
        self.begun = True
        if len(self.commits) <= listed:
            self.begun = False
            missing = log_key(self._session, len(self.commits))
            raise LogDamaged(f"{missing}: there is no such object, but there is number {listed} of the same log")
        return self.commits

    def add(self, raw: bytes) -> Commit:
        """Take the next commit, as it was read or created."""
        commit = decode_commit(raw, log_key(self._session, len(self.commits)))
        self.commits.append(_FORGOTTEN if self._forgets else commit)
        self._raw.append(raw)
        return commit

    def compact(self, *, always: bool = False) -> bool:
        """Write a snapshot of all that is known, if one is due; return whether it did.

        What stands in its way is told: a log is whole without.
        """
        if not self._raw or not (always or self._torn or self._is_due()):
            return False
        key = snapshot_key(self._session, len(self.commits) - 1)
        try:
            for torn in self._torn:
                self._store.delete(torn)
            self._torn.clear()
            raw = [*self._before(), *self._raw]
            create_surely(self._store, key, encode_snapshot(self._session, raw))
        except (StoreFailed, LogDamaged) as error:
            self._tell(f"no snapshot of session {self._session} was written: {error}")
            return False
        self._snapshot = len(self.commits)
        self._snapshot_bytes += sum(map(len, self._raw))
        self._raw.clear()
        return True

    def look_for_gaps(self) -> None:
        """Look whether all that is known is listed: what a snapshot has is read from there, and not missed.

        Raises:
            LogDamaged: a commit is missing.
        """
        there = set(self._store.list(log_prefix(self._session)))
        for seq in range(len(self.commits)):
            if (key := log_key(self._session, seq)) not in there:
                raise LogDamaged(f"{key}: there is no such object; what is known of it is from a snapshot")

    def _is_due(self) -> bool:
        return is_due(len(self._raw), sum(map(len, self._raw)), self._snapshot_bytes)

    def _before(self) -> list[bytes]:
        """Return the commits of the last snapshot, as they are in the log."""
        if not self._snapshot:
            return []
        key = snapshot_key(self._session, self._snapshot - 1)
        raw = self._store.get(key)
        if raw is not None:
            try:
                return snapshot_lines(raw, self._session, key)
            except LogDamaged as error:
                self._tell(f"{error}; the log itself is read instead")
                self._store.delete(key)
        commits: list[bytes] = []
        for seq in range(self._snapshot):
            commit = self._store.get(log_key(self._session, seq))
            if commit is None:
                raise LogDamaged(f"{log_key(self._session, seq)}: there is no such object, but there are later ones")
            commits.append(commit)
        return commits

    def _read_snapshot(self) -> None:
        for key in reversed(self._store.list(snapshots_prefix(self._session))):
            seq = number_of(key)
            if seq is None or key != snapshot_key(self._session, seq) or seq < len(self.commits):
                continue
            raw = self._store.get(key)
            if raw is None:
                continue  # somebody has just deleted it
            try:
                found = decode_snapshot(raw, self._session, key)
                if len(found) != seq + 1:
                    raise LogDamaged(f"{key}: it has {len(found)} commits, expected {seq + 1}")
            except LogDamaged as error:
                self._tell(f"{error}; it is not used, and written anew with the next commit")
                self._torn.append(key)
                continue
            self.commits[:] = [commit for _, commit in found]
            self._snapshot = len(found)
            self._snapshot_bytes = sum(len(line) for line, _ in found)
            self._raw.clear()
            return

    def _last_listed(self) -> int:
        """Return the last number that is listed after what is known; -1: there is none."""
        known = log_key(self._session, len(self.commits) - 1) if self.commits else ""
        numbers = ((number_of(key), key) for key in self._store.list(log_prefix(self._session), after=known))
        return max((seq for seq, key in numbers if seq is not None and key == log_key(self._session, seq)), default=-1)
