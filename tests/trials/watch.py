"""Watch a fabric from outside, as its user could: what it prints, which processes it has, what it leaves behind."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

FABRIC = [sys.executable, "-P", "-m", "fabric.cli"]

PATIENCE_S = 120.0
"""After which a command counts as hung."""


class Broken(Exception):
    """What was promised does not hold."""


def expect(holds: bool, what: str) -> None:
    """Raise Broken unless it holds: a trial says what is wrong in its own words, and goes on with the next seed."""
    if not holds:
        raise Broken(what)


class Folder:
    """A project folder with a place for sockets of its own, so that whatever is left in them shows.

    Attributes:
        path: where the program is, and where commands are run.
        runtime: where sockets are.
        temporary: where temporary files are.
    """

    def __init__(self, path: Path, files: dict[str, str]) -> None:
        self.path = path / "project"
        self.runtime = Path(tempfile.mkdtemp(prefix="rt"))  # the path of a socket has 107 bytes at most
        weakref.finalize(self, shutil.rmtree, self.runtime, ignore_errors=True)
        self.temporary = path / "temporary"
        for place in (self.path, self.temporary):
            place.mkdir()
        for name, text in files.items():
            (self.path / name).write_text(text)

    def environment(self) -> dict[str, str]:
        """Return what commands are given: nothing of the caller's that could change what they do."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("PLUMB_", "FABRIC_"))}
        return ours | {"XDG_RUNTIME_DIR": str(self.runtime), "TMPDIR": str(self.temporary)}

    def command(self, *words: str, **how: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end."""
        return subprocess.run(
            [*FABRIC, *words],
            cwd=self.path,
            env=self.environment(),
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
            **how,
        )

    def processes(self) -> dict[int, str]:
        """Return the processes that run in the folder, by pid: coordinators, zygotes, guards and workers."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    here = Path(os.readlink(entry / "cwd")) == self.path
                    if here and (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                        words = (entry / "cmdline").read_bytes().split(b"\0")
                        found[int(entry.name)] = b" ".join(words).decode(errors="replace").strip()
                except OSError:  # it has ended meanwhile, or is none of ours
                    continue
        return found

    def wait_gone(self, within_s: float) -> float:
        """Wait until no process is left in the folder, looked at as often as can be; return how long that took."""
        began_s = time.monotonic()
        while left := self.processes():
            expect(time.monotonic() < began_s + within_s, f"after {within_s:g} s these processes are left: {left}")
        return time.monotonic() - began_s

    def left(self) -> list[str]:
        """Return what is left of sockets and temporary files; the directory that a user's sessions share is not."""
        sockets = [path for path in self.runtime.rglob("*") if path.parent != self.runtime]
        return [str(path) for path in (*sockets, *self.temporary.rglob("*"))]


class Command:
    """A ``fabric`` command that runs and is watched.

    Attributes:
        process: the command, which is the coordinator.
        outputs: the lines of its stdout so far.
        said: the JSON objects on its stderr so far; other lines as ``{"line": text}``.
        pids: the last known process of each worker that has one.
        ready: the workers whose last process has been ready.
        starts: how often each worker was started.

    Args:
        folder: where it runs.
        words: the command.
        stdin: a descriptor, which is closed here.
    """

    def __init__(self, folder: Folder, *words: str, stdin: int = subprocess.DEVNULL) -> None:
        self.process = subprocess.Popen(
            [*FABRIC, *words],
            cwd=folder.path,
            env=folder.environment(),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if stdin >= 0:
            os.close(stdin)
        self.outputs: list[bytes] = []
        self.said: list[dict[str, Any]] = []
        self.pids: dict[str, int] = {}
        self.ready: set[str] = set()
        self.starts: dict[str, int] = {}
        self._rests = {self.process.stdout: b"", self.process.stderr: b""}
        self._selector = selectors.DefaultSelector()
        for pipe in self._rests:
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ)

    def look(self, until_s: float) -> bool:
        """Take what it prints until something has come or the time is there; return whether it goes on."""
        if not self._selector.get_map():  # select would wait for nothing
            return False
        for key, _ in self._selector.select(max(0.0, until_s - time.monotonic())):
            data = os.read(key.fd, 1 << 20)
            if not data:
                self._selector.unregister(key.fileobj)
                continue
            *lines, self._rests[key.fileobj] = (self._rests[key.fileobj] + data).split(b"\n")
            if key.fileobj is self.process.stdout:
                self.outputs += lines
            else:
                for line in lines:
                    self._hear(line)
        return bool(self._selector.get_map())

    def _hear(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            said = {"line": line.decode(errors="replace")}
        self.said.append(said)
        worker = said.get("worker", "")
        match said.get("event"):
            case "worker.spawned":
                self.pids[worker] = said["pid"]
                self.starts[worker] = self.starts.get(worker, 0) + 1
            case "worker.ready":
                self.ready.add(worker)
            case "worker.exited":
                self.pids.pop(worker, None)
                self.ready.discard(worker)

    def complaints(self) -> list[dict[str, Any]]:
        """Return what it said that is no note: errors, losses, lines of workers."""
        return [said for said in self.said if "event" not in said]

    def end(self) -> int:
        """Take the rest, and return its exit code. Raises Broken: it does not end."""
        until_s = time.monotonic() + PATIENCE_S
        while self.look(until_s):
            expect(time.monotonic() < until_s, f"it does not end; last it said {self.said[-5:]}")
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.wait()
        self._selector.close()
        for pipe in self._rests:
            assert pipe is not None
            pipe.close()
