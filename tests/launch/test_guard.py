"""The guard. Real processes; each wait is for the end of a pipe or of a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from fabric.launch import guard

pytestmark = pytest.mark.processes

GROUP = "sh -c 'echo started; exec sleep 3600' & wait"
"""A shell, and a program that it started: a group of two."""


@pytest.fixture
def start() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a group of processes, and see that it runs."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sh", "-c", GROUP], stdout=subprocess.PIPE, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_it_kills_the_groups_that_are_left_and_not_the_forgotten(start: Callable[[], subprocess.Popen[bytes]]):
    """At the end of its input; a group that has ended by itself is nothing."""
    left, forgotten, ended = start(), start(), start()
    os.killpg(ended.pid, signal.SIGKILL)
    ended.wait()
    told = f"+{left.pid}\n+{forgotten.pid}\n+{ended.pid}\n-{forgotten.pid}\n"
    done = subprocess.run([sys.executable, "-I", guard.__file__], input=told.encode(), capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert left.wait() == -signal.SIGKILL
    assert left.stdout is not None
    assert left.stdout.read() == b""  # its child is gone, too
    assert forgotten.poll() is None


def test_it_waits_as_long_as_its_input_is_open(start: Callable[[], subprocess.Popen[bytes]]):
    """And dies of nothing but that: Ctrl-C does not reach it, for it has a session of its own."""
    group = start()
    with subprocess.Popen([sys.executable, "-I", guard.__file__], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"+%d\n" % group.pid)
        process.stdin.flush()
        assert (process.poll(), group.poll()) == (None, None)
        process.stdin.close()
        assert process.wait() == 0
    assert group.wait() == -signal.SIGKILL
