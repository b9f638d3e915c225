"""The gate by itself, and the program as a whole."""

import sys
from pathlib import Path

import fabric

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))

from gate import judge  # noqa: E402


def test_the_gate_says_why_it_refuses():
    """The writer is told."""
    verdict = judge({"topic": "rain", "round": 1, "line": "much too long for a line"})
    assert (verdict["pass"], verdict["remark"]) == (False, "6 words are too many: 4 at most")


def test_what_is_published_is_short():
    """After as many rounds as it takes."""
    (line,) = fabric.call_sync(PROJECT / "review.plumb", "rain")
    assert len(line.split()) <= 4
