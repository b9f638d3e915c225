"""What of a kept session's output somebody has got already."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fabric.runtime.emission import Due, Sink, due_of, reading, sink_of
from fabric.session.history import Emitted

LINES = [b"1\n", b"22\n", b"", b"4444\n", b"22\n", b"6\n"]


def due(told: list[Emitted], sink: Sink, *, held: bytes | None = None) -> Due:
    def has(at_bytes: int, wanted: bytes) -> bool:
        return held is None or held[at_bytes : at_bytes + len(wanted)] == wanted

    return due_of(told, sink, LINES.__getitem__, len(LINES), has)


def test_a_session_that_was_never_run_owes_everything():
    """And says first how long the file was."""
    assert due([], Sink("1:2", 7)) == Due(0, 0, Emitted(0, 7, "1:2"))


def test_a_pipe_gets_what_came_out_behind_what_was_written_down():
    """Some of it may have been read already: nobody can tell."""
    assert due([Emitted(1), Emitted(4)], Sink()) == Due(4, 0, Emitted(4))


def test_a_file_gets_the_rest_of_a_line():
    """Its length says how much of it is there."""
    assert due([Emitted(0, 7, "1:2")], Sink("1:2", 7 + 4)) == Due(1, 2, Emitted(1, 9, "1:2"))


def test_a_file_that_was_emptied_gets_what_it_got_before():
    """As `>` of a shell does it."""
    told = [Emitted(1, 0, "1:2"), Emitted(4, 8, "1:2")]
    assert due(told, Sink("1:2", 0)) == Due(1, 0, Emitted(1, 0, "1:2"))


def test_another_file_goes_on_where_the_last_one_was():
    """What that one had got as far as it was written down."""
    assert due([Emitted(2, 50, "1:2")], Sink("3:4", 9)) == Due(2, 0, Emitted(2, 9, "3:4"))


def test_a_file_in_which_something_else_stands_is_another_one():
    """Its number may have been given away again."""
    assert due([Emitted(1, 0, "1:2")], Sink("1:2", 3), held=b"no\n") == Due(1, 0, Emitted(1, 3, "1:2"))


def test_a_file_to_which_somebody_else_added_is_another_one():
    """There is more in it than came out."""
    assert due([Emitted(5, 0, "1:2")], Sink("1:2", 30)) == Due(5, 0, Emitted(5, 30, "1:2"))


def test_a_regular_file_is_known_by_its_length_and_number(tmp_path: Path):
    """And writing goes on at its end, also if it was not opened for that."""
    path = tmp_path / "out"
    path.write_bytes(b"abc")
    descriptor = os.open(path, os.O_WRONLY)
    try:
        sink = sink_of(descriptor)
        with reading(descriptor) as has:
            assert (has(1, b"bc"), has(1, b"xc"), has(2, b"cd")) == (True, False, False)
        os.write(descriptor, b"d")
    finally:
        os.close(descriptor)
    assert (sink.size_bytes, sink.file, path.read_bytes()) == (3, sink_file(path), b"abcd")


def sink_file(path: Path) -> str:
    status = path.stat()
    return f"{status.st_dev:x}:{status.st_ino}"


def test_a_pipe_is_no_file():
    """Its length says nothing."""
    reader, writer = os.pipe()
    assert sink_of(writer) == Sink()
    os.close(reader)
    os.close(writer)


Kill = st.tuples(st.integers(0, 6), st.integers(0, 12), st.booleans(), st.booleans())
"""How many outputs have come out by then, how many bytes of what is due are written, whether that is written down, and
whether the file is emptied behind it."""


@given(st.lists(st.binary(max_size=4).map(lambda text: text.replace(b"\n", b"") + b"\n"), max_size=6), st.lists(Kill))
def test_whatever_is_killed_when_a_file_has_every_line_once(
    lines: list[bytes], kills: list[tuple[int, int, bool, bool]]
):
    """Also if it is emptied now and then: it has all of them in the end."""
    held, told, out = b"", [], 0

    def has(at_bytes: int, text: bytes) -> bool:
        return held[at_bytes:][: len(text)] == text

    for more, written, noted, emptied in [*kills, (6, 1 << 20, False, False)]:
        found = due_of(told, Sink("1:2", len(held)), lines.__getitem__, out, has)
        told.append(found.place)
        out = min(out + more, len(lines))
        owed = b"".join(lines[found.first : out])[found.written_bytes :]
        held += owed[:written]
        if noted and written >= len(owed):
            told.append(Emitted(out, len(held), "1:2"))
        if emptied:
            held = b""
    found = due_of(told, Sink("1:2", len(held)), lines.__getitem__, out, has)
    assert held + b"".join(lines[found.first :])[found.written_bytes :] == b"".join(lines)
