"""Records as bytes: they come back as they were, and no other bytes are taken for them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import LogDamaged
from fabric.store.record import (
    FORMAT,
    Commit,
    Manifest,
    Origin,
    Pause,
    decode_commit,
    decode_manifest,
    digest,
    encode_commit,
    encode_manifest,
    entry_of,
)

TEXT = st.text(max_size=20)
MOMENT = st.floats(0, 1e11, allow_nan=False)
ENTRIES = st.builds(
    entry_of,
    st.sampled_from(["push", "wake", "pause", "turn"]),
    st.binary(max_size=60) | TEXT.map(str.encode),
    name=TEXT,
    content_type=TEXT,
    content_encoding=st.sampled_from(["", "gzip"]),
    metadata=st.dictionaries(TEXT, TEXT | st.integers(-(2**53), 2**53) | st.none(), max_size=2),
    fork=st.booleans(),
    session=TEXT,
)
COMMITS = st.builds(
    Commit,
    TEXT,
    st.sampled_from(["client", "handler", "system"]),
    st.integers(0, 10**6),
    MOMENT,
    entries=st.lists(ENTRIES, max_size=3).map(tuple),
    pause=st.none() | st.builds(Pause, TEXT, st.none() | MOMENT),
    key=TEXT,
)
MANIFESTS = st.builds(
    Manifest,
    TEXT,
    MOMENT,
    agent=TEXT,
    metadata=st.dictionaries(TEXT, TEXT, max_size=2),
    parent=st.none() | st.builds(Origin, TEXT, st.integers(0, 99), st.none() | st.integers(0, 9)),
)


@given(COMMITS)
def test_a_commit_comes_back_as_it_was(commit: Commit):
    """And the same commit gives the same bytes, which are one line."""
    raw = encode_commit(commit)
    assert decode_commit(raw, "k") == commit
    assert encode_commit(decode_commit(raw, "k")) == raw
    assert raw.count(b"\n") == 1


@given(MANIFESTS)
def test_a_manifest_comes_back_as_it_was(manifest: Manifest):
    """With its parent."""
    assert decode_manifest(encode_manifest(manifest), "k") == manifest


@given(COMMITS, st.data())
def test_what_was_changed_is_not_read(commit: Commit, data: st.DataObject):
    """Whichever byte it is, or how many are missing."""
    raw = encode_commit(commit)
    place = data.draw(st.integers(0, len(raw) - 1))
    changed = bytearray(raw)
    changed[place] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(changed), raw[:place]):
        with pytest.raises(LogDamaged, match=r"^the/key: "):
            decode_commit(bad, "the/key")


def test_a_body_that_is_not_what_its_digest_says_is_not_read():
    """Even if the whole commit has a digest that fits: somebody wrote it so."""
    entry = msgspec.structs.replace(entry_of("push", b"one"), text="two")
    with pytest.raises(LogDamaged, match="the body of entry 0"):
        decode_commit(encode_commit(Commit("c", "client", 0, 0.0, entries=(entry,))), "k")


def test_a_newer_format_is_refused():
    """It says which, and which is read."""
    with pytest.raises(LogDamaged, match=f"format {FORMAT + 1}"):
        decode_commit(encode_commit(Commit("c", "client", 0, 0.0, v=FORMAT + 1)), "k")


def test_what_a_later_version_adds_is_passed_over():
    """As long as it leaves the format's number as it is."""
    raw = encode_commit(Commit("c", "client", 0, 0.0)).replace(b'"kind"', b'"added":1,"kind"').rpartition(b',"sum"')[0]
    assert decode_commit(raw + b',"sum":"' + digest(raw).encode() + b'"}\n', "k").id == "c"
