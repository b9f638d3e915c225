"""No worker outlives its coordinator. Real processes; each wait is for the end of a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.processes

CHILD = """
import os, signal, subprocess, sys
from fabric.transport.liveness import die_with_parent
die_with_parent(int(sys.argv[1]))
print("child", os.getpid(), flush=True)
{busy}
"""

PARENT = """
import os, subprocess, sys
reader, writer = os.pipe()
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1], str(reader)], pass_fds=[reader], start_new_session=True
)
os.close(reader)
sys.stdin.read()
"""


@pytest.fixture
def parent(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that started a child and waits; both hold our pipe open."""
    child = CHILD.format(busy=request.param)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    "parent", ["subprocess.run(['sleep', '3600'], close_fds=False)"], ids=["waits for its own child"], indirect=True
)
def test_what_the_child_has_started_dies_too(parent: subprocess.Popen[bytes]):
    """It leads a process group."""
    assert parent.stdout is not None
    assert parent.stdout.readline().startswith(b"child")
    parent.kill()
    assert parent.stdout.read() == b""


@pytest.mark.parametrize(
    "parent",
    ["signal.pause()", "while True: pass", "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"],
    ids=["waits", "is busy", "ignores signals"],
    indirect=True,
)
def test_a_child_dies_when_its_parent_is_killed(parent: subprocess.Popen[bytes]):
    """Whatever it does: the end of stdout tells that nobody holds it any more."""
    assert parent.stdout is not None
    word, pid = parent.stdout.readline().split()
    assert word == b"child"
    os.kill(int(pid), 0)  # it lives
    parent.kill()
    assert parent.stdout.read() == b""
