"""The gate by itself, and the program as a whole. ``fabric_run`` comes with the fabric."""

import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))

from gate import WORDS_MAX, judge  # noqa: E402


def test_the_gate_says_why_it_refuses():
    """The writer is told."""
    verdict = judge({"topic": "rain", "round": 1, "line": "much too long for a line"})
    assert (verdict["pass"], verdict["remark"]) == (False, "6 words are too many: 4 at most")


def test_what_is_published_is_short(fabric_run):
    """After as many rounds as it takes."""
    (line,) = fabric_run(PROJECT / "review.plumb", "rain")
    assert len(line.split()) <= WORDS_MAX
