"""What a commit asks of other sessions. The commit is the truth: all of it can be done again, and is done once.

a record with fork         a child, whose id follows from where the record is
a record with session      a push into that session, whose key says where the record is
a name in a namespace      a version of that object of memory, which says where the record is

A namespace counts for a commit if its handler saw it. So what is asked follows from the log alone, and is the same
whoever looks, and whenever: what was written before a namespace was shared is never memory.
"""

from __future__ import annotations

__all__ = ["Child", "Delivery", "Errand", "Memory", "Outbox", "errands"]

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeAlias

import msgspec

from fabric.store.record import Commit, Entry, Manifest, Origin
from fabric.store.replay import child_id


class Child(msgspec.Struct, frozen=True):
    """A session is to be there."""

    index: int
    manifest: Manifest


class Delivery(msgspec.Struct, frozen=True):
    """An entry is to be in another session.

    Attributes:
        key: by which the push is known.
    """

    index: int
    session: str
    entry: Entry
    key: str


class Memory(msgspec.Struct, frozen=True):
    """A version of an object of a memory namespace is to be there.

    Attributes:
        name: in its namespace.
        origin: by which the version is known.
    """

    index: int
    namespace: str
    name: str
    entry: Entry
    origin: str


Errand: TypeAlias = Child | Delivery | Memory


class Outbox:
    """What the commits of one session ask for.

    Args:
        manifest: of the session.
        inherited: returns the memory namespaces that it inherits, each with ``/`` at its end. It is asked if need be.
    """

    def __init__(self, manifest: Manifest, inherited: Callable[[], Iterable[str]]) -> None:
        self._manifest = manifest
        self._inherited = inherited
        self._since: dict[str, int] | None = None
        """The number of the commit that first had a namespace; -1: it was inherited."""
        self._read = 0

    def asked(self, commits: Sequence[Commit], seq: int) -> list[Errand]:
        """Return what a commit asks for, in order.

        Args:
            commits: of the session, from 0 on; another time it may be more of them.
            seq: the number of the commit.
        """
        commit = commits[seq]
        if commit.kind != "handler" or not any(e.fork or e.session or "/" in e.name for e in commit.entries):
            return []
        return errands(self._manifest, seq, commit, self._seen(commits, commit.base))

    def _seen(self, commits: Sequence[Commit], base: int) -> set[str]:
        """Return the namespaces that a handler had which saw so many commits."""
        if self._since is None:
            self._since = dict.fromkeys(self._inherited(), -1)
        for seq in range(self._read, len(commits)):
            for entry in commits[seq].entries:
                if entry.event == "memory":
                    self._since.setdefault(entry.name, seq)
        self._read = max(self._read, len(commits))
        return {namespace for namespace, seq in self._since.items() if seq < base}


def errands(manifest: Manifest, seq: int, commit: Commit, namespaces: Collection[str]) -> list[Errand]:
    """Return what a commit of a session asks for, in order.

    Args:
        manifest: of the session.
        seq: the number of the commit.
        commit: it.
        namespaces: of memory that its handler had, each with ``/`` at its end.
    """
    asked: list[Errand] = []
    if commit.kind != "handler":
        return asked
    for index, entry in enumerate(commit.entries):
        where = f"{manifest.id}/{seq}/{index}"
        plain = msgspec.structs.replace(entry, fork=False, session="")
        if entry.fork:
            child = msgspec.structs.replace(
                manifest,
                id=child_id(manifest.id, seq, index),
                created=commit.at,
                parent=Origin(manifest.id, seq, index),
            )
            asked.append(Child(index, child))
        if entry.session:
            asked.append(Delivery(index, entry.session, plain, where))
        namespace, slash, name = entry.name.partition("/")
        if entry.event == "push" and name and namespace + slash in namespaces:
            asked.append(Memory(index, namespace, name, plain, where))
    return asked
