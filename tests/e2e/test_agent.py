"""Agents in a real session: compaction with the library's own threshold, tools, pins, retries."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from three_ways import FABRIC, environment, fabric, input_lines, read_lines, run, service

pytestmark = pytest.mark.processes

COMPACTED = """
use mem
let doctor : (!string, !Mem.CtrlCmd) -> (!string, !json) = agent {}
let main : !string -> !json = plumb(said, seen) {
  said ; doctor ; seen
  doctor@telemetry ; Mem.compact@telemetry
  doctor@ctrl_out ; Mem.compact@ctrl_out
  doctor@ctrl_out ; seen
  Mem.compact@ctrl_in ; doctor@ctrl_in
}
"""

MESSAGES = 40
WORDS = 15_000


def one_by_one(said: list[str], folder: Path) -> list[Any]:
    """Say each when the one before is answered, as a person does; return all that came."""
    command = [*FABRIC, "run", "--provider", "eliza", "main.plumb"]
    seen: list[Any] = []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=folder, env=environment()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in said:
            process.stdin.write(input_lines([text]))
            process.stdin.flush()
            seen.append(json.loads(process.stdout.readline()))
            while not isinstance(seen[-1], str):
                seen.append(json.loads(process.stdout.readline()))
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err.decode()) == (0, "")
    return seen + read_lines(out)


def test_a_long_talk_is_compacted_three_times(tmp_path: Path):
    """With the threshold of 150,000 tokens. Each answer comes, in its order, and each compaction is a whole one.

    ELIZA counts words, and answers the sentence that it knows something about.
    """
    (tmp_path / "main.plumb").write_text(COMPACTED, encoding="utf-8")
    said = ["pebble " * WORDS + f". I want n{number}" for number in range(MESSAGES)]
    seen = one_by_one(said, tmp_path)
    answers = [value for value in seen if isinstance(value, str)]
    numbers = [int(answer.rpartition(" N")[2].split()[0]) for answer in answers]
    assert numbers == list(range(MESSAGES))
    replies = [value for value in seen if not isinstance(value, str)]
    kinds = [reply["kind"] for reply in replies]
    compactions = kinds.count("memory_set")
    assert compactions >= 3
    assert kinds == ["pause_ack", "memory", "memory_set", "resume_ack"] * compactions
    counts = [(reply["old_messages"], reply["new_messages"]) for reply in replies if reply["kind"] == "memory_set"]
    assert all(old > new == 2 for old, new in counts)


TOOLS = """
use fs
let reader : !string -> !string = agent {
  provider: "scripted"
  script: "model:reply"
  tools: [Fs.read, words]
}
let count : !string -> !int = python { call: "model:count" }
let words : string -> int = tool { process: count, description: "Count words." }
let main : !string -> !string = plumb(said, answer) { said ; reader ; answer }
"""

MODEL = """
import json, sys

def count(text):
    if not text:
        sys.exit("nothing to count")
    return len(text.split())

def reply(text, messages):
    from plumb_agent.providers.scripted import Call
    read = Call("read", {"path": "notes.md"})
    pin = Call("pin", {"tool": "read", "arguments": {"path": "notes.md"}})
    plan = {
        "read": [[read, Call("words", {"input": "a b c"})]],
        "pin": [[pin, read]],
        "again": [[read]],
        "wrong": [[Call("words", {"input": 7}), Call("nothing", {}), Call("words", {"input": ""})]],
        "forget": [],
    }[json.loads(text)]
    results = messages[-1]["content"]
    if isinstance(results, list):
        return " | ".join(result["content"] for result in results)
    return plan[0] if plan else messages[0]["content"]
"""


def written(folder: Path) -> Path:
    """Write the program with tools, and return its path."""
    (folder / "main.plumb").write_text(TOOLS, encoding="utf-8")
    (folder / "model.py").write_text(MODEL, encoding="utf-8")
    (folder / "notes.md").write_text("the notes", encoding="utf-8")
    return folder / "main.plumb"


def test_an_agent_calls_tools_of_its_session(tmp_path: Path):
    """One of a library and one of the program, at once."""
    assert run(written(tmp_path), ["read"]) == ["the notes | 3"]


def test_what_a_tool_refuses_comes_back_to_the_model(tmp_path: Path):
    """Without the type nothing leaves the agent; a crash of the tool is an error, too."""
    done = fabric("run", written(tmp_path), stdin=input_lines(["wrong"]), cwd=tmp_path)
    (answer,) = read_lines(done.stdout)
    wrong, unknown, crashed = answer.split(" | ")
    assert wrong == "the arguments of 'words' do not have its type: expected string, got integer 7"
    assert unknown.startswith("there is no tool 'nothing'; there are: read, words, pin, unpin")
    assert crashed != ""


def told(folder: Path, *words: object) -> Any:
    """Tell the agent something, and return its reply."""
    done = fabric("ctl", "reader", *words, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def answer_to(folder: Path, text: str) -> str:
    """Send an input, and return its output."""
    (value,) = read_lines(fabric("send", json.dumps(text), cwd=folder).stdout)
    return value


def test_pins_survive_a_compaction(project: Path):
    """What an operator replaces goes; the file that was pinned is at the top, and is not read again."""
    pinned = [{"tool": "read", "arguments": {"path": "notes.md"}, "content": "the notes"}]
    with service(written(project), project):
        said = answer_to(project, "pin")
        assert said == '{"pinned":true,"key":"read({\\"path\\":\\"notes.md\\"})"} | the notes'
        memory = told(project, "memory")
        assert (len(memory["messages"]), memory["pinned"]) == (4, pinned)
        (project / "memory.json").write_text('[{"role":"user","content":"so far"}]')
        for _ in range(2):
            told(project, "set_memory", "memory.json")
            assert told(project, "memory")["pinned"] == pinned
            assert json.loads(answer_to(project, "again"))["note"].endswith("at the top of your conversation.")
            seen = answer_to(project, "forget")
            assert seen.startswith("<pinned-documents>\n")
            assert seen.endswith("\nthe notes\n</pinned>\n</pinned-documents>")


def test_an_operator_is_told_that_the_agent_refuses_something(project: Path):
    """Of a memory that is malformed, whole or in part; nothing of the object has happened."""
    with service(written(project), project):
        for message in ('{"set_memory": [{"role": "user"}]}', '{"get_memory": true, "set_temp": 3}'):
            done = fabric("ctl", "reader", message, cwd=project)
            assert (done.returncode, done.stdout) == (1, b"")
            assert b"gave no reply to that" in done.stderr
        assert told(project, "memory") == {"kind": "memory", "messages": [], "pinned": []}
