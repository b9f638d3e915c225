"""A bucket of which it is counted how long its operations take, and what came of them."""

from __future__ import annotations

__all__ = ["OPERATION_S", "BucketMeter"]

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from fabric.errors import StoreFailed, StoreUnsure
from fabric.metrics import Sample
from fabric.runtime.meter import buckets
from fabric.session.durations import Histogram
from fabric.store.objects import ObjectStore

OPERATION_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Bounds for a file that is synced and for a server on another continent."""


class BucketMeter:
    """Passes everything on. Any thread may use it.

    Args:
        store: the bucket.
        clock: in seconds.

    Attributes:
        url: of the bucket.
    """

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = store.url
        self._store = store
        self._clock = clock
        self._lock = Lock()
        self._taken: dict[tuple[str, str], Histogram] = {}

    def samples(self) -> Iterator[Sample]:
        """Yield what was counted."""
        with self._lock:
            taken = {labels: histogram.durations for labels, histogram in self._taken.items()}
        for labels, durations in taken.items():
            yield Sample("fabric_store_operation_seconds", buckets(durations), labels)

    def create(self, key: str, body: bytes) -> bool:
        """See :class:`~fabric.store.objects.ObjectStore`; ``exists``: there was one already."""
        with self._timed("create") as came_of_it:
            created = self._store.create(key, body)
            came_of_it("ok" if created else "exists")
            return created

    def get(self, key: str) -> bytes | None:
        """See :class:`~fabric.store.objects.ObjectStore`; ``missing``: there is none."""
        with self._timed("get") as came_of_it:
            body = self._store.get(key)
            came_of_it("missing" if body is None else "ok")
            return body

    def list(self, prefix: str, after: str = "") -> list[str]:
        """See :class:`~fabric.store.objects.ObjectStore`."""
        with self._timed("list"):
            return self._store.list(prefix, after)

    def delete(self, key: str) -> None:
        """See :class:`~fabric.store.objects.ObjectStore`."""
        with self._timed("delete"):
            self._store.delete(key)

    def link(self, key: str) -> str:
        """See :class:`~fabric.store.objects.ObjectStore`. It asks nobody, and is not counted."""
        return self._store.link(key)

    @contextmanager
    def _timed(self, op: str) -> Iterator[Callable[[str], None]]:
        outcome, began_s = "ok", self._clock()

        def came_of_it(word: str) -> None:
            nonlocal outcome
            outcome = word

        try:
            yield came_of_it
        except StoreFailed as error:
            outcome = "unsure" if isinstance(error, StoreUnsure) else "failed"
            raise
        finally:
            took_s = self._clock() - began_s
            with self._lock:
                self._taken.setdefault((op, outcome), Histogram(OPERATION_S)).add(took_s)
