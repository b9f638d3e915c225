"""A service that is left running, driven as a user does."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

from three_ways import FABRIC, environment, fabric

FUNCTIONS = """
import json, os, sys, time

def echo(value):
    print("got", value, file=sys.stderr)
    print(json.dumps({"log": "warning", "event": "echo.worked", "value": value}), file=sys.stderr)
    return value

def hangs(value):
    print("hangs", file=sys.stderr)
    time.sleep(3600)

def quiet(value):
    return value

def late_end(value):
    while not os.path.exists("go"):
        time.sleep(0.01)
    return value

def fails(value):
    for number in range(30):
        print("line", number, file=sys.stderr)
    sys.stderr.flush()
    os._exit(3)
"""


def record_of(file: Path) -> Any:
    return json.loads(file.read_text())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_gone(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([descriptor], [], [], 60)[0], f"process {pid} does not end"
    os.close(descriptor)


def wait_for(path: Path) -> None:
    """Wait until a file is there. The limit is for a hang."""
    until_s = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until_s, path
        select.select([], [], [], 0.01)


def program(folder: Path, call: str, name: str = "demo") -> Path:
    path = folder / f"{name}.plumb"
    path.write_text(
        f'let work : !int -> !int = python {{ call: "functions:{call}" }}\n'
        "let main : !int -> !int = plumb(i, o) { i ; work ; o }\n"
    )
    return path


def up(folder: Path, call: str = "echo", *flags: str) -> int:
    """Start a service, and return its coordinator's pid."""
    done = fabric("up", "-d", *flags, program(folder, call), cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return record_of(folder / ".fabric" / "run" / "demo.json")["process"]["pid"]


def listed(folder: Path, *flags: str) -> Any:
    done = fabric("ps", "--format", "json", *flags, cwd=folder)
    return json.loads(done.stdout)["services"][0]


def wait_until(folder: Path, what: Any) -> Any:
    """Ask until the service shows it. The limit is for a hang."""
    until_s = time.monotonic() + 60
    while not what(row := listed(folder)):
        assert time.monotonic() < until_s, row
    return row


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode()


def start(folder: Path, *arguments: str, stdin: int | None = None) -> subprocess.Popen[bytes]:
    """Start a command that goes on."""
    return subprocess.Popen(
        [*FABRIC, *arguments],
        cwd=folder,
        env=environment(),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def attach(folder: Path, *flags: str) -> tuple[subprocess.Popen[bytes], bytes]:
    """Start ``attach``, and send until it prints what comes; return it and the first line."""
    attached = start(folder, "attach", *flags)
    assert attached.stdout is not None
    value = 100
    while not select.select([attached.stdout], [], [], 0.5)[0]:
        value += 1
        assert fabric("send", str(value), cwd=folder).returncode == 0
    return attached, attached.stdout.readline()
