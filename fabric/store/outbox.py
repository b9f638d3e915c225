"""What a commit asks of other sessions. The commit is the truth: all of it can be done again, and is done once.

a record with fork         a child, whose id follows from where the record is
a record with session      a push into that session, whose key says where the record is
a name in a namespace      a version of that object of memory, which says where the record is
"""

from __future__ import annotations

__all__ = ["Child", "Delivery", "Errand", "Memory", "errands", "may_ask"]

from collections.abc import Collection
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


def may_ask(commit: Commit) -> bool:
    """Say whether a commit may ask for anything, at a glance."""
    return commit.kind == "handler" and any(
        entry.fork or entry.session or "/" in entry.name for entry in commit.entries
    )


def errands(manifest: Manifest, seq: int, commit: Commit, namespaces: Collection[str]) -> list[Errand]:
    """Return what a commit of a session asks for, in order.

    Args:
        manifest: of the session.
        seq: the number of the commit.
        commit: it.
        namespaces: of memory that the session has, each with ``/`` at its end.
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
