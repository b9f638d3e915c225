"""Kept runs of an agent that calls tools, killed while a tool is at work: real processes, a model that counts."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from watch import FABRIC, Folder

from fabric.runtime.keeping import read_history
from fabric.session.history import Called, Intended, Paid
from fabric.store.bucket import Bucket
from fabric.store.opening import open_store
from fabric.testing import Call, scripted_model
from fabric.testing.answers import ModelRequest
from fabric.testing.models import ScriptedModel

pytestmark = pytest.mark.processes

TOOLS = """
from pathlib import Path

def note(text):
    with open("journal", "a") as journal:
        journal.write(text + "\\n")
    if Path("hold").exists() and Path("hold").read_text() == text:
        Path("held").write_text("")
        Path("let_go").read_text()
    return f"noted {text}"
"""
"""A function with an effect. At the text that ``hold`` has it tells that it is there, and waits to be let go of."""

PROGRAM = """
let note : !string -> !string = python {{ call: "desk_tools:note" }}
let write : string -> string = tool {{ process: note{said} }}
let clerk : !string -> !string = agent {{ provider: "anthropic", model: "m", tools: [write] }}
let main : !string -> !string = plumb(wish, done) {{ wish ; clerk ; done }}
"""


def answer(request: ModelRequest) -> Any:
    """Note two things, one after the other; then tell what came of the last."""
    if request.calls < 2:
        return Call("write", {"input": ("one", "two")[request.calls]})
    return request.results[0]


class Desk:
    """A project whose tool is held, and its session."""

    def __init__(self, path: Path, model: ScriptedModel) -> None:
        self.folder = Folder(path, {"desk_tools.py": TOOLS, "main.plumb": PROGRAM.format(said=""), "hold": "two"})
        self.here = self.folder.path
        self.model = model
        self.bucket = path / "bucket"
        for name in ("held", "let_go"):
            os.mkfifo(self.here / name)
        (self.here / "input").write_text('"go"\n')

    def declare(self, said: str) -> None:
        """Say something of the tool."""
        (self.here / "main.plumb").write_text(PROGRAM.format(said=said))

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin the run, or go on with it."""
        env = self.folder.environment() | {"XDG_STATE_HOME": str(self.bucket.parent / "state")} | self.model.env
        with (self.here / "input").open() as source:
            return subprocess.Popen(
                [*FABRIC, "run", "--session", "desk", "-b", f"file://{self.bucket}", *words, "main.plumb"],
                cwd=self.here,
                env=env,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )

    def wait_held(self) -> None:
        """Wait until the tool has had its effect, and waits."""
        descriptor = os.open(self.here / "held", os.O_RDONLY | os.O_NONBLOCK)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
        assert poll.poll(60_000), "the tool is not called"
        os.close(descriptor)

    def killed(self) -> None:
        """Begin the run; kill everything while the tool is at work."""
        process = self.start()
        self.wait_held()
        for pid in self.folder.processes():
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
        self.folder.wait_gone(10)
        (self.here / "hold").unlink()

    def finish(self, *words: str) -> tuple[int, list[Any], list[dict[str, Any]]]:
        """Go on with it to its end; return the exit code, what came out and what was said."""
        process = self.start(*words)
        out, said = process.communicate(timeout=120)
        self.folder.wait_gone(10)
        lines = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
        return process.returncode, [json.loads(line) for line in out.splitlines()], lines

    @property
    def journal(self) -> list[str]:
        return (self.here / "journal").read_text().split()

    def history(self, *kinds: type) -> list[Any]:
        log = Bucket(open_store(f"file://{self.bucket}")).open("desk")
        return [entry for entry in read_history(log) if isinstance(entry, kinds)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with scripted_model(answer) as model:
        yield Desk(tmp_path, model)


def test_a_call_that_may_have_been_run_is_not_run_again_where_nobody_can_be_asked(desk: Desk):
    """The model is told, and asked for nothing that it has answered already; the exit code says that one was denied."""
    desk.killed()
    assert [type(entry) for entry in desk.history(Intended, Called)] == [Intended, Called, Intended]
    assert len(desk.model.requests) == 2
    code, outputs, said = desk.finish()
    assert desk.journal == ["one", "two"]
    assert len(desk.model.requests) == 3
    assert (code, len(outputs)) == (6, 1)
    assert outputs[0].startswith(
        "write is in doubt (it may have been run already) and was not approved: there is nobody"
    )
    assert [line["reason"] for line in said if line["event"] == "tool.denied"]
    assert len(desk.history(Paid)) == 3


def test_a_call_that_may_be_run_twice_is_run_again(desk: Desk):
    """Its declaration says so. What was done before it is not done again, nor paid for."""
    desk.declare(", idempotent: true")
    desk.killed()
    assert desk.finish()[:2] == (0, ["noted two"])
    assert desk.journal == ["one", "two", "two"]
    assert len(desk.model.requests) == len(desk.history(Paid)) == 3


def test_who_says_so_gets_calls_in_doubt_run_again(desk: Desk):
    """All of them, with a flag of their own."""
    desk.killed()
    assert desk.finish("--approve-in-doubt")[:2] == (0, ["noted two"])
    assert desk.journal == ["one", "two", "two"]
    assert len(desk.model.requests) == 3


def test_an_agent_that_dies_while_its_tool_is_at_work_hears_what_comes_of_it(desk: Desk):
    """Its next process asks neither the model nor the tool again."""
    process = desk.start()
    desk.wait_held()
    (agent,) = (pid for pid, words in desk.folder.processes().items() if words.startswith("fabric worker clerk"))
    os.kill(agent, signal.SIGKILL)
    (desk.here / "let_go").write_text("")
    out, _ = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, b'"noted two"\n')
    assert desk.journal == ["one", "two"]
    assert len(desk.model.requests) == 3
