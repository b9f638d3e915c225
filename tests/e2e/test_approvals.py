"""Tools with effects are run when somebody approves it: real processes, a real socket, a real terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from services import listed, said, start, wait_gone
from three_ways import FABRIC, environment, fabric, input_lines, read_lines

pytestmark = pytest.mark.processes

CALLER = [sys.executable, str(Path(__file__).parent.parent / "support" / "caller.py")]

TEXT = """
use fs
let main : !json -> !json = worker { command: COMMAND tools: [Fs.read, Fs.write, Fs.delete] }
"""


@pytest.fixture
def folder(project: Path) -> Path:
    """A project with a caller of file tools."""
    (project / "demo.plumb").write_text(TEXT.replace("COMMAND", json.dumps(CALLER)))
    return project


@pytest.fixture
def service(folder: Path) -> Iterator[Path]:
    """The same as a service."""
    assert fabric("up", "-d", "demo.plumb", cwd=folder).returncode == 0
    yield folder
    fabric("down", "-t", "0.2", cwd=folder)


def write(name: str, text: str = "y") -> list[Any]:
    return ["write", {"path": name, "text": text}]


def pending(folder: Path, count: int = 1) -> list[Any]:
    """Return what waits for approval, as soon as so many do. The limit is for a hang."""
    until_s = time.monotonic() + 60
    while True:
        found = json.loads(fabric("approve", "--format", "json", cwd=folder).stdout)
        assert found["v"] == 1
        if len(found["approvals"]) >= count:
            return found["approvals"]
        assert time.monotonic() < until_s


def answers(sender: subprocess.Popen[bytes]) -> list[Any]:
    """Return what each of the calls gave that were sent."""
    output, errors = sender.communicate(timeout=60)
    assert sender.returncode == 0, errors
    (found,) = read_lines(output)
    return [answer.get("content", answer.get("error")) for answer in found]


def test_a_call_is_asked_for_granted_and_done(service: Path):
    """What waits is listed with its arguments; the worker is shown to wait for it; the file is there afterwards."""
    sender = start(service, "send", json.dumps([write("x")]))
    (approval,) = pending(service)
    assert (approval["worker"], approval["tool"]) == ("main", "Fs.write")
    assert json.loads(approval["arguments"]) == {"path": "x", "text": "y"}
    assert not (service / "x").exists()
    (row,) = [worker for worker in listed(service)["workers"] if worker["worker"] == "main"]
    assert row["waits_on"] == [f"approval {approval['id']}"]
    table = fabric("approve", cwd=service)
    assert table.stdout.decode().splitlines()[1].startswith(f"{approval['id']}  main    Fs.write")
    granted = fabric("approve", approval["id"].partition("-")[0], cwd=service)  # its number is enough
    assert (granted.returncode, said(granted)) == (0, f"{approval['id']} approved\n")
    assert answers(sender) == [None]
    assert (service / "x").read_text() == "y"


def test_a_denied_call_is_an_error_for_the_worker_which_goes_on(service: Path):
    """With the reason that was given; the same id is answered once, and another is none."""
    sender = start(service, "send", json.dumps([write("x"), ["read", {"path": "demo.plumb", "lines": 2}]]))
    (approval,) = pending(service)
    assert fabric("approve", approval["id"], "--deny", "--reason", "not now", cwd=service).returncode == 0
    assert answers(sender) == [
        "Fs.write has effects and was not approved: it was denied: not now",
        "\nuse fs\n",
    ]
    assert not (service / "x").exists()
    again = fabric("approve", approval["id"], cwd=service)
    assert again.returncode == 1
    assert json.loads(said(again))["code"] == "already_answered"
    unknown = fabric("approve", "1-000000", cwd=service)
    assert unknown.returncode == 7
    assert json.loads(said(unknown))["code"] == "unknown_approval"
    down = fabric("down", cwd=service)
    assert down.returncode == 0, said(down)


def test_always_and_all(service: Path):
    """All that waits at once; and one tool for good, but not another."""
    sender = start(service, "send", json.dumps([write("a"), write("b")]))
    pending(service, 2)
    assert fabric("approve", "--all", cwd=service).returncode == 0
    assert answers(sender) == [None, None]
    sender = start(service, "send", json.dumps([write("c")]))
    (approval,) = pending(service)
    assert fabric("approve", "--always", approval["id"], cwd=service).returncode == 0
    assert answers(sender) == [None]
    assert answers(start(service, "send", json.dumps([write("d"), write("e")]))) == [None, None]
    sender = start(service, "send", json.dumps([["delete", {"path": "a"}]]))
    (approval,) = pending(service)
    assert approval["tool"] == "Fs.delete"
    assert fabric("approve", "--deny", "--all", cwd=service).returncode == 0
    assert "was denied" in answers(sender)[0]
    assert sorted(path.name for path in service.glob("?")) == ["a", "b", "c", "d", "e"]


def test_the_approval_of_a_worker_that_died_is_withdrawn_and_asked_for_anew(service: Path):
    """By the process that gets the message next."""
    sender = start(service, "send", json.dumps([write("x")]))
    (before,) = pending(service)
    (row,) = [worker for worker in listed(service)["workers"] if worker["worker"] == "main"]
    os.kill(row["pid"], signal.SIGKILL)
    wait_gone(row["pid"])
    until_s = time.monotonic() + 60
    while (after := pending(service)[0])["id"] == before["id"]:
        assert time.monotonic() < until_s
    late = fabric("approve", before["id"], cwd=service)
    assert (late.returncode, json.loads(said(late))["code"]) == (1, "already_answered")
    assert fabric("approve", after["id"], cwd=service).returncode == 0
    assert answers(sender) == [None]


def test_what_nobody_decides_in_time_is_denied(folder: Path):
    """A service goes on, and ends well."""
    assert fabric("up", "-d", "--approval-timeout", "0.2", "demo.plumb", cwd=folder).returncode == 0
    (error,) = answers(start(folder, "send", json.dumps([write("x")])))
    assert error == "Fs.write has effects and was not approved: nobody decided within 0.2 s"
    assert fabric("down", cwd=folder).returncode == 0


def test_a_run_without_a_terminal_asks_nobody(folder: Path):
    """The call is denied at once; the line on stderr says what would help, and the exit code what was missing."""
    done = fabric("run", "demo.plumb", stdin=input_lines([[write("x")], [["read", {"path": "x"}]]]), cwd=folder)
    assert done.returncode == 6
    found = [answers[0]["error"] for answers in read_lines(done.stdout)]
    assert found[0].startswith("Fs.write has effects and was not approved: there is nobody to approve it")
    assert found[1] == "x: No such file or directory"
    (line,) = read_lines(done.stderr)
    assert line["event"] == "tool.denied"
    assert "--auto-approve" in line["reason"]


def test_without_a_service_there_is_nothing_to_approve(folder: Path):
    """And some options do not go together."""
    assert fabric("approve", cwd=folder).returncode == 7
    for wrong in (["--deny"], ["--reason", "x", "1-000000"], ["--all", "1-000000"], ["--format", "xml"]):
        assert fabric("approve", *wrong, cwd=folder).returncode == 2


class Terminal:
    """A command whose controlling terminal we hold; ``stdin`` may be something else."""

    def __init__(self, folder: Path, *arguments: str, stdin: bytes | None = None) -> None:
        self.master, slave = pty.openpty()
        read_end, write_end = os.pipe()
        if stdin is not None:
            os.write(write_end, stdin)
        os.close(write_end)
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent.parent / "support" / "at_terminal.py"), *FABRIC, *arguments],
            cwd=folder,
            env=environment(),
            stdin=slave if stdin is None else read_end,
            stdout=subprocess.PIPE,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        os.close(read_end)
        self.text = ""

    def read_until(self, word: str) -> str:
        """Return what is on the screen as soon as the word is there. The limit is for a hang."""
        until_s = time.monotonic() + 60
        while word not in self.text:
            assert time.monotonic() < until_s, self.text
            if select.select([self.master], [], [], 1)[0]:
                self.text += os.read(self.master, 4096).decode(errors="replace")
        return self.text

    def type(self, line: str) -> None:
        self.text = ""
        os.write(self.master, line.encode())

    def end(self) -> bytes:
        """Return stdout when the command has ended."""
        output, _ = self.process.communicate(timeout=60)
        os.close(self.master)
        return output


def test_a_run_at_a_terminal_asks_there_although_its_input_is_data(folder: Path):
    """One question at a time; what is no answer is asked again; always holds for the rest."""
    calls = [write("a"), write("b"), ["delete", {"path": "demo.plumb"}], write("c")]
    terminal = Terminal(folder, "run", "demo.plumb", stdin=input_lines([[call] for call in calls]))
    terminal.read_until("a: always")
    assert "worker 'main' asks to call Fs.write with" in terminal.text
    assert '"path":"a"' in terminal.text
    terminal.type("maybe\n")
    terminal.read_until("a: always")
    terminal.type("y\n")
    terminal.read_until('"path":"b"')
    terminal.read_until("a: always")
    terminal.type("a\n")
    terminal.read_until("Fs.delete with")
    terminal.read_until("a: always")
    terminal.type("n\n")
    found = [answers[0] for answers in read_lines(terminal.end())]
    assert terminal.process.returncode == 6
    assert found[0] == found[1] == found[3] == {"content": None}
    assert "was denied" in found[2]["error"]
    assert sorted(path.name for path in folder.glob("?")) == ["a", "b", "c"]


def test_a_service_at_a_terminal_asks_there_and_takes_commands_as_well(folder: Path):
    """Whoever answers first; the question goes away for the other."""
    terminal = Terminal(folder, "up", "demo.plumb")
    terminal.read_until("ready ·")
    sender = start(folder, "send", json.dumps([write("a")]))
    terminal.read_until("a: always")
    terminal.type("y\n")
    assert answers(sender) == [None]
    sender = start(folder, "send", json.dumps([write("b")]))
    terminal.read_until("a: always")
    (approval,) = pending(folder)
    assert fabric("approve", approval["id"], "--deny", cwd=folder).returncode == 0
    assert "was denied" in answers(sender)[0]
    terminal.type("\x03")
    terminal.read_until("drained in")
    terminal.end()
    assert terminal.process.returncode == 0


def test_a_service_without_a_terminal_says_with_which_command_to_answer(folder: Path):
    """On its stderr, at any level."""
    up = start(folder, "up", "--log-level", "error", "demo.plumb")
    assert up.stderr is not None
    lines = iter(up.stderr.readline, b"")
    next(line for line in lines if line.startswith(b"ready"))
    sender = start(folder, "send", json.dumps([write("a")]))
    line = next(line for line in lines if b"approval" in line).decode()
    (approval,) = pending(folder)
    assert f"; fabric approve {approval['id']} grants it, with --deny it is refused" in line
    assert fabric("approve", approval["id"], cwd=folder).returncode == 0
    assert answers(sender) == [None]
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=60)
    assert up.returncode == 0
