"""What an engine sends of a container's output becomes lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import EngineFailed
from fabric.launch.log_stream import LogStream
from fabric.launch.stderr import STDERR_LINE_BYTES_MAX

OUT, ERR = 1, 2


def piece(stream: int, data: bytes) -> bytes:
    """Return a piece with its header."""
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def lines_of(*chunks: bytes) -> list[str]:
    stream = LogStream()
    lines = [line for chunk in chunks for line in stream.feed(chunk)]
    return lines + stream.end()


def test_pieces_become_lines() -> None:
    """A piece may have several lines, or a part of one; the last need not be ended."""
    sent = piece(OUT, b"one\ntw") + piece(OUT, b"o\n\nthree") + piece(OUT, b"")
    assert lines_of(sent) == ["one", "two", "", "three"]


def test_lines_of_stdout_and_stderr_do_not_mix() -> None:
    """A piece of the one in the middle of a line of the other does not end up in it."""
    sent = piece(OUT, b"half of") + piece(ERR, b"warning\n") + piece(OUT, b" a line\n")
    assert lines_of(sent) == ["warning", "half of a line"]


TEXTS = st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.binary(max_size=30)), max_size=8)


@given(TEXTS, st.data())
def test_it_does_not_matter_where_the_bytes_are_cut(pieces: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """Whatever part comes at a time, also of a header, the lines are the same."""
    sent = b"".join(piece(stream, content) for stream, content in pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    chunks = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert lines_of(*chunks) == lines_of(sent)


def test_a_line_without_an_end_fills_no_memory() -> None:
    """What is longer of a line than a worker may write is left out; the next line is whole."""
    stream = LogStream()
    for _ in range(3):
        assert stream.feed(piece(OUT, b"x" * STDERR_LINE_BYTES_MAX)) == []
    assert stream.feed(piece(OUT, b"y\nnext\n")) == ["x" * STDERR_LINE_BYTES_MAX, "next"]


def test_what_is_no_such_stream_is_said() -> None:
    """A terminal's output has no headers; it is not taken for one."""
    with pytest.raises(EngineFailed, match="expected the header of a piece of a container's output, got 68656c6c6f"):
        LogStream().feed(b"hello, world\n")
