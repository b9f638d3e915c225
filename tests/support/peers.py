"""Programs of others that tests talk to. Each is installed once, outside of the checkout, and its version is pinned.

The folder is ``$FABRIC_TEST_PEERS``, or ``fabric-test-peers`` in the user's cache. A test whose peer cannot be had is
skipped, and says why; with ``FABRIC_PEERS_REQUIRED=1``, as in CI, it fails.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

AIMOCK = "@copilotkit/aimock@1.43.0"
"""A server that speaks the APIs of many models, and answers from a file. MIT."""

INSTALL_S = 180
"""For a hang, not a measurement."""


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail it where no peer may be missing."""
    if os.environ.get("FABRIC_PEERS_REQUIRED") == "1":
        pytest.fail(f"a peer is required: {reason}", pytrace=False)
    pytest.skip(reason)


def npm_peer(package: str) -> Path:
    """Return the folder with the commands of an npm package, given with its version."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable(f"{package} needs node and npm")
    with _place(package) as (folder, missing):
        if missing:
            _install([npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), package], folder, package)
    return folder / "node_modules" / ".bin"


def python_peer(requirement: str) -> Path:
    """Return the folder with the commands of a package from PyPI, given with its version."""
    with _place(requirement) as (folder, missing):
        if missing:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=INSTALL_S)
            _install([str(folder / "bin" / "pip"), "install", "--quiet", requirement], folder, requirement)
    return folder / "bin"


def c_peer(source: Path) -> Path:
    """Return the program that this file of C makes, with libzmq; compiled once for each text of it."""
    compiler = shutil.which("cc")
    if compiler is None:
        unavailable(f"{source.name} needs a C compiler (apt-get install gcc libc6-dev)")
    with _place(f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}") as (folder, missing):
        program = folder / source.stem
        if missing:
            flags = ["-O2", "-std=c11", "-Wall", "-Wextra", "-Werror"]
            _install([compiler, *flags, "-o", str(program), str(source), "-lzmq"], folder, source.name)
    return program


@contextmanager
def _place(name: str) -> Iterator[tuple[Path, bool]]:
    """Give the folder of a peer and whether it has to be installed; nobody else looks at it meanwhile."""
    given = os.environ.get("FABRIC_TEST_PEERS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(given) if given else cache / "fabric-test-peers"
    folder = root / re.sub(r"[^\w.@=-]", "_", name)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder, not (folder / ".installed").exists()


def _install(command: list[str], folder: Path, name: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        unavailable(f"{name} could not be installed in {INSTALL_S} s")
    if done.returncode != 0:
        unavailable(f"{name} could not be made: {done.stderr.strip()[-300:]}")
    (folder / ".installed").touch()


# --- aimock -------------------------------------------------------------------------------------------------------


@dataclass
class Aimock:
    """An aimock that runs."""

    url: str

    def journal(self) -> list[dict[str, Any]]:
        """Return the requests that it got, each with ``path``, ``body`` and ``response``."""
        with urllib.request.urlopen(f"{self.url}/__aimock/journal", timeout=10) as response:
            return json.load(response)

    def bodies(self) -> list[dict[str, Any]]:
        return [entry["body"] for entry in self.journal()]


@contextmanager
def aimock(fixtures: Iterable[dict[str, Any]], folder: Path) -> Iterator[Aimock]:
    """Run an aimock with these fixtures; ``folder`` is for its files."""
    command = npm_peer(AIMOCK) / "llmock"
    file = folder / "aimock.json"
    file.write_text(json.dumps({"fixtures": list(fixtures)}))
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    log = folder / "aimock.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            ["node", str(command), "--port", "0", "--fixtures", str(file), "--validate-on-load"],
            stdout=output,
            stderr=output,
            env=environment,
        )
    try:
        yield Aimock(_wait_listening(process, log))
    finally:
        process.terminate()
        process.wait(10)


def _wait_listening(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the address that the server says it listens on."""
    for _ in range(1000):
        listening = re.search(r"listening on (http://\S+)", log.read_text())
        if listening:
            return listening[1]
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"aimock did not start: {log.read_text()}")
