"""A bucket in the memory of this process: for tests, and for runs that nobody wants to keep."""

from __future__ import annotations

__all__ = ["MemoryStore", "open_memory"]

import threading

from fabric.store.objects import check_key, check_prefix


class MemoryStore:
    """Objects in a dictionary. Any thread may use it.

    Args:
        name: of the bucket, for its URL.
    """

    def __init__(self, name: str = "") -> None:
        self.url = f"memory:{name}"
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def create(self, key: str, body: bytes) -> bool:
        """Create an object if there is none; return whether it was created."""
        check_key(key)
        with self._lock:
            if key in self._objects:
                return False
            self._objects[key] = body
            return True

    def get(self, key: str) -> bytes | None:
        """Return an object, or ``None`` if there is none."""
        return self._objects.get(check_key(key))

    def list(self, prefix: str, after: str = "") -> list[str]:
        """Return the keys that begin with a prefix and come after another key, in order."""
        check_prefix(prefix)
        with self._lock:
            return sorted(key for key in self._objects if key.startswith(prefix) and key > after)

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def link(self, key: str) -> str:
        """Return an URL by which the object can be named; nobody outside can read it."""
        return f"{self.url}#{check_key(key)}"


_named: dict[str, MemoryStore] = {}
_naming = threading.Lock()


def open_memory(url: str) -> MemoryStore:
    """Return the bucket of ``memory:NAME``, the same one for each name in this process; for ``memory:`` a new one."""
    name = url.removeprefix("memory:").strip("/")
    if not name:
        return MemoryStore()
    with _naming:
        return _named.setdefault(name, MemoryStore(name))
