"""The commands about durable sessions, as processes, on buckets that are directories."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fabric.store.keys import log_key

pytestmark = pytest.mark.processes


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    said: str


class Here:
    """A folder with a state of its own, in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder)}

    def run(self, *words: str, given: bytes | str = b"", env: Mapping[str, str] | None = None) -> Done:
        """Run `fabric session ...`."""
        done = subprocess.run(
            [sys.executable, "-m", "fabric.cli", "session", *words],
            input=given.encode() if isinstance(given, str) else given,
            cwd=self.folder,
            env=self.environment | dict(env or {}),
            capture_output=True,
            timeout=60,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def ok(self, *words: str, given: bytes | str = b"", env: Mapping[str, str] | None = None) -> str:
        """Run it; return what it prints. It has to be well."""
        done = self.run(*words, given=given, env=env)
        assert done.code == 0, done
        return done.out

    def objects(self, *words: str) -> list[dict[str, Any]]:
        """Run it with --json; return what it prints."""
        return [json.loads(line) for line in self.ok(*words, "--json").splitlines()]

    def log(self, *words: str) -> list[tuple[str, str]]:
        """Return event and body of each entry."""
        return [(each["event"], each.get("text", each.get("base64", ""))) for each in self.objects("log", "-A", *words)]


@pytest.fixture
def here(tmp_path: Path):
    """A user's folder."""
    (tmp_path / "here").mkdir()
    return Here(tmp_path / "here")
