"""Workers that somebody else starts, as real processes: on this host, and on two hosts with a link between them."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from three_ways import FABRIC, environment

pytestmark = pytest.mark.processes

SLOW = """
import time

def tenfold(n: int) -> int:
    time.sleep(0.001)
    return n * 10
"""
PYTHON = 'let f : !int -> !int = python { call: "words:tenfold" }\n'
PLAIN = 'let f : !int -> !int = worker { command: ["PYTHON", "plain.py", "none", "0"] }\n'
MAIN = "let main : !int -> !int = plumb(i, o) { i ; f ; o }\n"
COUNT = 600


def free_ports() -> int:
    """Return the first of eight ports that nobody has."""
    for first in range(22100, 22900, 8):
        sockets = [socket.socket() for _ in range(8)]
        try:
            for number, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + number))
        except OSError:
            continue
        else:
            return first
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no ports are free")


def project(folder: Path, worker: str, hosts: Sequence[str] = ("127.0.0.1",)) -> None:
    (folder / "words.py").write_text(SLOW)
    shutil.copy(Path(__file__).parents[1] / "support" / "plain_worker.py", folder / "plain.py")
    (folder / "main.plumb").write_text(worker.replace("PYTHON", sys.executable) + MAIN)
    first = free_ports()
    tables = [
        f'[hosts.h{number}]\naddress = "{address}"\nports = "{first}-{first + 7}"\n'
        for number, address in enumerate(hosts)
    ]
    where = f'[workers.f]\nhost = "h{len(hosts) - 1}"\nrunner = "external"\n'
    (folder / "fabric.toml").write_text("".join(tables) + where)
    if worker is PYTHON:  # the other one knows of no keys
        subprocess.run([*FABRIC, "keys", "main.plumb"], cwd=folder, env=environment(), check=True, capture_output=True)
    else:
        (folder / ".env").write_text("FABRIC_INSECURE=1\n")


def start(folder: Path, *arguments: str, inside: Sequence[str] = (), **streams: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*inside, *FABRIC, *arguments], cwd=folder, env=environment(), bufsize=0, **streams)


@contextmanager
def supervised(folder: Path, inside: Sequence[str] = ()) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the worker; whoever kills it starts the next. What is left at the end is killed."""
    processes = [start(folder, "worker", "main.plumb", "f", inside=inside)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def running(folder: Path, inside: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    return start(folder, "run", "main.plumb", inside=inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def feed(process: subprocess.Popen[bytes], numbers: Sequence[int]) -> None:
    assert process.stdin is not None
    left = b"".join(b"%d\n" % number for number in numbers)
    while left:
        left = left[process.stdin.write(left) or 0 :]


def read(process: subprocess.Popen[bytes], count: int) -> list[int]:
    """Read so many answers. The limit is for a hang."""
    assert process.stdout is not None
    said: list[int] = []
    until_s = time.monotonic() + 120
    while len(said) < count:
        left_s = until_s - time.monotonic()
        assert select.select([process.stdout], [], [], max(0, left_s))[0], f"{len(said)} of {count} answers"
        said.append(int(process.stdout.readline()))
    return said


def finish(process: subprocess.Popen[bytes]) -> bytes:
    """End the input, and return what else comes."""
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return rest


@pytest.mark.parametrize("worker", [PYTHON, PLAIN], ids=["ours", "of others"])
def test_a_worker_that_is_killed_and_started_again_loses_and_doubles_nothing(tmp_path: Path, worker: str):
    """Three times under load; each answer comes once, in order; drained, the last process exits with 0."""
    project(tmp_path, worker)
    numbers = range(10, 10 + COUNT)  # the plain worker may end at 3
    with supervised(tmp_path) as processes:
        run = running(tmp_path)
        feed(run, numbers)
        said: list[int] = []
        for _ in range(3):
            said += read(run, COUNT // 6)
            processes[-1].kill()
            processes[-1].wait()
            processes.append(start(tmp_path, "worker", "main.plumb", "f"))
        said += read(run, COUNT - len(said))
        assert said == [10 * number for number in numbers]
        assert finish(run) == b""
        assert processes[-1].wait(60) == 0


@pytest.mark.parametrize("worker", [PYTHON, PLAIN], ids=["ours", "of others"])
def test_a_worker_stays_when_its_coordinator_is_killed_and_the_next_one_adopts_it(tmp_path: Path, worker: str):
    """The same process serves both; of what the first one asked, the second hears nothing."""
    project(tmp_path, worker)
    with supervised(tmp_path) as processes:
        first = running(tmp_path)
        feed(first, range(1000, 1000 + COUNT))
        read(first, 50)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        second = running(tmp_path)
        feed(second, range(10, 10 + COUNT))
        assert read(second, COUNT) == [10 * number for number in range(10, 10 + COUNT)]
        assert processes[-1].poll() is None
        assert finish(second) == b""
        assert processes[-1].wait(60) == 0


def test_an_address_of_somebody_else_is_told(tmp_path: Path):
    """Not retried for ever: exit 4, and the address is named."""
    project(tmp_path, PYTHON)
    planned = subprocess.run([*FABRIC, "plan", "main.plumb"], cwd=tmp_path, env=environment(), capture_output=True)
    address = planned.stdout.split(b"PLUMB_ENDPOINT_INPUT=tcp://")[1].split()[0].decode()
    host, _, port = address.partition(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        done = subprocess.run(
            [*FABRIC, "run", "main.plumb"],
            cwd=tmp_path,
            env=environment(),
            input=b"1\n",
            capture_output=True,
            timeout=60,
        )
    assert done.returncode == 4
    assert address.encode() in done.stderr
    assert b"in use" in done.stderr


# --- two hosts --------------------------------------------------------------------------------------------------------

NET = "ext"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[list[str], list[str]]]:
    """Two network namespaces with a link between them; how to run something in each."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the program ip (iproute2)")
    names = [f"{NET}{os.getpid()}a", f"{NET}{os.getpid()}b"]
    made: list[str] = []
    try:
        for name in names:
            if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
                pytest.skip("this system lets nobody make network namespaces")
            made.append(name)
        link = ["link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1]]
        ip(*link)
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"10.78.0.{number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield ["ip", "netns", "exec", names[0]], ["ip", "netns", "exec", names[1]]
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.mark.parametrize("cut_s", [5, 35], ids=["shorter than the heartbeats bear", "longer"])
def test_a_link_that_is_cut_under_load_loses_and_doubles_nothing(
    tmp_path: Path, hosts: tuple[list[str], list[str]], cut_s: int
):
    """The same process goes on when it is healed, whether both sides noticed or not."""
    here, there = hosts
    project(tmp_path, PYTHON, ("10.78.0.1", "10.78.0.2"))
    name = there[-1]
    with supervised(tmp_path, there) as processes:
        run = running(tmp_path, here)
        feed(run, range(4 * COUNT))
        said = read(run, COUNT)
        ip("-n", name, "link", "set", "eth0", "down")
        select.select([], [], [], cut_s)  # that it is cut for so long is what is tried
        ip("-n", name, "link", "set", "eth0", "up")
        said += read(run, 3 * COUNT)
        assert said == [10 * number for number in range(4 * COUNT)]
        assert finish(run) == b""
        assert processes[-1].wait(60) == 0


def test_a_restart_by_hand_ends_it_and_says_who_starts_it(tmp_path: Path):
    """At once, with exit code 0; a stop names no process, and `up` says what is to be done until somebody is there."""
    project(tmp_path, PYTHON)
    service = start(tmp_path, "up", stderr=subprocess.PIPE)
    assert service.stderr is not None
    with supervised(tmp_path) as processes:
        try:
            shown = b""
            while b"\nready" not in shown:
                line = service.stderr.readline()
                assert line, shown
                shown += line
            assert b"start it where it runs: fabric worker f" in shown
            assert said_by(tmp_path, "restart", "f") == "worker 'f' has ended; start it where it runs: fabric worker f"
            assert processes[-1].wait(60) == 0
            stopped = said_by(tmp_path, "stop", "f")
            assert stopped == "worker 'f' is stopped; fabric start starts it again"
            awaited = said_by(tmp_path, "start", "f")
            assert awaited == "worker 'f' is waited for; start it where it runs: fabric worker f"
        finally:
            service.kill()
            service.communicate()
    shown = said_by(tmp_path, "ps", "-a", code=0)
    assert "what f (external h0 127.0.0.1) is at is not known from here" in shown


def said_by(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run([*FABRIC, *arguments], cwd=folder, env=environment(), capture_output=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stderr.decode().strip()
