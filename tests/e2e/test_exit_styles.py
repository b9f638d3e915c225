"""Ways in which a worker may end that was not asked to: what becomes of its messages, and of the session."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import plain_worker
import pytest
from three_ways import fabric, input_lines, read_lines, service

pytestmark = pytest.mark.processes

VALUES = [1, 2, 3, 4, 5]
TENFOLD = [10, 20, 30, 40, 50]


def program(folder: Path, style: str, times: int) -> Path:
    """A worker that ends in this style when it gets 3, the first so many times."""
    shutil.copy(plain_worker.__file__, folder)
    command = [sys.executable, "plain_worker.py", style, str(times)]
    path = folder / "program.plumb"
    path.write_text(f"let main : !int -> !int = worker {{ command: {json.dumps(command)} }}\n")
    return path


def ran(folder: Path, style: str, times: int) -> tuple[int, list[Any], list[dict[str, Any]]]:
    """Return exit code, outputs, and the objects on stderr."""
    done = fabric("run", "--log-level", "warning", program(folder, style, times), stdin=input_lines(VALUES), cwd=folder)
    said = [json.loads(line) for line in done.stderr.decode().splitlines() if line.startswith("{")]
    return done.returncode, read_lines(done.stdout), said


CRASHES = {
    "sys.exit(0)": "exited with status 0",
    "os._exit(0)": "exited with status 0",
    "os._exit(3)": "exited with status 3",
    "kill": "was killed by signal 9",
    "raise": "exited with status 1",
}


@pytest.mark.parametrize("style", CRASHES)
def test_after_a_crash_everything_is_answered_once(style: str, tmp_path: Path):
    """The next process gets what this one had: exit code 0."""
    code, outputs, said = ran(tmp_path, style, 1)
    assert (code, outputs) == (0, TENFOLD)
    (again,) = [entry for entry in said if entry["event"] == "worker.restarting"]
    assert f"worker 'main' {CRASHES[style]}" in again["reason"]


@pytest.mark.parametrize("style", ["sys.exit(0)", "kill"])
def test_a_message_that_each_process_dies_of_is_a_dead_letter(style: str, tmp_path: Path):
    """Behind three of them; the others are answered, exit code 5."""
    code, outputs, said = ran(tmp_path, style, 99)
    assert (code, outputs) == (5, [10, 20, 40, 50])
    (letter,) = [entry for entry in said if entry.get("event") == "message.dead_lettered"]
    assert (letter["worker"], letter["reason"]) == ("main", "poison")
    assert CRASHES[style] in letter["detail"]
    assert len([entry for entry in said if entry.get("event") == "worker.exited"]) == 3
    assert said[-1] == {"lost": 0, "dead_lettered": 1, "unpaired": 0}


def test_a_worker_that_exits_with_2_is_not_started_again(tmp_path: Path):
    """It says that its configuration is wrong: the session fails, and what was not answered is counted."""
    code, outputs, said = ran(tmp_path, "sys.exit(2)", 1)
    assert code == 1
    assert outputs in ([], [10], [10, 20])  # what it had sent may be gone with it
    assert said[-2]["code"] == "child_died"
    assert said[-2]["error"].startswith("worker 'main' exited with status 2")
    assert said[-1] == {"lost": 5 - len(outputs), "dead_lettered": 0, "unpaired": 0}


def test_a_restart_too_many_fails_the_session(tmp_path: Path):
    """How many there may be is said by a flag, which wins over a variable, which wins over the project."""
    (tmp_path / "fabric.toml").write_text("[run]\nrestarts = 2\n")
    path = program(tmp_path, "kill", 99)

    def starts(*flags: str, env: dict[str, str] | None = None) -> int:
        done = fabric("run", "--log-level", "info", *flags, path, stdin=input_lines(VALUES), cwd=tmp_path, env=env)
        assert done.returncode == 1
        said = [json.loads(line) for line in done.stderr.decode().splitlines()]
        count = len([entry for entry in said if entry.get("event") == "worker.spawned"])
        assert said[-2]["error"].endswith(f"; it has crashed {count} times in 60 s")
        return count

    assert starts() == 3
    assert starts(env={"FABRIC_RESTARTS": "1"}) == 2
    assert starts("--restarts", "0", env={"FABRIC_RESTARTS": "1"}) == 1


def test_a_service_outlives_a_function_that_raises(tmp_path: Path):
    """The message is a dead letter at once, its sender is told, and the next ones are answered."""
    (tmp_path / "functions.py").write_text("def divide(value):\n    return 60 // value\n")
    path = tmp_path / "program.plumb"
    path.write_text('let main : !int -> !int = python { call: "functions:divide" }\n')
    with service(path, tmp_path, exit_code=5):
        failed = fabric("send", "0", cwd=tmp_path)
        assert failed.returncode == 1
        assert "ZeroDivisionError" in failed.stderr.decode()
        assert fabric("send", "6", cwd=tmp_path).stdout == b"10\n"


@pytest.mark.parametrize(("retries", "expected"), [(3, (0, TENFOLD)), (2, (5, [10, 20, 40, 50]))])
def test_a_worker_may_have_attempts_of_its_own(retries: int, expected: tuple[int, list[int]], tmp_path: Path):
    """Three processes die of a message; the fourth would answer it."""
    (tmp_path / "fabric.toml").write_text(f"[run]\nredeliveries = 9\n[workers.main]\nretries = {retries}\n")
    code, outputs, _ = ran(tmp_path, "kill", 3)
    assert (code, outputs) == expected
