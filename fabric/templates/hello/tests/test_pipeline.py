"""The program, run as a whole."""

from pathlib import Path

import fabric

PROGRAM = Path(__file__).parents[1] / "hello.plumb"


def test_the_program_checks():
    """Without a warning."""
    assert fabric.check(PROGRAM).warnings == ()


def test_the_doctor_listens():
    """One answer to a message."""
    (answer,) = fabric.call_sync(PROGRAM, "I feel sad today")
    assert "sad" in answer.lower()
