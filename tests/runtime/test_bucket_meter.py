"""What is counted of a bucket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fabric.errors import StoreFailed, StoreUnsure
from fabric.metrics import Buckets
from fabric.runtime.bucket_meter import OPERATION_S, BucketMeter
from fabric.store.memory import MemoryStore


class Failing(MemoryStore):
    """A bucket whose writes fail, the first without an answer."""

    def __init__(self) -> None:
        super().__init__()
        self._errors: Iterator[StoreFailed] = iter([StoreUnsure("no answer"), StoreFailed("full")])

    def create(self, key: str, body: bytes) -> bool:
        raise next(self._errors)


def counted(meter: BucketMeter) -> dict[tuple[str, ...], int]:
    found = {}
    for sample in meter.samples():
        assert sample.name == "fabric_store_operation_seconds"
        assert isinstance(sample.value, Buckets)
        found[sample.labels] = sum(sample.value.counts)
    return found


def test_every_operation_is_counted_by_what_came_of_it():
    """And passed on as it is."""
    meter = BucketMeter(MemoryStore())
    assert (meter.create("a/b", b"x"), meter.create("a/b", b"y")) == (True, False)
    assert (meter.get("a/b"), meter.get("a/c"), meter.list("a/")) == (b"x", None, ["a/b"])
    meter.delete("a/b")
    assert meter.url == "memory:"
    assert counted(meter) == {
        ("create", "ok"): 1, ("create", "exists"): 1, ("get", "ok"): 1, ("get", "missing"): 1, ("list", "ok"): 1,
        ("delete", "ok"): 1,
    }  # fmt: skip


def test_what_fails_is_counted_and_raised():
    """With an answer, or without."""
    meter = BucketMeter(Failing())
    with pytest.raises(StoreUnsure):
        meter.create("a", b"")
    with pytest.raises(StoreFailed):
        meter.create("a", b"")
    assert counted(meter) == {("create", "unsure"): 1, ("create", "failed"): 1}


def test_how_long_it_took_is_told_in_buckets():
    """By the clock that it is given."""
    times = iter([0.0, 0.02, 1.0, 1.0])
    meter = BucketMeter(MemoryStore(), clock=lambda: next(times))
    meter.get("a")
    meter.get("a")
    (sample,) = meter.samples()
    assert isinstance(sample.value, Buckets)
    assert sample.value.total == pytest.approx(0.02)
    assert [bound for bound, count in zip(OPERATION_S, sample.value.counts, strict=False) if count] == [0.0005, 0.025]
