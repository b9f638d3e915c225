"""Whole programs and the diagnostics that they expect; see tests/programs/README.md."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from fabric.lang.check import check_source
from fabric.lang.diagnostic import CODES, render_all
from fabric.lang.source import Source

PROGRAMS = Path(__file__).parent.parent / "programs"
MARK = re.compile(r"\(\*! ([EW]\d{4}) ?(.*?) ?\*\)")


def chunks():
    for path in sorted(PROGRAMS.glob("*.plumb")):
        line = 1
        for text in re.split(r"(?m)^---\n", path.read_text(encoding="utf-8")):
            yield pytest.param(Source(f"{path.name}+{line}", text.rstrip("\n")), id=f"{path.stem}:{line}")
            line += text.count("\n") + 1


CHUNKS = list(chunks())


@pytest.mark.parametrize("source", CHUNKS)
def test_a_program_has_exactly_the_marked_diagnostics(source):
    """Every diagnostic is marked on its line with its code and words of its message; every mark has its diagnostic."""
    marks = [
        (number, code, words)
        for number, line in enumerate(source.text.split("\n"), 1)
        for code, words in MARK.findall(line)
    ]
    module, diagnostics = check_source(source)
    unmarked = []
    for diagnostic in diagnostics:
        line = source.position(diagnostic.span.start)[0]
        fits = [m for m in marks if m[0] == line and m[1] == diagnostic.code and m[2] in diagnostic.message]
        if fits:
            marks.remove(fits[0])
        else:
            unmarked.append(diagnostic)
    assert not unmarked, render_all(unmarked)
    assert not marks
    assert (module is None) == any(d.severity == "error" for d in diagnostics)


def test_there_are_enough_programs():
    """Many distinct refusals and many accepted programs are written down."""
    texts = [chunk.values[0].text for chunk in CHUNKS]
    assert len({mark for text in texts for mark in MARK.findall(text)}) >= 150
    assert sum(not MARK.search(text) for text in texts) >= 45


def test_every_code_is_shown_by_a_program():
    """No code of the list is untested, but for the one that needs a program of 20,000 processes."""
    used = Counter(code for chunk in CHUNKS for code, _ in MARK.findall(chunk.values[0].text))
    assert CODES.keys() - used.keys() == {"E0507"}
