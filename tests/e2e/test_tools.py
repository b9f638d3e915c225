"""Programs of others that call tools: real processes, on sockets and on lines."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from services import listed, said, start, wait_until
from three_ways import fabric, input_lines, read_lines

pytestmark = pytest.mark.processes

CALLER = [sys.executable, str(Path(__file__).parent.parent / "support" / "caller.py")]

TEXT = """
use fs
use sys
let words : !string -> !int = python { call: "words:count" }
let shout : !string -> !string = map(value + "!")
let pair : (!string, !int) -> !(string, int) = barrier
let both : !string -> !(string, int) = plumb(i, o) {
  i ; shout ; pair@input_0
  i ; words ; pair@input_1
  pair ; o
}
let talk : !string -> !string = agent { provider: "eliza" }
let count : string -> int = tool { process: words }
let loud : string -> string = tool { process: shout }
let twice : string -> (string, int) = tool { process: both }
let chat : string -> string = tool { process: talk }
let main : !json -> !json = worker {
  command: COMMAND
  tools: [count, loud, twice, chat, Fs.read, Fs.write, Sys.exec]
}
"""

WORDS = """
import sys

def count(text):
    if not text:
        sys.exit("nothing to count")
    return len(text.split())
"""

LINES = """#!PYTHON
import json, sys

def say(value):
    print(json.dumps(value), flush=True)

for line in sys.stdin:
    answers = []
    for number, (name, arguments) in enumerate(json.loads(line)):
        say({"__port": "tool_req", "msg": {"id": number, "name": name, "arguments": arguments}})
        answers.append(json.loads(sys.stdin.readline())["msg"])
        del answers[-1]["id"]
    say(answers)
"""


@pytest.fixture
def folder(project: Path) -> Path:
    """A project with a caller."""
    (project / "words.py").write_text(WORDS)
    (project / "p.plumb").write_text(TEXT.replace("COMMAND", json.dumps(CALLER)))
    return project


def called(folder: Path, calls: list[Any], *flags: str) -> list[Any]:
    """Run the program on one message, and return what each call gave."""
    done = fabric("run", *flags, "p.plumb", stdin=input_lines([calls]), cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    (answers,) = read_lines(done.stdout)
    return [answer.get("content", answer.get("error")) for answer in answers]


def test_a_program_on_sockets_calls_functions_bodies_agents_and_builtins(folder: Path):
    """All at once; what goes wrong is an answer as well."""
    found = called(
        folder,
        [
            ["count", "a b c"],
            ["count", ""],
            ["loud", "hey"],
            ["twice", "a b"],
            ["twice", ""],
            ["chat", "I feel sad"],
            ["Fs.read", {"path": "words.py", "lines": 2}],
            ["read", {"path": "../words.py"}],
            ["count", 7],
            ["cuont", "a"],
        ],
    )
    assert found[:5] == [
        3,
        "worker 'count.words': words:count raised SystemExit: nothing to count",
        "hey!",
        ["a b!", 2],
        "worker 'twice.words': words:count raised SystemExit: nothing to count",
    ]
    assert "FEELINGS" in found[5]
    assert found[6:8] == [
        "\nimport sys\n",
        "path '../words.py': '..' is not allowed; paths are relative to the folder of the tools",
    ]
    assert found[8] == "arguments: expected string, got integer 7"
    assert found[9].startswith("there is no tool 'cuont' for you; there are: Fs.read, Fs.write, Sys.exec, chat, count")


def test_a_program_on_lines_calls_tools(folder: Path):
    """Calls and results are lines with an envelope; the end of its input waits for them."""
    (folder / "caller").write_text(LINES.replace("PYTHON", sys.executable))
    (folder / "caller").chmod(0o755)
    command = '["./caller"] transport: "stdio"'
    (folder / "p.plumb").write_text(TEXT.replace("COMMAND", command))
    assert called(folder, [["count", "a b"], ["loud", "x"], ["count", ""], ["read", {"path": "none"}]]) == [
        2,
        "x!",
        "worker 'count.words': words:count raised SystemExit: nothing to count",
        "none: No such file or directory",
    ]


def test_what_has_effects_is_run_if_that_is_approved_beforehand(folder: Path):
    """By whoever starts the session, and in the folder that they name."""
    (folder / "root").mkdir()
    calls = [["write", {"path": "x", "text": "y"}], ["exec", {"command": ["ls"]}]]
    done = called(folder, calls, "--docroot", "root", "--auto-approve")
    assert done == [None, {"status": 0, "stdout": "x\n", "stderr": ""}]
    missing = fabric("run", "--docroot", "none", "p.plumb", cwd=folder)
    assert missing.returncode == 2
    assert "--docroot none: there is no such folder" in said(missing)


SLOW = """
let work : !int -> !int = python { call: "functions:late_end" }
let wait : int -> int = tool { process: work }
let main : !json -> !json = worker { command: COMMAND tools: [wait] }
"""


@pytest.fixture
def slow(project: Path) -> Path:
    """A service whose tool answers when there is a file ``go``, with a call under way."""
    (project / "demo.plumb").write_text(SLOW.replace("COMMAND", json.dumps(CALLER)))
    assert fabric("up", "-d", project / "demo.plumb", cwd=project).returncode == 0
    assert fabric("send", "--no-wait", '[["wait", 1]]', cwd=project).returncode == 0
    wait_until(project, lambda row: tool(row)["state"] == "busy")
    return project


def tool(row: Any) -> Any:
    (found,) = (worker for worker in row["workers"] if worker["worker"] == "wait.work")
    return found


def test_a_call_outlives_the_process_of_its_tool(slow: Path):
    """The next one gets it."""
    sender = start(slow, "send", '[["wait", 2]]')
    wait_until(slow, lambda row: sum(worker["accepted"] for worker in row["workers"]) >= 3)
    os.kill(tool(listed(slow))["pid"], signal.SIGKILL)
    (slow / "go").touch()
    assert sender.communicate(timeout=60)[0] == b'[{"content": 2}]\n'
    assert fabric("down", cwd=slow).returncode == 0


def test_a_session_that_is_asked_to_end_finishes_its_calls(slow: Path):
    """The tool is there until its caller has done its work."""
    down = start(slow, "down")
    wait_until(slow, lambda row: row["state"] == "draining")
    (slow / "go").touch()
    assert down.wait(timeout=60) == 0
    down.communicate()


def test_a_tool_that_is_silent_is_ended_not_the_one_who_waits_for_it(slow: Path):
    """After the grace time, of a session that is asked to end."""
    ended = fabric("down", "-t", "0.2", cwd=slow)
    assert ended.returncode == 5
    assert "worker 'wait.work' gave no sign of life for 0.2 s" in said(ended)
