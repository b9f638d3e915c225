"""`fabric mcp`, and those who speak to it without an SDK."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services import alive
from three_ways import FABRIC, environment

DOCTOR = 'let main : !string -> !string = agent { provider: "eliza" }'

HANGS = """
import os, time

def hang(value):
    open(f"begun-{value}", "w").close()
    time.sleep(3600)
"""

HANGING = 'let main : !int -> !int = python { call: "hangs:hang" }'

HANGING_PROGRAM = (
    "let main : !int -> !int = worker {"
    ' command: ["sh", "-c", "read x; touch begun-$x; sleep 3600"] transport: "stdio" }'
)


def descendants(pid: int) -> set[int]:
    """Return the processes that a process has started, and those that these have."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = {int(child) for task in tasks for child in (task / "children").read_text().split()}
    except FileNotFoundError:
        return set()
    return children.union(*map(descendants, children))


def running(pids: set[int]) -> set[int]:
    return {pid for pid in pids if alive(pid)}


class Lines:
    """The server at the other side of two pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, method: str, *, id_: int | None = None, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params} | ({} if id_ is None else {"id": id_})
        self.write(json.dumps(message).encode() + b"\n")

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, id_: int, method: str, **params: Any) -> Any:
        self.send(method, id_=id_, **params)
        answer = self.read()
        assert answer["id"] == id_, answer
        return answer

    def start(self) -> Lines:
        """Shake hands."""
        client = {"name": "test", "version": "1"}
        self.ask(0, "initialize", protocolVersion="2025-03-26", capabilities={}, clientInfo=client)
        self.send("notifications/initialized")
        return self

    def call(self, id_: int, source: str, **arguments: Any) -> None:
        self.send("tools/call", id_=id_, name="call", arguments={"source": source, **arguments})

    def leave(self) -> int:
        """Close stdin; return the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)


@contextmanager
def server(folder: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server in a folder, with pipes; see that it is none left of it."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*FABRIC, "mcp", *flags], cwd=folder, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        yield process
    finally:
        left = descendants(process.pid)
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        for pid in running(left):
            os.kill(pid, 9)


@contextmanager
def lines(folder: Path, *flags: str) -> Iterator[Lines]:
    with server(folder, *flags) as process:
        yield Lines(process).start()


@contextmanager
def http(folder: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a server at a free port; give its address and the process."""
    with server(folder, "--http", "0", *flags) as process:
        assert process.stderr is not None
        yield json.loads(process.stderr.readline())["url"], process
