"""Memory namespaces: objects by name that several sessions share. The newest version counts; none is ever changed."""

from __future__ import annotations

__all__ = ["MemoryNames"]

from fabric.errors import StoreFailed
from fabric.store.keys import memory_key, memory_prefix, number_of
from fabric.store.record import Entry, Version, decode_version, encode
from fabric.store.world import World, create_surely


class MemoryNames:
    """The objects of all namespaces of a bucket.

    Args:
        world: whose bucket it is.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def load(self, namespace: str, name: str) -> Version | None:
        """Return the newest version of an object; ``None``: there is none."""
        for number in reversed(self._numbers(namespace, name)):
            if (version := self._version(namespace, name, number)) is not None:
                return version
        return None

    def store(self, namespace: str, name: str, entry: Entry, origin: str, at: float) -> Version:
        """Add a version, if the same has not been added before; return it."""
        version = Version(entry, origin, at)
        numbers = self._numbers(namespace, name)
        found = self._find(namespace, name, origin, numbers)
        if found is not None:
            return found
        # Whoever adds the same meanwhile takes the number after those that we have seen, and is met there.
        number = numbers[-1] + 1 if numbers else 0
        while not create_surely(self._world.store, memory_key(namespace, name, number), encode(version)):
            found = self._version(namespace, name, number)
            if found is None:
                raise StoreFailed(f"{memory_key(namespace, name, number)} exists, and cannot be read")
            if found.origin == origin:
                return found
            number += 1
        return version

    def origins(self, namespace: str, name: str) -> set[str]:
        """Return where the versions of an object come from."""
        versions = (self._version(namespace, name, number) for number in self._numbers(namespace, name))
        return {version.origin for version in versions if version is not None}

    def _find(self, namespace: str, name: str, origin: str, numbers: list[int]) -> Version | None:
        """Return the version that comes from somewhere.

        What one session writes is made versions in its order. So nobody looks further back than to an earlier one of
        the same session.
        """
        session, place = _place_of(origin)
        for number in reversed(numbers):
            version = self._version(namespace, name, number)
            if version is None:
                continue
            if version.origin == origin:
                return version
            other, before = _place_of(version.origin)
            if other == session and before < place:
                return None
        return None

    def _numbers(self, namespace: str, name: str) -> list[int]:
        keys = self._world.store.list(memory_prefix(namespace, name))
        return [number for key in keys if (number := number_of(key)) is not None]

    def _version(self, namespace: str, name: str, number: int) -> Version | None:
        key = memory_key(namespace, name, number)
        raw = self._world.store.get(key)
        return None if raw is None else decode_version(raw, key)


def _place_of(origin: str) -> tuple[str, tuple[int, int]]:
    """Return the session of an origin, and where in its log it is."""
    rest, _, index = origin.rpartition("/")
    session, _, seq = rest.rpartition("/")
    return session, (int(seq), int(index))
