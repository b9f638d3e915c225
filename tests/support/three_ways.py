"""Run a program in each of the three ways: simulated in memory, ``fabric run``, ``fabric up`` with ``fabric send``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from fabric.compiler import compile_file
from fabric.testing import python_runner, simulate
from fabric.transport.ports import Transport
from fabric.wire.spec import WorkerSpec
from plumb_agent.worker import open_ports, run_worker

FABRIC = [sys.executable, "-P", "-m", "fabric.cli"]


async def agent_runner(spec: WorkerSpec, transport: Transport, endpoints: dict[str, str]) -> int:
    return await run_worker(spec, open_ports(transport, endpoints))


RUNNERS = {"python": python_runner, "agent": agent_runner}


def input_lines(values: list[Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def read_lines(output: bytes) -> list[Any]:
    return [json.loads(line) for line in output.splitlines()]


def simulated(program: Path, values: list[Any]) -> list[Any]:
    """Return the outputs of a program with one input and one output, in memory. Asserts a clean end."""
    plan, _ = compile_file(program, run_directory="memory")
    port = next(node.outputs[0].name for node in plan.graph.nodes.values() if node.kind == "input")
    messages = [(port, json.dumps(value).encode()) for value in values]
    done = trio.run(partial(simulate, plan, messages, runners=RUNNERS), clock=MockClock(autojump_threshold=0))
    assert (done.finish.exit_code, done.refusals, done.finish.error) == (0, (), None)
    return [json.loads(payload) for _, payload in done.outputs]


def environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PLUMB_", "FABRIC_"))}
    return ours | {"FABRIC_HTTP": "off"}  # one machine has one usual port


def fabric(*arguments: object, stdin: bytes = b"", cwd: Path | None = None, env: dict[str, str] | None = None) -> Any:
    """Run a command to its end. The limit is for a hang, not a measurement."""
    return subprocess.run(
        [*FABRIC, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env=environment() | (env or {}),
        timeout=120,
        check=False,
    )


def run(program: Path, values: list[Any]) -> list[Any]:
    """Return what ``fabric run`` prints. Asserts exit code 0 and a silent stderr."""
    done = fabric("run", program, stdin=input_lines(values), cwd=program.parent)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return read_lines(done.stdout)


@contextmanager
def service(program: Path, cwd: Path, *, exit_code: int = 0):
    """Start ``fabric up``, give its process when it is ready, and end it with one Ctrl-C."""
    process = subprocess.Popen(
        [*FABRIC, "up", str(program)], cwd=cwd, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line.decode())
        if said[-1].startswith("ready"):
            break
    else:
        raise AssertionError("".join(said))
    try:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        said.append(process.stderr.read().decode())
        assert process.wait(timeout=60) == exit_code, "".join(said)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        process.stdout.close()


def up_and_send(program: Path, values: list[Any], cwd: Path) -> list[Any]:
    """Return what ``fabric send`` prints for these lines on stdin."""
    with service(program, cwd):
        done = fabric("send", stdin=input_lines(values), cwd=cwd)
        assert (done.returncode, done.stderr.decode()) == (0, "")
    return read_lines(done.stdout)
