"""Bodies of entries: small ones are in their commit, large ones are objects that their digest names.

A large body is written before the commit that names it. Until then it is garbage for all that a bucket can tell, and
``collect`` removes garbage, in two steps: it is set *aside*, where readers still find it, and a later run removes it
or brings it back. Whoever commits a body that he had found there, or had stored long ago, brings it back himself.
"""

from __future__ import annotations

__all__ = [
    "BODY_FRESH_S",
    "COLLECTED_OLDER_THAN_S",
    "COLLECTED_OLDER_THAN_S_MIN",
    "bring_back",
    "decoded_body",
    "read_body",
]

import gzip
import io
import zlib

import zstandard

from fabric.errors import LogDamaged
from fabric.store.keys import aside_prefix, blob_key
from fabric.store.objects import ObjectStore
from fabric.store.record import Entry, digest
from fabric.store.world import create_surely

BODY_FRESH_S = 600.0
"""A large body that was stored so long before its commit may have been set aside meanwhile."""

COLLECTED_OLDER_THAN_S_MIN = 6 * BODY_FRESH_S
"""A body without a name is set aside after no less, and after no less again removed: far more than BODY_FRESH_S."""

COLLECTED_OLDER_THAN_S = 7 * 86400.0
"""Nobody takes so long from a body to the commit that names it."""

DECODED_BYTES_MAX = 1024 * 1024 * 1024
"""A small body may unpack to anything; nobody pushes more than this on purpose."""


def read_body(store: ObjectStore, entry: Entry) -> bytes:
    """Return a body as it is stored.

    Raises:
        LogDamaged: it is missing, or not what was written.
    """
    inline = entry.inline
    if inline is not None:
        return inline
    key = blob_key(entry.sha256)
    body = store.get(key)
    if body is None:
        body = _aside(store, entry.sha256) or store.get(key)  # it may have been brought back just now
    if body is None:
        raise LogDamaged(f"{key}: there is no such object, and an entry {entry.name!r} names it as its body")
    if len(body) != entry.size or digest(body) != entry.sha256:
        raise LogDamaged(f"{key}: it is not what was written: its {len(body)} bytes have another digest")
    return body


def bring_back(store: ObjectStore, sha256: str) -> None:
    """Put a body into its place again, if it was set aside."""
    body = _aside(store, sha256)
    if body is not None:
        create_surely(store, blob_key(sha256), body)


def _aside(store: ObjectStore, sha256: str) -> bytes | None:
    bodies = (store.get(key) for key in store.list(aside_prefix(sha256)))
    return next((body for body in bodies if body is not None), None)


def decoded_body(body: bytes, content_encoding: str) -> bytes:
    """Return a body as its writer meant it: unpacked, if it is stored packed.

    Raises:
        LogDamaged: it is not packed as it says, or its content has more than ``DECODED_BYTES_MAX``.
    """
    try:
        if content_encoding == "gzip":
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as members:
                unpacked = members.read(DECODED_BYTES_MAX + 1)
        elif content_encoding == "zstd":
            reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True)
            unpacked = reader.read(DECODED_BYTES_MAX + 1)
        else:
            return body
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise LogDamaged(
            f"a body of {len(body)} bytes says that it is {content_encoding}, and is not: {error}"
        ) from None
    if len(unpacked) > DECODED_BYTES_MAX:
        raise LogDamaged(f"a body of {len(body)} bytes of {content_encoding} has a content of over {DECODED_BYTES_MAX}")
    return unpacked
