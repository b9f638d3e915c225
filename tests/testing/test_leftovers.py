"""Processes that were started here are found, wherever they are in the tree, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    environment = os.environ | {"FABRIC_PARENT_FD": "0"}
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        found = leftovers(before)
        assert {process.pid for process in found} == {parent.pid, grandchild}
        assert all("input()" in str(process) for process in found)
        assert leftovers([*before, parent.pid]) == []
        end(found)
    assert leftovers(before) == []
    assert parent.returncode == -9


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="nobody can tell whose a process is")
def test_a_child_that_somebody_else_has_started_is_let_alone():
    """With all that it started, be it a worker: it may run programs of its own."""
    before = leftovers()
    environment = {name: value for name, value in os.environ.items() if name != "FABRIC_PARENT_FD"}
    inner = PARENT.replace("stdin=", "env={**os.environ, 'FABRIC_PARENT_FD': '0'}, stdin=").replace("sys;", "sys, os;")
    command = [sys.executable, "-c", inner]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, env=environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        assert leftovers() == before
        other.kill()
