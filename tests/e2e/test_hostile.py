"""Strangers on the sockets of a service: real processes, real sockets. What they take is not missing in the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
import zmq
from live_frames import examine, live
from services import FUNCTIONS, record_of, wait_until
from three_ways import fabric, input_lines, read_lines

pytestmark = pytest.mark.processes

Connect: TypeAlias = "Callable[[Path], zmq.Socket[bytes]]"

VALUES = [*range(300)]


@pytest.fixture
def stranger() -> Iterator[Connect]:
    """Connect a reader to a socket's file."""
    with zmq.Context() as context, ExitStack() as stack:

        def connect(path: Path) -> zmq.Socket[bytes]:
            socket = stack.enter_context(context.socket(zmq.PULL))
            socket.connect(f"ipc://{path}")
            return socket

        yield connect


def up(folder: Path, worker: str, type_: str) -> Path:
    """Start a service of one worker; return the directory of its sockets."""
    (folder / "functions.py").write_text(FUNCTIONS)
    (folder / "demo.plumb").write_text(
        f"let work : !{type_} -> !{type_} = {worker}\n"
        f"let main : !{type_} -> !{type_} = plumb(i, o) {{ i ; work ; o }}\n"
    )
    done = fabric("up", "-d", folder / "demo.plumb", cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return Path(record_of(folder / ".fabric" / "run" / "demo.json")["socket"]).parent


def logged(folder: Path) -> str:
    return "".join(file.read_text() for file in (folder / ".fabric" / "logs").rglob("*") if file.is_file())


PYTHON = 'python { call: "functions:quiet" }'
AGENT = 'agent { provider: "eliza" amnesiac: true }'


@pytest.mark.parametrize(
    ("worker", "port", "said"),
    [
        (PYTHON, "input", "a stranger connected to its data_in, and may have taken messages"),
        (PYTHON, "output", "a stranger connected to data_out, and may have taken some of what was sent there"),
        (PYTHON, "ctrl_out", "a stranger connected to ctrl_out, and may have taken some of what was sent there"),
        (AGENT, "ctrl_in", "a stranger connected to its ctrl_in, and may have taken messages"),
    ],
)
def test_a_stranger_on_a_socket_is_noticed_and_named_and_nothing_is_lost(
    worker: str, port: str, said: str, project: Path, stranger: Connect
):
    """The process that he steals from is ended; its messages go to the next, on other sockets. Exit code 0."""
    type_ = "int" if worker == PYTHON else "string"
    sockets = up(project, worker, type_)
    stranger(sockets / f"0.{port}")
    values = VALUES if type_ == "int" else [f"message {value}" for value in VALUES]
    done = fabric("send", stdin=input_lines(values), cwd=project)
    assert (done.returncode, done.stderr) == (0, b"")
    answers = read_lines(done.stdout)
    assert len(answers) == len(VALUES)
    if type_ == "int":
        assert answers == VALUES
    row = wait_until(project, lambda row: row["workers"][0]["restarts"] == 1)
    assert row["workers"][0]["rejected"] == {}
    down = fabric("down", cwd=project)
    assert (down.returncode, down.stderr.decode().count("lost")) == (0, 0)
    assert said in logged(project)


def test_damaged_frames_between_answers_are_counted_and_harm_nobody_else(tmp_path: Path):
    """Ten thousand on three sockets and, as lines, on a stdout; tests/fuzz/frames.py --live does it for longer."""
    examine(live(tmp_path, frames=5_000, seed=2))


def test_frames_that_are_refused_are_shown_while_the_service_runs(project: Path):
    """By worker and reason; and again at its end. An answer that nobody asked for counts as lost."""
    (project / "talks.py").write_text(
        "import sys\nfor line in sys.stdin:\n    print(line.strip(), flush=True)\n    print('0', flush=True)\n"
    )
    up(project, f'worker {{ command: ["{sys.executable}", "talks.py"] transport: "stdio" }}', "int")
    assert fabric("send", "7", cwd=project).stdout == b"7\n"
    row = wait_until(project, lambda row: row["workers"][0]["rejected"])
    assert row["workers"][0]["rejected"] == {"unasked": 1}
    down = fabric("down", cwd=project)
    assert down.returncode == 5
    losses = [json.loads(line) for line in down.stderr.decode().splitlines() if line.startswith('{"lost"')]
    assert losses == [{"lost": 1, "dead_lettered": 0, "unpaired": 0, "rejected": {"unasked": 1}}]
