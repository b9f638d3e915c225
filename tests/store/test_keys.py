"""Keys: whatever an id or a name is, it is one part of a key, and no two are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ConfigError
from fabric.store import keys
from fabric.store.objects import check_key

HOSTILE = [
    "",
    "..",
    ".",
    "a/../b",
    "/a",
    "a/",
    "a//b",
    "a b",
    "ä",
    "a\n",
    "a=2Fb",
    "a\\b",
    "a" * 129,
    "/".join("a" * 64),
    "\0",
]


@pytest.mark.parametrize("session", HOSTILE)
def test_what_cannot_be_an_id_is_refused(session: str):
    """It says what one is."""
    with pytest.raises(ConfigError, match="cannot be the id of a session"):
        keys.session_id(session)


@pytest.mark.parametrize(
    "session", ["a", "run-1/judge", "A.b_c-9", "log", "a/log", "manifest.json", "a" * 128, ".a", "a/..b"]
)
def test_an_id_is_a_key_of_its_own(session: str):
    """Also where its parts are called like things of a session."""
    assert keys.session_id(session) == session
    key = check_key(keys.log_key(session, 7))
    assert key.count("/") == 3
    assert keys.text_of(key.split("/")[1]) == session


@given(st.text(max_size=300))
def test_any_text_is_a_part_of_a_key(text: str):
    """Which is read again, if it is not too long."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    part = keys.part_of(text)
    check_key(f"memory/{part}/x")
    assert keys.text_of(part) in (text, None)
    assert keys.text_of(part) == text or len(part) >= 66


@given(st.lists(st.text("aA./=-é", max_size=90), min_size=2, max_size=2, unique=True))
def test_two_texts_are_two_parts(texts: list[str]):
    """However long they are."""
    assert keys.part_of(texts[0]) != keys.part_of(texts[1])


def test_what_is_not_made_by_us_is_not_read():
    """Such as what somebody has put into the bucket."""
    assert keys.text_of("a=zz") is None
    assert keys.text_of("=FF") is None
    assert keys.number_of("sessions/a/log/12.json") is None
    assert keys.blob_of("blobs/sha256/ab/README") is None


@pytest.mark.parametrize("key", ["a/0/0", "team/a/12/3", "memory/ns", "message/x", "memory/"])
def test_our_keys_are_not_for_pushes_of_users(key: str):
    """They tell what we have pushed from what others have."""
    with pytest.raises(ConfigError, match=f"--key {key}: .* choose another form"):
        keys.check_push_key(key)


@pytest.mark.parametrize("key", ["", "upload-17", "a/0", "1/2", "memory", "a/0/x", "orders:2024:11"])
def test_all_other_keys_are(key: str):
    """Whatever is in them."""
    assert keys.check_push_key(key) == key
