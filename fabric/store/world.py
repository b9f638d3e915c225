"""What logs need of the world: a bucket, the time, names that nobody else has, and somebody to tell."""

from __future__ import annotations

__all__ = ["World", "create_surely", "new_id", "tell"]

import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from fabric.errors import StoreUnsure
from fabric.store.commit import UNSURE_MAX
from fabric.store.objects import ObjectStore
from fabric.store.readiness import Backoff


def tell(text: str) -> None:
    """Tell whoever sits at the terminal."""
    print(f"warning: {text}", file=sys.stderr)


def new_id() -> str:
    """Return an id that nobody else has."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class World:
    """What logs need.

    Attributes:
        store: the bucket.
        now: returns seconds since 1970.
        new_id: returns an id that nobody else has.
        tell: is told what a person should know and what stops nothing.
        backoff: after attempts to decide that failed.
    """

    store: ObjectStore
    now: Callable[[], float] = time.time
    new_id: Callable[[], str] = new_id
    tell: Callable[[str], None] = tell
    backoff: Backoff = field(default_factory=Backoff)


def create_surely(store: ObjectStore, key: str, body: bytes) -> bool:
    """Create an object of which everybody would write the same; return whether it was not there before.

    After no answer it may say that it was there, and it was this one: whose objects differ, compares them.
    """
    for _ in range(UNSURE_MAX - 1):
        try:
            return store.create(key, body)
        except StoreUnsure:
            pass
    return store.create(key, body)
