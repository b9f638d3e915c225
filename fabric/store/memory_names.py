"""Memory namespaces: objects by name that several sessions share. The newest version counts; none is ever changed."""

from __future__ import annotations

__all__ = ["MemoryNames"]

from fabric.errors import StoreFailed
from fabric.store.keys import memory_key, memory_prefix, number_of, part_of, text_of
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

    def has(self, namespace: str, name: str, origin: str) -> bool:
        """Say whether an entry has been made a version of an object."""
        return self._find(namespace, name, origin, self._numbers(namespace, name)) is not None

    def names(self, namespace: str) -> list[str]:
        """Return the names in a namespace, sorted. Those that are too long for a key are read from their objects."""
        prefix = f"memory/{part_of(namespace)}/"
        parts = {key.removeprefix(prefix).partition("/")[0]: key for key in self._world.store.list(prefix)}
        names = []
        for part, key in parts.items():
            name = text_of(part)
            if name is None and (raw := self._world.store.get(key)) is not None:
                name = decode_version(raw, key).entry.name.partition("/")[2]
            if name is not None:
                names.append(name)
        return sorted(names)

    def _find(self, namespace: str, name: str, origin: str, numbers: list[int]) -> Version | None:
        versions = (self._version(namespace, name, number) for number in reversed(numbers))
        return next((version for version in versions if version is not None and version.origin == origin), None)

    def _numbers(self, namespace: str, name: str) -> list[int]:
        keys = self._world.store.list(memory_prefix(namespace, name))
        return [number for key in keys if (number := number_of(key)) is not None]

    def _version(self, namespace: str, name: str, number: int) -> Version | None:
        key = memory_key(namespace, name, number)
        raw = self._world.store.get(key)
        return None if raw is None else decode_version(raw, key)
