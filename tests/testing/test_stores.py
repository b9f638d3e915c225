"""The bucket that loses and kills."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fabric.errors import StoreFailed, StoreUnsure
from fabric.store.memory import MemoryStore
from fabric.testing import FaultyStore, StoreOperation, draw_store_faults, fault_at


def test_without_faults_it_does_what_is_asked():
    """And knows what it was asked."""
    store = FaultyStore(MemoryStore("x"))
    assert store.create("a", b"1")
    assert (store.get("a"), store.list(""), store.link("a"), store.url) == (b"1", ["a"], "memory:x#a", "memory:x")
    store.delete("a")
    methods = [("create", "a"), ("get", "a"), ("list", ""), ("link", "a"), ("delete", "a")]
    assert store.operations == [StoreOperation(number, *called) for number, called in enumerate(methods, 1)]


@pytest.mark.parametrize(
    ("fault", "error", "done"),
    [("lose_request", StoreUnsure, False), ("lose_answer", StoreUnsure, True), ("fail", StoreFailed, False)],
)
def test_a_create_is_lost_before_or_after_it_is_done(fault: str, error: type[Exception], done: bool):
    """Who asked cannot tell the first two apart."""
    inner = MemoryStore()
    store = FaultyStore(inner, fault_at(2, fault))
    assert store.create("a", b"")
    with pytest.raises(StoreFailed, match=r"operation 2, create b: (no answer|refused)") as raised:
        store.create("b", b"")
    assert type(raised.value) is error
    assert (inner.get("b") is not None) == done
    assert store.create("b", b"") != done


def test_a_read_that_is_lost_has_failed():
    """There is nothing to be unsure of."""
    with pytest.raises(StoreFailed) as raised:
        FaultyStore(MemoryStore(), fault_at(1, "lose_answer")).get("a")
    assert type(raised.value) is StoreFailed


def test_others_may_do_something_meanwhile():
    """Before the operation is done."""
    inner = MemoryStore()
    store = FaultyStore(inner, fault_at(1, lambda: inner.delete("a")))
    inner.create("a", b"old")
    assert store.create("a", b"new")


@pytest.mark.parametrize("fault", ["kill_before", "kill_after"])
def test_the_process_is_killed_at_an_operation(tmp_path: Path, fault: str):
    """Before or after it is done; nothing behind it is."""
    program = f"""
from pathlib import Path
from fabric.store.file import FileStore
from fabric.testing import FaultyStore, fault_at

store = FaultyStore(FileStore(Path({str(tmp_path)!r})), fault_at(3, {fault!r}))
for number in range(10):
    store.create(str(number), b"")
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    made = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert made == (["0", "1", "2"] if fault == "kill_after" else ["0", "1"])


def test_faults_are_drawn_by_a_seed():
    """The same ones each time, as many as were asked for."""

    def outcomes(seed: int) -> list[bool]:
        store = FaultyStore(MemoryStore(), draw_store_faults(random.Random(seed), 0.3))
        return [_fails(store, str(number)) for number in range(1000)]

    assert outcomes(1) == outcomes(1) != outcomes(2)
    assert 200 < sum(outcomes(1)) < 400


def _fails(store: FaultyStore, key: str) -> bool:
    try:
        store.create(key, b"")
    except StoreFailed:
        return True
    return False
