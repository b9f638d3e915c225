"""The framing of server-sent events."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumb_agent.providers.sse import EventTooLarge, SseDecoder


def events(*pieces: bytes, size: int = 1000) -> list[tuple[str, str]]:
    decoder = SseDecoder(size)
    return [event for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"data: a\n\n", [("message", "a")]),
        (b"event: x\ndata: a\ndata:b\ndata\ndata:  c\n\n", [("x", "a\nb\n\n c")]),
        (b"event: x\n\ndata: a\n\n", [("message", "a")]),
        (b": comment\nid: 3\nretry: 4\nother\ndata: a\n\n", [("message", "a")]),
        (b"data: a\n\n\n\ndata: b\n\n", [("message", "a"), ("message", "b")]),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", "a")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [("message", "a")]),
        (b"data: \xc3\xa9\xff\n\n", [("message", "é\ufffd")]),
        ("data: a\u2028b\x0bc\n\n".encode(), [("message", "a\u2028b\x0bc")]),
    ],
)
def test_a_stream_is_read_as_the_format_says(data, expected):
    """Fields, comments, a byte order mark at the beginning, and nothing that is not ended."""
    assert events(data) == expected


TEXT = "\ufeffevent: x\ndata: é1\ndata: 2\n\n: c\ndata: 3\n\nevent: y\ndata: 4\n\n"


@given(st.sampled_from(["\n", "\r\n", "\r"]), st.sets(st.integers(1, 60)))
def test_no_cut_changes_what_is_read(newline, places):
    """Also between CR and LF, in a character, and in the byte order mark."""
    data = TEXT.replace("\n", newline).encode()
    at = [0, *sorted(place for place in places if place < len(data)), len(data)]
    pieces = [data[start:end] for start, end in pairwise(at)]
    assert events(*pieces) == [("x", "é1\n2"), ("message", "3"), ("y", "4")]


def test_an_event_has_a_bound_and_a_stream_has_none():
    """What is not kept does not count."""
    assert len(events(b"data: 123\n\n" * 100, size=12)) == 100
    assert events(b": 12345\n" * 100 + b"data: 1\n\n", size=12) == [("message", "1")]
    for pieces in ([b"data: 1234567"], [b"data: 1\n", b"data: 2\n"], [b"data", b": 123456789"]):
        with pytest.raises(EventTooLarge, match="more than 12 bytes"):
            events(*pieces, size=12)
