"""Memory namespaces: names that all sessions of a bucket share, and that outlive them.

    memory/<namespace>/<name>/<number, 20 digits>-<origin>

A namespace is a word; ``agents/x`` is the name ``x`` in the namespace ``agents/``. Each write is an object of its own,
and the one with the highest number is what is remembered. The origin says which entry of which session it comes from,
so doing it again, after a crash, does nothing; and where two did it at once, the first one counts, so an old value
never comes back.
"""

from __future__ import annotations

__all__ = ["Memories", "namespace_of"]

import hashlib
import re
from collections.abc import Iterable
from urllib.parse import quote

from fabric.store.objects import ObjectStore

PART_CHARS_MAX = 200
"""Of a part of a key; file systems take 255. A longer name is a digest."""


def namespace_of(name: str, namespaces: Iterable[str]) -> str:
    """Return the namespace that a name is in, such as ``agents/``; empty: in none."""
    head, slash, rest = name.partition("/")
    return f"{head}/" if slash and rest and f"{head}/" in namespaces else ""


class Memories:
    """The memory of a bucket. All of it blocks."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def recall(self, namespace: str, name: str) -> bytes:
        """Return what is remembered under a name; nothing, if there is nothing."""
        newest = ""
        seen: set[str] = set()
        for key in self._versions(namespace, name):
            origin = key.rpartition("-")[2]
            if origin not in seen:
                newest = key
            seen.add(origin)
        return (self._store.get(newest) or b"") if newest else b""

    def remember(self, namespace: str, name: str, body: bytes, origin: str) -> None:
        """Remember a body. Doing it again with the same origin does nothing."""
        word = hashlib.sha256(origin.encode()).hexdigest()[:16]
        versions = self._versions(namespace, name)
        if any(key.endswith(f"-{word}") for key in versions):
            return
        last = int(versions[-1].rpartition("/")[2].partition("-")[0]) if versions else -1
        self._store.create(f"{_prefix(namespace, name)}{last + 1:020d}-{word}", body)

    def _versions(self, namespace: str, name: str) -> list[str]:
        return self._store.list(_prefix(namespace, name)) if name else []


def _prefix(namespace: str, name: str) -> str:
    return f"memory/{_part(namespace.rstrip('/'))}/{_part(name)}/"


def _part(text: str) -> str:
    """Return a text as a part of a key: ASCII, without ``/``, and neither ``.`` nor ``..``."""
    quoted = quote(text, safe="")
    if len(quoted) > PART_CHARS_MAX:
        return f"sha256-{hashlib.sha256(text.encode()).hexdigest()}"
    return re.sub(r"^\.", "%2E", quoted)
