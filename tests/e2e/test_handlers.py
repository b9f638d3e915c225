"""A handler in a program: its worker may be killed at any decision, and everything is decided and told once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from three_ways import fabric

pytestmark = pytest.mark.processes

PROGRAM = """
let count : !string -> !{ text: string, seen: int } = handler { command: ["PYTHON", "handler.py"] MODE }
let main : !string -> !{ text: string, seen: int } = plumb(i, o) { i ; count ; o }
"""

HANDLER = """
import os, pathlib, signal
import fabric.handler as pugmark

pushed = [entry for entry in pugmark.read() if entry.event() == "push"]
told = pathlib.Path("decisions")
with told.open("a") as file:
    file.write(f"{len(pushed)}\\n")
if len(pushed) in KILLS and told.read_text().split().count(str(len(pushed))) == 1:
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
if pushed[-1].name() != "told":
    pugmark.write({"text": pushed[-1].decode_json(), "seen": len(pushed)}, name="told")
else:
    pugmark.pause("told")
"""


def written(folder: Path, kills: set[int]) -> Path:
    """Write a program with a handler that kills its worker when it first sees so many entries."""
    import sys

    program = folder / "main.plumb"
    program.write_text(PROGRAM.replace("PYTHON", sys.executable).replace("MODE", ""))
    (folder / "handler.py").write_text(HANDLER.replace("KILLS", repr(kills) if kills else "()"))
    return program


def told(output: bytes) -> list[tuple[str, int]]:
    return [(value["text"], value["seen"]) for value in map(json.loads, output.splitlines())]


@pytest.mark.parametrize("kills", [set(), {1}, {2}, {3, 4}])
def test_a_killed_worker_changes_nothing(tmp_path: Path, kills: set[int]) -> None:
    """Killed before its first decision or between two: the outputs are those of an undisturbed run."""
    done = fabric("run", "--restarts", 9, written(tmp_path, kills), stdin=b'"a"\n"b"\n')
    assert (done.returncode, told(done.stdout)) == (0, [("a", 1), ("b", 3)]), done.stderr
    decisions = (tmp_path / "decisions").read_text().split()
    assert decisions == [str(n) for n in range(1, 5) for _ in range(1 + (n in kills))]


def test_a_kept_run_goes_on_with_its_handler(tmp_path: Path) -> None:
    """The session of the handler is in the bucket of the run, and what was said before is known."""
    program = written(tmp_path, {1})
    keep = ("--session", "shop", "-b", f"file:{tmp_path}/bucket")
    first = fabric("run", "--restarts", 9, *keep, program, stdin=b'"a"\n')
    second = fabric("run", *keep, program, stdin=b'"b"\n')
    assert told(first.stdout) + told(second.stdout) == [("a", 1), ("b", 3)], (first.stderr, second.stderr)
