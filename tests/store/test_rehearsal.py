"""What a bucket would be, if what is done were done."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabric.store.memory import MemoryStore
from fabric.store.rehearsal import Rehearsal

KEYS = st.sampled_from(["a/x", "a/y", "b/x", "b/y/z"])
BODIES = st.binary(max_size=2)
STEPS = st.lists(st.tuples(st.sampled_from(["create", "delete"]), KEYS, BODIES), max_size=12)


@given(STEPS, STEPS)
def test_a_rehearsal_is_what_would_be_and_changes_nothing(
    before: list[tuple[str, str, bytes]], steps: list[tuple[str, str, bytes]]
):
    """Whatever is done, it answers as the bucket itself would; and the bucket stays as it was."""
    real, stays = MemoryStore(), MemoryStore("memory:")
    for store in (real, stays):
        for _, key, body in before:
            store.create(key, body)
    was = {key: stays.get(key) for key in stays.list("")}
    rehearsal = Rehearsal(stays)
    for what, key, body in steps:
        if what == "create":
            assert rehearsal.create(key, body) == real.create(key, body)
        else:
            rehearsal.delete(key)
            real.delete(key)
        assert rehearsal.get(key) == real.get(key)
        assert (rehearsal.list(""), rehearsal.list("a/", "a/x")) == (real.list(""), real.list("a/", "a/x"))
    assert {key: stays.get(key) for key in stays.list("")} == was
