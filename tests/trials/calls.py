"""Call programs from Python, a thousand at once, and open pipelines that are cancelled at random points.

.venv/bin/python tests/trials/calls.py
.venv/bin/python tests/trials/calls.py --backend trio --seed 7 --calls 100 --pipelines 20

Under asyncio and under trio, in one process. Afterwards there must be no process but the warm zygote, no descriptor
that was not there before, and no socket directory.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
from watch import Broken, Folder, expect

import fabric
from fabric.client import engine

CALLS = 1_000
PIPELINES = 100

PATIENCE_S = 900.0
"""After which a round counts as hung."""

GONE_S = 5.0
"""Within this time of a round's end nothing of it may be left: what was killed is reaped, sockets are closed."""

FILES = {
    "doctor.plumb": """
let doctor : !string -> !string = agent { provider: "eliza", model: "doctor" }
let main : !string -> !string = plumb(input, output) { input ; doctor ; output }
""",
    "more.plumb": """
let more : !int -> !int = python { call: "stages:more" }
let again : !int -> !int = python { call: "stages:more" }
let main : !int -> !int = plumb(input, output) { input ; more ; again ; output }
""",
    "lines.plumb": """
let lines : !json -> !json = worker { command: ["python3", "lines.py"], transport: "stdio" }
let main : !json -> !json = plumb(input, output) { input ; lines ; output }
""",
    "stages.py": "def more(value):\n    return value + 1\n",
    "lines.py": "import sys\nfor line in sys.stdin:\n    print(line.strip(), flush=True)\n",
}

INPUTS = {"doctor.plumb": "I feel sad", "more.plumb": 1, "lines.plumb": {"a": 1}}


class Round(NamedTuple):
    """What a round did."""

    seconds: float
    ended: dict[str, int]


async def call(name: str, expected: object) -> None:
    """Call a program. Raises Broken."""
    outputs = await fabric.call(name, INPUTS[name])
    expect(len(outputs) == 1 and (expected is None or outputs == [expected]), f"{name} gave {outputs}")


async def many_calls(count: int) -> Round:
    """Call programs, all at the same time."""
    began_s = time.monotonic()
    async with anyio.create_task_group() as group:
        for number in range(count):
            name, expected = ("more.plumb", 3) if number % 4 == 0 else ("doctor.plumb", None)
            group.start_soon(call, name, expected)
    return Round(time.monotonic() - began_s, {"done": count})


async def use(name: str, how: str, ended: collections.Counter[str]) -> None:
    """Open a pipeline, and do something with it until it is cancelled, or done."""
    reached = "opening"
    try:
        async with await fabric.run(name) as pipeline:
            reached = "open"
            for _ in range(20):
                if how == "call":
                    expect(len(await pipeline.call(INPUTS[name])) == 1, "a call gave something else")
                else:
                    await pipeline.send(INPUTS[name])
                    reached = "sent"
                    expect(await pipeline.recv() is not None, "there was no output")
                reached = "received"
            if how == "close":
                await pipeline.close_input()
            reached = "ending"
        reached = "done"
    finally:
        ended[reached] += 1


async def cancelled_at(delay_s: float, name: str, how: str, ended: collections.Counter[str]) -> None:
    with anyio.move_on_after(delay_s):
        await use(name, how, ended)


async def many_pipelines(count: int, chance: random.Random) -> Round:
    """Open pipelines, eight at a time, each of which is cancelled some time."""
    began_s = time.monotonic()
    ended: collections.Counter[str] = collections.Counter()
    limiter = anyio.CapacityLimiter(8)

    async def one(delay_s: float, name: str, how: str) -> None:
        async with limiter:
            await cancelled_at(delay_s, name, how, ended)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            delay_s = chance.choice([0.0, 0.05, 0.3, 1.0, 2.0, 4.0]) * chance.random()
            name = chance.choice(list(INPUTS))
            group.start_soon(one, delay_s, name, chance.choice(["call", "send", "close"]))
    return Round(time.monotonic() - began_s, dict(sorted(ended.items())))


def descriptors() -> dict[str, str]:
    """Return what is open, by number."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def expect_clean(folder: Folder, before: dict[str, str]) -> None:
    """Raise Broken if something is left after a while: descriptors of closed sockets go in threads of the library."""
    until_s = time.monotonic() + GONE_S
    while True:
        left, open_now, places = folder.processes(), descriptors(), folder.left()
        left.pop(os.getpid(), None)
        if not left and len(open_now) <= len(before) and not places:
            return
        expect(
            time.monotonic() < until_s,
            f"left: processes {left}, files {places}, descriptors {open_now}; before there were {before}",
        )


def warm_up(backend: str) -> None:
    """Start what stays: the engine's thread, the zygote, the threads and descriptors of the event loops."""
    for name in INPUTS:
        anyio.run(partial(fabric.call, name, INPUTS[name]), backend=backend)


async def within(work: partial[object]) -> Round:
    with anyio.fail_after(PATIENCE_S):
        return await work()  # type: ignore[misc,no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "trio"], action="append")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--pipelines", type=int, default=PIPELINES)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fabric-calls-") as place:
        folder = Folder(Path(place), FILES)
        os.environ.update(folder.environment())
        tempfile.tempdir = str(folder.temporary)
        os.chdir(folder.path)
        try:
            for backend in options.backend or ["asyncio", "trio"]:
                warm_up(backend)
                before = descriptors()
                chance = random.Random(options.seed)
                works = {
                    f"{options.calls} calls": partial(many_calls, options.calls),
                    f"{options.pipelines} pipelines": partial(many_pipelines, options.pipelines, chance),
                }
                for what, work in works.items():
                    result = anyio.run(within, work, backend=backend)
                    expect_clean(folder, before)
                    print(f"{backend}: {what} in {result.seconds:.2f} s: {result.ended}; nothing is left", flush=True)
            engine.close()
            expect_clean(folder, before)
        except (Broken, TimeoutError, fabric.FabricError, BaseExceptionGroup) as broken:
            print(f"{type(broken).__name__}: {broken}\nagain: {' '.join([sys.executable, *sys.argv])}")
            sys.exit(1)
        finally:
            os.chdir("/")


if __name__ == "__main__":
    main()
