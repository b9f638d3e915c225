"""JSON-RPC messages as lines."""

from __future__ import annotations

from itertools import pairwise

import mcp_types as types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.mcp_server.lines import MESSAGE_BYTES_MAX, MessageLines, read_message


def cut(chunks: list[bytes], size_bytes_max: int) -> list[bytes | None]:
    lines = MessageLines(size_bytes_max)
    return [line for chunk in chunks for line in lines.feed(chunk)]


@given(st.binary(max_size=60), st.lists(st.integers(0, 60)), st.integers(0, 8))
def test_lines_are_the_same_however_they_come(data: bytes, places: list[int], size_bytes_max: int):
    """Those that are too long are left out, and nothing else."""
    ends = sorted({0, len(data), *(min(place, len(data)) for place in places)})
    chunks = [data[start:end] for start, end in pairwise(ends)]
    whole = data.split(b"\n")[:-1]
    assert cut(chunks, size_bytes_max) == [line if len(line) <= size_bytes_max else None for line in whole]


def test_of_a_line_without_an_end_nothing_is_kept_beyond_the_limit():
    """However much of it comes."""
    lines = MessageLines(10)
    for _ in range(1000):
        assert list(lines.feed(b"x" * 7)) == []
        assert len(lines._rest) <= 10
    assert list(lines.feed(b"\nok\n")) == [None, b"ok"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"garbage", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100_000, -32700),
        (b"1", -32600),
        (b"[]", -32600),
        (b"{}", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
        (None, -32600),
    ],
)
def test_what_is_no_message_is_answered_with_an_error(line: bytes | None, code: int):
    """Without an id: whose it was cannot be told."""
    error = read_message(line)
    assert isinstance(error, types.JSONRPCError)
    assert (error.id, error.error.code) == (None, code)
    assert len(error.error.message) < 200


def test_the_limit_is_told():
    """In bytes."""
    error = read_message(None)
    assert isinstance(error, types.JSONRPCError)
    assert str(MESSAGE_BYTES_MAX) in error.error.message


def test_a_message_is_read_and_a_blank_line_is_none():
    """Blank lines are no mistake."""
    message = read_message(b' {"jsonrpc":"2.0","id":"a","method":"ping"}\r')
    assert isinstance(message, types.JSONRPCRequest)
    assert (message.id, message.method) == ("a", "ping")
    assert [read_message(line) for line in (b"", b" ", b"\r")] == [None, None, None]
