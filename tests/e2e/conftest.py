"""What the tests with real processes share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from services import FUNCTIONS, alive, record_of


@pytest.fixture
def project(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """A folder with functions; what still runs in it afterwards is ended, and is a failure."""
    runtime = tmp_path_factory.mktemp("rt")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    yield tmp_path
    pids = [record_of(file)["process"]["pid"] for file in (tmp_path / ".fabric" / "run").glob("*.json")]
    running = [pid for pid in pids if alive(pid)]
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    assert running == []
    assert [path for path in runtime.rglob("*") if not path.is_dir()] == []
