"""Whole programs and the diagnostics that they expect; see tests/programs/README.md."""

from __future__ import annotations

from collections import Counter

import pytest
from programs import chunks

from fabric.lang.check import check_source
from fabric.lang.diagnostic import CODES, render_all

CHUNKS = chunks()


@pytest.mark.parametrize("name", CHUNKS)
def test_a_program_has_exactly_the_marked_diagnostics(name):
    """Every diagnostic is marked on its line with its code and words of its message; every mark has its diagnostic."""
    chunk = CHUNKS[name]
    marks = chunk.marks()
    module, diagnostics = check_source(chunk.source, chunk)
    unmarked = []
    for diagnostic in diagnostics:
        place = diagnostic.source.path, diagnostic.source.position(diagnostic.span.start)[0]
        fits = [m for m in marks if m[:2] == place and m[2] == diagnostic.code and m[3] in diagnostic.message]
        if fits:
            marks.remove(fits[0])
        else:
            unmarked.append(diagnostic)
    assert not unmarked, render_all(unmarked)
    assert not marks
    assert (module is None) == any(d.severity == "error" for d in diagnostics)


def test_there_are_enough_programs():
    """Many distinct refusals and many accepted programs are written down."""
    marks = [chunk.marks() for chunk in CHUNKS.values()]
    assert len({mark[2:] for of_chunk in marks for mark in of_chunk}) >= 150
    assert sum(not of_chunk for of_chunk in marks) >= 60


def test_every_code_is_shown_by_a_program():
    """No code of the list is untested, but for the one that needs a program of 20,000 processes."""
    used = Counter(mark[2] for chunk in CHUNKS.values() for mark in chunk.marks())
    assert CODES.keys() - used.keys() == {"E0507"}
