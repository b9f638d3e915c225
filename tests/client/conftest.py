"""Nothing may be left behind any test of the client: no process but the warm zygote, no descriptor, no directory."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import called
import pytest

import fabric


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Start what stays: the engine's thread, the zygote, what event loops open once."""
    folder = tmp_path_factory.mktemp("warm")
    for text, message in ((called.DOCTOR, "hello"), (called.function("more"), 1)):
        for backend in called.BACKENDS:
            anyio.run(fabric.call, called.write(folder, text), message, backend=backend)


@pytest.fixture
def folder(warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project that a test is in, with a place for sockets of its own; clean afterwards."""
    project = tmp_path / "project"
    project.mkdir()
    with tempfile.TemporaryDirectory(prefix="fabric-") as runtime:  # short: the path of a socket is
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        monkeypatch.chdir(project)
        gc.collect()
        before = called.descriptors()
        yield project
        called.wait_clean(before)
