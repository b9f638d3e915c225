"""Sessions written down: each answers today what stands in its file, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest
from transcripts import TRANSCRIPTS, replayed


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_session_answers_as_written(path: Path):
    """Who changes that on purpose runs ``python tests/support/transcripts.py``, and reads the difference."""
    text = path.read_text(encoding="utf-8")
    assert replayed(text) == text


def test_the_transcripts_are_there():
    """An empty folder would pass, too."""
    assert len(TRANSCRIPTS) >= 10
