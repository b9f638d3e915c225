"""The program, run as a whole. ``fabric_run`` comes with the fabric; no process may be left behind it."""

from pathlib import Path

import fabric

PROGRAM = Path(__file__).parents[1] / "hello.plumb"


def test_the_program_checks():
    """Without a warning."""
    assert fabric.check(PROGRAM).warnings == ()


def test_the_doctor_listens(fabric_run):
    """One answer to a message."""
    assert fabric_run(PROGRAM, "I feel sad today") == ["TELL ME MORE ABOUT SUCH FEELINGS"]
