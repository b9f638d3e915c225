"""The scripts that complete commands, run by the shells that they are for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fabric.cli.completion_scripts import Flag, Verb, bash, fish, zsh

HELP = Flag(("-h", "--help"), "Show: what it does, isn't it")
FORMAT = Flag(("--format",), "text or json", takes_value=True, choices=("text", "json"))
FILE = Flag(("-o", "--output"), "The file", takes_value=True)
WORKER = Flag(("-w", "--worker"), "One", takes_value=True, is_worker=True)
SESSION = Flag(("-s", "--session"), "Which", takes_value=True, is_session=True)
GROUPS = ("check", "dead", "logs", "pipeline", "session")
VERBS = [
    Verb("", "", (Flag(("--env-file",), "Variables", takes_value=True), HELP), GROUPS, False, False),
    Verb("check", "Check: it's well", (FORMAT, FILE, HELP), (), takes_program=True, takes_worker=False),
    Verb("dead", "Letters", (HELP,), ("drop", "list"), takes_program=False, takes_worker=False),
    Verb("dead list", "List", (FORMAT, WORKER, HELP), (), takes_program=True, takes_worker=False),
    Verb("logs", "Logs", (HELP,), (), takes_program=True, takes_worker=True),
    Verb("pipeline", "Pipelines", (HELP,), ("run", "schema"), takes_program=False, takes_worker=False),
    Verb("pipeline run", "Run", (FORMAT, HELP), (), takes_program=False, takes_worker=False),
    Verb("pipeline schema", "Schemas", (HELP,), ("emit", "infer"), takes_program=False, takes_worker=False),
    Verb("pipeline schema infer", "Infer", (FORMAT, HELP), (), takes_program=False, takes_worker=False),
    Verb("session", "Sessions", (HELP,), ("push", "use"), takes_program=False, takes_worker=False),
    Verb("session push", "Push", (SESSION, HELP), (), takes_program=False, takes_worker=False),
    Verb("session use", "Use", (HELP,), (), takes_program=False, takes_worker=False, takes_session=True),
]

CASES = [
    (["che"], ["check"]),
    (["--env-file", "check", "lo"], ["logs"]),
    (["check", ""], ["a b.plumb", "folder"]),
    (["check", "a"], ["a b.plumb"]),
    (["check", "--fo"], ["--format"]),
    (["check", "--format", ""], ["json", "text"]),
    (["dead", ""], ["drop", "list"]),
    (["dead", "list", "--"], ["--format", "--help", "--worker"]),
    (["dead", "-h", "list", "--worker", ""], ["tall", "small"]),
    (["logs", "t"], ["tall"]),
    (["pipeline", ""], ["run", "schema"]),
    (["pipeline", "schema", ""], ["emit", "infer"]),
    (["pipeline", "schema", "infer", "--format", ""], ["json", "text"]),
    (["pipeline", "run", "--fo"], ["--format"]),
    (["session", "use", "r"], ["review"]),
    (["session", "push", "--session", ""], ["review", "triage-7"]),
    (["session", "push", "-s", "t"], ["triage-7"]),
    (["-"], ["--env-file", "--help", "-h"]),
]


FABRIC = """#!/bin/sh
case "$1 $2 $3" in
  "completion workers ") printf "tall\\nsmall\\n" ;;
  "completion sessions fabric session "*) printf "review\\ntriage-7\\n" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path):
    """With programs, other files, and a fabric that knows two workers and two sessions."""
    (tmp_path / "a b.plumb").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "fabric"
    command.write_text(FABRIC)
    command.chmod(0o755)
    return tmp_path


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def answers(command: list[str], folder: Path, script: str, ask: str) -> list[str]:
    (folder / "folder" / "script").write_text(script)
    path = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "HOME": str(folder / "bin"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*command, ask], cwd=folder, env=path, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return sorted(line.partition("\t")[0].rstrip("/") for line in done.stdout.decode().splitlines())


@pytest.mark.parametrize(("words", "found"), CASES, ids=" ".join)
def test_bash_completes(folder: Path, words: list[str], found: list[str]):
    """As when a key is pressed behind these words."""
    quoted = " ".join(f"'{word}'" for word in ["fabric", *words])
    ask = (
        f'. folder/script; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; COMP_LINE="${{COMP_WORDS[*]}}"; '
        'COMP_POINT=${#COMP_LINE}; _fabric; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    expected = [*found, "bin"] if words == ["check", ""] else found
    assert answers([shell("bash"), "-c"], folder, bash(VERBS), ask) == sorted(expected)


@pytest.mark.parametrize(("words", "found"), CASES, ids=" ".join)
def test_fish_completes(folder: Path, words: list[str], found: list[str]):
    """What it says itself that it would."""
    ask = f". folder/script; complete -C 'fabric {' '.join(words)}'"
    expected = [*found, "bin"] if words == ["check", ""] else found
    shown = answers([shell("fish"), "--no-config", "-c"], folder, fish(VERBS), ask)
    if words[-1].startswith("-"):  # of flags it shows long names first, short ones only behind a single dash
        assert set(expected) - {"-h"} <= set(shown)
    else:
        assert shown == sorted(expected)


@pytest.mark.parametrize(("name", "script"), [("bash", bash(VERBS)), ("zsh", zsh(VERBS)), ("fish", fish(VERBS))])
def test_a_shell_can_read_its_script(name: str, script: str, tmp_path: Path):
    """Quotes in what is told do not end it."""
    (tmp_path / "script").write_text(script)
    done = subprocess.run([shell(name), "-n", tmp_path / "script"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
