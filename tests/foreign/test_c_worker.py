"""Workers in C that were written from PROTOCOL.md: whether that page says all that one has to know."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from services import wait_gone, wait_until
from three_ways import FABRIC, environment, fabric, input_lines, read_lines, run, service

pytestmark = pytest.mark.processes


def command(*words: str, more: str = "") -> str:
    return f"worker {{ command: {json.dumps(list(words))} {more} }}"


def write(folder: Path, text: str) -> Path:
    path = folder / "program.plumb"
    path.write_text(text)
    return path


def one(folder: Path, worker: str, type_: str = "string") -> Path:
    """A program of this worker alone."""
    return write(folder, f"let f : !{type_} -> !{type_} = {worker}\nlet main : !{type_} -> !{type_} = f\n")


def words(count: int) -> list[str]:
    """Texts with all that JSON escapes, and some that are large."""
    chance = random.Random(7)
    letters = 'ab z09\\"/\n\t\u0001é€😀'
    return [
        "".join(chance.choices(letters, k=chance.choice([0, 1, 5, 40, 6000 if number % 1000 == 0 else 3])))
        + f" {number}"
        for number in range(count)
    ]


def in_capitals(text: str) -> str:
    return "".join(letter.upper() if letter.isascii() else letter for letter in text)


@pytest.mark.parametrize("more", ["", 'frames: "bare"', 'release: "early"'])
def test_ten_thousand_messages_are_answered_in_order(more: str, worker: str, tmp_path: Path):
    """Traced and bare, in batches and alone."""
    values = words(10_000)
    outputs = run(one(tmp_path, command(worker, "upper", more=more)), values)
    assert outputs == [in_capitals(value) for value in values]


def test_the_least_worker_gives_back_what_it_gets(bare: str, tmp_path: Path):
    """Forty lines, bare JSON, no features."""
    values = words(2_000)
    assert run(one(tmp_path, command(bare, more='frames: "bare"')), values) == values


def test_the_least_worker_is_enough_for_traced_messages(bare: str, tmp_path: Path):
    """It gives them back with their headers: what is no new span id is no answer's, and nobody minds."""
    values = words(100)
    assert run(one(tmp_path, command(bare)), values) == values


@pytest.mark.parametrize(("when", "deadly"), [("-c", 3), ("-d", 3), ("-c", 0), ("-d", 499)])
def test_behind_a_crash_each_message_is_answered_once(when: str, deadly: int, worker: str, tmp_path: Path):
    """It dies before its answer, or between the answer and the marker; another process gets what it had."""
    values = [f"m{number}" for number in range(500)]
    values[deadly] = "die"
    path = one(tmp_path, command(worker, "upper", when, str(tmp_path / "died")))
    done = fabric("run", "--log-level", "warning", path, stdin=input_lines(values), cwd=tmp_path)
    assert (done.returncode, read_lines(done.stdout)) == (0, [value.upper() for value in values])
    (again,) = [entry for entry in objects(done.stderr) if entry.get("event") == "worker.restarting"]
    assert "killed by signal 6" in again["reason"]


def test_while_it_is_paused_it_answers_nothing_and_then_all(worker: str, tmp_path: Path):
    """`fabric ctl` pauses and resumes it; what was sent meanwhile is not lost."""
    path = one(tmp_path, command(worker, "upper"))
    with service(path, tmp_path):
        assert fabric("send", '"a"', cwd=tmp_path).stdout == b'"A"\n'
        assert json.loads(fabric("ctl", "f", "pause", cwd=tmp_path).stdout) == {"kind": "pause_ack"}
        sending = subprocess.Popen(
            [*FABRIC, "send"],
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert sending.stdin is not None
        sending.stdin.write(input_lines([f"b{number}" for number in range(1000)]))
        sending.stdin.close()
        sending.stdin = None
        waits = fabric("send", "--no-wait", '"c"', cwd=tmp_path)
        assert (waits.returncode, waits.stdout, sending.poll()) == (0, b"", None)
        assert fabric("ctl", "f", '{"resume": "yes"}', cwd=tmp_path).stdout == b""  # refused whole
        assert json.loads(fabric("ctl", "f", '{"resume": true, "more": [1]}', cwd=tmp_path).stdout) == {
            "kind": "resume_ack"
        }
        assert read_lines(sending.communicate(timeout=60)[0]) == [f"B{number}" for number in range(1000)]


def test_told_to_stop_it_leaves(worker: str, tmp_path: Path):
    """With the ends of its channels, and status 0; nothing is lost."""
    path = one(tmp_path, command(worker, "upper"))
    with service(path, tmp_path):
        assert fabric("send", '"a"', cwd=tmp_path).stdout == b'"A"\n'
        assert fabric("ctl", "f", '{"stop": true}', cwd=tmp_path).returncode == 0
        row = wait_until(tmp_path, lambda row: row["workers"][0]["state"] != "ready")
        assert [(work["state"], work["exit_status"]) for work in row["workers"]] == [("exited", 0)]


def test_a_feedback_loop_of_it_drains(worker: str, tmp_path: Path):
    """Quiescence is counted by its markers; with telemetry in the loop's way out, also by those on that port."""
    increment = command(worker, "increment", "-t")
    path = write(
        tmp_path,
        f"let up : !int -> (!int, !json) = {increment}\n"
        "let length : !json -> !int = map(value.bytes)\n"
        "let main : !int -> (!int, !int) = plumb(i, o, seen) {\n"
        "  i ; up\n  up ; filter(value < 20) ; up\n  up ; filter(value >= 20) ; o\n"
        "  up@telemetry ; length ; seen\n}\n",
    )
    values = [*range(30)] * 20
    done = fabric("run", path, stdin=input_lines(values), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    found = read_lines(done.stdout)
    results = [line["msg"] for line in found if line["__port"] == "o"]
    lengths = [line["msg"] for line in found if line["__port"] == "seen"]
    rounds = [seen for value in values for seen in range(value, max(value + 1, 20))]
    assert sorted(results) == sorted(max(value + 1, 20) for value in values)
    assert sorted(lengths) == sorted(len(str(seen)) for seen in rounds)


def test_in_a_loop_with_a_barrier_it_answers_as_a_function_would(worker: str, tmp_path: Path):
    """One process in C, one in Python; what is paired goes back until it is large enough; one crash on the way."""
    (tmp_path / "functions.py").write_text("def double(value: int) -> int:\n    return 2 * value\n")
    path = write(
        tmp_path,
        f"let a : !int -> !int = {command(worker, 'increment', '-d', str(tmp_path / 'died'))}\n"
        'let b : !int -> !int = python { call: "functions:double" }\n'
        "let join : !(int, int) -> !int = map(value[0] + value[1])\n"
        "let main : !int -> !int = plumb(i, o) {\n"
        "  i ; (a * b) ; barrier ; join\n"
        "  join ; filter(value < 100) ; (a * b)\n  join ; filter(value >= 100) ; o\n}\n",
    )

    def direct(value: int) -> int:
        while True:
            value = 3 * value + 1
            if value >= 100:
                return value

    for value in (0, 4, 19):  # one at a time each is paired with itself; 4 goes by 13, of which it dies once
        assert run(path, [value]) == [direct(value)], value
    assert (tmp_path / "died").exists()
    assert len(run(path, [*range(20)] * 10)) == 200


def test_it_dies_with_its_coordinator(worker: str, tmp_path: Path):
    """It watches the pipe that it inherits."""
    path = one(tmp_path, command(worker, "upper"))
    process = subprocess.Popen(
        [*FABRIC, "up", str(path)], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"ready"):
            break
    (theirs,) = json.loads(fabric("ps", "--format", "json", cwd=tmp_path).stdout)["services"][0]["workers"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_gone(theirs["pid"])


def objects(stderr: bytes) -> list[Any]:
    return [json.loads(line) for line in stderr.splitlines() if line.startswith(b"{")]


@pytest.mark.parametrize("kind", ["worker", "bare"])
def test_started_by_hand_it_says_what_it_needs(kind: str, worker: str, bare: str):
    """The variables are not set: an error line, status 1."""
    done = subprocess.run(
        [{"worker": worker, "bare": bare}[kind]], env={}, capture_output=True, check=False, timeout=20
    )
    (said,) = objects(done.stderr)
    assert (done.returncode, said["code"]) == (1, "configuration")
    assert "PLUMB_ENDPOINT_INPUT" in said["error"]


def test_with_an_endpoint_that_is_none_it_does_not_wait(bare: str):
    """It says which variable is wrong."""
    done = subprocess.run([bare], env={"PLUMB_ENDPOINT_INPUT": "ipc"}, capture_output=True, check=False, timeout=20)
    assert (done.returncode, [said["code"] for said in objects(done.stderr)]) == (1, ["configuration"])
