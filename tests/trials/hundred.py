"""Start a hundred real workers, run a thousand messages through all of them, and stop; and two thousand in memory.

.venv/bin/python tests/trials/hundred.py
.venv/bin/python tests/trials/hundred.py --workers 40 --simulated 0

The workers are one chain, each adds one, so every message has been at all of them when it has the right value.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio
from trio.testing import MockClock
from watch import PATIENCE_S, Broken, Command, Folder, expect

from fabric.compiler import compile_file
from fabric.testing import python_runner, simulate

MESSAGES = 1_000
SIMULATED_MESSAGES = 20


def files(workers: int) -> dict[str, str]:
    """Return a program with so many workers in a row, and their function."""
    lets = [f'let w{number} : !int -> !int = python {{ call: "stages:more" }}\n' for number in range(workers)]
    chain = " ; ".join(f"w{number}" for number in range(workers))
    body = f"let main : !int -> !int = plumb(i, o) {{\n  i ; {chain} ; o\n}}\n"
    return {"main.plumb": "".join(lets) + body, "stages.py": "def more(value):\n    return value + 1\n"}


class Result(NamedTuple):
    """How long a session took.

    Attributes:
        ready_s: from the command to the last worker that is ready.
        worked_s: from there to the last output.
        ended_s: from there to the end of the last process.
        processes: at the most.
    """

    ready_s: float
    worked_s: float
    ended_s: float
    processes: int


def run(folder: Folder, workers: int, messages: int) -> Result:
    """Run real workers. Raises Broken."""
    read_fd, write_fd = os.pipe()
    began_s = time.monotonic()
    command = Command(folder, "run", "--log-level", "info", "main.plumb", stdin=read_fd)
    try:
        until_s = time.monotonic() + PATIENCE_S
        while len(command.ready) < workers:
            expect(command.look(until_s) and time.monotonic() < until_s, f"it does not start: {command.said[-3:]}")
        ready_s = time.monotonic()
        processes = len(folder.processes())
        with open(write_fd, "wb") as pipe:
            pipe.write("".join(f"{number}\n" for number in range(messages)).encode())
        while len(command.outputs) < messages:
            expect(command.look(until_s) and time.monotonic() < until_s, f"{len(command.outputs)} outputs")
        worked_s = time.monotonic()
        code = command.end()
        folder.wait_gone(2.0)
        ended_s = time.monotonic()
    finally:
        command.close()
    expect(code == 0 and not command.complaints(), f"exit code {code}, it says {command.complaints()}")
    expect([int(line) for line in command.outputs] == [number + workers for number in range(messages)], "wrong outputs")
    expect(folder.left() == [], f"left: {folder.left()}")
    return Result(ready_s - began_s, worked_s - ready_s, ended_s - worked_s, processes)


def simulated(folder: Folder, messages: int) -> float:
    """Run the program in memory; return how long that took. Raises Broken."""
    began_s = time.monotonic()
    plan, _ = compile_file(folder.path / "main.plumb", run_directory="memory")
    inputs = [("i", str(number).encode()) for number in range(messages)]
    work = partial(simulate, plan, inputs, runners={"python": python_runner})
    done = trio.run(work, clock=MockClock(autojump_threshold=0))
    expect(done.finish.exit_code == 0 and done.finish.error is None, f"{done.finish}")
    expect(
        [int(payload) for _, payload in done.outputs] == [number + len(plan.workers) for number in range(messages)],
        "wrong outputs",
    )
    return time.monotonic() - began_s


def try_real(workers: int, messages: int = MESSAGES) -> Result:
    """Run real workers in a folder of their own. Raises Broken."""
    with tempfile.TemporaryDirectory(prefix="fabric-hundred-") as place:
        folder = Folder(Path(place), files(workers))
        try:
            return run(folder, workers, messages)
        finally:
            for pid in folder.processes():
                os.kill(pid, signal.SIGKILL)


def try_simulated(workers: int, messages: int = SIMULATED_MESSAGES) -> float:
    """Run workers in memory. Raises Broken."""
    with tempfile.TemporaryDirectory(prefix="fabric-hundred-") as place:
        return simulated(Folder(Path(place), files(workers)), messages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=100, help="real ones")
    parser.add_argument("--simulated", type=int, default=2_000, help="in memory")
    options = parser.parse_args()
    try:
        if options.workers:
            real = try_real(options.workers)
            print(
                f"{options.workers} workers, {real.processes} processes: ready in {real.ready_s:.2f} s, {MESSAGES}"
                f" messages through all of them in {real.worked_s:.2f} s, all gone {real.ended_s:.2f} s later"
            )
        if options.simulated:
            took_s = try_simulated(options.simulated)
            print(f"{options.simulated} workers in memory, {SIMULATED_MESSAGES} messages through all: {took_s:.2f} s")
    except Broken as broken:
        print(f"{broken}\nagain: {' '.join([sys.executable, *sys.argv])}")
        sys.exit(1)


if __name__ == "__main__":
    main()
