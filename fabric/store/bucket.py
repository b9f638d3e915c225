"""A bucket of sessions: begins them, finds them, deletes them."""

from __future__ import annotations

__all__ = ["Bucket", "Listed"]

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fabric.errors import ConfigError, LogDamaged
from fabric.store.bodies import COLLECTED_OLDER_THAN_S
from fabric.store.collect import Collected, collect
from fabric.store.keys import (
    ending_key,
    errors_prefix,
    index_key,
    manifest_key,
    settled_prefix,
    snapshots_prefix,
    text_of,
    undelivered_prefix,
)
from fabric.store.log import Log, open_log, start_log
from fabric.store.objects import ObjectStore
from fabric.store.readiness import Backoff
from fabric.store.record import Manifest
from fabric.store.sessions import lives, manifest_of, read_manifest
from fabric.store.verify import Report, verify
from fabric.store.world import World, create_surely, new_id, tell


class Listed(NamedTuple):
    """A session of a bucket.

    Attributes:
        id: of it.
        manifest: what it is; ``None``: nobody knows, the manifest is damaged.
        damage: in which way.
    """

    id: str
    manifest: Manifest | None
    damage: str = ""


class Bucket:
    """The sessions in a store. All of its methods block.

    Args:
        store: where they are.
        now, new_id, tell, backoff: see :class:`~fabric.store.world.World`.
    """

    def __init__(
        self,
        store: ObjectStore,
        now: Callable[[], float] = time.time,
        new_id: Callable[[], str] = new_id,
        tell: Callable[[str], None] = tell,
        backoff: Backoff | None = None,
    ) -> None:
        self.store = store
        self.world = World(store, now, new_id, tell, backoff or Backoff())

    def start(
        self,
        *,
        session: str = "",
        agent: str = "",
        metadata: Mapping[str, Any] | None = None,
        program: str = "",
        path: str = "",
    ) -> Log:
        """Begin a session, or return the one that was begun with the same id and content.

        Args:
            session: its id; empty: a new one.
            agent, metadata: given to its handlers.
            program: digest of the compiled program, if it is a run of one.
            path: of that program's file.

        Raises:
            SessionExists: there is another one of that id, or there was.
        """
        manifest = Manifest(
            session or self.world.new_id(),
            self.world.now(),
            agent=agent,
            metadata=metadata or {},
            program=program,
            path=path,
        )
        return start_log(self.world, manifest)

    def open(self, session: str) -> Log:
        """Return the log of a session.

        Raises:
            SessionNotFound: there is none, or it was deleted.
        """
        return open_log(self.world, session)

    def sessions(self, prefix: str = "") -> list[Manifest]:
        """Return the manifests of sessions whose id begins so, in the order of ids. Damaged ones are told."""
        found = self.listed(prefix)
        for each in found:
            if each.manifest is None:
                self.world.tell(f"session {each.id} is damaged: {each.damage}")
        return [each.manifest for each in found if each.manifest is not None]

    def listed(self, prefix: str = "") -> list[Listed]:
        """Return the sessions whose id begins so, in the order of ids, also those of which the manifest is damaged."""
        found: list[Listed] = []
        ending = set(self.store.list("ending/"))
        for key in self.store.list("index/"):
            session = text_of(key.removeprefix("index/"))
            if session is None or not session.startswith(prefix):
                continue
            if ending_key(session) in ending and not self.lives(session):
                continue  # whoever deleted it was killed before it was taken from the list
            raw = self.store.get(manifest_key(session))
            if raw is None:
                continue  # its maker was killed before, or has not come to it yet
            try:
                found.append(Listed(session, manifest_of(session, raw)))
            except LogDamaged as error:
                found.append(Listed(session, None, str(error)))
        return sorted(found, key=lambda each: each.id)

    def lives(self, session: str) -> bool:
        """Say whether there is such a session, and it was not deleted."""
        return lives(self.world, session)

    def delete(self, session: str) -> None:
        """Delete a session; its log stays as its tombstone, and its large bodies until ``gc``.

        Raises:
            ConfigError: it has children, which inherit from it.
        """
        log = Log(self.world, read_manifest(self.world, session))
        children = log.children()
        living = [child for child in children if self.lives(child)]
        if living:
            raise ConfigError(
                f"session {session} has {len(living)} children, which inherit from it, the first is {living[0]}: "
                "delete them first"
            )
        create_surely(self.store, ending_key(session), b"")
        log.end()
        self.store.delete(index_key(session))
        for prefix in (
            snapshots_prefix(session),
            errors_prefix(session),
            settled_prefix(session),
            undelivered_prefix(session),
        ):
            for key in self.store.list(prefix):
                self.store.delete(key)
        self.store.delete(ending_key(session))

    def verify(self, session: str) -> Report:
        """Read all of a session, also of a deleted one, and say what is wrong with it."""
        return verify(self.world, session)

    def gc(self, older_than_s: float = COLLECTED_OLDER_THAN_S) -> Collected:
        """Remove what nobody needs, such as bodies that no log has named for so long. See ``collect``."""
        return collect(self.world, older_than_s)
