"""Whether a bucket keeps what a log rests on.

There are servers that take the condition "only if there is none" and ignore it. A lock there always succeeds, and two
runners both believe that they have won. So each bucket is tried once, before anything is trusted to it.
"""

from __future__ import annotations

__all__ = ["PROBED_KEY", "probe"]

import secrets
from collections.abc import Callable

from fabric.errors import BucketUnfit
from fabric.store.objects import ObjectStore

PROBED_KEY = "fabric/bucket.json"
"""Is there once a bucket was tried, and was fit."""

PROBED = b'{"v":1,"create-if-absent":true}\n'


def probe(store: ObjectStore, new_id: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
    """Try whether a key can be created twice, unless it is known. What was tried with is deleted again.

    Args:
        store: the bucket.
        new_id: makes a part of a key that nobody else uses.

    Raises:
        BucketUnfit: it can, or what was created is not there.
        StoreFailed: it cannot be tried.
    """
    if store.get(PROBED_KEY) is not None:
        return
    key = f"fabric/probe/{new_id()}"
    try:
        first, second = store.create(key, b"first\n"), store.create(key, b"second\n")
        there, listed = store.get(key), key in store.list("fabric/probe/")
    finally:
        store.delete(key)
    if second or there == b"second\n":
        raise BucketUnfit(
            f"bucket {store.url}: the key {key} could be created twice: it ignores the condition of a create "
            "(If-None-Match: *); a log needs a bucket that keeps it, or a directory: file:///PATH"
        )
    if not first or there != b"first\n" or not listed:
        trouble = "could not be read" if there is None else "was not listed" if first else "was there already"
        raise BucketUnfit(f"bucket {store.url}: the new key {key} {trouble} after it was created")
    store.create(PROBED_KEY, PROBED)
