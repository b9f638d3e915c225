"""Knock at every endpoint of a running service a thousand times without a key that belongs there.

.venv/bin/python tests/trials/strangers.py
.venv/bin/python tests/trials/strangers.py --knocks 200 --messages 1000

Two workers that somebody else starts (here as processes, reached over TCP with keys), a coordinator, messages through
both all the time. First somebody sits at the fabric's addresses before the fabric, and at a worker's before the worker.
Then, at each endpoint: without keys, with a key that nobody knows, with that of the other worker, with a wrong key of
the fabric, as a server, with frames to send, with nonsense, and with nothing at all.

Nobody of them may get a frame, nor have one read; each message is answered in its order; the descriptors of all three
processes are as many as before; nothing listens but what the plan says; and no secret key is in any file, output or
log but the key files.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zmq
from watch import expect

from fabric.compiler import compile_file
from fabric.launch.keys import worker_file
from fabric.plan.endpoints import endpoint_variables
from fabric.plan.place import place
from fabric.plan.plan import Plan, WorkerPlan
from fabric.runtime.starting import placement_of
from fabric.settings import read_settings
from fabric.wire.spec import INPUT_PORTS

KNOCKS = 1_000
AT_ONCE = 40
HELD_S = 0.4
PATIENCE_S = 60.0
PORTS = (21_000 + os.getpid() % 40 * 24, 21_023 + os.getpid() % 40 * 24)
"""Of this process, so that two may run at a time."""

FILES = {
    "main.plumb": """
let up : !string -> !string = python { call: "functions:up" }
let bot : !string -> !string = agent { provider: "eliza", model: "doctor", amnesiac: true }
let main : !string -> (!string, !string) = plumb(input, output, said) {
  input ; up ; output
  input ; bot ; said
}
""",
    "functions.py": "def up(text):\n    return text.upper()\n",
    "fabric.toml": '[hosts.here]\naddress = "127.0.0.1"\nports = "{}-{}"\n[workers.bot]\nrunner = "external"\n'
    '[workers.up]\nrunner = "external"\n'.format(*PORTS),
}

FABRIC = [sys.executable, "-P", "-m", "fabric.cli"]
WAYS = ("null", "unlisted", "other", "wrong server", "as server", "push", "junk", "silent")


class Result(NamedTuple):
    """What was seen.

    Attributes:
        knocks: connections that were tried, by way.
        answers: of legitimate messages.
        refusals: that the service told of.
    """

    knocks: Counter[str]
    answers: int
    refusals: int


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PLUMB_", "FABRIC_"))}


def fabric(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end."""
    return subprocess.run(
        [*FABRIC, *arguments],
        cwd=folder,
        env=environment(),
        input=stdin,
        capture_output=True,
        timeout=600,
        check=False,
    )


def planned(folder: Path) -> Plan:
    """Return the plan that the service makes for itself."""
    plan, _ = compile_file(folder / "main.plumb", run_directory=str(folder))
    return place(plan, placement_of(read_settings(folder)))


@contextmanager
def started(folder: Path, name: str, command: list[str], more: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process whose output goes to a file; kill it at the end, if it is still there."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment() | more, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def worker(folder: Path, plan: WorkerPlan) -> Any:
    """Start a worker as somebody else would."""
    spec = folder / f"{plan.name}.spec"
    spec.write_bytes(msgspec.json.encode(plan.spec))
    more = endpoint_variables(plan.endpoints) | {
        "FABRIC_SPEC_FILE": str(spec),
        "FABRIC_KEY_FILE": str(worker_file(folder / ".fabric" / "keys", plan.name)),
    }
    return started(folder, plan.name, list(plan.command), more)


def until(done: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Look until it is so."""
    ends_s = time.monotonic() + patience_s
    while not done():
        expect(time.monotonic() < ends_s, f"after {patience_s:g} s: {what}")
        time.sleep(0.05)


# --- Strangers ----------------------------------------------------------------------------------------------------


class Strangers:
    """They have keys of their own, that of the other worker, and no scruples."""

    def __init__(self, keys: Path) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 4_096)
        self._keys = {path.stem: json.loads(path.read_bytes()) for path in (keys / "workers").iterdir()}
        self._server = json.loads((keys / "coordinator.json").read_bytes())["public"].encode()
        self._own = zmq.curve_keypair()
        self.knocks: Counter[str] = Counter()

    def open(self, way: str, of: str, *, bind: str = "", to: str = "") -> zmq.Socket[bytes]:
        """Open a socket that has what somebody has who comes in this way to an endpoint of a worker."""
        one = self._context.socket(zmq.PUSH if way == "push" or bind else zmq.PULL)
        one.set(zmq.LINGER, 0)
        other = next(keys for name, keys in self._keys.items() if name != of)
        public, secret = self._own
        if way == "other":
            public, secret = other["public"].encode(), other["secret"].encode()
        if way in ("unlisted", "other", "wrong server"):
            one.set(zmq.CURVE_PUBLICKEY, public)
            one.set(zmq.CURVE_SECRETKEY, secret)
            one.set(zmq.CURVE_SERVERKEY, self._own[0] if way == "wrong server" else self._server)
        if way == "as server":
            one.set(zmq.CURVE_SERVER, 1)
            one.set(zmq.CURVE_SECRETKEY, secret)
        if bind:
            one.bind(bind)
        else:
            one.connect(to)
            if way == "push":
                one.send(frame(of))
        self.knocks[way] += 1
        return one

    def raw(self, way: str, endpoint: str) -> socket.socket:
        """Open a connection that does not speak the protocol, or does not speak."""
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        one = socket.create_connection((host, int(port)))
        if way == "junk":
            with suppress(ConnectionError):  # it was cut off at once
                one.sendall(os.urandom(200))
        self.knocks[way] += 1
        return one

    def close(self) -> None:
        """Leave."""
        self._context.destroy(0)


def frame(topic: str) -> bytes:
    """Return a frame as a worker would write it, that nobody may read."""
    return len(topic).to_bytes(4, "big") + topic.encode() + b'"stolen"'


def knock_everywhere(strangers: Strangers, plan: Plan, knocks: int) -> None:
    """Knock so often at each endpoint, in every way, some at once; look whether anybody was given a frame."""
    doors = [(w.name, address.connect) for w in plan.workers for address in w.endpoints.values()]
    for first in range(0, knocks, AT_ONCE):
        with ExitStack() as there:
            readers: list[zmq.Socket[bytes]] = []
            for number in range(first, min(first + AT_ONCE, knocks)):
                way = WAYS[number % len(WAYS)]
                for name, door in doors:
                    if way in ("junk", "silent"):
                        there.enter_context(strangers.raw(way, door))
                    else:
                        one = strangers.open(way, name, to=door)
                        there.callback(one.close, 0)
                        readers += [one] if way != "push" else []
            time.sleep(HELD_S)
            for one in readers:
                expect(not one.poll(0), "a stranger was given a frame")


# --- What is looked at ----------------------------------------------------------------------------------------------


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def listening(pid: int) -> set[int]:
    """Return the TCP ports at which a process listens."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(descriptor)
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                found.add(int(words[1].rpartition(":")[2], 16))
    return found


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def ports_of(plan: Plan, name: str) -> set[int]:
    """Return the ports that a worker binds, or, without a name, that the coordinator does."""
    return {
        port_of(address.bind)
        for worker in plan.workers
        for port, address in worker.endpoints.items()
        if (port in INPUT_PORTS) == (not name) and name in ("", worker.name)
    }


def secrets_in(folder: Path) -> set[bytes]:
    """Return the secret keys."""
    return {json.loads(path.read_bytes())["secret"].encode() for path in key_files(folder)}


def key_files(folder: Path) -> list[Path]:
    keys = folder / ".fabric" / "keys"
    return [keys / "coordinator.json", *(keys / "workers").glob("*.json")]


def refusals_in(folder: Path) -> int:
    """Return how many strangers the service has told of so far."""
    total = 0
    for path in (folder / ".fabric" / "logs").rglob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            if b"peer.refused" in line:
                total += int(json.loads(line).get("fields", json.loads(line)).get("count", 1))
    return total


def rows(folder: Path) -> list[Any]:
    """Return what is shown of the workers."""
    found: list[Any] = json.loads(fabric(folder, "ps", "--format", "json").stdout)["services"][0]["workers"]
    return found


def toll(shown: list[Any]) -> list[Any]:
    """Return what of this is bad."""
    return [(row["rejected"], row["restarts"], row["dead_letters"]) for row in shown]


def try_once(*, knocks: int = KNOCKS, messages: int = 20_000) -> Result:
    """Do it all; raises what ``expect`` raises."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s")))
        for name, text in FILES.items():
            (folder / name).write_text(text)
        made = fabric(folder, "keys")
        expect(made.returncode == 0, made.stderr.decode())
        strangers = Strangers(folder / ".fabric" / "keys")
        stack.callback(strangers.close)
        plan = planned(folder)
        up, bot = (next(w for w in plan.workers if w.name == name) for name in ("up", "bot"))

        # Somebody is at the fabric's addresses before it is, and says what it should say.
        false = [strangers.open("as server", "bot", bind=a.bind) for p, a in bot.endpoints.items() if p in INPUT_PORTS]
        processes = {"bot": stack.enter_context(worker(folder, bot))}
        until(lambda: b"peer.refused" in (folder / "bot.log").read_bytes(), "the worker believes who is not the fabric")
        for one in false:
            one.send(frame("fabric"), zmq.NOBLOCK) if one.poll(0, zmq.POLLOUT) else None
            one.close(0)

        # And at a worker's.
        ways = ("null", "unlisted", "other", "as server")
        outs = [a.bind for p, a in up.endpoints.items() if p not in INPUT_PORTS]
        false = [strangers.open(way, "up", bind=door) for way, door in zip(ways, outs, strict=False)]
        processes["fabric"] = stack.enter_context(
            started(folder, "fabric", [*FABRIC, "up", "--http", "off", "main.plumb"], {})
        )
        until(lambda: refusals_in(folder) > 0, "the service tells of nobody who is no worker")
        for one in false:
            expect(not one.poll(0, zmq.POLLOUT), "the fabric listens to who is no worker")
            one.close(0)
        processes["up"] = stack.enter_context(worker(folder, up))
        log = folder / "fabric.log"
        until(lambda: b"ready" in log.read_bytes().replace(b"worker.ready", b""), f"not ready: {log.read_text()}")

        values = [f"message {number}" for number in range(messages)]
        lines = b"".join(json.dumps(value).encode() + b"\n" for value in values)
        fabric(folder, "send", '"hello"')
        toll_before = toll(rows(folder))  # a worker that waits for us announces itself, and so more often than needed
        before = {name: descriptors(process.pid) for name, process in processes.items()}
        with (folder / "in").open("wb") as file:
            file.write(lines)
        with (folder / "in").open("rb") as stdin, (folder / "out").open("wb") as stdout:
            sending = subprocess.Popen([*FABRIC, "send"], cwd=folder, env=environment(), stdin=stdin, stdout=stdout)
            knock_everywhere(strangers, plan, knocks)
            fabric(folder, "send", '"in between"')
            sending.wait(600)
        said = [json.loads(line) for line in (folder / "out").read_bytes().splitlines()]
        answers = [line for line in said if line.startswith("MESSAGE ")]  # the other half is what bot says
        expect(sending.returncode == 0, f"send ended with {sending.returncode}")
        expect(answers == [value.upper() for value in values], "the answers are not those of the messages, in order")
        expect(len(said) == 2 * messages, f"{len(said)} answers to {messages} messages")

        def settled() -> bool:
            return {name: descriptors(process.pid) for name, process in processes.items()} == before

        until(settled, f"descriptors are not as many as before, {before}")
        for name, process in processes.items():
            expect(process.poll() is None, f"{name} has ended")
            found, wanted = listening(process.pid), ports_of(plan, "" if name == "fabric" else name)
            expect(found == wanted, f"{name} listens at {found}, planned {wanted}")
        shown = rows(folder)
        expect(toll(shown) == toll_before, f"frames were refused, or workers restarted: {toll(shown)}, {toll_before}")
        printed = fabric(folder, "plan").stdout + fabric(folder, "ps").stdout + json.dumps(shown).encode()
        down = fabric(folder, "down")
        expect(down.returncode == 0, down.stderr.decode())
        leaks = [str(path) for path in folder.rglob("*") if path.is_file() and path not in key_files(folder)]
        for secret in secrets_in(folder):
            expect(secret not in printed + down.stdout + down.stderr, "a secret key was printed")
            expect(not [path for path in leaks if secret in Path(path).read_bytes()], "a secret key is in a file")
        return Result(strangers.knocks, len(answers), refusals_in(folder))


def main() -> None:
    """Do it, and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--knocks", type=int, default=KNOCKS, help="at each endpoint")
    parser.add_argument("--messages", type=int, default=20_000)
    asked = parser.parse_args()
    started_s = time.monotonic()
    result = try_once(knocks=asked.knocks, messages=asked.messages)
    print(f"{result.knocks.total()} strangers ({', '.join(f'{count} {way}' for way, count in result.knocks.items())})")
    print(f"{result.refusals} refusals told, 0 frames to or from them")
    print(f"{result.answers} messages answered in order, {time.monotonic() - started_s:.0f} s")


if __name__ == "__main__":
    main()
