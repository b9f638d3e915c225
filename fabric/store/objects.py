"""What a bucket has to do: five methods, all of them blocking.

There is no update in place and no compare-and-swap, for file systems have none. Who calls from an event loop does so in
a thread.
"""

from __future__ import annotations

__all__ = ["KEY_BYTES_MAX", "PART_BYTES_MAX", "ObjectStore", "Sweeping", "check_key", "check_prefix", "shown_url"]

import re
from typing import Protocol, runtime_checkable

from fabric.errors import StoreFailed

KEY_BYTES_MAX = 900
"""S3 and Google take 1,024 bytes; the rest is for the prefix of a bucket's URL."""

PART_BYTES_MAX = 255
"""What file systems take as a name."""

_LETTERS = "A-Za-z0-9._~%=@+,-"
_PART = re.compile(f"[{_LETTERS}]{{1,{PART_BYTES_MAX}}}")


class ObjectStore(Protocol):
    """Objects by key, see :func:`check_key`; an object is bytes. No key continues another one with a ``/``.

    Attributes:
        url: where it is, as a user writes it: ``file:///var/lib/fabric``, ``memory:``, ``s3://bucket/prefix``.

    Every method may raise :class:`~fabric.errors.StoreFailed`.
    """

    url: str

    def create(self, key: str, body: bytes) -> bool:
        """Create an object if there is none; return whether it was created. When this returns, it is durable.

        Readers see all of it or nothing.

        Raises:
            StoreUnsure: nobody knows whether it was created.
        """
        ...

    def get(self, key: str) -> bytes | None:
        """Return an object, or ``None`` if there is none."""
        ...

    def list(self, prefix: str, after: str = "") -> list[str]:
        """Return the keys that begin with a prefix and come after another key, in the order of their bytes.

        Args:
            prefix: ends with ``/``, or is empty.
            after: a whole key; that one is not returned.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object, if there is one. Never one of a log: a number that is free again could be taken again."""
        ...

    def link(self, key: str) -> str:
        """Return an URL by which programs outside can name the object; it need not be readable by them."""
        ...


@runtime_checkable
class Sweeping(Protocol):
    """A store in which writers that are killed leave something behind."""

    def sweep(self, older_than_s: float, now: float) -> int:
        """Remove what nobody has touched for so long; return how many objects that never came to be.

        Args:
            older_than_s: more than any write takes.
            now: seconds since 1970.
        """
        ...


def check_key(key: str) -> str:
    """Return a key that every store takes: parts of ``A-Z a-z 0-9 . _ ~ % = @ + , -``, with ``/`` between them.

    No part is ``.`` or ``..``, and the first does not begin with a point: what does is a store's own.

    Raises:
        StoreFailed: it is none.
    """
    parts = key.split("/")
    for part in parts:
        if part in (".", "..") or not _PART.fullmatch(part):
            raise StoreFailed(
                f"{key!r} cannot be a key: its part {part!r} is not 1 to {PART_BYTES_MAX} of [{_LETTERS}]"
            )
    if key.startswith(".") or len(key) > KEY_BYTES_MAX:
        raise StoreFailed(f"{key!r} cannot be a key: it begins with a point, or has more than {KEY_BYTES_MAX} letters")
    return key


def check_prefix(prefix: str) -> str:
    """Return the beginning of keys: empty, or a key and ``/``.

    Raises:
        StoreFailed: it is none.
    """
    if prefix and not prefix.endswith("/"):
        raise StoreFailed(f"{prefix!r} cannot be listed: it has to end with '/'")
    if prefix:
        check_key(prefix[:-1])
    return prefix


def shown_url(url: str) -> str:
    """Return an URL of a bucket as it may be told: what stands before its host, and in its query, may be secret."""
    without = re.sub(r"[?#].*", "?***", url, flags=re.DOTALL)
    return re.sub(r"//.*@", "//***@", without, flags=re.DOTALL)
