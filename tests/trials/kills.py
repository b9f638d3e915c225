"""Kill workers of a running session at random moments, and look whether anything is lost, doubled or out of order.

.venv/bin/python tests/trials/kills.py                         # 300 runs; each kills 3 to 8 workers
.venv/bin/python tests/trials/kills.py --how stop --runs 20    # stops them for five seconds instead
.venv/bin/python tests/trials/kills.py --how coordinator       # kills the coordinator of a service instead
.venv/bin/python tests/trials/kills.py --seed 4711 --runs 1    # one run again

Real processes and sockets: three functions as workers, of which two lie on a loop that a message goes round once,
twice or three times. Messages that go round equally often keep their order, whatever happens to the workers; so
each of these three rows of outputs has to be exactly what it would be without kills. In the end there may be no
process, no socket and no directory left.

The moments are drawn from the seed: when so many outputs have come, and some milliseconds. What a worker is doing then
depends on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from watch import PATIENCE_S, Broken, Command, Folder, expect

MESSAGES = 5_000
WORKERS = ("first", "second", "third")
ROUNDS = 3
STOPPED_S = 5.0
GONE_S = 2.0

FILES = {
    "main.plumb": """
type Item = { number: int, rounds: int, trail: string }
let first : !int -> !Item = python { call: "stages:first" }
let second : !Item -> !Item = python { call: "stages:second" }
let third : !Item -> !Item = python { call: "stages:third" }
let main : !int -> !Item = plumb(number, done) {
  number ; first ; second ; third
  third ; filter(rounds > 0) ; map({ number, rounds: rounds - 1, trail }) ; second
  third ; filter(rounds = 0) ; done
}
""",
    "stages.py": f"""
def first(number):
    return {{"number": number, "rounds": number % {ROUNDS}, "trail": "1"}}

def second(item):
    return item | {{"trail": item["trail"] + "2"}}

def third(item):
    return item | {{"trail": item["trail"] + "3"}}
""",
    # A message may be the one that is at work at every kill: that makes it no dead letter here.
    "fabric.toml": "[run]\nrestarts = 1000\nredeliveries = 1000\n",
}


class Blow(NamedTuple):
    """Something that is done to a worker.

    Attributes:
        after: how many outputs have come.
        delay_s: and how much later.
        worker: to which.
    """

    after: int
    delay_s: float
    worker: str


class Run(NamedTuple):
    """What a run was.

    Attributes:
        took_s: in all.
        blows: how many processes were killed or stopped, by worker.
        starts: how often a worker was started again.
        late: blows for which there was no process any more.
        gone_s: from the end of the coordinator to that of the last process.
    """

    took_s: float
    blows: Counter[str]
    starts: int
    late: int
    gone_s: float


def blows(chance: random.Random, messages: int) -> list[Blow]:
    """Draw what is done and when, in the order of the outputs."""
    drawn = [
        Blow(chance.randrange(messages + 1), chance.choice([0.0, chance.random() * 0.05]), chance.choice(WORKERS))
        for _ in range(chance.randint(3, 8))
    ]
    return sorted(drawn)


def trail(number: int) -> str:
    return "1" + "23" * (number % ROUNDS + 1)


def check_outputs(lines: list[bytes], messages: int) -> None:
    """Check what came out. Raises Broken: it is not what went in, in the order that the graph gives it."""
    outputs = [json.loads(line) for line in lines]
    for rounds in range(ROUNDS):
        wanted = list(range(rounds, messages, ROUNDS))
        got = [output["number"] for output in outputs if output["number"] % ROUNDS == rounds]
        if got == wanted:
            continue
        counts = Counter(got)
        lost = [number for number in wanted if not counts[number]]
        doubled = [number for number, count in counts.items() if count > 1]
        place = next((at for at, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1]), len(got))
        raise Broken(
            f"of {len(wanted)} that go round {rounds + 1} times: {len(lost)} lost {lost[:10]}, {len(doubled)} doubled"
            f" {doubled[:10]}; the first that is out of order is at {place}: {got[place : place + 5]}"
        )
    for output in outputs:
        expect(output["rounds"] == 0 and output["trail"] == trail(output["number"]), f"wrong: {output}")


def check_left(folder: Folder) -> float:
    """Check that nothing is left; return how long the last process took to end behind its coordinator."""
    gone_s = folder.wait_gone(GONE_S)
    expect(folder.left() == [], f"left: {folder.left()}")
    left = {path.name for path in folder.path.iterdir()} - {*FILES, "input.jsonl", ".fabric", "__pycache__"}
    expect(not left, f"left in the project: {left}")
    return gone_s


def strike_workers(seed: int, folder: Folder, messages: int, *, stop: bool) -> Run:
    """Run a session whose workers are killed, or stopped for a while. Raises Broken."""
    planned = blows(random.Random(seed), messages)
    (folder.path / "input.jsonl").write_text("".join(f"{number}\n" for number in range(messages)))
    began_s = time.monotonic()
    with (folder.path / "input.jsonl").open("rb") as lines:
        command = Command(folder, "run", "--log-level", "info", "main.plumb", stdin=lines.fileno())
    try:
        done, late = _strike(command, folder, planned, stop=stop)
        code = command.end()
        expect(code == 0 and not command.complaints(), f"exit code {code}, it says {command.complaints()}")
        check_outputs(command.outputs, messages)
        gone_s = check_left(folder)
    finally:
        command.close()
    again = sum(command.starts.values()) - len(WORKERS)
    if not stop:
        expect(again >= sum(done.values()) - len(WORKERS), f"{done} were killed, and {again} started again")
    return Run(time.monotonic() - began_s, done, again, late, gone_s)


def _strike(command: Command, folder: Folder, planned: list[Blow], *, stop: bool) -> tuple[Counter[str], int]:
    """Strike until all is done or the command has ended; return how often each was struck, and how often too late."""
    due: list[tuple[float, str]] = []
    stopped: list[tuple[float, int]] = []
    done: Counter[str] = Counter()
    opened = False
    limit_s = time.monotonic() + PATIENCE_S
    while True:
        now_s = time.monotonic()
        expect(now_s < limit_s, f"it does not end; {len(command.outputs)} outputs, last it said {command.said[-5:]}")
        if not opened and command.ready == set(WORKERS):
            opened = True
            expect(len(folder.processes()) > len(WORKERS), "the processes of the session are not seen")
        while opened and planned and len(command.outputs) >= planned[0].after:
            due.append((now_s + planned[0].delay_s, planned.pop(0).worker))
        for blow in [blow for blow in due if blow[0] <= now_s]:
            if blow[1] not in command.pids:  # the next process of it is struck
                continue
            pid = command.pids[blow[1]] if stop else command.pids.pop(blow[1])  # killed once
            due.remove(blow)
            try:
                os.kill(pid, signal.SIGSTOP if stop else signal.SIGKILL)
            except ProcessLookupError:  # it has ended this moment
                continue
            done[blow[1]] += 1
            if stop:
                stopped.append((now_s + STOPPED_S, pid))
        for blow in [blow for blow in stopped if blow[0] <= now_s]:
            stopped.remove(blow)
            try:
                os.kill(blow[1], signal.SIGCONT)
            except ProcessLookupError:
                continue
        times = [at_s for at_s, worker in due if worker in command.pids] + [at_s for at_s, _ in stopped]
        if not command.look(min([*times, limit_s])):
            return done, len(due) + len(planned)


def strike_coordinator(seed: int, folder: Folder, messages: int) -> Run:
    """Kill the coordinator of a service that is at work; its workers have to be gone within two seconds."""
    chance = random.Random(seed)
    began_s = time.monotonic()
    up = folder.command("up", "-d", "main.plumb")
    expect(up.returncode == 0, f"up: exit code {up.returncode}, {up.stderr.decode()}")
    pid = json.loads((folder.path / ".fabric" / "run" / "project.json").read_text())["process"]["pid"]
    (folder.path / "input.jsonl").write_text("".join(f"{number}\n" for number in range(messages)))
    with (folder.path / "input.jsonl").open("rb") as lines:
        client = Command(folder, "send", stdin=lines.fileno())
    try:
        after = chance.randrange(messages // 2)
        until_s = time.monotonic() + PATIENCE_S
        while len(client.outputs) < after and client.look(until_s):
            expect(time.monotonic() < until_s, "nothing comes")
        expect(len(folder.processes()) > len(WORKERS), "the processes of the service are not seen")
        until_s = time.monotonic() + chance.random() * 0.05
        while time.monotonic() < until_s and client.look(until_s):
            pass
        os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        while others := {other for other in folder.processes() if other != client.process.pid}:
            expect(time.monotonic() < killed_s + GONE_S, f"after {GONE_S:g} s these processes are left: {others}")
        gone_s = time.monotonic() - killed_s
        code = client.end()
        expect(code == 1, f"send: exit code {code}, {client.said}")
    finally:
        client.close()
    shown = folder.command("ps", "-a")
    expect(shown.returncode == 0 and b"was killed" in shown.stderr, f"ps -a: {shown}")
    down = folder.command("down")
    expect(down.returncode == 0 and b"cleared away" in down.stderr, f"down: {down}")
    check_left(folder)
    return Run(time.monotonic() - began_s, Counter(coordinator=1), 0, 0, gone_s)


HOW: dict[str, Callable[[int, Folder, int], Run]] = {
    "kill": lambda seed, folder, messages: strike_workers(seed, folder, messages, stop=False),
    "stop": lambda seed, folder, messages: strike_workers(seed, folder, messages, stop=True),
    "coordinator": strike_coordinator,
}


def try_once(how: str, seed: int, messages: int = MESSAGES) -> Run:
    """Make one run in a folder of its own. Raises Broken: something does not hold."""
    with tempfile.TemporaryDirectory(prefix="fabric-kills-") as place:
        folder = Folder(Path(place), FILES)
        try:
            return HOW[how](seed, folder, messages)
        finally:
            for pid in folder.processes():  # of a run that is broken
                os.kill(pid, signal.SIGKILL)


def _attempt(how: str, messages: int, seed: int) -> tuple[int, Run | str]:
    try:
        return seed, try_once(how, seed, messages)
    except Broken as broken:
        return seed, str(broken)
    except Exception:  # noqa: BLE001 - whatever it is, the other runs are made
        return seed, traceback.format_exc()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--how", choices=HOW, default="kill", help="what is done to processes")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next ones count on")
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    began_s = time.monotonic()
    runs: list[Run] = []
    broken: list[int] = []
    seeds = range(options.seed, options.seed + options.runs)
    with ThreadPoolExecutor(options.jobs) as pool:
        for seed, run in pool.map(partial(_attempt, options.how, options.messages), seeds):
            if isinstance(run, Run):
                runs.append(run)
                continue
            broken.append(seed)
            again = f"{sys.argv[0]} --how {options.how} --messages {options.messages} --seed {seed} --runs 1"
            print(f"seed {seed}: {run}\nagain: {sys.executable} {again}", flush=True)
    print(
        f"{options.how}: seeds {seeds.start} to {seeds.stop - 1}, {options.runs} runs of {options.messages} messages in"
        f" {time.monotonic() - began_s:.0f} s, {len(broken)} broken {broken or ''}"
    )
    if runs:
        print(summary(runs))
    sys.exit(bool(broken))


def summary(runs: list[Run]) -> str:
    """Return what was done in all, and what took longest."""
    struck = sum((run.blows for run in runs), Counter[str]())
    by_name = ", ".join(f"{name} {struck[name]}" for name in sorted(struck))
    return (
        f"struck {struck.total()} processes ({by_name}), {sum(run.late for run in runs)} blows came too late;"
        f" {sum(run.starts for run in runs)} starts again\n"
        f"a run took {max(run.took_s for run in runs):.1f} s at most;"
        f" the last process was gone {max(run.gone_s for run in runs):.3f} s after the coordinator at most"
    )


if __name__ == "__main__":
    main()
