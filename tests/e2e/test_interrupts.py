"""Ctrl-C while messages are under way: the first finishes them, the second does not. And workers that do not end."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from services import program, start, wait_for, wait_until
from three_ways import FABRIC, environment, input_lines, read_lines

pytestmark = pytest.mark.processes

WAITS = """
import os, time

def late(value):
    open("begun", "a").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
    return value
"""
GRACE_S = 2.0


@pytest.fixture
def waiting(tmp_path: Path):
    """A run that has taken ten messages and answered none, in a folder where ``go`` lets it answer."""
    (tmp_path / "waits.py").write_text(WAITS)
    path = tmp_path / "program.plumb"
    path.write_text('let main : !int -> !int = python { call: "waits:late" }\n')
    process = run(path)
    assert process.stdin is not None
    process.stdin.write(input_lines([*range(10)]))  # they are read, and submitted, together
    process.stdin.flush()
    wait_for(tmp_path / "begun")
    yield process
    process.kill()
    process.communicate()


def run(path: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*FABRIC, "run", "--log-level", "info", *flags, path],
        cwd=path.parent,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def errors(stderr: bytes) -> list[dict[str, Any]]:
    return [entry for line in stderr.splitlines() if "event" not in (entry := json.loads(line))]


def test_the_first_ctrl_c_delivers_what_is_under_way(waiting: subprocess.Popen[bytes], tmp_path: Path):
    """All ten, although its input has not ended: exit code 0."""
    waiting.send_signal(signal.SIGINT)
    (tmp_path / "go").touch()
    assert waiting.stdout is not None
    assert waiting.stderr is not None
    outputs, stderr = waiting.stdout.read(), waiting.stderr.read()
    assert waiting.wait(60) == 0
    assert (read_lines(outputs), errors(stderr)) == ([*range(10)], [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_does_not_wait(number: int, code: int, waiting: subprocess.Popen[bytes]):
    """What was under way is lost, and counted."""
    while waiting.poll() is None:  # two that come before the first is taken notice of are one
        waiting.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            waiting.wait(2.0)
    assert waiting.stderr is not None
    assert waiting.returncode == code
    assert errors(waiting.stderr.read())[-1] == {"lost": 10, "dead_lettered": 0, "unpaired": 0}


def test_ctrl_c_of_a_service_delivers_what_its_clients_wait_for(project: Path):
    """Ten messages under way: their sender gets ten answers, and both exit with 0."""
    path = program(project, "late_end")
    service = start(project, "up", "--log-format", "json", str(path))
    assert service.stderr is not None
    while json.loads(service.stderr.readline()).get("event") != "fabric.ready":
        pass
    client = start(project, "send", *map(str, range(10)))
    wait_until(project, lambda row: row["inputs"] == {"i": 10})
    service.send_signal(signal.SIGINT)
    wait_until(project, lambda row: row["state"] == "draining")
    (project / "go").touch()
    outputs, _ = client.communicate(timeout=60)
    assert (client.returncode, read_lines(outputs)) == (0, [*range(10)])
    service.communicate(timeout=60)
    assert service.returncode == 0


DEAF = {
    "to the end of its input": ["sh", "-c", "cat; exec sleep 1000"],
    "to SIGTERM as well": ["sh", "-c", "trap '' TERM; cat; sleep 1000"],
}


@pytest.mark.parametrize("to", DEAF)
def test_a_worker_that_does_not_end_is_ended_within_twice_the_grace(to: str, tmp_path: Path):
    """First it is asked, then it is killed; exit code 5, and it is said that something may be missing."""
    path = tmp_path / "program.plumb"
    path.write_text(f'let main : !int -> !int = worker {{ command: {json.dumps(DEAF[to])}, transport: "stdio" }}\n')
    process = run(path, "--timeout", f"{GRACE_S:g}")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(b"1\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"1\n"
    process.stdin.close()
    # Less than three times: the second silence has not to be waited for twice.
    assert process.wait(3 * GRACE_S) == 5
    (error,) = errors(process.stderr.read())
    process.stdout.close()
    process.stderr.close()
    silent = f"gave no sign of life for {GRACE_S:g} s after it was asked to end, and was ended"
    assert error == {
        "error": f"worker 'main' {silent}; what it had not sent is missing",
        "code": "worker_killed",
    }
