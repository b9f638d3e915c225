"""Strangers on the sockets of a service: real processes, real sockets. What they take is not missing in the end."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
import zmq
from live_frames import examine, live
from services import FUNCTIONS, record_of, start, wait_until
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


# --- Floods, and who never reads ----------------------------------------------------------------------------------

HEAD = """
import os, struct, sys, zmq
context = zmq.Context()
def port(name, kind, open_):
    socket = context.socket(kind)
    getattr(socket, open_)(os.environ["PLUMB_ENDPOINT_" + name])
    return socket
data_in, ctrl_in = port("INPUT", zmq.PULL, "connect"), port("CTRL_IN", zmq.PULL, "connect")
data_out, ctrl_out = port("OUTPUT", zmq.PUSH, "bind"), port("CTRL_OUT", zmq.PUSH, "bind")
topic = struct.pack(">I", 5) + b"plain"
ctrl_out.send(topic + b'{"status":"ready"}')
data_out.send(topic + data_in.recv()[10:])
"""

FLOODS = f"""{HEAD}
for _ in range(30_000):
    data_out.send(topic + b"\\1" + b"x" * 8_000)
while payload := (frame := data_in.recv())[4 + frame[3]:]:
    data_out.send(topic + (payload[35 + 8 * payload[34]:] if payload[0] == 2 else payload))
data_out.send(topic)
while len(ctrl_in.recv()) > 10:
    pass
ctrl_out.send(topic)
context.destroy(linger=-1)
"""

NEVER_READS = f"{HEAD}\nwhile True: ctrl_in.recv()\n"

MEMORY_MAX_MIB = 150
"""Of a coordinator: 50 by itself. What is sent to it in these tests are 240 and 400."""

STUCK_S = 2.0
"""A pipe that nobody has read for so long is full. On a slow machine it may only seem so; that does no harm."""


def two_workers(folder: Path, script: str) -> Path:
    """Return a program with a hostile worker and a good one."""
    (folder / "hostile.py").write_text(script)
    path = folder / "two.plumb"
    path.write_text(
        f'let bad : !string -> !string = worker {{ command: ["{sys.executable}", "hostile.py"] }}\n'
        'let good : !int -> !int = worker { command: ["cat"] transport: "stdio" }\n'
        "let main : (!int, !string) -> (!int, !string) = plumb(i, j, o, p) { i ; good ; o\n j ; bad ; p }\n"
    )
    return path


def line(port: str, value: object) -> bytes:
    return json.dumps({"__port": port, "msg": value}).encode() + b"\n"


def peak_mib(process: subprocess.Popen[bytes]) -> float:
    """Return the most that a process that runs had in memory so far."""
    (size,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(size) / 1024


def test_a_flood_waits_with_the_one_who_sends_it(tmp_path: Path):
    """Each frame of it is refused and counted, the memory stays as it is, and both workers' answers come out."""
    lines = b"".join(line("i", n) + line("j", str(n)) for n in range(50))
    with start(tmp_path, "run", str(two_workers(tmp_path, FLOODS)), stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdin.write(lines)
        running.stdin.flush()
        answers = [json.loads(running.stdout.readline()) for _ in range(100)]
        peak = peak_mib(running)
        running.stdin.close()
        assert (running.wait(60), json.loads(running.stderr.read())["rejected"]) == (0, {"marker": 30_000})
    assert [answer["msg"] for answer in answers if answer["__port"] == "o"] == [*range(50)]
    assert [answer["msg"] for answer in answers if answer["__port"] == "p"] == [str(n) for n in range(50)]
    assert peak < MEMORY_MAX_MIB


def test_what_is_for_a_worker_that_never_reads_stays_outside(tmp_path: Path):
    """Its window and a queue, then no more input is taken. It is ended when it should end."""
    program = two_workers(tmp_path, NEVER_READS)
    message = line("j", "x" * 20_000)
    with start(tmp_path, "run", "--timeout", "0.5", str(program), stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdin.write(line("i", 1))
        running.stdin.flush()
        assert running.stdout.readline() == line("o", 1).replace(b" ", b"")  # both are ready
        os.set_blocking(running.stdin.fileno(), False)
        left = memoryview(message * 20_000)
        while left and select.select([], [running.stdin], [], STUCK_S)[1]:
            left = left[os.write(running.stdin.fileno(), left[:65_536]) :]
        assert len(left) > len(message) * 15_000
        assert peak_mib(running) < MEMORY_MAX_MIB
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 5
        told = [json.loads(text) for text in running.stderr.read().splitlines()]
    assert (told[0]["code"], "'bad' gave no sign of life" in told[0]["error"]) == ("worker_killed", True)
    assert told[1]["lost"] > 0
