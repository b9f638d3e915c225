"""The agent and its tools. ``fabric_run`` comes with the fabric."""

import shutil
from pathlib import Path

import pytest

import fabric

PROJECT = Path(__file__).parents[1]


def copy_of_project(folder: Path) -> Path:
    """Without what somebody has told it before."""
    return Path(shutil.copytree(PROJECT, folder / "copy", ignore=shutil.ignore_patterns(".*", "remembered.txt")))


def test_it_reads_and_counts(fabric_run):
    """By itself."""
    assert fabric_run(PROJECT / "tools.plumb", "when are you open?") == ["Monday to Friday from nine to five."]
    assert fabric_run(PROJECT / "tools.plumb", "count one two three") == ["3"]


def test_it_writes_what_somebody_approves(fabric_run, tmp_path):
    """In a copy, for it really does. Whoever approves is told what it wants to do."""
    copy = copy_of_project(tmp_path)
    asked = []

    def approve(call):
        asked.append(call)
        return True

    assert fabric_run(copy / "tools.plumb", "remember the door", approve=approve) == ["Noted."]
    assert (copy / "notes" / "remembered.txt").read_text() == "the door\n"
    assert len(asked) == 1


def test_without_an_approval_nothing_is_written(fabric_run, tmp_path):
    """The agent is told so, and so is whoever called."""
    copy = copy_of_project(tmp_path)
    with pytest.raises(fabric.PipelineError, match="was not approved"):
        fabric_run(copy / "tools.plumb", "remember the door")
    assert not (copy / "notes" / "remembered.txt").exists()
