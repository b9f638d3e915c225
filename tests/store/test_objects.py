"""What every bucket does, whatever it is: the same facts for memory, directories and a server that speaks S3."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabric.errors import StoreFailed
from fabric.store.objects import KEY_BYTES_MAX, PART_BYTES_MAX, ObjectStore
from fabric.store.probe import PROBED_KEY, probe

THREADS = 16

parts = st.text("AZaz09._~%=@+,-", min_size=1, max_size=4).filter(lambda part: part not in (".", ".."))
keys = st.lists(parts, min_size=1, max_size=4).map("/".join).filter(lambda key: not key.startswith("."))


def test_what_was_created_is_there_and_stays(store: ObjectStore):
    """A second create of a key is refused, whatever it brings; a key that is nowhere has no object."""
    assert store.get("sessions/a/b/log/0.json") is None
    assert store.create("sessions/a/b/log/0.json", b"one")
    assert not store.create("sessions/a/b/log/0.json", b"two")
    assert not store.create("sessions/a/b/log/0.json", b"one"), "equal bytes of another writer are not one's own"
    assert store.get("sessions/a/b/log/0.json") == b"one"
    assert store.get("sessions/a/b/log/1.json") is None
    assert store.get("sessions/a/b/log") is None


@pytest.mark.parametrize("body", [b"", b"\0\xff\r\n", bytes(range(256)) * 4096], ids=["none", "any", "large"])
def test_bodies_are_bytes(store: ObjectStore, body: bytes):
    """Empty, binary or large ones."""
    assert store.create("a", body)
    assert store.get("a") == body
    assert type(store.get("a")) is bytes


def test_lists_are_in_the_order_of_bytes(store: ObjectStore):
    """Not in that of directories: ``-`` and ``.`` come before ``/``; what only begins alike is not below."""
    made = ["a/x", "a-b/x", "a.b", "a0/x", "ab", "b/c/d/e", "b/c/d.e", "B", "a/y/z"]
    for key in made:
        assert store.create(key, key.encode())
    assert store.list("") == sorted(made)
    assert store.list("a/") == ["a/x", "a/y/z"]
    assert store.list("b/c/") == ["b/c/d.e", "b/c/d/e"]
    assert store.list("none/") == store.list("ab/") == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(made=st.sets(keys, max_size=6), after=keys)
def test_a_list_goes_on_after_any_key(store: ObjectStore, made: set[str], after: str):
    """Whether or not there is an object of that key."""
    whole = {key for key in made if not any(other.startswith(f"{key}/") for other in made)}
    for key in store.list(""):
        store.delete(key)
    created = {key for key in sorted(whole) if _create(store, key)}
    assert store.list("") == sorted(created)
    assert store.list("", after) == [key for key in sorted(created) if key > after]
    for first in {key.partition("/")[0] for key in created}:
        below = [key for key in sorted(created) if key.startswith(f"{first}/")]
        assert store.list(f"{first}/", after) == [key for key in below if key > after]


def _create(store: ObjectStore, key: str) -> bool:
    try:
        return store.create(key, b"")
    except StoreFailed:  # a directory of an earlier example is where its file would be
        return False


def test_a_log_is_listed_from_its_tail(store: ObjectStore):
    """By padded numbers."""
    for seq in range(12):
        store.create(f"sessions/s/log/{seq:020d}.json", b"")
    tail = store.list("sessions/s/log/", f"sessions/s/log/{9:020d}.json")
    assert tail == [f"sessions/s/log/{seq:020d}.json" for seq in (10, 11)]


def test_what_is_deleted_is_gone(store: ObjectStore):
    """What is not there may be deleted, too; the key can be created again."""
    store.delete("a/b")
    store.create("a/b", b"1")
    store.delete("a/b")
    store.delete("a/b")
    assert store.get("a/b") is None
    assert store.list("") == []
    assert store.create("a/b", b"2")
    assert store.get("a/b") == b"2"


@pytest.mark.parametrize(
    "key",
    ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a b", "a\\b", "a\nb", "a\0b", "ä", "a?b", "a#b", "a*b",
     "a:b", ".tmp/x", ".lock", "x" * (PART_BYTES_MAX + 1), "x/" * (KEY_BYTES_MAX // 2) + "x"],
)  # fmt: skip
def test_what_is_no_key_is_refused(store: ObjectStore, key: str):
    """By every method, so that nobody leaves a bucket by ``..``, or finds a key that another store cannot have."""
    attempts: list[Callable[[], object]] = [
        lambda: store.create(key, b""), lambda: store.get(key), lambda: store.delete(key), lambda: store.link(key),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(StoreFailed, match="cannot be a key"):
            attempt()
    if key not in ("", "a/"):
        with pytest.raises(StoreFailed, match=r"cannot be a key|has to end with"):
            store.list(key)


def test_of_many_threads_one_creates(store: ObjectStore):
    """And what is read is what that one wrote, whole."""
    for round_ in range(4):
        bodies = [bytes([number]) * 50_000 for number in range(THREADS)]
        created = [False] * THREADS
        seen: list[bytes | None] = [None] * THREADS
        start = threading.Barrier(THREADS)

        def write(number: int, key: str = f"race/{round_}") -> None:
            start.wait()  # noqa: B023
            created[number] = store.create(key, bodies[number])  # noqa: B023
            seen[number] = store.get(key)  # noqa: B023

        threads = [threading.Thread(target=write, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert created.count(True) == 1
        assert set(seen) == {bodies[created.index(True)]}


def test_a_bucket_is_tried_once(store: ObjectStore):
    """What it was tried with is gone, the result stays."""
    probe(store, lambda: "a")
    assert store.list("") == [PROBED_KEY]
    store.create("fabric/probe/a", b"would be in the way")
    probe(store, lambda: "a")
