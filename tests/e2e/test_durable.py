"""Runs that are kept in a bucket, as a user meets them: killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import durable
import pytest
from services import alive
from three_ways import FABRIC, environment, fabric, input_lines, read_lines

from fabric.runtime.keeping import read_history
from fabric.session.history import Entered, Finished, Turn
from fabric.store.bucket import Bucket
from fabric.store.opening import open_store

pytestmark = pytest.mark.processes

INCREMENT = "let main : !int -> !int = map(value + 1)\n"

DOUBLE = """
let double : !int -> !int = python { call: "numbers_:double" }
let main : !int -> !int = plumb(number, done) { number ; double ; done }
"""


class Desk:
    """A folder with a program, a bucket and a file that outputs go to."""

    def __init__(self, path: Path, program: str = DOUBLE) -> None:
        self.path = path
        self.bucket = path / "bucket"
        self.env = {"XDG_STATE_HOME": str(path / "state")}
        (path / "numbers_.py").write_text("def double(number):\n    return 2 * number\n")
        self.program(program)

    def program(self, text: str) -> None:
        (self.path / "main.plumb").write_text(text)

    def run(self, values: list[Any], *words: str, out: str = "ab") -> subprocess.CompletedProcess[bytes]:
        """Run the session on these values, with its output at the end of a file."""
        with (self.path / "out").open(out) as target:
            return subprocess.run(
                [*FABRIC, "run", "--session", "desk", "-b", f"file://{self.bucket}", *words, "main.plumb"],
                input=input_lines(values),
                stdout=target,
                stderr=subprocess.PIPE,
                cwd=self.path,
                env=environment() | self.env,
                timeout=120,
                check=False,
            )

    @property
    def out(self) -> list[Any]:
        return read_lines((self.path / "out").read_bytes())

    def history(self, session: str = "desk") -> list[Any]:
        return read_history(Bucket(open_store(f"file://{self.bucket}")).open(session))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_that_is_killed_goes_on(seed: int):
    """Outputs are those of an undisturbed run, each once; the log is whole after each kill."""
    assert durable.at_random(seed, messages=16).commits > 0


def test_a_run_may_be_killed_at_any_operation_of_its_bucket():
    """Before it and after it; some of them here, all of them in the trial."""
    assert durable.at_operations(0, messages=2, step=24).kills > 0


def test_no_call_of_a_model_is_made_again_that_was_recorded():
    """A review loop of agents, of which everything is killed three times."""
    assert durable.review(1, messages=16, kills=3).kills == 3


def test_the_next_run_of_a_session_goes_on_behind_the_last(desk: Desk):
    """The same input is known, more of it goes on with it, and one that begins in another way is another one."""
    assert [desk.run(values).returncode for values in ([1, 2], [1, 2], [1, 2, 3], [3, 1])] == [0, 0, 0, 0]
    assert desk.out == [2, 4, 6, 6, 2]
    kinds = [type(entry) for entry in desk.history() if isinstance(entry, Entered | Turn | Finished)]
    assert kinds.count(Entered) == kinds.count(Turn) == 5
    assert kinds.count(Finished) == 4


def test_a_run_that_was_refused_an_input_goes_on_with_it(desk: Desk):
    """As often as the line is not mended it is refused; the lines before it are not taken again."""
    given = [1, 2, "three", 4]
    for _ in range(2):
        refused = desk.run(given)
        assert refused.returncode == 1
        error = json.loads(refused.stderr.splitlines()[-1])
        assert (error["code"], error["line"]) == ("input_type_mismatch", 3)
        assert desk.out == [2, 4]
    given[2] = 3
    assert desk.run(given).returncode == 0
    assert desk.out == [2, 4, 6, 8]
    assert sum(isinstance(entry, Turn) for entry in desk.history()) == 4


def test_nothing_of_it_is_said_on_stdout(desk: Desk):
    """And stderr is silent the first time, as of any run."""
    assert desk.run([1]).stderr == b""
    assert [json.loads(line)["event"] for line in desk.run([2]).stderr.splitlines()] == [
        "session.resumed",
        "input.another",
    ]


def test_a_changed_program_is_refused_with_what_has_changed(desk: Desk):
    """Unless it is allowed, and fits."""
    assert desk.run([1]).returncode == 0
    desk.program("(* doubles *)\n" + DOUBLE)
    assert desk.run([2]).returncode == 0
    desk.program(DOUBLE.replace('"numbers_:double"', '"numbers_:triple"'))
    (desk.path / "numbers_.py").write_text("def triple(number):\n    return 3 * number\n")
    refused = desk.run([3])
    assert refused.returncode == 2
    assert "python double: call" in json.loads(refused.stderr)["error"]
    assert desk.run([3], "--allow-changed").returncode == 0
    assert desk.out == [2, 4, 9]


def test_what_a_changed_program_has_no_place_for_is_left_out(desk: Desk):
    """If that is allowed; it is told."""
    assert desk.run([1]).returncode == 0
    desk.program(DOUBLE.replace("double", "twice").replace("numbers_:twice", "numbers_:double"))
    refused = desk.run([2])
    assert (refused.returncode, "python double is gone" in json.loads(refused.stderr)["error"]) == (2, True)
    done = desk.run([2], "--allow-changed")
    assert (done.returncode, desk.out[-1]) == (0, 4)
    assert "history.skipped" in [json.loads(line)["event"] for line in done.stderr.splitlines()]


def test_a_bucket_without_a_session_is_refused(tmp_path: Path):
    """A place is no wish."""
    desk = Desk(tmp_path, INCREMENT)
    done = fabric("run", "-b", f"file://{desk.bucket}", "main.plumb", cwd=tmp_path, env=desk.env)
    assert (done.returncode, desk.bucket.exists()) == (2, False)
    assert "--session" in json.loads(done.stderr)["error"]


def test_messages_that_may_be_dropped_are_no_matter_for_a_log(tmp_path: Path):
    """Which of them are depends on the hour."""
    desk = Desk(tmp_path, INCREMENT)
    (tmp_path / "fabric.toml").write_text('[edges]\npolicy = "dead_letter"\n')
    refused = desk.run([1])
    assert (refused.returncode, "policy" in json.loads(refused.stderr)["error"]) == (2, True)


def test_a_session_is_run_once_at_a_time_on_one_host(desk: Desk):
    """Who comes second is told who is first; and who comes from elsewhere takes over."""
    first = start(desk)
    try:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stderr is not None
        first.stdin.write(b"1\n")
        first.stdin.flush()
        assert first.stdout.readline() == b"2\n"
        second = desk.run([2])
        assert (second.returncode, str(first.pid) in json.loads(second.stderr)["error"]) == (2, True)
        elsewhere = {"XDG_STATE_HOME": str(desk.path / "elsewhere")}
        third = start(desk, elsewhere)
        assert third.communicate(b"1\n5\n", timeout=60)[0] in (
            b"10\n",
            b"2\n10\n",
        )  # the first may have told of its own
        first.stdin.write(b"3\n")
        first.stdin.close()
        assert first.stdout.read() == b""
        said = [json.loads(line) for line in first.stderr.read().splitlines()]
        assert (first.wait(60), said[-1]["code"]) == (1, "superseded")
    finally:
        first.kill()
        first.wait()
        for pipe in (first.stdin, first.stdout, first.stderr):
            assert pipe is not None
            pipe.close()


def start(desk: Desk, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*FABRIC, "run", "--session", "desk", "-b", f"file://{desk.bucket}", "main.plumb"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=desk.path,
        env=environment() | desk.env | (env or {}),
    )


def test_a_run_is_forked_and_goes_on_by_itself(desk: Desk):
    """The child has the same past, and its own future."""
    assert desk.run([1, 2]).returncode == 0
    log = Bucket(open_store(f"file://{desk.bucket}")).open("desk")
    child = log.fork(len(log.read()), session="child")
    with (desk.path / "other").open("ab") as target:
        done = subprocess.run(
            [*FABRIC, "run", "--session", child.id, "-b", f"file://{desk.bucket}", "main.plumb"],
            input=input_lines([7]),
            stdout=target,
            stderr=subprocess.PIPE,
            cwd=desk.path,
            env=environment() | desk.env,
            timeout=120,
            check=False,
        )
    assert (done.returncode, read_lines((desk.path / "other").read_bytes())) == (0, [14])
    assert [entry.ticket for entry in desk.history("child") if isinstance(entry, Entered)] == [1, 2, 3]
    assert [entry.ticket for entry in desk.history() if isinstance(entry, Entered)] == [1, 2]


def test_a_service_goes_on_when_everything_was_killed(desk: Desk, tmp_path_factory: pytest.TempPathFactory):
    """A message with a key that is sent again is done once, and answered again."""
    env = desk.env | {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("rt"))}
    words = ["up", "-d", "-p", "desk", "--session", "desk", "-b", f"file://{desk.bucket}", "main.plumb"]
    for _ in range(2):
        up = fabric(*words, cwd=desk.path, env=env)
        assert up.returncode == 0, up.stderr.decode()
        sent = fabric("send", "-p", "desk", "--key", "one", "21", cwd=desk.path, env=env)
        assert (sent.returncode, sent.stdout) == (0, b"42\n"), sent.stderr.decode()
        record = json.loads((desk.path / ".fabric" / "run" / "desk.json").read_text())
        os.kill(record["process"]["pid"], signal.SIGKILL)
        down = fabric("down", "-p", "desk", cwd=desk.path, env=env)
        assert down.returncode == 0, down.stderr.decode()
        assert not alive(record["process"]["pid"])
    assert [entry.key for entry in desk.history() if isinstance(entry, Entered)] == ["one"]


def test_another_message_with_the_same_key_is_refused(desk: Desk, tmp_path_factory: pytest.TempPathFactory):
    """And a key needs a session that is kept."""
    env = desk.env | {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("rt"))}
    for words, second in ((["--session", "desk", "-b", f"file://{desk.bucket}"], "other_message"), ([], "not_kept")):
        up = fabric("up", "-d", "-p", "desk", *words, "main.plumb", cwd=desk.path, env=env)
        assert up.returncode == 0, up.stderr.decode()
        fabric("send", "-p", "desk", "--key", "one", "1", cwd=desk.path, env=env)
        sent = fabric("send", "-p", "desk", "--key", "one", "2", cwd=desk.path, env=env)
        assert fabric("down", "-p", "desk", cwd=desk.path, env=env).returncode == 0
        assert (sent.returncode, json.loads(sent.stderr)["code"]) == (1, second)
