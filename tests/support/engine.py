"""A Docker Engine of the tests' own, and images for it that come from no registry.

The engine's data lies in a temporary directory, its API on a unix socket; there is no bridge and no rule for packets:
containers have the network of the host, or none. Nothing is installed here: without ``dockerd`` a test is skipped, and
with ``FABRIC_PEERS_REQUIRED=1``, as in CI, it fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from images import fabric_image, python_image
from peers import unavailable

BASE = "fabric-base:local"
"""The interpreter of the tests, without packages."""

IMAGE = "plumb-fabric:local"
"""The same, with the fabric as it lies here and all that it needs."""

START_S = 60.0
"""For a hang, not a measurement: an engine is up after one second."""


@dataclass
class Engine:
    """An engine that runs.

    Attributes:
        host: where it is, ``unix://PATH``.
        directory: of its files.
    """

    host: str
    directory: Path
    process: subprocess.Popen[bytes]

    def docker(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run a command of ``docker`` there; return what it printed."""
        done = subprocess.run(
            ["docker", *arguments],
            env={**os.environ, "DOCKER_HOST": self.host},
            input=stdin,
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout.decode()

    def containers(self, *filters: str) -> list[dict[str, Any]]:
        """Return all containers, running or not, as ``docker inspect`` shows them."""
        listed = self.docker("ps", "-aq", *(word for label in filters for word in ("--filter", label))).split()
        return json.loads(self.docker("inspect", *listed)) if listed else []

    def image(self) -> str:
        """Return the tag of an image with the fabric; make it, unless it is there. It takes some seconds."""
        return self._made(IMAGE, fabric_image)

    def base(self) -> str:
        """Return the tag of an image with Python and pip alone."""
        return self._made(BASE, python_image)

    def _made(self, tag: str, write: Callable[[IO[bytes]], None]) -> str:
        if not self.docker("images", "-q", tag).strip():
            self._import(tag, write)
        return tag

    def _import(self, tag: str, write: Callable[[IO[bytes]], None]) -> None:
        changes = ["ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV PYTHONUNBUFFERED=1", "ENV PYTHONDONTWRITEBYTECODE=1"]
        flags = [word for change in changes for word in ("--change", change)]
        command = ["docker", "import", *flags, "-", tag]
        env = {**os.environ, "DOCKER_HOST": self.host}
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing:
            assert importing.stdin is not None
            with importing.stdin as pipe:
                write(pipe)
        assert importing.returncode == 0, tag

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, and with it its containers; a killed one leaves them running, and its containerd dies with it."""
        self.process.send_signal(number)
        self.process.wait(START_S)
        for pid, words in _processes():
            if Path(words[0]).name == "containerd" and any(str(self.directory) in word for word in words):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def start(self) -> None:
        """Start it again, where it was."""
        self.process = _start(self.process.args, self.directory, self.host)


def need_engine() -> None:
    """Skip, or fail, where no engine can be started."""
    for program in ("dockerd", "docker", "containerd"):
        if shutil.which(program) is None:
            unavailable(f"there is no {program} (apt-get install docker.io)")
    if os.geteuid() != 0:
        unavailable("a Docker Engine is started by root")


@contextmanager
def open_engine(
    *, namespace: str = "", flags: Sequence[str] = ("--bridge=none", "--iptables=false")
) -> Iterator[Engine]:
    """Run an engine until the body ends; then nothing of it is left.

    Args:
        namespace: the network namespace that it and its containers live in; empty: that of the tests.
        flags: of its network.
    """
    need_engine()
    # Short: the sockets of containerd lie in it, and a socket's path has 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="fabeng-"))
    host = f"unix://{directory}/docker.sock"
    # Not `ip netns exec`, which mounts /sys anew and hides the cgroups.
    enter = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
    places = [f"--{name}={directory}/{name}" for name in ("data-root", "exec-root", "pidfile")]
    command = [*enter, "dockerd", *flags, *places, "--storage-driver=overlay2", "-H", host]
    try:
        engine = Engine(host, directory, _start(command, directory, host))
        try:
            yield engine
        finally:
            _end(engine)
    finally:
        _clean(directory)


def _start(command: Any, directory: Path, host: str) -> subprocess.Popen[bytes]:
    # Of one that was killed. Where orphans are reaped late the next would take a zombie for its containerd, and wait.
    for name in ("pidfile", "exec-root/containerd/containerd.pid"):
        (directory / name).unlink(missing_ok=True)
    with open(directory / "log", "ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    until_s = time.monotonic() + START_S
    asking = ["docker", "-H", host, "version", "-f", "{{.Server.Version}}"]
    while subprocess.run(asking, capture_output=True, check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > until_s:
            process.kill()
            process.wait()
            _clean_processes(directory)
            lines = (directory / "log").read_text(errors="replace").splitlines()[-5:]
            unavailable("dockerd does not start: " + " | ".join(lines))
        time.sleep(0.05)
    return process


def _end(engine: Engine) -> None:
    if engine.process.poll() is None:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            left = engine.docker("ps", "-aq").split()
            if left:
                engine.docker("rm", "-f", "-v", *left)
        engine.process.terminate()
        try:
            engine.process.wait(START_S)
        except subprocess.TimeoutExpired:
            engine.process.kill()
            engine.process.wait()


def _clean(directory: Path) -> None:
    """Remove what an engine leaves that was killed: processes, mounts, files."""
    _clean_processes(directory)
    with open("/proc/self/mounts") as mounts:
        left = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{directory}/")]
    for mount in reversed(left):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)


def _clean_processes(directory: Path) -> None:
    """Kill containerd and the shims that were started for this directory, with what runs in their containers."""
    shims = [pid for pid, words in _processes() if any(str(directory) in word for word in words)]
    children = [pid for shim in shims for pid in _children(shim)]
    for pid in (*children, *shims):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if Path(words[0]).name.startswith(("containerd", "dockerd")):
                    yield int(entry.name), words


def _children(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return []
