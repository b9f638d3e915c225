"""Kill whole runs that are kept in a bucket, go on with them until they are done, and look what came out.

.venv/bin/python tests/trials/durable.py                        # 300 runs; each is killed one to six times
.venv/bin/python tests/trials/durable.py --how operations       # before and after each operation of the bucket
.venv/bin/python tests/trials/durable.py --how review           # agents in a loop, everything killed ten times
.venv/bin/python tests/trials/durable.py --seed 4711 --runs 1   # one run again

Real processes, real files: ``fabric run --session`` of a chain, a loop, a barrier, a merge, and of agents whose model
is a server here. What is killed, with SIGKILL, is the coordinator alone, or all processes of the run. The same command
is run again until it ends by itself. Then its outputs, in the file that all of them wrote to, have to be those of a run
that nobody disturbed, each once. After each kill the log that is left has to be whole as far as it goes.

The moments are drawn from the seed, as shares of the time that an undisturbed run takes. What a run is doing then
depends on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from watch import FABRIC, PATIENCE_S, Broken, Folder, expect

from fabric.runtime.keeping import read_history
from fabric.session.history import History, Turn
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.opening import open_store
from fabric.testing.answers import ModelRequest
from fabric.testing.models import ScriptedModel, scripted_model

KILLS_MAX = 6
REVIEW_KILLS = 10
GONE_S = 5.0
SESSION = "trial"

FUNCTIONS = """
def first(number):
    return {"number": number, "rounds": number % 3, "trail": "1"}

def second(item):
    return item | {"trail": item["trail"] + "2"}

def third(item):
    return item | {"trail": item["trail"] + "3"}

def double(number):
    return 2 * number

def square(number):
    return number * number
"""

CHAIN = """
type Item = { number: int, rounds: int, trail: string }
let first : !int -> !Item = python { call: "stages:first" }
let second : !Item -> !Item = python { call: "stages:second" }
let main : !int -> !Item = plumb(number, done) { number ; first ; second ; done }
"""

LOOP = """
type Item = { number: int, rounds: int, trail: string }
let first : !int -> !Item = python { call: "stages:first" }
let second : !Item -> !Item = python { call: "stages:second" }
let third : !Item -> !Item = python { call: "stages:third" }
let main : !int -> !Item = plumb(number, done) {
  number ; first ; second ; third
  third ; filter(rounds > 0) ; map({ number, rounds: rounds - 1, trail }) ; second
  third ; filter(rounds = 0) ; done
}
"""

BARRIER = """
let double : !int -> !int = python { call: "stages:double" }
let square : !int -> !int = python { call: "stages:square" }
let main : !int -> !(int, int) = plumb(number, done) {
  number ; double
  number ; square
  (double * square) ; barrier ; done
}
"""

MERGE = """
let double : !int -> !int = python { call: "stages:double" }
let square : !int -> !int = python { call: "stages:square" }
let main : !int -> !int = plumb(number, done) {
  number ; double ; done
  number ; square ; done
}
"""

AGENTS = """
let writer : !string -> !string = agent { provider: "anthropic" model: "scripted" prompt: "Write." }
let editor : !string -> !string = agent { provider: "anthropic" model: "scripted" prompt: "Edit." }
let main : !string -> !string = plumb(topic, done) { topic ; writer ; editor ; done }
"""

REVIEW = """
type Task = { topic: string, round: int, remark: string }
type Draft = { topic: string, round: int, line: string }
type Verdict = { pass: bool, topic: string, round: int, line: string, remark: string }
let composer : !Task -> !Draft = agent { provider: "anthropic" model: "scripted" prompt: "Compose." }
let checker : !Draft -> !Verdict = agent { provider: "anthropic" model: "scripted" prompt: "Check." }
let critic : !Draft -> !Verdict = agent { provider: "anthropic" model: "scripted" prompt: "Criticize." }
let main : !string -> !string = plumb(topic, published) {
  topic ; map({ topic: value, round: 1, remark: "" }) ; composer ; checker
  checker ; filter(pass) ; map({ topic, round, line }) ; critic
  checker ; filter(pass = false) ; map({ topic, round: round + 1, remark }) ; composer
  critic ; filter(pass).line ; published
  critic ; filter(pass = false) ; map({ topic, round: round + 1, remark }) ; composer
}
"""

LAUNCHER = """
import os
import sys

from fabric.cli import main
from fabric.store.opening import SCHEMES, open_store
from fabric.testing.stores import FaultyStore, fault_at

SCHEMES["faulty"] = lambda url: FaultyStore(
    open_store("file:" + url.partition(":")[2]), fault_at(int(os.environ["KILL_AT"]), os.environ["KILL_HOW"])
)
sys.exit(main())
"""
"""The command with a bucket at whose n-th operation it is killed: the scheme ``faulty``."""


class Program(NamedTuple):
    """A program, what it is given, and what has to come out.

    Attributes:
        text: of it.
        inputs: JSON values, in order.
        outputs: of a run that nobody disturbs; in any order, unless it is a chain.
        in_order: whether it is one.
    """

    text: str
    inputs: list[Any]
    outputs: list[Any]
    in_order: bool = True


def programs(count: int) -> dict[str, Program]:
    """Return what is run, by name, on so many messages."""
    numbers = list(range(count))
    topics = [f"topic {number}" for number in range(max(1, count // 4))]
    trails = ["1" + "23" * (number % 3 + 1) for number in numbers]
    return {
        "chain": Program(
            CHAIN, numbers, [{"number": number, "rounds": number % 3, "trail": "12"} for number in numbers]
        ),
        "loop": Program(
            LOOP,
            numbers,
            [{"number": number, "rounds": 0, "trail": trails[number]} for number in numbers],
            in_order=False,
        ),
        "barrier": Program(BARRIER, numbers, [[2 * number, number * number] for number in numbers]),
        "merge": Program(
            MERGE,
            numbers,
            [2 * number for number in numbers] + [number * number for number in numbers],
            in_order=False,
        ),
        "agents": Program(AGENTS, topics, [f"{topic} written {at} edited {at}" for at, topic in enumerate(topics)]),
        "review": Program(REVIEW, topics, [f"{topic}, round {rounds_of(topic)}" for topic in topics], in_order=False),
    }


def rounds_of(topic: str) -> int:
    """Return in which round a line about a topic passes."""
    return 2 + sum(topic.encode()) % 3


def answer(request: ModelRequest) -> Any:
    """Answer as the model of any agent here: by the newest message, and by how many came before it."""
    before = sum(message["role"] == "user" for message in request.body["messages"]) - 1
    said = json.loads(request.prompt)
    match request.agent:
        case "writer":
            return f"{said} written {before}"
        case "editor":
            return f"{said} edited {before}"
        case "composer":
            return {"topic": said["topic"], "round": said["round"], "line": f"{said['topic']}, round {said['round']}"}
        case "checker":
            return said | {"pass": said["round"] % 2 == rounds_of(said["topic"]) % 2, "remark": "facts"}
        case "critic":
            return said | {"pass": said["round"] >= rounds_of(said["topic"]), "remark": "style"}
    return NotImplemented


class Run(NamedTuple):
    """What a run was.

    Attributes:
        took_s: in all.
        kills: how often it was killed.
        commits: in its log.
        repeated: calls of models that were made again, for their answer was not recorded when it was killed.
    """

    took_s: float
    kills: int
    commits: int
    repeated: int = 0


class Trial:
    """One run of a program, killed and gone on with.

    Args:
        folder: where it runs.
        program: what is run.
        environment: for the agents' model.
        scheme: of the bucket.
    """

    def __init__(self, folder: Folder, program: Program, environment: dict[str, str], scheme: str = "file") -> None:
        self._folder = folder
        self._program = program
        self._bucket = folder.path.parent / "bucket"
        self._url = f"{scheme}://{self._bucket}"
        self._out = folder.path.parent / "out"
        self._environment = folder.environment() | {"XDG_STATE_HOME": str(folder.path.parent / "state")} | environment
        (folder.path / "input.jsonl").write_text("".join(json.dumps(value) + "\n" for value in program.inputs))

    def start(self, command: list[str] = FABRIC, **environment: str) -> subprocess.Popen[bytes]:
        """Start the command that begins the run, or goes on with it."""
        with (self._folder.path / "input.jsonl").open("rb") as source, self._out.open("ab") as out:
            return subprocess.Popen(
                [*command, "run", "--session", SESSION, "-b", self._url, "main.plumb"],
                cwd=self._folder.path,
                env=self._environment | environment,
                stdin=source,
                stdout=out,
                stderr=subprocess.PIPE,
            )

    def end(self, process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
        """Wait for a command; return its exit code and what it said. Raises Broken: it hangs."""
        try:
            said = process.communicate(timeout=PATIENCE_S)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            raise Broken(f"it does not end, and says {process.communicate()[1][-600:]!r}") from None
        return process.returncode, said

    def kill(self, process: subprocess.Popen[bytes], *, whole: bool) -> bool:
        """Kill the coordinator, or everything, wait until no process is left; return whether it had ended before."""
        victims = list(self._folder.processes()) if whole else [process.pid]
        for pid in victims:
            with_signal(pid)
        code, said = self.end(process)
        self._folder.wait_gone(GONE_S)
        expect(code in (0, -signal.SIGKILL), f"exit code {code}, it says {said[-600:]!r}")
        return code == 0

    def finish(self) -> None:
        """Go on with the run until it ends. Raises Broken: not well."""
        code, said = self.end(self.start())
        expect(code == 0, f"exit code {code}, it says {said[-600:]!r}")
        self._folder.wait_gone(GONE_S)

    def check(self) -> None:
        """Check what came out. Raises Broken."""
        outputs = [json.loads(line) for line in self._out.read_bytes().splitlines()]
        wanted = self._program.outputs
        if not self._program.in_order:
            outputs, wanted = sorted(outputs, key=json.dumps), sorted(wanted, key=json.dumps)
        if outputs == wanted:
            return
        counts, due = Counter(map(json.dumps, outputs)), Counter(map(json.dumps, wanted))
        expect(outputs == wanted, f"lost {due - counts}, doubled or wrong {counts - due}, or in another order")

    def log(self) -> Log | None:
        """Return the log as far as it goes; ``None``: there is none yet. Raises Broken: it is damaged."""
        bucket = Bucket(open_store(f"file://{self._bucket}"))
        if not bucket.sessions():
            return None
        log = bucket.open(SESSION)  # it is read, and all of its digests are verified
        for placed in log.entries():
            log.body(placed.entry)
        return log

    def history(self) -> list[History]:
        """Return what has happened so far, as far as the log has it. Raises Broken: it is damaged."""
        log = self.log()
        return [] if log is None else read_history(log)


def with_signal(pid: int) -> None:
    """Kill a process, if it is there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def a_trial(name: str, messages: int, scheme: str = "file") -> Iterator[tuple[Trial, Folder, ScriptedModel]]:
    """Give a trial in a folder of its own."""
    program = programs(messages)[name]
    with tempfile.TemporaryDirectory(prefix="fabric-durable-") as place, scripted_model(answer) as model:
        files = {"main.plumb": program.text, "stages.py": FUNCTIONS, "launcher.py": LAUNCHER, "fabric.toml": ""}
        folder = Folder(Path(place), files)
        try:
            yield Trial(folder, program, model.env, scheme), folder, model
        finally:
            for pid in folder.processes():  # of a run that is broken
                with_signal(pid)


def at_random(seed: int, messages: int, undisturbed_s: float = 1.0) -> Run:
    """Kill a run at random moments. Raises Broken."""
    chance = random.Random(seed)
    name = chance.choice(["chain", "loop", "barrier", "merge", "agents", "review"])
    began_s, done = time.monotonic(), 0
    with a_trial(name, messages) as (trial, _, _):
        for _ in range(chance.randint(1, KILLS_MAX)):
            process = trial.start()
            moment_s = time.monotonic() + chance.random() * undisturbed_s
            whole = chance.random() < 0.5
            while time.monotonic() < moment_s and process.poll() is None:
                time.sleep(0.002)
            if trial.kill(process, whole=whole):
                break
            done += 1
            trial.log()
        else:
            trial.finish()
        trial.check()
        log = trial.log()
        assert log is not None
        return Run(time.monotonic() - began_s, done, len(log.read()))


def at_operations(seed: int, messages: int, step: int = 1) -> Run:
    """Kill a run before and after each operation of its bucket; go on with it, killed again as often. Raises Broken."""
    chance = random.Random(seed)
    name = ["chain", "barrier", "agents", "loop"][seed % 4]
    began_s, kills = time.monotonic(), 0
    number, commits = 1 + chance.randrange(step), 0
    while True:
        for how in ("kill_before", "kill_after"):
            with a_trial(name, messages, "faulty") as (trial, folder, _):
                command = [sys.executable, "-P", "launcher.py"]
                code, said = trial.end(trial.start(command, KILL_AT=str(number), KILL_HOW=how))
                if code == 0:
                    trial.check()
                    return Run(time.monotonic() - began_s, kills, commits)
                expect(code == -signal.SIGKILL, f"exit code {code} at operation {number}, it says {said[-600:]!r}")
                kills += 1
                folder.wait_gone(GONE_S)
                trial.log()
                again = 1 + chance.randrange(2 * number)  # and once more, somewhere
                code, said = trial.end(trial.start(command, KILL_AT=str(again), KILL_HOW=how))
                expect(code in (0, -signal.SIGKILL), f"exit code {code}, killed again: {said[-600:]!r}")
                if code == 0:
                    trial.check()
                    continue
                folder.wait_gone(GONE_S)
                code, said = trial.end(trial.start(command, KILL_AT="0", KILL_HOW=how))
                expect(code == 0, f"exit code {code} behind operations {number} and {again}: {said[-600:]!r}")
                trial.check()
                log = trial.log()
                commits = len(log.read()) if log is not None else 0
        number += step


def review(seed: int, messages: int, kills: int = REVIEW_KILLS) -> Run:
    """Kill everything ten times while agents review lines; no call whose answer was recorded is made again.

    Raises Broken.
    """
    chance = random.Random(seed)
    began_s = time.monotonic()
    recorded: list[tuple[int, set[str]]] = []
    with a_trial("review", messages) as (trial, _, model):
        expected = sum(len(steps_of(topic)) for topic in programs(messages)["review"].inputs)
        while len(recorded) < kills:
            process = trial.start()
            after = len(model.requests) + chance.randrange(1 + expected // kills)
            until_s = time.monotonic() + PATIENCE_S
            while len(model.requests) < after and process.poll() is None:
                expect(time.monotonic() < until_s, "nobody asks the model")
                time.sleep(0.002)
            until_s = time.monotonic() + chance.choice([0.0, 0.05 * chance.random()])
            while time.monotonic() < until_s:
                time.sleep(0.002)
            expect(not trial.kill(process, whole=True), "it ended before it was killed often enough")
            turns = {name for entry in trial.history() if isinstance(entry, Turn) for name in names_of_turn(entry)}
            recorded.append((len(model.requests), turns))
        trial.finish()
        trial.check()
        for count, turns in recorded:
            again = turns & set(map(name_of_request, model.requests[count:]))
            expect(not again, f"asked again, though the answer was recorded: {again}")
        asked = Counter(map(name_of_request, model.requests))
        expect(len(asked) == expected, f"{len(asked)} different calls, expected {expected}")
        log = trial.log()
        assert log is not None
        return Run(time.monotonic() - began_s, len(recorded), len(log.read()), asked.total() - expected)


def steps_of(topic: str) -> list[str]:
    """Return the calls of models that a topic takes when nobody disturbs them."""
    steps = []
    for number in range(1, rounds_of(topic) + 1):
        steps += [f"composer {topic} {number}", f"checker {topic} {number}"]
        if number % 2 == rounds_of(topic) % 2:
            steps.append(f"critic {topic} {number}")
    return steps


def name_of_request(request: ModelRequest) -> str:
    """Return which call it is."""
    said = json.loads(request.prompt)
    return f"{request.agent} {said['topic']} {said['round']}"


def names_of_turn(turn: Turn) -> list[str]:
    """Return which calls an agent's turn has answered."""
    said = [json.loads(bytes(answer.payload)) for answer in turn.outputs if answer.port == "output"]
    return [f"{turn.node} {one['topic']} {one['round']}" for one in said]


HOW: dict[str, Callable[[int, int], Run]] = {"random": at_random, "operations": at_operations, "review": review}


def _attempt(how: str, messages: int, seed: int) -> tuple[int, Run | str]:
    try:
        return seed, HOW[how](seed, messages)
    except Broken as broken:
        return seed, str(broken)
    except Exception:  # noqa: BLE001 - whatever it is, the other runs are made
        return seed, traceback.format_exc()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--how", choices=HOW, default="random", help="when it is killed")
    parser.add_argument("--runs", type=int, default=0, help="0: 300 at random, 4 of operations, 10 of reviews")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next ones count on")
    parser.add_argument("--messages", type=int, help="24, of reviews 48: four are one topic for agents")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    count = options.runs or {"random": 300, "operations": 4, "review": 10}[options.how]
    messages = options.messages or {"random": 24, "operations": 8, "review": 48}[options.how]
    began_s = time.monotonic()
    runs: list[Run] = []
    broken: list[int] = []
    seeds = range(options.seed, options.seed + count)
    with ThreadPoolExecutor(options.jobs) as pool:
        for seed, run in pool.map(partial(_attempt, options.how, messages), seeds):
            if isinstance(run, Run):
                runs.append(run)
                if len(runs) % 25 == 0:
                    print(f"{len(runs)} runs hold", flush=True)
                continue
            broken.append(seed)
            again = f"{sys.argv[0]} --how {options.how} --messages {messages} --seed {seed} --runs 1"
            print(f"seed {seed}: {run}\nagain: {sys.executable} {again}", flush=True)
    kills, commits = sum(run.kills for run in runs), sum(run.commits for run in runs)
    print(
        f"{options.how}: seeds {seeds.start} to {seeds.stop - 1}, {count} runs of {messages} messages in"
        f" {time.monotonic() - began_s:.0f} s, killed {kills} times, {commits} commits,"
        f" {sum(run.repeated for run in runs)} calls made again that were not recorded;"
        f" {len(broken)} broken {broken or ''}"
    )
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
