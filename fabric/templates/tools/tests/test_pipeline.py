"""The agent and its tools."""

import shutil
from pathlib import Path

import fabric

PROJECT = Path(__file__).parents[1]


def test_it_reads_and_counts():
    """By itself."""
    assert fabric.call_sync(PROJECT / "tools.plumb", "when are you open?") == ["Monday to Friday from nine to five."]
    assert fabric.call_sync(PROJECT / "tools.plumb", "count one two three") == ["3"]


def test_it_writes_what_somebody_approves(tmp_path: Path):
    """In a copy, for it really does."""
    program = Path(shutil.copytree(PROJECT, tmp_path / "copy")) / "tools.plumb"
    fabric.call_sync(program, "remember the door", auto_approve=True)
    assert (tmp_path / "copy" / "notes" / "remembered.txt").read_text() == "the door\n"
