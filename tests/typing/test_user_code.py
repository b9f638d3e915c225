"""What users write has the types that they expect, for both of the checkers that they use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from peers import unavailable

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
USES = ["uses_client.py", "uses_dsl.py", "uses_provider.py"]
MISTAKES = "mistakes.py"
PUBLIC = re.compile(
    r"fabric\.([A-Za-z]\w*|errors\..*|dsl\..*|types\..*|provider\..*|client\.(results|pipeline|calls)\..*)"
)
"""Names that users see, and what belongs to them."""


def run(*command: str, cwd: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # whose packages are looked at
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy_errors() -> dict[str, set[int]]:
    """Return the lines with errors, by file. With the options of the project, so that its cache serves."""
    files = [str((HERE / name).relative_to(ROOT)) for name in (*USES, MISTAKES)]
    found: dict[str, set[int]] = {name: set() for name in (*USES, MISTAKES)}
    for path, line in re.findall(r"^(.*?):(\d+): error: ", run("mypy", *files, cwd=ROOT), re.MULTILINE):
        found.setdefault(Path(path).name, set()).add(int(line))
    return found


def pyright(*arguments: str, cwd: Path = HERE) -> Any:
    """Return what it says, as JSON values. It runs on Node.js, which it fetches if there is none."""
    try:
        return json.loads(run("pyright", "--outputjson", *arguments, cwd=cwd))
    except (AssertionError, ValueError) as error:
        unavailable(f"pyright does not run here: {str(error).strip()[-200:]}")


def pyright_errors() -> dict[str, set[int]]:
    found: dict[str, set[int]] = {name: set() for name in (*USES, MISTAKES)}
    for diagnostic in pyright(*USES, MISTAKES)["generalDiagnostics"]:
        if diagnostic["severity"] == "error":
            found.setdefault(Path(diagnostic["file"]).name, set()).add(diagnostic["range"]["start"]["line"] + 1)
    return found


def mistakes() -> set[int]:
    lines = (HERE / MISTAKES).read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# mistake")}


EXPECTED = {**{name: set[int]() for name in USES}, MISTAKES: mistakes()}


def test_mypy_finds_nothing_wrong_with_what_users_write_but_their_mistakes():
    """With ``strict``, which the project has."""
    assert mypy_errors() == EXPECTED


def test_pyright_finds_nothing_wrong_with_what_users_write_but_their_mistakes():
    """Strict where the file says so."""
    assert pyright_errors() == EXPECTED


def test_what_is_public_has_known_types(tmp_path: Path):
    """For everybody: nothing is left to what one of the checkers infers. Asked from outside of the project."""
    report = pyright("--ignoreexternal", "--verifytypes", "fabric", cwd=tmp_path)["typeCompleteness"]
    assert Path(report["pyTypedPath"]).name == "py.typed"
    assert {"fabric.check", "fabric.errors.CheckError.code"} <= {symbol["name"] for symbol in report["symbols"]}
    unknown = {
        symbol["name"]: [diagnostic["message"] for diagnostic in symbol["diagnostics"]]
        for symbol in report["symbols"]
        if PUBLIC.fullmatch(symbol["name"]) and not symbol["isTypeKnown"]
    }
    assert unknown == {}
