"""The scripts beside the examples: each shows one use from Python, needs no network, and ends by itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from three_ways import environment

from fabric.compiler import check_file

COMPOSE = Path(__file__).parents[2] / "compose"

SAID = {
    "hello/run.py": "main takes str and gives str\nTELL ME MORE ABOUT SUCH FEELINGS\nTELL ME MORE ABOUT YOUR FAMILY\n",
    "hello/join.py": "2 answers\n",
    "review/run.py": "".join(
        f"{topic}: Those who tried {topic} liked it.\n" for topic in ("tea", "the new bridge", "rain")
    ),
    "essay/run.py": (
        "essay: the bridge is old, as the archive says\n"
        "essay: tea is old, as the archive says, and people still like it\n"
        "tokens: grade 39, verify 49, writer 34\n"
    ),
    "debate/run.py": (
        "Should tea be served cold? Round 1 goes to those in favour.\n"
        "Is a bridge better than a tunnel? Round 1 goes to those against.\n"
        "picture: 14 nodes, 15 channels, 1 of them leading back\n"
    ),
    "heat/run.py": (
        "after 3 rounds: yes to tea in the afternoon, once more, once more\n"
        "seen: con config, con output, con usage, pro config, pro output, pro usage,"
        " referee config, referee output, referee usage\n"
    ),
    "memory/run.py": "TELL ME MORE ABOUT YOUR FAMILY\nYOU DON'T SEEM QUITE CERTAIN\n",
    "shelf/run.py": (
        'stored tea\ntea: {"grams": 50}\nthere is no milk\nrefused: input_type_mismatch\nclosed\nexit code: 0\n'
    ),
    "handler/run.py": "[{'item': 'tea', 'count': 2, 'sold': 2}]\n",
    "invoice/run.py": (
        "Lapsang & Sons 2024-017: 50 EUR, approved\n"
        "Lapsang & Sons 2024-017: more than 20 EUR, somebody has to look at it\n"
        "body was asked: 1 schema_error 2 success\n"
        "why again: the lines make 50, and the total is 40\n"
    ),
    "clerk/run.py": "clerk wants Fs.write: granted\nNoted.\nwritten: the door\nexit code: 6\n",
}


def run(script: Path, folder: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


PLAYED = {"observed", "two_hosts"}
"""Examples whose script starts others; a block of their README runs it (``test_documents``)."""


def test_every_example_has_a_script():
    """And every script is run here."""
    folders = {path.parent.name for path in COMPOSE.glob("*/main.plumb")} - PLAYED
    scripts = {
        path.relative_to(COMPOSE).as_posix() for path in COMPOSE.glob("*/*.py") if "import fabric\n" in path.read_text()
    }
    assert {f"{folder}/run.py" for folder in folders} <= set(SAID)
    assert scripts <= set(SAID)


@pytest.mark.processes
@pytest.mark.parametrize("script", SAID)
def test_a_script_says_what_came_of_it(script: str, tmp_path: Path):
    """Wherever it is started, and without a complaint; of what is denied there is a warning."""
    code, said, complained = run(COMPOSE / script, tmp_path)
    assert (code, said) == (0, SAID[script]), complained
    warnings = [line.split(" ")[0] for line in complained.splitlines()]
    assert warnings == (["tool.denied", "tool.failed"] if script == "clerk/run.py" else [])
    assert list(tmp_path.iterdir()) == []


def test_the_program_of_the_debate_is_the_one_of_its_file(tmp_path: Path):
    """The same workers and channels, whichever way it is written."""
    shutil.copytree(COMPOSE / "debate", tmp_path / "debate")
    render = "import run; print(run.build().render())"
    done = subprocess.run(
        [sys.executable, "-c", render], cwd=tmp_path / "debate", env=environment(), capture_output=True, timeout=60
    )
    assert done.stderr == b""
    (tmp_path / "debate" / "built.plumb").write_bytes(done.stdout)
    graphs = [check_file(tmp_path / "debate" / name, ()).graph for name in ("main.plumb", "built.plumb")]
    shapes = [
        (
            sorted((node.kind, node.id) for node in graph.nodes.values() if node.kind in ("python", "input", "output")),
            len(graph.nodes),
            len(graph.channels),
        )
        for graph in graphs
    ]
    assert shapes[0] == shapes[1]
