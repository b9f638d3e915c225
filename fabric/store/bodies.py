"""Bodies of entries: small ones are in their commit, large ones are objects that their digest names."""

from __future__ import annotations

__all__ = ["decoded_body", "read_body"]

import gzip
import io
import zlib

import zstandard

from fabric.errors import LogDamaged
from fabric.store.keys import aside_key, blob_key
from fabric.store.objects import ObjectStore
from fabric.store.record import Entry, digest

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
        body = store.get(aside_key(entry.sha256))
    if body is None:
        raise LogDamaged(f"{key}: there is no such object, and an entry {entry.name!r} names it as its body")
    if len(body) != entry.size or digest(body) != entry.sha256:
        raise LogDamaged(f"{key}: it is not what was written: its {len(body)} bytes have another digest")
    return body


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
