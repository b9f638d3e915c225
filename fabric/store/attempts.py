"""Attempts to decide that failed: kept beside the log, for back-off and for people."""

from __future__ import annotations

__all__ = ["attempts", "keep_attempt"]

from fabric.errors import StoreUnsure
from fabric.store.keys import error_key, errors_prefix
from fabric.store.objects import ObjectStore
from fabric.store.record import Attempt, decode_attempt, encode
from fabric.store.world import World, create_surely


def attempts(world: World, session: str, base: int) -> list[Attempt]:
    """Return the attempts to decide from so many commits that have failed."""
    first = error_key(session, base, 0)
    keys = world.store.list(errors_prefix(session), after=first)
    mine = [key for key in keys if key.rpartition("-")[0] == first.rpartition("-")[0]]
    found = ((world.store.get(key), key) for key in mine)
    return [decode_attempt(raw, key) for raw, key in found if raw is not None]


def keep_attempt(world: World, session: str, base: int, attempt: Attempt) -> int:
    """Keep an attempt that failed; return how many there are from the same commits."""
    number, raw = len(attempts(world, session, base)) + 1, encode(attempt)
    while not _create(world.store, error_key(session, base, number), raw):
        number += 1
    return number


def _create(store: ObjectStore, key: str, raw: bytes) -> bool:
    """Create an object; return whether it is ours, also if that was said by no answer."""
    try:
        return store.create(key, raw)
    except StoreUnsure:
        return create_surely(store, key, raw) or store.get(key) == raw
