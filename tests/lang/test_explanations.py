"""Every code of the checker is explained, and what the explanations show is so."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import Chunk

from fabric import lang
from fabric.lang.check import check_source
from fabric.lang.diagnostic import CODES, render_all
from fabric.lang.explanation import codes_meant, parse_explanation

FOLDER = Path(lang.__file__).parent / "explanations"


def explained(code):
    return parse_explanation(code, (FOLDER / f"{code}.md").read_text(encoding="utf-8"))


def check(text):
    chunk = Chunk(text, "main.plumb")
    return check_source(chunk.source, chunk)[1]


def test_every_code_has_a_file_and_every_file_a_code():
    """Nothing is left unexplained, nothing is left over."""
    assert {path.stem for path in FOLDER.iterdir()} == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_program_that_fails_shows_the_code_and_no_other(code):
    """So that a reader is not sent after something else."""
    diagnostics = check(explained(code).fails)
    assert {diagnostic.code for diagnostic in diagnostics} == {code}, render_all(diagnostics)


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_program_that_passes_has_no_diagnostics(code):
    """Not a warning either."""
    diagnostics = check(explained(code).passes)
    assert not diagnostics, render_all(diagnostics)


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_explanation_is_a_few_sentences(code):
    """A title of one line, and text before, between or behind the programs."""
    explanation = explained(code)
    assert 10 <= len(explanation.title) <= 80
    assert not explanation.title.endswith(".")
    assert len(explanation.text.replace(explanation.fails, "").replace(explanation.passes, "").split()) >= 12


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("E0412", ["E0412"]),
        ("e412", ["E0412"]),
        ("412", ["E0412"]),
        ("[E0412]", ["E0412"]),
        ("w610", ["W0610"]),
        ("0610", ["W0610"]),
        ("type_mismatch", ["E0412"]),
        ("Unknown-Module", ["E0204", "E0207"]),
        ("E0999", []),
        ("e12", []),
        ("nonsense", []),
    ],
)
def test_a_code_may_be_written_sloppily(name, codes):
    """Case and the zero do not matter; a slug means all its codes."""
    assert codes_meant(name) == codes


@pytest.mark.parametrize("text", ["", "no heading", "# heading\n", "# heading\n```plumb\n```\n```plumb error\n```\n"])
def test_a_file_of_another_form_is_refused(text):
    """With what was expected."""
    with pytest.raises(ValueError, match="E0412: expected a heading"):
        parse_explanation("E0412", text)
