"""Whom the library is told to let in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from fabric.transport.gate import Gate
from fabric.transport.sockets import make_key_pair
from fabric.wire.keys import decode_z85

A, B = (make_key_pair()[0] for _ in range(2))
GATE = Gate({"a": A, "b": B})


def request(domain: bytes, mechanism: bytes, *credentials: bytes, version: bytes = b"1.0") -> list[bytes]:
    return [version, b"7", domain, b"10.0.0.1", b"", mechanism, *credentials]


def test_a_worker_is_let_in_at_its_own_sockets():
    """With its name for whoever wants to know who sent a frame."""
    reply, refusal = GATE.answer(request(b"a", b"CURVE", decode_z85(A)))
    assert (reply, refusal) == ([b"1.0", b"7", b"200", b"OK", b"a", b""], None)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (request(b"b", b"CURVE", decode_z85(A)), "the key of another worker"),
        (request(b"a", b"CURVE", bytes(32)), "unknown key"),
        (request(b"a", b"CURVE"), "unknown key"),
        (request(b"a", b"CURVE", decode_z85(A), b""), "unknown key"),
        (request(b"a", b"CURVE", decode_z85(A)[:31]), "unknown key"),
        (request(b"", b"CURVE", decode_z85(A)), "nobody is allowed there"),
        (request(b"c", b"CURVE", decode_z85(A)), "nobody is allowed there"),
        (request(b"a", b"NULL"), "no key (mechanism NULL)"),
        (request(b"a", b"PLAIN", b"a", decode_z85(A)), "no key (mechanism PLAIN)"),
        (request(b"a", b"CURVE", decode_z85(A), version=b"2.0"), "malformed request"),
        (request(b"a", b"CURVE", decode_z85(A))[:5], "malformed request"),
        ([], "malformed request"),
    ],
)
def test_nobody_else_is(asked: list[bytes], reason: str):
    """And it is said why."""
    reply, refusal = GATE.answer(asked)
    assert (reply[2], len(reply), refusal is not None and refusal.reason) == (b"400", 6, reason)


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_whatever_it_is_asked_it_answers_and_lets_nobody_in(asked: list[bytes]):
    """In six parts: with fewer the library would take the next answer for the rest."""
    reply, refusal = GATE.answer(asked)
    assert (len(reply), reply[2], refusal is None) == (6, b"400", False)


@given(st.binary(min_size=32, max_size=32))
def test_keys_as_text_are_those_of_the_library(key: bytes):
    """Z85, read without it."""
    assert decode_z85(z85.encode(key).decode()) == key
