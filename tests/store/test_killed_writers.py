"""Real processes that are killed at every operation of their bucket."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import killed_writers
import pytest
from killed_writers import SCENARIOS


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is one: a process that is killed leaves what it wrote, synced or not."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as directory:
        yield Path(directory)


@pytest.mark.processes
@pytest.mark.parametrize("name", SCENARIOS)
def test_who_is_killed_at_any_operation_loses_and_doubles_nothing(name: str, memory_path: Path):
    """What is there is sound at once, and when it is done again it ends as if nobody had been killed."""
    done = subprocess.run(
        [sys.executable, killed_writers.__file__, name, str(memory_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(re.findall(r"of (\d+) operations", done.stdout)[0]) >= 10
