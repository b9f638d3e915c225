"""Start and stop sessions again and again, and look whether anything is left of them.

.venv/bin/python tests/trials/cycles.py                    # 200 in one process, then 200 of `up -d`, `send`, `down`
.venv/bin/python tests/trials/cycles.py --how process      # one of the two

A session has an agent, a function and a program of another's, each a process. In one process, open files, threads and
children are compared with those behind the first few sessions, and there is no socket and no temporary file;
the launch alternates between forked and spawned workers. By commands, nothing may be left but the record and the logs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio
from watch import Broken, Folder, expect

from fabric.cli.report import JsonReport
from fabric.compiler import compile_file
from fabric.launch.preload import open_zygote
from fabric.runtime.directory import open_run_directory
from fabric.runtime.foreground import run_lines
from fabric.session.settings import Settings

CYCLES = 200
WARM = 3
"""Sessions until everything that is kept on purpose is there: imports, buffers of the interpreter."""

THREADS_S = 15.0
"""trio keeps idle threads for ten seconds."""

SETTLED_S = 2.0
VALUES = ["hello", "my mother hates me"]

FILES = {
    "main.plumb": """
let doctor : !string -> !string = agent { provider: "eliza" }
let loud : !string -> !string = python { call: "stages:loud" }
let again : !string -> !string = worker { command: ["cat"], transport: "stdio" }
let main : !string -> !string = plumb(said, answer) { said ; doctor ; loud ; again ; answer }
""",
    "stages.py": """
def loud(text):
    return text + "!"
""",
}


class Held(NamedTuple):
    """What a process holds.

    Attributes:
        files: open ones, by what they are, without what differs from time to time.
        threads, children: how many.
    """

    files: Counter[str]
    threads: int
    children: int


class Result(NamedTuple):
    """What a trial was: how long a cycle took on average, and what it says of memory."""

    cycle_s: float
    remark: str


def held() -> Held:
    """Return what this process holds."""
    files: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            files[re.sub(r"\d+", "N", os.readlink(entry))] += 1
        except FileNotFoundError:  # the one that looks
            continue
    tasks = list(Path("/proc/self/task").iterdir())
    return Held(files, len(tasks), sum(len((task / "children").read_text().split()) for task in tasks))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def in_process(folder: Folder, cycles: int) -> Result:
    """Run sessions one after the other in this process. Raises Broken."""
    for number in range(WARM):
        one_session(folder, number)
    before, memory = held(), resident_bytes()
    began_s = time.monotonic()
    for number in range(cycles):
        one_session(folder, number)
    cycle_s = (time.monotonic() - began_s) / cycles
    until_s = time.monotonic() + THREADS_S
    while (after := held()) != before and time.monotonic() < until_s:
        if after.threads <= before.threads and (after.files, after.children) == (before.files, before.children):
            break
        time.sleep(0.1)
    expect(
        after.files == before.files, f"open files: {after.files - before.files} more, {before.files - after.files} less"
    )
    expect(after.threads <= before.threads, f"{before.threads} threads before, {after.threads} behind it")
    expect(after.children == before.children, f"{before.children} children before, {after.children} behind it")
    grown = (resident_bytes() - memory) / 1024
    return Result(
        cycle_s,
        f"{sum(after.files.values())} open files and {after.threads} threads before and behind it;"
        f" memory {memory / 2**20:.1f} MiB before, {grown / cycles:+.1f} KiB for each session",
    )


def one_session(folder: Folder, number: int) -> None:
    """Run one session to its end. Raises Broken."""
    environment = folder.environment()
    with (
        open_run_directory(environment) as directory,
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as got,
    ):
        plan, _ = compile_file(folder.path / "main.plumb", run_directory=directory)
        given.write("".join(json.dumps(value) + "\n" for value in VALUES).encode())
        given.seek(0)
        with open_zygote(plan.workers if number % 2 else ()) as zygote:
            run = partial(run_lines, zygote=zygote, stdin_fd=given.fileno(), stdout_fd=got.fileno())
            finish = trio.run(run, plan, Settings(), JsonReport("error"), environment)
        got.seek(0)
        lines = got.read().splitlines()
    expect(finish.exit_code == 0 and len(lines) == len(VALUES), f"session {number}: {finish}, {lines}")
    expect(folder.left() == [], f"session {number}: left: {folder.left()}")


def by_commands(folder: Folder, cycles: int) -> Result:
    """Start services, use them and end them. Raises Broken."""
    files: set[str] = set()
    began_s = time.monotonic()
    for number in range(cycles):
        for words in (["up", "-d", "main.plumb"], ["send", *map(json.dumps, VALUES)], ["down"]):
            done = folder.command(*words)
            expect(done.returncode == 0, f"cycle {number}: {words[0]}: exit code {done.returncode}, {done.stderr!r}")
        folder.wait_gone(SETTLED_S)
        expect(folder.left() == [], f"cycle {number}: left: {folder.left()}")
        now = {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}
        files = files or now
        expect(now == files, f"cycle {number}: files: {now ^ files}")
    return Result((time.monotonic() - began_s) / cycles, f"{len(files)} files in the project behind each")


HOW = {"process": in_process, "commands": by_commands}


def try_once(how: str, cycles: int) -> Result:
    """Make one trial in a folder of its own. Raises Broken: something does not hold."""
    with tempfile.TemporaryDirectory(prefix="fabric-cycles-") as place:
        folder = Folder(Path(place), FILES)
        try:
            return HOW[how](folder, cycles)
        finally:
            for pid in folder.processes():
                os.kill(pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--how", choices=[*HOW, "both"], default="both")
    parser.add_argument("--cycles", type=int, default=CYCLES)
    options = parser.parse_args()
    failed = False
    for how in HOW if options.how == "both" else [options.how]:
        try:
            result = try_once(how, options.cycles)
        except Broken as broken:
            failed = True
            print(f"{how}: {broken}\nagain: {sys.executable} {sys.argv[0]} --how {how} --cycles {options.cycles}")
            continue
        print(f"{how}: {options.cycles} cycles of {result.cycle_s:.2f} s, nothing is left; {result.remark}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
