"""Processes that were started here are found, wherever they are in the tree, and ended."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fabric.testing.leftovers import end, leftovers

pytestmark = pytest.mark.processes

PARENT = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE); "
    "print(child.pid, flush=True); input()"
)


def test_children_and_their_children_are_found_and_ended():
    """Those that were there before are not looked at."""
    before = [process.pid for process in leftovers()]
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        found = leftovers(before)
        assert {process.pid for process in found} == {parent.pid, grandchild}
        assert all("input()" in str(process) for process in found)
        assert leftovers([*before, parent.pid]) == []
        end(found)
    assert leftovers(before) == []
    assert parent.returncode == -9
