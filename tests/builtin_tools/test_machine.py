"""Tools for the machine: what they start does not outlive them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fabric.builtin_tools import FUNCTIONS, builtin, machine
from fabric.builtin_tools.files import Limits, Root
from fabric.builtin_tools.refused import Refused
from fabric.errors import ConfigError
from fabric.lang.tools import BUILTINS, EFFECTS


def config(name: str, folder: Path) -> dict[str, Any]:
    return {"builtin": name, "docroot": str(folder)}


def test_every_builtin_of_the_language_is_there():
    """And no other."""
    assert FUNCTIONS.keys() == BUILTINS.keys()
    assert BUILTINS.keys() > EFFECTS


def test_a_builtin_does_what_it_is_asked_in_its_folder(tmp_path: Path):
    """Whether it may is decided where calls are."""
    assert builtin(config("fs.list", tmp_path))({}) == []
    builtin(config("fs.write", tmp_path))({"path": "x", "text": "y"})
    assert builtin(config("fs.read", tmp_path))({"path": "x"}) == "y"


def test_a_root_that_is_no_folder_is_a_mistake_of_the_configuration(tmp_path: Path):
    """Told before anything is called."""
    with pytest.raises(ConfigError, match=r"cannot open the folder of the tools, .*none: No such file"):
        builtin(config("fs.read", tmp_path / "none"))


async def test_a_program_is_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It gets neither the sockets nor the descriptors of the worker that starts it."""
    monkeypatch.setenv("PLUMB_ENDPOINT_INPUT", "ipc:///x")
    monkeypatch.setenv("FABRIC_SPEC_FD", "5")
    monkeypatch.setenv("PLUMB_MODEL", "m")
    script = "import os; print(sorted(name for name in os.environ if name.startswith(('PLUMB', 'FABRIC'))))"
    found = await machine.execute(Root(str(tmp_path)), {"command": [sys.executable, "-c", script]})
    assert found["stdout"] == "['PLUMB_MODEL']\n"


async def test_a_program_is_run_in_the_folder(tmp_path: Path):
    """Without a shell; what it says and its status are the result, also if it fails."""
    script = "import os, sys; print(os.getcwd(), sys.stdin.read()); sys.stderr.write('err'); sys.exit(3)"
    arguments = {"command": [sys.executable, "-c", script], "stdin": "in"}
    found = await machine.execute(Root(str(tmp_path)), arguments)
    assert found == {"status": 3, "stdout": f"{tmp_path} in\n", "stderr": "err"}


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ([], "expected the name of a program"),
        ([""], "expected the name of a program"),
        (["a\0"], "zero byte"),
        (["./none"], "./none cannot be started: No such file"),
    ],
)
async def test_a_program_that_cannot_be_started_is_told(tmp_path: Path, command: list[str], error: str):
    """With the system's reason."""
    with pytest.raises(Refused, match=error):
        await machine.execute(Root(str(tmp_path)), {"command": command})


async def test_what_a_program_leaves_behind_is_ended_with_it(tmp_path: Path):
    """It would hold the pipes open, and the call would never end."""
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])"
    found = await machine.execute(Root(str(tmp_path)), {"command": [sys.executable, "-c", script]})
    assert found["status"] == 0


async def test_a_program_that_does_not_end_or_writes_without_end_is_ended(tmp_path: Path):
    """The call is refused."""
    root = Root(str(tmp_path), Limits(exec_s=0.2))
    endless = "import sys\nwhile True: sys.stdout.write('x' * 4096)"
    with pytest.raises(Refused, match="wrote more than"):
        await machine.execute(Root(str(tmp_path)), {"command": [sys.executable, "-c", endless]})
    with pytest.raises(Refused, match=r"ran for 0\.2 s and was ended"):
        await machine.execute(root, {"command": [sys.executable, "-c", "import time; time.sleep(3600)"]})


def test_a_person_is_told_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """On stderr, which is shown under the worker's name."""
    machine.notify(Root(str(tmp_path)), {"text": "the\nbuild is\tdone"})
    assert capsys.readouterr().err == "the build is done\n"
