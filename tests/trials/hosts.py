"""Three hosts, each with a Docker Engine, run a program by its compose files; a link breaks and a container dies.

.venv/bin/python tests/trials/hosts.py                        # 2,000 messages, half a minute of work
.venv/bin/python tests/trials/hosts.py --messages 500         # a short one

The hosts are network namespaces of this machine, so it takes root, Docker Engine and docker-compose, but no registry:
the image is made of the Python that runs here. `fabric compose` writes the files, docker-compose v1 brings them up,
host by host. Agents are on all three, a Python function is on the second. While numbered messages go through, the link
of the second host is cut for five seconds, and a container on the third is killed, which its policy starts again. What
comes out has to be exactly what goes in, in the order in which it went in; then the coordinator is stopped, all workers
drain, are started again to wait for the next one, and with `down` nothing is left.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from engine import IMAGE, Engine, open_engine
from namespaces import Hosts, open_hosts
from peers import unavailable
from watch import FABRIC, Broken, expect

CUT_S = 5.0
PATIENCE_S = 120.0
PACE_S = 0.008
"""That the first worker takes for a message, so that there is time for what happens to the hosts."""

FILES = {
    "main.plumb": """
type Item = { number: int, trail: string }
let first : !int -> !Item = agent { provider: "scripted", script: "stages:first", amnesiac: true }
let second : !Item -> !Item = python { call: "stages:second" }
let third : !Item -> !Item = agent { provider: "scripted", script: "stages:third", amnesiac: true }
let doctor : !string -> !string = agent { provider: "eliza", amnesiac: true }
let keeper : !Item -> !Item = python { call: "stages:keep" }
let split : !Item -> !string = python { call: "stages:talk" }
let pair : (!Item, !string) -> !(Item, string) = barrier
let main : !int -> !(Item, string) = plumb(number, done) {
  number ; first ; second ; third ; (keeper * (split ; doctor)) ; pair ; done
}
""",
    "stages.py": f"""
import json
import trio

async def first(said, messages):
    await trio.sleep({PACE_S})
    return {{"number": json.loads(said), "trail": "1"}}

def second(item):
    return item | {{"trail": item["trail"] + "2"}}

def third(said, messages):
    item = json.loads(said)
    return item | {{"trail": item["trail"] + "3"}}

def keep(item):
    return item

def talk(item):
    return "I remember the number " + str(item["number"])
""",
}

PLACES = {"first": 0, "keeper": 0, "second": 1, "split": 1, "third": 2, "doctor": 2}


class Run(NamedTuple):
    """What a run was.

    Attributes:
        steps: what was done and when, in seconds from the beginning.
        messages: that came out.
        restarts: of the container that was killed.
    """

    steps: list[tuple[float, str]]
    messages: int
    restarts: int


class Rehearsal:
    """One run: the hosts with their engines, and what is told of it.

    Args:
        hosts: namespaces.
        engines: one in each.
        folder: with a folder of files for each host.
        say: takes a line about what was done.
    """

    def __init__(self, hosts: Hosts, engines: Sequence[Engine], folder: Path, say: Callable[[str], None]) -> None:
        self._hosts = hosts
        self._engines = engines
        self._folder = folder
        self._say = say
        self.restarts = 0

    def compose(self, number: int, *words: str) -> str:
        """Run docker-compose for a host; return what it printed."""
        done = subprocess.run(
            ["docker-compose", *words],
            cwd=self._folder / f"h{number + 1}",
            env={**os.environ, "DOCKER_HOST": self._engines[number].host},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        expect(done.returncode == 0, f"docker-compose {' '.join(words)} on host {number + 1}: {done.stderr[-2000:]}")
        return done.stdout

    def container(self, number: int, service: str) -> dict[str, Any]:
        """Return how a container is, as ``docker inspect`` shows it."""
        (id_,) = self.compose(number, "ps", "-q", service).split()
        return json.loads(self._engines[number].docker("inspect", id_))[0]

    def fabric(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the coordinator's container."""
        return subprocess.run(self._inside(*words), capture_output=True, timeout=PATIENCE_S, check=False)

    def _inside(self, *words: str) -> list[str]:
        id_ = self.container(0, "coordinator")["Id"]
        return ["docker", "-H", self._engines[0].host, "exec", "-i", id_, "fabric", *words]

    def bring_up(self) -> None:
        """Start the containers of all hosts at once: who comes when does not matter."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda number: self.compose(number, "up", "-d"), range(len(self._engines))))
        self._say("containers are started on all hosts")
        until_s = time.monotonic() + PATIENCE_S
        while self._states() != {"ready"}:
            logs = self._engines[0].docker("logs", "--tail", "20", self.container(0, "coordinator")["Id"])
            expect(time.monotonic() < until_s, f"it does not become ready: {logs}")
            time.sleep(0.2)
        self._say("all workers are ready")

    def check_health(self) -> None:
        """Wait until every container's own check has passed."""
        until_s = time.monotonic() + PATIENCE_S
        for name, number in (("coordinator", 0), *PLACES.items()):
            while (health := self.container(number, name)["State"]["Health"])["Status"] != "healthy":
                expect(time.monotonic() < until_s, f"{name} is not healthy: {health}")
                time.sleep(0.5)
        self._say("all containers are healthy")

    def _states(self) -> set[str]:
        shown = self.fabric("ps", "--format", "json").stdout
        return (
            {worker["state"] for row in json.loads(shown)["services"] for worker in row["workers"]} if shown else set()
        )

    def work(self, messages: int) -> list[bytes]:
        """Send messages, and let the link break and the container die meanwhile; return the outputs."""
        with tempfile.TemporaryFile() as lines:
            lines.write(b"".join(b"%d\n" % number for number in range(messages)))
            lines.seek(0)
            with subprocess.Popen(self._inside("send"), stdin=lines, stdout=subprocess.PIPE) as client:
                assert client.stdout is not None
                outputs = []
                events = self._events(messages)
                due = next(events)
                for line in client.stdout:
                    outputs.append(line)
                    if len(outputs) >= due:
                        due = next(events)
            expect(client.returncode == 0, f"send: exit code {client.returncode} after {len(outputs)} outputs")
        expect(due > messages, "it was all over before the last thing happened")
        return outputs

    def _events(self, messages: int) -> Iterator[int]:
        """Do one thing after the other; yield after how many outputs the next one is due."""
        yield messages // 5
        self._hosts.cut(1)
        self._say("host 2 is cut off")
        time.sleep(CUT_S)
        self._hosts.heal(1)
        self._say("and back again")
        yield messages // 2
        # Not `docker kill`: that is somebody's wish, and whom somebody has stopped is not started again.
        os.kill(self.container(2, "third")["State"]["Pid"], signal.SIGKILL)
        self._say("the container of third on host 3 is killed")
        yield messages * 4 // 5
        after = self.container(2, "third")
        self.restarts = after["RestartCount"]
        yield messages + 1

    def drain(self) -> None:
        """Stop the coordinator, which stays down; everybody else ends by himself, and waits for the next one."""
        before = {name: self.container(number, name)["RestartCount"] for name, number in PLACES.items()}
        self.compose(0, "stop", "coordinator")
        self._say("the coordinator has drained")
        until_s = time.monotonic() + PATIENCE_S
        state = self.container(0, "coordinator")["State"]
        expect((state["Running"], state["ExitCode"]) == (False, 0), f"the coordinator: {state}")
        for name, number in PLACES.items():
            while (shown := self.container(number, name))["RestartCount"] == before[name] or (
                not shown["State"]["Running"]
            ):
                expect(time.monotonic() < until_s, f"{name} does not end and start again")
                time.sleep(0.1)
            since = self._engines[number].docker(
                "events",
                "--since",
                "10m",
                "--until",
                "0s",
                "--filter",
                "event=die",
                "--filter",
                f"container={shown['Id']}",
                "--format",
                "{{.Actor.Attributes.exitCode}}",
            )
            expect(since.split()[-1] == "0", f"{name} ended with status {since.split()[-1]}")
        self._say("all workers have ended with status 0, and wait for the next coordinator")
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda number: self.compose(number, "down", "-v"), range(len(self._engines))))
        left = [number + 1 for number, engine in enumerate(self._engines) if engine.containers()]
        expect(not left, f"containers are left on hosts {left}")
        self._say("containers are removed")


def settings(hosts: Hosts) -> str:
    """Return the project's settings."""
    lines = [f'[run]\nimage = "{IMAGE}"\nrestarts = 100\n[edges]\nqueue = 100\n']
    lines += [f'[hosts.h{number}]\naddress = "{address}"\n' for number, address in enumerate(hosts.addresses, 1)]
    lines += [f'[workers.{name}]\nhost = "h{number + 1}"\n' for name, number in PLACES.items()]
    return "\n".join(lines)


def check_outputs(outputs: list[bytes], messages: int) -> None:
    """Check that what came out is what went in: all of it, once, in order. Raises Broken."""
    found = [json.loads(line) for line in outputs]
    numbers = [item["number"] for item, _ in found]
    lost = sorted(set(range(messages)) - set(numbers))
    expect(not lost, f"{len(lost)} messages were lost, such as {lost[:5]}")
    expect(len(numbers) == messages, f"{len(numbers) - messages} came out twice")
    expect(numbers == list(range(messages)), "they came out in another order")
    expect({item["trail"] for item, _ in found} == {"123"}, "a stage was left out, or passed twice")
    replies = {said.replace(str(number), "N") for number, (_, said) in enumerate(found)}
    expect(len(replies) < 10, f"the doctor was told something else: {list(replies)[:3]}")


@contextmanager
def engines(hosts: Hosts) -> Iterator[list[Engine]]:
    """Give an engine for each host, with our image."""
    with ExitStack() as stack:
        opened = [stack.enter_context(open_engine(namespace=name)) for name in hosts.names]
        with tempfile.NamedTemporaryFile(suffix=".tar") as image:
            opened[0].image()
            opened[0].docker("save", "-o", image.name, IMAGE)
            for engine in opened[1:]:
                engine.docker("load", "-q", "-i", image.name)
        yield opened


def try_once(messages: int, say: Callable[[str], None] = lambda _: None) -> Run:
    """Run it. Raises Broken: something that was promised does not hold."""
    if shutil.which("docker-compose") is None:
        unavailable("there is no docker-compose (apt-get install docker-compose)")
    began_s = time.monotonic()
    steps: list[tuple[float, str]] = []

    def tell(what: str) -> None:
        steps.append((round(time.monotonic() - began_s, 1), what))
        say(f"{steps[-1][0]:6.1f} s  {what}")

    with tempfile.TemporaryDirectory() as temporary, open_hosts(3) as hosts:
        project, deployed = Path(temporary, "project"), Path(temporary, "deployed")
        project.mkdir()
        for name, text in {**FILES, "fabric.toml": settings(hosts)}.items():
            (project / name).write_text(text)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PLUMB_", "FABRIC_"))}
        write = [*FABRIC, "compose", "--no-monitors", "-o", str(deployed)]
        done = subprocess.run(write, cwd=project, env=environment, capture_output=True, text=True, check=False)
        expect(done.returncode == 0, f"fabric compose: {done.stderr}")
        tell("files are written")
        with engines(hosts) as opened:
            tell("three engines have the image")
            rehearsal = Rehearsal(hosts, opened, deployed, tell)
            rehearsal.bring_up()
            outputs = rehearsal.work(messages)
            tell(f"{len(outputs)} outputs have come")
            check_outputs(outputs, messages)
            rehearsal.check_health()
            rehearsal.drain()
        expect(hosts.processes() == [], f"processes are left: {hosts.processes()}")
    tell("nothing is left")
    return Run(steps, len(outputs), rehearsal.restarts)


def main() -> int:
    """Run it, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2_000)
    arguments = parser.parse_args()
    try:
        run = try_once(arguments.messages, print)
    except Broken as broken:
        print(f"broken: {broken}")
        return 1
    print(f"{run.messages} messages, nothing lost or doubled; third was started again {run.restarts} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())
