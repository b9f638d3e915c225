"""What a bucket has to do: five methods, all of them blocking.

There is no update in place and no compare-and-swap, for file systems have none. Who calls from an event loop does so in
a thread.
"""

from __future__ import annotations

__all__ = ["ObjectStore"]

from typing import Protocol


class ObjectStore(Protocol):
    """Objects by key. A key is ``/``-separated, ASCII, with no empty, ``.`` or ``..`` part; an object is bytes.

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
