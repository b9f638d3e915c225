"""A bucket in which nothing happens: what is created and deleted is only remembered. It shows what would be done."""

from __future__ import annotations

__all__ = ["Rehearsal"]

from fabric.store.objects import ObjectStore, check_key, check_prefix


class Rehearsal:
    """A bucket as it would be.

    Args:
        store: the bucket as it is. It is only read.

    Attributes:
        url: of it.
        changed: objects that would be created, and ``None`` for those that would be deleted, by key.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.url = store.url
        self.changed: dict[str, bytes | None] = {}
        self._store = store

    def create(self, key: str, body: bytes) -> bool:
        """Remember an object, if there is none."""
        if self.get(key) is not None:
            return False
        self.changed[key] = body
        return True

    def get(self, key: str) -> bytes | None:
        """Return an object as it would be."""
        return self.changed[key] if key in self.changed else self._store.get(check_key(key))

    def list(self, prefix: str, after: str = "") -> list[str]:
        """Return the keys that there would be."""
        check_prefix(prefix)
        there = {key for key in self._store.list(prefix, after) if key not in self.changed}
        new = {key for key, body in self.changed.items() if body is not None}
        return sorted(there | {key for key in new if key.startswith(prefix) and key > after})

    def delete(self, key: str) -> None:
        """Remember that an object would be deleted."""
        self.changed[check_key(key)] = None

    def link(self, key: str) -> str:
        """Return an URL of the object as it is."""
        return self._store.link(key)
