"""Handlers written with three SDKs, run in both modes: what they decide is what their cases say.

``pytest tests/handlers --cases DIR`` runs the cases of another folder instead of ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from handler_cases import Case, Mode, collect, play
from peers import python_peer

from fabric.handlers.running import Options
from fabric.store.bucket import Bucket
from fabric.store.opening import open_store

pytestmark = pytest.mark.processes

SDKS = ["pugmark==0.1.0", "pugmark==0.16.7", "fabric.handler"]
MODES: list[Mode] = ["command", "rpc"]

DIFFERENT = {("09_name_collapse", "fabric.handler"): "a log can be read again with it, which the case rules out"}
"""What ours does otherwise, and means to."""

OURS = Path(__file__).parent / "cases"
SERVE = Path(__file__).parents[1] / "support" / "serve_script.py"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each case, SDK and mode."""
    if "case" in metafunc.fixturenames:
        given = metafunc.config.getoption("--cases")
        folder = Path(given) if given else OURS
        cases = collect(folder)
        if not cases:
            raise pytest.UsageError(
                f"there are no cases in {folder}: expected files such as 01_name.txt and 01_name.py"
            )
        made = [_marked(case, sdk, mode) for case in cases for sdk in SDKS for mode in MODES if mode in case.modes]
        metafunc.parametrize(("case", "sdk", "mode"), made)


def _marked(case: Case, sdk: str, mode: Mode) -> Any:
    different = DIFFERENT.get((case.name, sdk))
    marks = [] if different is None else [pytest.mark.xfail(reason=different, raises=AssertionError, strict=True)]
    return pytest.param(case, sdk, mode, marks=marks, id=f"{case.name}-{sdk.replace('==', '-')}-{mode}")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which ``import pugmark`` is our SDK."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "pugmark.py").write_text("import sys\nimport fabric.handler\nsys.modules['pugmark'] = fabric.handler\n")
    return folder


def test_a_case(case: Case, sdk: str, mode: Mode, shim: Path, tmp_path: Path):
    """On a bucket in memory in one mode, and on one of files in the other."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    if sdk == "fabric.handler":
        python, module = sys.executable, sdk
        environment["PYTHONPATH"] = str(shim)
    else:
        python, module = str(python_peer(sdk) / "python"), "pugmark"
    script = str(case.handler)
    command = [python, script] if mode == "command" else [python, str(SERVE), module, script]

    def bucket(now: Callable[[], float]) -> Bucket:
        url = "memory:" if mode == "command" else f"file://{tmp_path}/bucket"
        world: Any = {"now": now}
        return Bucket(open_store(url), **world)

    play(case, bucket, Options(command=command, mode=mode, timeout_s=60.0, environment=environment), tmp_path)
