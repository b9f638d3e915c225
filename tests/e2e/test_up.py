"""``fabric up`` and ``fabric send`` as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from three_ways import FABRIC, environment, fabric, input_lines, read_lines, service

HELLO = Path(__file__).parents[2] / "compose" / "hello" / "main.plumb"
CONVERSATION = Path(__file__).parents[1] / "plumb_agent" / "providers" / "conversation_1966.jsonl"

pytestmark = pytest.mark.processes


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for sockets that only this test uses, so that leftovers show."""
    directory = tmp_path_factory.mktemp("rt")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory


def left(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if not path.is_dir()]


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")  # a child belongs to the thread that forked it
    return [int(child) for task in tasks for child in task.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def program(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "program.plumb"
    path.write_text(text)
    return path


def test_send_prints_what_run_prints(tmp_path: Path, runtime: Path):
    """The same two answers; one Ctrl-C ends it with 0, and neither process nor socket is left: a record, and logs."""
    with service(HELLO, tmp_path) as process:
        workers = children(process.pid)
        assert workers
        done = fabric("send", '"I feel sad today"', '"My mother hates me"', cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        assert read_lines(done.stdout) == ["TELL ME MORE ABOUT SUCH FEELINGS", "TELL ME MORE ABOUT YOUR FAMILY"]
    assert not any(map(alive, workers))
    assert left(runtime) == []
    assert sorted(str(path.relative_to(tmp_path / ".fabric")) for path in left(tmp_path)) == [
        "logs/hello/fabric.jsonl",
        "run/hello.json",
        "run/hello.lock",
    ]


def test_a_service_is_found_by_its_program_and_by_its_name(tmp_path: Path):
    """From its directory and those below; the port may be said."""
    path = program(tmp_path, "let main : !int -> !int = map(value + 1)\n")
    below = tmp_path / "below"
    below.mkdir()
    with service(path, tmp_path):
        for arguments in (["1"], [path, "1"], ["input", "1"], ["-p", "program", "1"], [path, "input", "1"]):
            done = fabric("send", *arguments, cwd=below)
            assert (done.returncode, done.stdout) == (0, b"2\n"), done.stderr
        assert fabric("send", "-p", "other", "1", cwd=tmp_path).returncode == 7
        wrong = fabric("send", "nowhere", "1", cwd=tmp_path)
        assert wrong.returncode == 1
        assert json.loads(wrong.stderr)["error"] == "there is no input 'nowhere'; the inputs are: input"


def test_a_refused_message_is_told_to_its_sender_alone(tmp_path: Path):
    """The service goes on; what was refused on its way counts as lost when it ends."""
    path = program(tmp_path, "let main : !int -> !int = map(10 / value) ; map(1)\n")
    with service(path, tmp_path, exit_code=5):
        bad = fabric("send", '"x"', "0", "2", cwd=tmp_path)
        assert bad.returncode == 1
        assert bad.stdout == b"1\n"
        told = [json.loads(line) for line in bad.stderr.splitlines()]
        assert [(line["code"], line["line"]) for line in told] == [("input_type_mismatch", 1), ("expr_eval", 2)]
        assert fabric("send", "5", cwd=tmp_path).stdout == b"1\n"


def test_several_clients_get_their_own_answers(tmp_path: Path):
    """At the same time, each in the order of its own messages."""
    path = program(tmp_path, "let main : !int -> !int = map(value + 1)\n")
    with service(path, tmp_path):
        clients = []
        for number in range(4):
            client = subprocess.Popen(
                [*FABRIC, "send"], cwd=tmp_path, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            values = list(range(number * 1000, number * 1000 + 500))
            clients.append((client, values))
        for client, values in clients:
            output, _ = client.communicate(input_lines(values), timeout=60)
            assert read_lines(output) == [value + 1 for value in values]


def test_a_message_that_waits_for_a_partner_times_out_and_then_meets_it(tmp_path: Path):
    """``--wait-timeout`` ends the waiting, not the message."""
    path = program(tmp_path, "let main : (!int, !int) -> !(int, int) = plumb(a, b, o) { (a * b) ; barrier ; o }\n")
    with service(path, tmp_path):
        alone = fabric("send", "--wait-timeout", "0.2", "a", "1", cwd=tmp_path)
        assert (alone.returncode, json.loads(alone.stderr)["code"]) == (1, "timeout")
        assert fabric("send", "--no-wait", "a", "2", cwd=tmp_path).returncode == 0
        assert fabric("send", "b", "3", cwd=tmp_path).stdout == b"[1,3]\n"
        assert fabric("send", "b", "4", cwd=tmp_path).stdout == b"[2,4]\n"


def test_a_second_service_of_one_name_is_refused(tmp_path: Path):
    """It says which process has it, and what to do."""
    path = program(tmp_path, "let main : !int -> !int = map(value + 1)\n")
    with service(path, tmp_path) as process:
        second = fabric("up", path, cwd=tmp_path)
        assert second.returncode == 2
        assert f"'program' is running already, pid {process.pid}" in second.stderr.decode()


def test_a_coordinator_that_is_killed_takes_its_workers_along(tmp_path: Path, runtime: Path):
    """And the next `up` clears away what it left."""
    path = program(
        tmp_path,
        'let a : !string -> !string = agent { provider: "eliza" }\n'
        'let b : !string -> !string = worker { command: ["cat"] transport: "stdio" }\n'
        "let main : !string -> !string = plumb(i, o) { i ; a ; b ; o }\n",
    )
    process = subprocess.Popen([*FABRIC, "up", path], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE)
    assert process.stderr is not None
    while not process.stderr.readline().startswith(b"ready"):
        pass
    workers = children(process.pid)
    assert len(workers) == 3  # the agent, the program, the guard of the program
    process.kill()
    process.wait()
    process.stderr.close()
    watched = [os.pidfd_open(pid) for pid in workers if alive(pid)]
    for descriptor in watched:
        assert wait_readable(descriptor), "a worker outlived its coordinator"
        os.close(descriptor)
    with service(path, tmp_path):
        done = fabric("send", '"hello"', cwd=tmp_path)
        assert read_lines(done.stdout) == ["HOW DO YOU DO. PLEASE STATE YOUR PROBLEM"]
    assert left(runtime) == []


def wait_readable(descriptor: int) -> bool:
    import select

    return bool(select.select([descriptor], [], [], 30)[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_hanging_worker_is_ended_by_a_second_signal(number: int, code: int, tmp_path: Path):
    """What it had is lost, and said."""
    (tmp_path / "hangs.py").write_text("import time\ndef f(value):\n    time.sleep(3600)\n")
    path = program(tmp_path, 'let main : !int -> !int = python { call: "hangs:f" }\n')
    process = subprocess.Popen(
        [*FABRIC, "up", "--log-level", "info", path], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    while not process.stderr.readline().startswith(b"ready"):
        pass
    assert fabric("send", "--no-wait", "1", cwd=tmp_path).returncode == 0
    workers = children(process.pid)
    process.send_signal(number)
    while not process.stderr.readline().startswith(b"draining"):
        pass
    process.send_signal(number)
    rest = process.stderr.read().decode()
    assert process.wait() == code
    process.stderr.close()
    assert {"lost": 1, "dead_lettered": 0, "unpaired": 0} in [
        json.loads(line) for line in rest.splitlines() if line.startswith("{")
    ]
    assert not any(map(alive, workers))


def test_a_hanging_worker_is_ended_after_its_grace(tmp_path: Path):
    """One signal is enough, if one waits: exit code 5, and the line that says what may be missing."""
    (tmp_path / "hangs.py").write_text("import time\ndef f(value):\n    time.sleep(3600)\n")
    path = program(tmp_path, 'let main : !int -> !int = python { call: "hangs:f" }\n')
    process = subprocess.Popen(
        [*FABRIC, "up", "-t", "0.3", path], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    while not process.stderr.readline().startswith(b"ready"):
        pass
    assert fabric("send", "--no-wait", "1", cwd=tmp_path).returncode == 0
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read().decode()
    assert process.wait() == 5, rest
    process.stderr.close()
    assert '"lost":1' in rest
