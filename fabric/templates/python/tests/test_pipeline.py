"""The functions by themselves, and the program as a whole. ``fabric_run`` comes with the fabric."""

import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))

from program import build  # noqa: E402
from words import split  # noqa: E402


def test_a_sentence_is_split():
    """A worker is a function: it can be called."""
    assert list(split("The rain")) == ["the", "rain"]


def test_what_comes_again_is_counted(fabric_run):
    """The two of them, wired, in processes of their own, of which none is left."""
    assert fabric_run(PROJECT / "words.plumb", "the rain and the sun") == [{"word": "the", "seen": 2}]


def test_the_program_in_python_does_the_same(fabric_run):
    """It is the same program."""
    assert fabric_run(build().source, "the rain and the sun") == [{"word": "the", "seen": 2}]
