"""Offsets to lines and columns and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.lsp.positions import UNITS, Lines, difference, edit

TEXTS = st.text(st.sampled_from("ab\r\n\x0c\u2028é😀"), max_size=30)
ENCODINGS = st.sampled_from(sorted(UNITS))


def encoded_length(text, encoding):
    return (
        len(text.encode(f"{encoding}-le" if encoding != "utf-8" else encoding))
        // {"8": 1, "6": 2, "2": 4}[encoding[-1]]
    )


@pytest.mark.parametrize(("encoding", "column"), [("utf-8", 7), ("utf-16", 5), ("utf-32", 4)])
def test_columns_are_counted_in_units(encoding, column):
    """The example of the protocol's own text."""
    assert Lines('x="😋"', encoding).position(4) == (0, column)
    assert Lines('x="😋"', encoding).offset(0, column) == 4


def test_only_line_ends_end_lines():
    """A form feed and a line separator are characters like others."""
    lines = Lines("a\x0cb\u2028c\r\nd\re\nf")
    assert [lines.position(offset) for offset in (4, 7, 9, 11)] == [(0, 4), (1, 0), (2, 0), (3, 0)]
    assert lines.offset(1, 0) == 7


def test_what_is_too_far_is_the_end():
    """Of the line, or of the text; and half a character is the whole one before it."""
    lines = Lines("😀b\r\nc")
    assert lines.offset(0, 99) == 2
    assert lines.offset(9, 0) == 5
    assert lines.offset(0, 1) == 0


@given(TEXTS, ENCODINGS, st.data())
def test_a_position_is_that_of_its_offset(text, encoding, data):
    """There and back, but for the middle of a line end, which is the end of its line."""
    offset = data.draw(st.integers(0, len(text)))
    lines = Lines(text, encoding)
    line, column = lines.position(offset)
    in_line_end = text[offset - 1 : offset + 1] == "\r\n"
    assert lines.offset(line, column) == offset - in_line_end
    start = lines.offset(line, 0)
    assert column == encoded_length(text[start : offset - in_line_end], encoding)


@given(TEXTS, TEXTS, ENCODINGS)
def test_the_difference_makes_one_text_of_another(old, new, encoding):
    """Also when it is told in lines and columns."""
    start, end, piece = difference(old, new)
    assert old[:start] + piece + old[end:] == new
    lines = Lines(old, encoding)
    if "\r" not in old:
        assert edit(old, lines.position(start), lines.position(end), piece, encoding) == new


def test_an_edit_with_its_ends_exchanged_removes_nothing():
    """A client that sends it is wrong, and no reason to end."""
    assert edit("abc", (0, 2), (0, 1), "x") == "abxc"
