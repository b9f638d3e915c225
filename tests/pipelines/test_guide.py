"""Every code block of the guide does what it says.

``yaml NAME``, ``jinja NAME``  is that file; all of them stand in one folder, in which the others are run
``yaml``                       steps, or keys of a file: it is valid beside the rest of a pipeline, without a warning;
                               ``yaml error`` is not valid
``sh``, ``python``             runs with exit code 0
``console``                    prints what stands there; ``...`` is any text, and numbers with a point may be others
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from documents import Block, blocks_of, stray_code

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.pipeline import load_pipeline

GUIDE = Path(__file__).parents[2] / "fabric/pipelines/GUIDE.md"
BLOCKS = blocks_of(GUIDE)
FILES = {block.mark: block.text for block in BLOCKS if "." in block.mark}
FUNCTIONS = "def normalise(text): ...\ndef keep(text): ...\ndef choose(**inputs): ...\n"
REST = {
    "models": {"default": {"provider": "mock", "response": "{}"}},
    "steps": [{"name": "none", "type": "transform", "fn": "steps:choose"}],
}
LIMIT_S = 60
"""For a hang, not a measurement."""


def of(*languages: str) -> list[object]:
    found = [block for block in BLOCKS if block.language in languages and "." not in block.mark]
    return [pytest.param(block, id=block.name) for block in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {**FILES, "steps.py": FUNCTIONS}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("block", of("yaml"))
def test_a_part_of_a_file_is_valid(block: Block, folder: Path):
    """Beside the rest of one, without a warning; or it is not, where that is meant."""
    data = yaml.safe_load(block.text)
    part = {"steps": data} if isinstance(data, list) else data
    text = "".join(yaml.safe_dump({key: value}) for key, value in REST.items() if key not in part)
    text += "steps:\n" + textwrap.indent(block.text, "  ") if isinstance(data, list) else block.text
    (folder / "part.yaml").write_text(text)
    if block.mark == "error":
        with pytest.raises(PipelineLoadError):
            load_pipeline(folder / "part.yaml", environment={"API_TOKEN": "t"})
    else:
        assert load_pipeline(folder / "part.yaml", environment={"API_TOKEN": "t"}).warnings == ()


def run(command: list[str], folder: Path) -> tuple[int, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT_S,
    )
    return done.returncode, done.stdout.decode()


@pytest.mark.processes
@pytest.mark.parametrize("block", of("sh", "python"))
def test_commands_and_python_run(block: Block, folder: Path):
    """Without a complaint."""
    command = [sys.executable, "-W", "error", "-c"] if block.language == "python" else ["bash", "-e", "-c"]
    code, said = run([*command, block.text], folder)
    assert code == 0, said


def _matching(part: str) -> str:
    if part == "...":
        return ".*"
    return r"\d+\.\d+" if re.fullmatch(r"\d+\.\d+", part) else re.escape(part)


@pytest.mark.processes
@pytest.mark.parametrize("block", of("console"))
def test_commands_print_what_is_shown(block: Block, folder: Path):
    """Numbers with a point aside: they are times."""
    command, _, shown = block.text.removeprefix("$ ").partition("\n")
    code, said = run(["bash", "-c", command], folder)
    pattern = "".join(_matching(part) for part in re.split(r"(\.\.\.|\d+\.\d+)", shown))
    assert re.fullmatch(pattern, said, re.DOTALL), said
    assert code == 0


def test_every_block_is_of_a_kind_that_is_run():
    """What nobody runs is no example."""
    kinds = {(block.language, block.mark) for block in BLOCKS if "." not in block.mark}
    assert kinds == {("yaml", ""), ("yaml", "error"), ("sh", ""), ("python", ""), ("console", "")}
    assert set(FILES) == {"pipeline.yaml", "prompts/extract.j2", "vocabularies/material.yaml"}
    assert stray_code(GUIDE) == []
