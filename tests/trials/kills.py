"""Kill workers of a running session at random moments, and look whether anything is lost, doubled or out of order.

.venv/bin/python tests/trials/kills.py                         # 300 runs; each kills 3 to 8 workers
.venv/bin/python tests/trials/kills.py --how service           # the same, of a service with a client
.venv/bin/python tests/trials/kills.py --how stop --runs 20    # stops them for five seconds instead
.venv/bin/python tests/trials/kills.py --how coordinator       # kills the coordinator of a service instead
.venv/bin/python tests/trials/kills.py --seed 4711 --runs 1    # one run again

Real processes and sockets: three functions as workers, of which two lie on a loop that a message goes round once,
twice or three times. Messages that go round equally often keep their order, whatever happens to the workers; so
each of these three rows of outputs has to be exactly what it would be without kills. In the end there may be no
process, no socket and no directory left. In every other run workers are forked by a zygote, which may be killed too,
and all workers with it.

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
ZYGOTE = "zygote"
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
}

SETTINGS = """
launch = "{launch}"
[run]
restarts = 1000
redeliveries = 1000
grace = 60
"""
"""A message may be the one that is at work at every kill: that makes it no dead letter here. A worker that is stopped
twice in a row while it is to end is silent for longer than the usual grace."""


class Blow(NamedTuple):
    """Something that is done to a process.

    Attributes:
        after: how many outputs have come.
        delay_s: and how much later.
        target: a worker, or the process that forks them.
    """

    after: int
    delay_s: float
    target: str


class Drawn(NamedTuple):
    """What a seed stands for: how workers are started, and what is done to them, in the order of the outputs."""

    launch: str
    blows: list[Blow]


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


def draw(seed: int, messages: int) -> Drawn:
    """Return what a seed stands for."""
    chance = random.Random(seed)
    launch = chance.choice(["zygote", "spawn"])
    blows = [
        Blow(chance.randrange(messages + 1), chance.choice([0.0, chance.random() * 0.05]), chance.choice(WORKERS))
        for _ in range(chance.randint(3, 8))
    ]
    if launch == "zygote" and chance.random() < 0.2:  # there is one; what is started behind its end is spawned
        blows.append(Blow(chance.randrange(messages + 1), 0.0, ZYGOTE))
    return Drawn(launch, sorted(blows))


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
    left = {path.name for path in folder.path.iterdir()} - {
        *FILES,
        "fabric.toml",
        "input.jsonl",
        ".fabric",
        "__pycache__",
    }
    expect(not left, f"left in the project: {left}")
    return gone_s


def strike_run(seed: int, folder: Folder, messages: int, *, stop: bool) -> Run:
    """Run a session whose workers are killed, or stopped for a while. Raises Broken."""
    drawn = draw(seed, messages)
    began_s = time.monotonic()
    lines = prepare(folder, drawn, messages)
    command = Command(folder, "run", "--log-level", "info", "main.plumb", stdin=lines)
    try:
        striker = Striker(folder, command, command, drawn.blows, stop=stop)
        striker.work()
        code = command.end()
        complaints = [said for said in command.complaints() if "the process that forks workers" not in str(said)]
        expect(code == 0 and not complaints, f"exit code {code}, it says {complaints}")
    finally:
        command.close()
    check_outputs(command.outputs, messages)
    return striker.run(began_s)


def strike_service(seed: int, folder: Folder, messages: int) -> Run:
    """Kill workers of a service that a client sends to. Raises Broken."""
    drawn = draw(seed, messages)
    began_s = time.monotonic()
    lines = prepare(folder, drawn, messages)
    words = ["up", "--log-format", "json", "--log-level", "info", "--progress", "json"]
    service = Command(folder, *words, "main.plumb")
    client: Command | None = None
    try:
        until_s = time.monotonic() + PATIENCE_S
        while service.ready != set(WORKERS):
            expect(service.look(until_s), f"it does not start: {service.said[-3:]}")
        client = Command(folder, "send", stdin=lines)
        striker = Striker(folder, service, client, drawn.blows, stop=False)
        striker.work()
        code = client.end()
        expect(code == 0 and not client.said, f"send: exit code {code}, it says {client.said}")
        service.process.send_signal(signal.SIGINT)
        code = service.end()
        expect(code == 0, f"up: exit code {code}, it says {service.said[-5:]}")
    finally:
        for command in filter(None, (client, service)):
            command.close()
    check_outputs(client.outputs, messages)
    return striker.run(began_s)


def prepare(folder: Folder, drawn: Drawn, messages: int) -> int:
    """Write settings and input; return a descriptor of the input."""
    (folder.path / "fabric.toml").write_text(SETTINGS.format(launch=drawn.launch))
    path = folder.path / "input.jsonl"
    path.write_text("".join(f"{number}\n" for number in range(messages)))
    return os.open(path, os.O_RDONLY)


class Striker:
    """Strikes the workers of one session.

    Args:
        folder: where it runs.
        session: tells of its workers.
        client: has the outputs; its end is the end of the striking.
        blows: what is to be done.
        stop: processes are stopped for a while instead of killed.
    """

    def __init__(self, folder: Folder, session: Command, client: Command, blows: list[Blow], *, stop: bool) -> None:
        self._folder = folder
        self._session = session
        self._client = client
        self._planned = list(blows)
        self._stop = stop
        self._due: list[tuple[float, str]] = []
        self._stopped: list[tuple[float, int]] = []
        self._zygote: dict[str, int] = {}
        self._done: Counter[str] = Counter()

    def work(self) -> None:
        """Strike until the client has ended. Raises Broken: it does not end."""
        limit_s = time.monotonic() + PATIENCE_S
        while self._session.ready != set(WORKERS):
            expect(self._session.look(limit_s), f"it does not start: {self._session.said[-3:]}")
        processes = self._folder.processes()
        expect(len(processes) > len(WORKERS), "the processes of the session are not seen")
        zygotes = [pid for pid, words in processes.items() if "fabric.launch.zygote" in words]
        self._zygote = dict(zip([ZYGOTE], zygotes, strict=False))
        goes_on = True
        while goes_on:
            now_s = time.monotonic()
            last = f"{len(self._client.outputs)} outputs, last it said {self._session.said[-5:]}"
            expect(now_s < limit_s, f"it does not end; {last}")
            while self._planned and len(self._client.outputs) >= self._planned[0].after:
                blow = self._planned.pop(0)
                self._due.append((now_s + blow.delay_s, blow.target))
            self._strike_due(now_s)
            self._let_go_on(now_s)
            times = [at_s for at_s, target in self._due if self._find(target)] + [at_s for at_s, _ in self._stopped]
            if self._session is not self._client:
                self._session.look(0.0)
                times.append(now_s + 0.01)
            goes_on = self._client.look(min([*times, limit_s]))

    def _find(self, target: str) -> int | None:
        return (self._session.pids | self._zygote).get(target)

    def _strike_due(self, now_s: float) -> None:
        for blow in [blow for blow in self._due if blow[0] <= now_s]:
            pid = self._find(blow[1])
            if pid is None:  # the next process of it is struck
                continue
            self._due.remove(blow)
            if not self._stop:  # once
                self._session.pids.pop(blow[1], None)
                self._zygote.pop(blow[1], None)
            if send_signal(pid, signal.SIGSTOP if self._stop else signal.SIGKILL):
                self._done[blow[1]] += 1
                self._stopped += [(now_s + STOPPED_S, pid)] * self._stop

    def _let_go_on(self, now_s: float) -> None:
        for stopped in [stopped for stopped in self._stopped if stopped[0] <= now_s]:
            self._stopped.remove(stopped)
            send_signal(stopped[1], signal.SIGCONT)

    def run(self, began_s: float) -> Run:
        """Return what the run was, when it is over. Raises Broken: something is left of it."""
        again = sum(self._session.starts.values()) - len(WORKERS)
        gone_s = check_left(self._folder)
        late = len(self._due) + len(self._planned)
        if not self._stop:  # one that has answered everything is not started again
            killed = sum(self._done[name] for name in WORKERS)
            expect(again >= killed - len(WORKERS), f"{self._done} were killed, and {again} started again")
        return Run(time.monotonic() - began_s, self._done, again, late, gone_s)


def send_signal(pid: int, number: int) -> bool:
    """Return whether there was still somebody to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def strike_coordinator(seed: int, folder: Folder, messages: int) -> Run:
    """Kill the coordinator of a service that is at work; its workers have to be gone within two seconds."""
    chance = random.Random(seed)
    began_s = time.monotonic()
    lines = prepare(folder, draw(seed, messages), messages)
    up = folder.command("up", "-d", "main.plumb")
    expect(up.returncode == 0, f"up: exit code {up.returncode}, {up.stderr.decode()}")
    pid = json.loads((folder.path / ".fabric" / "run" / "project.json").read_text())["process"]["pid"]
    client = Command(folder, "send", stdin=lines)
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
    "kill": partial(strike_run, stop=False),
    "service": strike_service,
    "stop": partial(strike_run, stop=True),
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
                if len(runs) % 50 == 0:
                    print(f"{len(runs)} runs hold", flush=True)
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
