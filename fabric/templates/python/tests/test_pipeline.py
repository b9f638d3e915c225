"""The functions by themselves, and the program as a whole."""

import sys
from pathlib import Path

import fabric

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))

from words import split  # noqa: E402


def test_a_sentence_is_split():
    """A worker is a function: it can be called."""
    assert list(split("The rain")) == ["the", "rain"]


def test_what_comes_again_is_counted():
    """The two of them, wired, in processes of their own."""
    counts = fabric.call_sync(PROJECT / "words.plumb", "the rain and the sun")
    assert counts == [{"word": "the", "seen": 2}]
