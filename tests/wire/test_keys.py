"""Key files as text."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ConfigError
from fabric.transport.sockets import make_key_pair
from fabric.wire.keys import (
    KeyPair,
    decode_allowed,
    decode_key_pair,
    decode_worker_key,
    decode_z85,
    encode_keys,
    is_key,
)
from fabric.wire.spec import WorkerKey

PAIRS = [make_key_pair() for _ in range(8)]
PAIR = st.sampled_from(PAIRS)
PUBLIC = PAIR.map(lambda pair: pair[0])


@given(PAIR, PUBLIC)
def test_what_is_written_is_read(pair: tuple[str, str], server: str):
    """All three kinds."""
    assert decode_key_pair(encode_keys(KeyPair(*pair)), "f") == KeyPair(*pair)
    assert decode_worker_key(encode_keys(WorkerKey(*pair, server)), "f") == WorkerKey(*pair, server)


@given(st.dictionaries(st.text(), PUBLIC))
def test_names_may_be_any_text(allowed: dict[str, str]):
    """Of replicas, and of nested bodies."""
    assert decode_allowed(encode_keys(allowed), "f") == allowed


@given(st.binary(max_size=200))
def test_whatever_is_in_a_file_it_is_a_key_or_a_mistake_of_the_configuration(text: bytes):
    """Never another error, and the file is named."""
    for decode in (decode_key_pair, decode_worker_key):
        with pytest.raises(ConfigError, match=r"^some/file: no key file: "):
            decode(text, "some/file")


@given(PAIR, st.integers(0, 500), st.integers(0, 255))
def test_a_damaged_file_never_shows_what_is_in_it(pair: tuple[str, str], place: int, byte: int):
    """One byte is another one: it is still a key, or it is refused without a word of the secret."""
    text = bytearray(encode_keys(KeyPair(*pair)))
    text[place % len(text)] = byte
    said = ""
    try:
        decode_key_pair(bytes(text), "f")
    except ConfigError as error:
        said = str(error)
    assert pair[1][:6] not in said


@given(st.text(string.ascii_letters + string.digits + '.-:+=^!/*?&<>()[]{}@%$#"\\é ', max_size=50))
def test_what_is_taken_for_a_key_is_32_bytes(text: str):
    """Forty characters may stand for more than fits."""
    if is_key(text):
        assert len(decode_z85(text)) == 32
    else:
        with pytest.raises(ConfigError):
            decode_allowed(encode_keys({"a": text}), "f")
