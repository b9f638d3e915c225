"""Does what commits ask of other sessions, as often as need be: all of it can be done again, and is done once."""

from __future__ import annotations

__all__ = ["Settling"]

from collections.abc import Callable, Collection, Sequence

from fabric.errors import ConfigError, LogDamaged, SessionNotFound
from fabric.store.keys import due_key, settled_key, settled_prefix, undelivered_key, undelivered_prefix
from fabric.store.memory_names import MemoryNames
from fabric.store.outbox import Child, Delivery, errands, may_ask
from fabric.store.record import Commit, Entry, Manifest, Undelivered, decode_undelivered, encode
from fabric.store.sessions import begin_session
from fabric.store.world import World, create_surely


class Settling:
    """What the commits of one session ask for.

    Args:
        world: where it is.
        manifest: of the session.
        deliver: pushes an entry into a session with a key.
    """

    def __init__(self, world: World, manifest: Manifest, deliver: Callable[[str, Entry, str], None]) -> None:
        self._world = world
        self._manifest = manifest
        self._deliver = deliver

    def unsettled(self, commits: Sequence[Commit]) -> list[int]:
        """Return the numbers of commits of which something may not be done."""
        done = set(self._world.store.list(settled_prefix(self._manifest.id)))
        again = {missed.seq for missed in self.undelivered()}
        return [
            seq
            for seq, commit in enumerate(commits)
            if may_ask(commit) and (settled_key(self._manifest.id, seq) not in done or seq in again)
        ]

    def settle(self, seq: int, commit: Commit, namespaces: Collection[str]) -> None:
        """Do what one commit asks of others."""
        asked = errands(self._manifest, seq, commit, namespaces)
        for errand in asked:
            if isinstance(errand, Child):
                begin_session(self._world, errand.manifest)
            elif isinstance(errand, Delivery):
                self._try_to_deliver(seq, errand)
            else:
                memory = MemoryNames(self._world)
                memory.store(errand.namespace, errand.name, errand.entry, errand.origin, commit.at)
        if asked:
            create_surely(self._world.store, settled_key(self._manifest.id, seq), b"")

    def hint(self, commits: Sequence[Commit]) -> None:
        """Leave word for those who watch many sessions when this one is to be woken."""
        pause = commits[-1].pause if commits else None
        if pause is not None and pause.until is not None:
            create_surely(self._world.store, due_key(pause.until, self._manifest.id), b"")

    def undelivered(self) -> list[Undelivered]:
        """Return what could not be delivered."""
        keys = self._world.store.list(undelivered_prefix(self._manifest.id))
        found = ((self._world.store.get(key), key) for key in keys)
        return [decode_undelivered(raw, key) for raw, key in found if raw is not None]

    def _try_to_deliver(self, seq: int, delivery: Delivery) -> None:
        """Deliver an entry. If that cannot be done it is written down and told; it is tried again at the next start."""
        note = undelivered_key(self._manifest.id, seq, delivery.index)
        try:
            self._deliver(delivery.session, delivery.entry, delivery.key)
        except (SessionNotFound, ConfigError, LogDamaged) as error:
            missed = Undelivered(seq, delivery.index, delivery.session, str(error), self._world.now())
            if create_surely(self._world.store, note, encode(missed)):
                self._world.tell(f"entry {delivery.key} was not delivered to session {delivery.session!r}: {error}")
        else:
            self._world.store.delete(note)
