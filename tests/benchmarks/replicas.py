"""What replicas bring: the rate of a slow worker with one, two and four of it, in one run.

    python tests/benchmarks/replicas.py [--json] [--messages N] [--rounds N]

The worker sleeps for five milliseconds a message, as one that waits for somebody else does, so that the machine's
processors are no bound. The counts take turns; rates are medians of rounds, and their ratio to one replica is told.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

import trio
from relay import _Counter

from fabric.compiler import compile_file
from fabric.launch.process import open_launcher
from fabric.plan.replicas import Replicas, replicated
from fabric.runtime.coordinator import Coordinator
from fabric.session.session import Session, Settings
from fabric.transport.sockets import open_sockets

COUNTS = (1, 2, 4)

PROGRAM = (
    'let slow : !int -> !int = python { call: "slow:slow" }\n'
    "let main : !int -> !int = plumb(input, output) { input ; slow ; output }\n"
)
FUNCTION = "import time\n\ndef slow(value):\n    time.sleep(0.005)\n    return value\n"


async def rate_of(replicas: int, messages: int, directory: Path) -> float:
    """Return messages a second through so many replicas."""
    (directory / "main.plumb").write_text(PROGRAM)
    (directory / "slow.py").write_text(FUNCTION)
    plan, _ = compile_file(directory / "main.plumb", run_directory=str(directory))
    plan = replicated(plan, {"slow": Replicas(replicas)})
    client = _Counter(messages)
    async with open_launcher(os.environ) as launcher, open_sockets() as transport, trio.open_nursery() as nursery:
        session = Session(plan, Settings(), random.Random(1))
        coordinator = Coordinator(session, transport, launcher, client, client)
        nursery.start_soon(coordinator.run)
        await coordinator.wait_for_room()
        started_s = time.perf_counter()
        for ticket in range(messages):
            await coordinator.wait_for_room()
            coordinator.submit("input", [(ticket, b"%d" % ticket)])
        await client.done.wait()
        took_s = time.perf_counter() - started_s
        coordinator.close_input()
    return messages / took_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--messages", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(arguments.rounds):
        for count in COUNTS:
            with tempfile.TemporaryDirectory(prefix="r") as directory:
                found[count].append(trio.run(rate_of, count, arguments.messages, Path(directory)))
    rates = {count: statistics.median(values) for count, values in found.items()}
    if arguments.json:
        print(json.dumps({"v": 1, "per_s": rates, "ratio": {count: rate / rates[1] for count, rate in rates.items()}}))
        return
    print("| replicas of a worker of 5 ms | messages/s | of one |\n|---|---:|---:|")
    for count, rate in rates.items():
        print(f"| {count} | {rate:,.0f} | {rate / rates[1]:.2f} |")


if __name__ == "__main__":
    main()
