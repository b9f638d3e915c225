"""The announcement of a worker."""

from __future__ import annotations

import pytest

from fabric.wire.control import READY, STOP, Ready, parse_ready, paused_by


def test_ours_announce_that_they_mark_all_ports():
    """And the coordinator ends a worker with one word."""
    assert READY == b'{"status":"ready","features":["mark_all_ports"]}'
    assert STOP == b'{"stop":true}'
    assert parse_ready(READY) == Ready("ready", ("mark_all_ports",))


@pytest.mark.parametrize(
    ("payload", "ready"),
    [
        (b'{"status":"ready"}', Ready("ready")),
        (b' {"status" : "ready", "version": [1, {}]}', Ready("ready")),
        (b'{"status":"ready","features":["a","b"],"incarnation":3}', Ready("ready", ("a", "b"), 3)),
    ],
)
def test_an_announcement_may_say_more(payload: bytes, ready: Ready):
    """Unknown fields are ignored."""
    assert parse_ready(payload) == ready


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"ready",
        b'"ready"',
        b"{}",
        b'{"status":"starting"}',
        b'{"status":true}',
        b'{"status":"ready","features":"all"}',
        b'{"kind":"pause_ack"}',
        b"\xff",
        b'{"status":"ready","x":' + b"[" * 100_000,
    ],
    ids=range(10),
)
def test_anything_else_is_none(payload: bytes):
    """Whatever it is, it does not raise."""
    assert parse_ready(payload) is None


@pytest.mark.parametrize(
    ("payload", "paused"),
    [
        (b'{"kind":"pause_ack"}', True),
        (b'{"kind":"resume_ack"}', False),
        (b'{"kind":"memory","messages":[]}', None),
        (b'{"kind":1}', None),
        (b"[]", None),
        (b"[" * 100_000, None),
    ],
)
def test_replies_tell_whether_a_worker_is_paused(payload: bytes, paused: bool | None):
    """Those to other orders, and what is no reply, change nothing."""
    for before in (False, True):
        assert paused_by(payload, before=before) is (before if paused is None else paused)
