"""Every code block of the documents does what it says.

``plumb``                 checks without a word; ``plumb error`` does not check; ``plumb in FILE`` has the declaration
                          of a name that FILE, beside the document, has too: FILE checks with it in its place
``sh``                    runs in a copy of the examples, line after line, each with exit code 0 unless ``EXPECTED`` has
                          another; what does not end by itself, listed in ``ENDLESS``, gets a Ctrl-C; what is in
                          ``ELSEWHERE`` is too long for a test, and it says what runs it instead
``console``               ``$ command`` gives the lines that stand below it; numbers may be others, ``...`` is any text
``text``                  a diagnostic, which ``fabric check`` prints of the program that it names, broken in that way
``toml``                  is read as ``fabric.toml``
``python``                runs in a copy of the examples; one that begins with ``# test_NAME.py`` is run by pytest

The blocks of ``compose/README.md``, the first five minutes, are run one after the other in one empty folder and one
shell; those of the other documents each by itself. A block of another kind fails. ``SCENES`` has what a block takes for
granted, ``PATIENT`` what a line has to wait for.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import Block, blocks_of, stray_code
from services import listed, wait_until
from three_ways import environment, fabric

from fabric.compiler import check_text
from fabric.lang.diagnostic import render_all
from fabric.lang.source import Source
from fabric.settings import read_settings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
GUIDE = ROOT / "fabric/PYTHON.md"
DOCUMENTS = [
    README,
    ROOT / "fabric/lang/LANGUAGE.md",
    GUIDE,
    *sorted(ROOT.glob("compose/*/README.md")),
    *sorted(ROOT.glob("fabric/templates/*/README.md")),
]
TUTORIAL = ROOT / "compose/README.md"
BLOCKS = [pytest.param(block, id=block.name) for path in DOCUMENTS for block in blocks_of(path)]

INSTALLS = "python3 -m venv .venv && .venv/bin/pip install -q "

ELSEWHERE = {
    f"{INSTALLS}-e '.[dev]' && .venv/bin/python -m pytest -q -n auto": ".ci/run, from nothing",
    ".venv/bin/python tests/benchmarks/": "minutes on an idle machine; nothing rests on the figures",
    ".venv/bin/python tests/fuzz/language.py": "tests/lang/test_any_text.py has a smaller number",
    ".venv/bin/python tests/simulation/": "tests/simulation has smaller numbers, .ci/run larger ones",
    ".venv/bin/python tests/mutants.py": ".ci/run",
    "curl -s ": "compose/observed/run.py asks at an address that is free; tests/e2e/test_watching.py the same and more",
    "prometheus --config.file=": "compose/observed/run.py",
    ".venv/bin/python tests/trials/": "tests/e2e/test_trials.py has smaller numbers, .ci/run larger ones",
}
"""How lines begin that are not run here, and what runs them. Those with a program are held against its ``--help``."""

ENDLESS = ("fabric logs -f", "fabric tail --all")
LOOKS_S = 2
"""How long somebody looks before he presses Ctrl-C."""

EXPECTED = {"sh: fabric dead retry 17": 1, "console: fabric doctor --stuck": 1}
"""In the first scene below a letter is refused once more; in the other something is stuck."""

PATIENT = {"fabric approve": "until fabric approve --format json | grep -q Fs.write; do :; done; fabric approve"}
"""A person who types is slower than the command before; a test is not."""

LIMIT_S = 120
"""For a hang, not a measurement."""

DOCTOR = "let doctor : !string -> !string = agent { }\nlet main : !string -> !string = plumb(i, o) { i ; doctor ; o }\n"
TROUBLE = """
let judge : !string -> !string = agent { provider: "eliza" }
let faulty : !string -> !string = python { call: "trouble:faulty" }
let main : !string -> !string = plumb(i, o) { i ; judge ; o  i ; faulty ; o }
"""
JOINED = """
let critic : !int -> !int = python { call: "trouble:same" }
let judge : !int -> !int = python { call: "slow:f", state: true }
let join : (!int, !int) -> !(int, int) = barrier
let main : !int -> !(int, int) = plumb(question, answer) {
  question ; (critic * judge) ; join ; answer
}
"""
FUNCTIONS = "def faulty(value):\n    raise ValueError('no')\ndef same(value):\n    return value\n"


def a_model(folder: Path) -> dict[str, str]:
    """A program whose agents do not say who is behind them, and a service of it that ran."""
    (folder / "main.plumb").write_text(DOCTOR)
    (folder / "fabric.toml").write_text('[defaults]\nprovider = "eliza"\n')
    assert fabric("up", "-d", "main.plumb", cwd=folder).returncode == 0
    assert fabric("down", cwd=folder).returncode == 0
    return {"OPENAI_API_KEY": "none"}


def trouble(folder: Path) -> dict[str, str]:
    """A service with seventeen dead letters."""
    (folder / "trouble.py").write_text(FUNCTIONS)
    (folder / "main.plumb").write_text(TROUBLE)
    assert fabric("up", "-d", "main.plumb", cwd=folder).returncode == 0
    assert fabric("send", "--no-wait", *['"x"'] * 17, cwd=folder).returncode == 0
    wait_until(folder, lambda row: sum(worker["dead_letters"] for worker in row["workers"]) == 17)
    return {}


def stuck(folder: Path) -> dict[str, str]:
    """A service with a process that was stopped."""
    (folder / "trouble.py").write_text(FUNCTIONS)
    (folder / "slow.py").write_text("def f(value):\n    return value\n")
    (folder / "main.plumb").write_text(JOINED)
    assert fabric("up", "-d", "main.plumb", cwd=folder).returncode == 0
    assert fabric("send", "1", "2", cwd=folder).returncode == 0
    judge = next(worker["pid"] for worker in listed(folder)["workers"] if worker["worker"] == "judge")
    os.kill(judge, signal.SIGSTOP)
    assert fabric("send", "--no-wait", "3", "4", "5", cwd=folder).returncode == 0
    wait_until(folder, lambda row: row["inputs"]["question"] == 5)
    return {}


def orders(folder: Path) -> dict[str, str]:
    """The files that stand before it."""
    for block in blocks_of(GUIDE):
        if block.first == "# orders.py":
            (folder / "orders.py").write_text(block.text)
        elif block.language == "plumb":
            (folder / "orders.plumb").write_text(block.text)
    return {}


SCENES = {
    "PYTHON:fabric check orders.plumb": orders,
    "README:export ANTHROPIC_API_KEY=...": a_model,
    "README:fabric ps": trouble,
    "README:$ fabric doctor --stuck": stuck,
}


@pytest.fixture
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """A copy of the examples, with the environment beside them. What runs in it in the end is ended."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
    subprocess.run(["cp", "-r", ROOT / "compose", tmp_path], check=True)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    yield tmp_path
    for path in tmp_path.glob(".fabric/run/*.json"):
        fabric("down", "-t", "0", "-p", path.stem, cwd=tmp_path)
        assert not Path(json.loads(path.read_text())["socket"]).exists()


def variables(more: dict[str, str]) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**environment(), "PATH": path, "BROWSER": "true", **more}


def is_elsewhere(line: str) -> bool:
    return any(line.startswith(start) for start in ELSEWHERE)


def steps_of(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each line that is to be run, and a pattern of its exit code."""
    for line in block.lines:
        if is_elsewhere(line):
            continue
        code = str(EXPECTED.get(f"sh: {line}", 0))
        if line in ENDLESS:
            code = "0|130"
            line = f"timeout --preserve-status -s INT -k {LIMIT_S} {LOOKS_S} {line}"
        elif block.path.parent.name == "clerk":
            line = PATIENT.get(line, line)
        yield line.removeprefix(f"{INSTALLS}. && "), code


def shown_by(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a block and what each prints."""
    parts = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE)
    assert "".join(f"$ {command}\n{shown}" for command, shown in parts) == block.text
    return parts


def run_steps(block: Block, folder: Path) -> None:
    """Run the lines of a block, in one shell."""
    steps = list(steps_of(block))
    if not steps:
        return
    scene = SCENES.get(f"{block.path.stem}:{block.first.split('  ')[0]}")
    more = scene(folder) if scene is not None else {}
    script = "".join(
        f"{line}\n" if line.endswith("&") else f"{line}\ncase $? in {code}) ;; *) exit 99 ;; esac\n"
        for line, code in steps
    )
    with (folder / "said").open("wb") as said:  # a pipe would be held open by what goes on in the background
        done = subprocess.run(
            ["bash", "-x", "-o", "pipefail", "-c", script + "wait\n"],
            cwd=folder,
            env=variables(more),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=LIMIT_S,
        )
    assert done.returncode == 0, (folder / "said").read_text(errors="replace")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.values[0].language in ("plumb", "toml")])
def test_a_program_checks_and_settings_are_read(block: Block, tmp_path: Path):
    """Without a word, or with an error where one is meant."""
    if block.language == "toml":
        (tmp_path / "fabric.toml").write_text(block.text)
        read_settings(tmp_path)
        return
    text = block.text
    where = Source(str(block.path), text)
    if block.mark.startswith("in "):
        program = block.path.parent / block.mark.removeprefix("in ")
        (name,) = re.findall(r"^let (\w+) :", text, re.MULTILINE)
        changed, count = re.subn(rf"(?ms)^let {name} :.*?(?=^\S|^$)", text, program.read_text())
        assert (count, changed != program.read_text()) == (1, True)
        where = Source(str(program), changed)
    module, diagnostics = check_text(where)
    if block.mark == "error":
        assert module is None
    else:
        assert not diagnostics, render_all(diagnostics)


@pytest.mark.processes
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.values[0].language == "sh"])
def test_commands_run(block: Block, folder: Path):
    """One after the other."""
    if block.path.is_relative_to(ROOT / "fabric/templates"):
        made = fabric("new", block.path.parent.name, "made", cwd=folder)
        assert made.returncode == 0
        folder = folder / "made"
    run_steps(block, folder)


@pytest.mark.processes
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.values[0].language == "python"])
def test_python_runs(block: Block, folder: Path):
    """Without a complaint."""
    (folder / "block.py").write_text(block.text)
    if block.first.startswith("# test_"):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "block.py"]
    else:
        command = [sys.executable, "block.py"]
    done = subprocess.run(
        command, cwd=folder, env=variables({}), stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stdout.decode()


_NUMBER = r"\d+(?:\.\d+)?"


def as_pattern(shown: str) -> str:
    """Return what matches a text with other numbers, and with anything where it has dots."""
    parts = re.split(rf"(\.\.\.|{_NUMBER})", shown)
    return "".join(
        {"...": ".*"}.get(part, r"\d+(?:\.\d+)?" if part[:1].isdigit() else re.escape(part)) for part in parts
    )


@pytest.mark.processes
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.values[0].language == "console"])
def test_commands_print_what_is_shown(block: Block, folder: Path):
    """Numbers aside: times, and numbers of processes."""
    scene = SCENES.get(f"{block.path.stem}:{block.first}")
    more = scene(folder) if scene is not None else {}
    for command, shown in shown_by(block):
        done = subprocess.run(
            ["bash", "-c", f"{command} 2>&1"],
            cwd=folder,
            env=variables(more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
        )
        assert re.fullmatch(as_pattern(shown), done.stdout.decode(), re.DOTALL), done.stdout.decode()
        assert done.returncode == EXPECTED.get(f"console: {command}", 0)


@pytest.mark.processes
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.values[0].language == "text"])
def test_a_diagnostic_is_what_is_printed(block: Block, folder: Path):
    """Of the example that it names, with the declaration that it shows."""
    (path,) = re.findall(r"┌─ (\S+?):", block.text)
    broken = (folder / path).read_text().replace("!string -> !string = agent", "!string -> !int = agent")
    (folder / path).write_text(broken)
    done = fabric("check", path, cwd=folder)
    assert (done.returncode, done.stderr.decode().strip()) == (2, block.text.strip())


@pytest.mark.processes
def test_the_first_five_minutes_are_as_they_are_told(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    """From an empty folder to a project that was broken and mended, served and called: every block, in order."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
    state = home / "shell"
    state.write_text(f"cd {tmp_path / 'empty'}\n")
    (tmp_path / "empty").mkdir()

    def typed(command: str) -> tuple[int, str]:
        script = f'. {state}; {command}\ncode=$?; {{ export -p; echo cd "$PWD"; }} > {state}; exit $code'
        with (home / "said").open("wb") as said:
            done = subprocess.run(
                ["bash", "-c", script],
                env=variables({"HOME": str(home)}),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=LIMIT_S,
            )
        return done.returncode, (home / "said").read_text()

    for block in blocks_of(TUTORIAL):
        match block.language:
            case "sh":
                for line in block.lines:
                    assert (line, *typed(line))[:2] == (line, 0), (home / "said").read_text()
            case "console":
                for command, shown in shown_by(block):
                    code, said = typed(command)
                    assert (said, code) == (shown, 2 if shown.startswith("error[") else 0)
            case "python":
                (home / "cell.py").write_text(block.text)
                code, said = typed(f"PYTHONPATH=. python {home / 'cell.py'}")
                assert (code, "TELL ME MORE ABOUT" in said) == (0, True), said
            case other:
                pytest.fail(f"line {block.line}: {other}")


def test_every_block_is_of_a_kind_that_is_run():
    """What nobody runs is no example."""
    languages = {"plumb", "toml", "sh", "python", "console", "text"}
    assert [block.id for block in BLOCKS if block.values[0].language not in languages] == []
    marks = {(block.values[0].language, block.values[0].mark) for block in BLOCKS}
    assert marks <= {*((language, "") for language in languages), ("plumb", "error"), ("plumb", "in main.plumb")}
    assert len(BLOCKS) >= 50


@pytest.mark.parametrize("path", [*DOCUMENTS, TUTORIAL], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_stands_outside_of_blocks(path: Path):
    """It would not be run."""
    assert stray_code(path) == []


def test_what_is_said_of_lines_and_blocks_is_about_one_that_there_is():
    """A document may change."""
    lines = [line for block in BLOCKS for line in block.values[0].lines]
    firsts = {f"{block.values[0].path.stem}:{block.values[0].first.split('  ')[0]}" for block in BLOCKS}
    assert [start for start in ELSEWHERE if not any(line.startswith(start) for line in lines)] == []
    assert {*ENDLESS, *PATIENT} <= set(lines)
    kinds = [(f"{block.values[0].language}: ", block.values[0].lines) for block in BLOCKS]
    assert EXPECTED.keys() <= {kind + line.removeprefix("$ ") for kind, of_block in kinds for line in of_block}
    assert firsts >= SCENES.keys()


@pytest.mark.parametrize("line", [line for block in BLOCKS for line in block.values[0].lines if is_elsewhere(line)])
def test_what_is_run_elsewhere_could_be(line: str):
    """Its program is there, and knows its flags."""
    found = re.match(r"\.venv/bin/python (\S+)(.*)", line)
    if line.startswith("prometheus "):
        (config,) = re.findall(r"--config\.file=(\S+)", line)
        assert (ROOT / config).exists()
        return
    if line.startswith("curl "):
        (path,) = re.findall(r"http://127\.0\.0\.1:9464/(?:api/v1/)?(\w+)", line)
        assert path in (ROOT / "tests/e2e/test_watching.py").read_text()
        return
    if found is None:
        (word,) = {"pytest"} & set(line.split())
        assert f"command_from_readme {word}" in (ROOT / ".ci/run").read_text()
        return
    program, rest = found.groups()
    flags = re.findall(r"--[\w-]+", rest)
    shown = subprocess.run(
        [sys.executable, ROOT / program, "--help"], cwd=ROOT, env=environment(), capture_output=True, timeout=LIMIT_S
    )
    assert shown.returncode == 0, shown.stderr
    assert [flag for flag in flags if flag not in shown.stdout.decode()] == []
