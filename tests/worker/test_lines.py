"""A worker of the user's on stdin and stdout, as he tries it and as a fabric starts it with ``transport: "stdio"``."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes

SCRIPT = """
import sys
from dataclasses import dataclass
from fabric.worker import fail, log, serve, telemetry

@dataclass
class Order:
    id: int
    count: int = 1

def total(order: Order) -> dict:
    print("printed")
    return {"id": order.id, "total": order.count * 2}

def count(value: int):
    telemetry("counted", value=value)
    yield from range(value)

def even(value):
    return value if value % 2 == 0 else None

def gives_up(value):
    fail(f"not {value}")

class Sum:
    def __init__(self):
        self.sum = 0
    def __call__(self, value):
        self.sum += value
        return self.sum
    def close(self):
        log("closed", sum=self.sum)

def bad(a, b): ...

serve(globals()[sys.argv[1]])
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SCRIPT)
    return path


def by_hand(script: Path, name: str, text: str) -> tuple[int, list[Any], list[str]]:
    """Return status, what it printed, and the lines on stderr."""
    done = subprocess.run(
        [sys.executable, str(script), name], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.splitlines()


def test_a_line_is_a_message(script: Path):
    """Its argument is what the annotation says; what is printed does not come between the answers."""
    status, printed, errors = by_hand(script, "total", '{"id":1}\n\n{"id":2,"count":5}')
    assert (status, printed) == (0, [{"id": 1, "total": 2}, {"id": 2, "total": 10}])
    assert errors == ["printed", "printed"]


def test_by_hand_there_may_be_any_number_of_answers(script: Path):
    """And what it tells is in an envelope."""
    assert by_hand(script, "count", "2\n0\n1\n")[:2] == (
        0,
        [
            {"__port": "telemetry", "msg": {"kind": "counted", "value": 2}},
            0,
            1,
            {"__port": "telemetry", "msg": {"kind": "counted", "value": 0}},
            {"__port": "telemetry", "msg": {"kind": "counted", "value": 1}},
            0,
        ],
    )
    assert by_hand(script, "even", "1\n2\n3\n")[:2] == (0, [2])


def test_a_class_is_closed_at_the_end_of_stdin(script: Path):
    """One instance for all lines."""
    status, printed, errors = by_hand(script, "Sum", "1\n2\n3")
    assert (status, printed, [json.loads(line) for line in errors]) == (
        0,
        [1, 3, 6],
        [{"log": "info", "event": "closed", "sum": 6}],
    )


@pytest.mark.parametrize(
    ("name", "text", "status", "said"),
    [
        ("total", '{"id":"x"}', (1, "python_error"), 'mine.py:total was given: expected int, got string "x" at $.id'),
        ("total", "{", (1, "python_error"), "mine.py:total was given: expected JSON, got malformed text"),
        ("gives_up", "1", (1, "message_failed"), "not 1"),
        ("bad", "1", (2, "bad_config"), "mine.py:bad: it takes (a, b), and is called with one value"),
        (
            "even",
            '{"__port":"tool_resp","msg":1}',
            (1, "type_mismatch"),
            'expected a line on the port "data", "ctrl_in"',
        ),
    ],
)
def test_what_is_wrong_is_the_last_line_on_stderr(
    script: Path, name: str, text: str, status: tuple[int, str], said: str
):
    """As JSON; the status tells whether it was the message or the function's own declaration."""
    found, printed, errors = by_hand(script, name, text)
    last = json.loads(errors[-1])
    assert (found, last["code"], printed) == (*status, [])
    assert last["error"].removeprefix("worker 'worker': ").startswith(said)


def test_markers_are_echoed_behind_the_answers(script: Path):
    """As a fabric sends them with ``markers: true``."""
    marker = {"__port": "marker", "msg": "ack/f/1/1"}
    probe = {"__port": "marker", "msg": "probe"}
    lines = "\n".join(json.dumps(line) for line in (probe, {"__port": "data", "msg": 3}, marker))
    assert by_hand(script, "even", lines)[1] == [probe, marker]
    assert by_hand(script, "Sum", lines)[1] == [probe, 3, marker]


class Talking:
    """A worker to which lines are written one by one."""

    def __init__(self, script: Path, name: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, str(script), name], bufsize=0, **pipes)
        self._rest = b""

    def write(self, *values: Any) -> None:
        for value in values:
            self.process.stdin.write(json.dumps(value).encode() + b"\n")

    def read(self) -> Any:
        while b"\n" not in self._rest:
            assert select.select([self.process.stdout], [], [], 60)[0]
            self._rest += self.process.stdout.read(1000)
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)


def test_it_is_paused_resumed_and_stopped_by_lines(script: Path):
    """What comes while it is paused waits; a stop ends it with status 0 while stdin is open."""
    worker = Talking(script, "Sum")
    worker.write({"__port": "ctrl_in", "msg": {"pause": True}})
    assert worker.read() == {"__port": "ctrl_out", "msg": {"kind": "pause_ack"}}
    worker.write(1, 2, {"__port": "ctrl_in", "msg": {"resume": True}})
    assert worker.read() == {"__port": "ctrl_out", "msg": {"kind": "resume_ack"}}
    assert [worker.read(), worker.read()] == [1, 3]
    worker.write({"__port": "ctrl_in", "msg": {"stop": True}})
    assert worker.process.wait(timeout=60) == 0
    assert json.loads(worker.process.communicate()[1]) == {"log": "info", "event": "closed", "sum": 3}


def test_ctrl_c_ends_it_without_a_traceback(script: Path):
    """With the status that a shell expects."""
    worker = Talking(script, "Sum")
    worker.write(1)
    assert worker.read() == 1
    os.kill(worker.process.pid, signal.SIGINT)
    _, errors = worker.process.communicate(timeout=60)
    assert worker.process.returncode == 130
    assert errors == b""


def test_behind_it_stdout_is_the_programs_own_again(tmp_path: Path):
    """What was printed meanwhile went to stderr, all of it."""
    path = tmp_path / "mine.py"
    path.write_text(
        "from fabric.worker import serve\n"
        "def f(value):\n    print('within')\n    return value\n"
        "serve(f)\nprint('behind')\n"
    )
    done = subprocess.run([sys.executable, str(path)], input=b"1\n", capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"1\nbehind\n", b"within\n")
