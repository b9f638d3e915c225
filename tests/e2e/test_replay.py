"""Kept runs, played again and explained, with real processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from three_ways import FABRIC, environment, input_lines

from fabric.testing.answers import ModelRequest
from fabric.testing.models import ScriptedModel, scripted_model

pytestmark = pytest.mark.processes

AGENTS = """
type Task = { topic: string, round: int }
let writer : !Task -> !string = agent { provider: "anthropic" model: "scripted" prompt: "Write." amnesiac: true }
let main : !string -> !string = plumb(topic, done) { topic ; map({ topic: value, round: 1 }) ; writer ; done }
"""
MESSAGES = 1_000


def answer(request: ModelRequest) -> str:
    said = "better: " if "Write well." in request.system else ""
    return f"{said}{len(request.body['messages'])} words"


class Desk:
    """A folder with a program, a bucket and a model."""

    def __init__(self, path: Path, model: ScriptedModel) -> None:
        self.path = path
        self.model = model
        self.program(AGENTS)

    def program(self, text: str) -> None:
        (self.path / "main.plumb").write_text(text)

    def __call__(self, *words: str, lines: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command; the bucket is that of the folder."""
        return subprocess.run(
            [*FABRIC, *words],
            input=lines,
            capture_output=True,
            cwd=self.path,
            env=environment()
            | self.model.env
            | {"XDG_STATE_HOME": str(self.path / "state"), "FABRIC_STORE": f"file://{self.path}/bucket"},
            timeout=300,
            check=False,
        )

    def record(self, values: list[Any]) -> bytes:
        """Run the program as session ``s``; return what came out."""
        done = self("run", "--session", "s", "main.plumb", lines=input_lines(values))
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with scripted_model(answer) as model:
        yield Desk(tmp_path, model)


def test_a_thousand_messages_are_played_again_without_a_call(desk: Desk):
    """Byte for byte; also without the program's file, and where there is no key and no model."""
    recorded = desk.record([f"topic {number}" for number in range(MESSAGES)])
    asked = len(desk.model.requests)
    assert (recorded.count(b"\n"), asked) == (MESSAGES, MESSAGES)
    played = desk("replay", "s")
    assert (played.returncode, played.stderr) == (0, b"")
    assert played.stdout == recorded
    (desk.path / "main.plumb").unlink()
    played = desk("replay", "s")
    assert (played.returncode, played.stdout) == (0, recorded)
    assert b"is played in the program that was kept with it" in played.stderr
    assert len(desk.model.requests) == asked


def test_a_changed_program_is_shown_where_it_first_differs(desk: Desk):
    """What came before is printed, the difference is shown in full, and all of them if they are wanted."""
    desk.record(["a", "b"])
    asked = len(desk.model.requests)
    desk.program(AGENTS.replace("round: 1", "round: 2"))
    played = desk("replay", "s")
    assert (played.returncode, played.stdout) == (8, b"")
    shown = played.stderr.decode()
    assert "worker 'writer' took another message" in shown
    assert '  recorded  {"topic":"a","round":1}\n  now       {"topic":"a","round":2}\n    $.round: 1, now 2\n' in shown
    assert "--diff shows all of them" in shown
    every = desk("replay", "s", "--diff", "--json")
    assert every.returncode == 8
    rows = [json.loads(line) for line in every.stdout.splitlines()]
    assert [(row["what"], row["at"], row["recorded"], row["now"]) for row in rows] == [
        ("consumed", "writer", {"topic": value, "round": 1}, {"topic": value, "round": 2}) for value in "ab"
    ]
    desk.program(AGENTS + "(* a remark *)\n")
    assert desk("replay", "s", "--diff").returncode == 0
    assert len(desk.model.requests) == asked


def test_a_changed_prompt_is_shown_by_asking_the_worker_again(desk: Desk):
    """The first answer that is not the recorded one; with the old prompt there is none."""
    desk.record(["a", "b", "c"])
    same = desk("replay", "s", "--live", "writer")
    assert (same.returncode, len(desk.model.requests)) == (0, 6), same.stderr
    desk.program(AGENTS.replace("Write.", "Write well."))
    first = desk("replay", "s", "--live", "writer")
    assert (first.returncode, len(desk.model.requests)) == (8, 7), first.stderr
    assert '  recorded  "1 words"\n  now       "better: 1 words"\n' in first.stderr.decode()
    assert b"writer was run again: it was given 1 of 3 messages, and says 1 other thing\n" in first.stderr
    nothing = desk("replay", "s", "--live", "writer#1")
    assert (nothing.returncode, len(desk.model.requests)) == (2, 7), nothing.stderr
    assert b"--live writer#1: it has answered no message in this run" in nothing.stderr
    every = desk("replay", "s", "--live", "writer", "--diff", "--json")
    rows = [json.loads(line) for line in every.stdout.splitlines()]
    assert [(row["what"], row["now"]) for row in rows] == [("answer", "better: 1 words")] * 3
    assert desk("replay", "s", "--live", "nobody").returncode == 7


def test_an_output_is_explained(desk: Desk):
    """By its number or its id: the way back to the input, with the calls and their tokens."""
    desk.record(["a", "b"])
    why = desk("why", "2", "-s", "s", "--json")
    assert why.returncode == 0, why.stderr
    told = json.loads(why.stdout)
    assert (told["number"], told["payload"], told["calls"]) == (2, "1 words", 1)
    assert [(step["event"], step["at"], step["payload"]) for step in told["steps"]] == [
        ("turn", "writer", "1 words"), ("input", "topic", "b"),
    ]  # fmt: skip
    assert told["steps"][0]["models"][0]["model"] == "scripted"
    assert told["prompt_tokens"] > 0
    assert desk("why", told["id"][:12], "-s", "s", "--json").stdout == why.stdout
    assert desk("why", "-1", "-s", "s", "--json").stdout == why.stdout
    assert desk("why", "-s", "s", "--json", "--", "-1").stdout == why.stdout
    slip = desk("why", "2", "-s", "s", "--jsn")
    assert (slip.returncode, slip.stdout) == (2, b""), slip.stderr
    text = desk("why", "2", "-s", "s").stdout.decode()
    assert "model scripted: " in text
    assert "input on 'topic'" in text
    unknown = desk("why", "77", "-s", "s")
    assert (unknown.returncode, unknown.stdout) == (7, b"")
    assert f"2 ({told['id']})" in unknown.stderr.decode()
    assert desk("why", "1", "-s", "none").returncode == 7
