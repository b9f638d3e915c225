"""Does what commits ask of other sessions, as often as need be: all of it can be done again, and is done once.

It is done in the order of the log. Nobody begins with a commit before all is done that earlier ones ask for, whoever
was to do it. So what one session sends to another arrives in its order, and memory does not go back to an older version
because an errand was late. Only what cannot be delivered, because there is no such session, does not hold up the rest.
"""

from __future__ import annotations

__all__ = ["Settling"]

from collections.abc import Callable, Iterable, Sequence

from fabric.errors import ConfigError, LogDamaged, SessionNotFound
from fabric.store.keys import settled_key, settled_prefix, undelivered_key, undelivered_prefix
from fabric.store.memory_names import MemoryNames
from fabric.store.outbox import Child, Delivery, Errand, Outbox
from fabric.store.record import Commit, Entry, Manifest, Undelivered, decode_undelivered, encode
from fabric.store.sessions import begin_session
from fabric.store.world import World, create_surely


class Settling:
    """What the commits of one session ask for.

    Args:
        world: where it is.
        manifest: of the session.
        deliver: pushes an entry into a session with a key.
        inherited: returns the memory namespaces that it inherits.

    Attributes:
        owes: something was to be done and is not, since the bucket failed.
    """

    def __init__(
        self,
        world: World,
        manifest: Manifest,
        deliver: Callable[[str, Entry, str], None],
        inherited: Callable[[], Iterable[str]],
    ) -> None:
        self._world = world
        self._manifest = manifest
        self._deliver = deliver
        self._outbox = Outbox(manifest, inherited)
        self._looked: int | None = None
        """So many commits were looked at; ``None``: never."""
        self._waiting: list[int] = []
        """Those of them of which something may not be done, in order."""
        self.owes = False

    def asked(self, commits: Sequence[Commit], seq: int) -> list[Errand]:
        """Return what a commit asks for."""
        return self._outbox.asked(commits, seq)

    def unsettled(self, commits: Sequence[Commit]) -> list[int]:
        """Return the numbers of commits of which something may not be done, also of what could not be delivered."""
        done = set(self._world.store.list(settled_prefix(self._manifest.id)))
        again = {missed.seq for missed in self.undelivered()}
        asking = self._asking(commits, 0)
        return [seq for seq in asking if settled_key(self._manifest.id, seq) not in done or seq in again]

    def begin(self, commits: Sequence[Commit]) -> None:
        """Look at all commits anew, also for what could not be delivered."""
        self._waiting, self._looked = self.unsettled(commits), len(commits)

    def settle(self, commits: Sequence[Commit]) -> None:
        """Do what commits ask of others and is not done, in order.

        Raises:
            StoreFailed: the bucket failed. What was not done is tried first when this is called again.
        """
        self.owes = True
        self._waiting += self._fresh(commits)
        self._looked = len(commits)
        while self._waiting:
            self._settle(self._waiting[0], commits)
            del self._waiting[0]
        self.owes = False

    def _asking(self, commits: Sequence[Commit], first: int) -> list[int]:
        """Return which commits ask for anything. That follows from the log alone: those that do not need no mark."""
        return [seq for seq in range(first, len(commits)) if self._outbox.asked(commits, seq)]

    def _fresh(self, commits: Sequence[Commit]) -> list[int]:
        """Return those that came since the last look, if others have not settled them already."""
        asking = self._asking(commits, self._looked or 0)
        if self._looked is None and asking:
            done = set(self._world.store.list(settled_prefix(self._manifest.id)))
            return [seq for seq in asking if settled_key(self._manifest.id, seq) not in done]
        return [seq for seq in asking if self._world.store.get(settled_key(self._manifest.id, seq)) is None]

    def _settle(self, seq: int, commits: Sequence[Commit]) -> None:
        for errand in self._outbox.asked(commits, seq):
            if isinstance(errand, Child):
                begin_session(self._world, errand.manifest)
            elif isinstance(errand, Delivery):
                self._try_to_deliver(seq, errand)
            else:
                memory = MemoryNames(self._world)
                memory.store(errand.namespace, errand.name, errand.entry, errand.origin, commits[seq].at)
        create_surely(self._world.store, settled_key(self._manifest.id, seq), b"")

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
