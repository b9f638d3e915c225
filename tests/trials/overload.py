"""Feed a graph a hundred times faster than its slowest worker works, and watch its memory.

.venv/bin/python tests/trials/overload.py                      # five minutes by `fabric run`, meanwhile by `fabric up`
.venv/bin/python tests/trials/overload.py --seconds 30         # as CI has it
.venv/bin/python tests/trials/overload.py --how up             # one of the two

Two workers in a row; the second takes five milliseconds for a message of 1 KiB. The source offers as many as
a hundred such workers could do: on stdin of `fabric run`, and as a client of `fabric up` that sends without
waiting for answers. What it cannot get rid of it keeps, as a pipe makes any source do.

The memory of the coordinator and of each worker is looked at twice a second. The most that one has after the first
minute (the first fifth of a shorter trial) may be a fifth more, at most, than what it had until then. Then the source
ends, and everything that was taken has to come out, once and in order.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from watch import PATIENCE_S, Broken, Command, Folder, expect

WORK_S = 0.005
TIMES_FASTER = 100
OFFERED_S = TIMES_FASTER / WORK_S
"""Messages a second."""

TEXT = "x" * 1000
GROWTH_MAX = 0.2
LOOK_S = 0.5
AT_ONCE = 100
"""Messages that the source makes at a time."""

FILES = {
    "main.plumb": """
type Item = { number: int, text: string }
let fast : !Item -> !Item = python { call: "stages:fast" }
let slow : !Item -> !int = python { call: "stages:slow" }
let main : !Item -> !int = plumb(item, number) { item ; fast ; slow ; number }
""",
    "stages.py": f"""
import time

def fast(item):
    return item

def slow(item):
    time.sleep({WORK_S})
    return item["number"]
""",
}


class Memory(NamedTuple):
    """What one process had, in bytes.

    Attributes:
        first: the most of the first minute.
        rest: the most of the time behind it.
    """

    first: int
    rest: int

    @property
    def growth(self) -> float:
        return (self.rest - self.first) / self.first


class Result(NamedTuple):
    """What a trial was.

    Attributes:
        sent: messages that the source got rid of, and ``offered``, that it would have sent.
        memory: by name of the process.
        drained_s: from the end of the source to the end of the session.
    """

    sent: int
    offered: int
    memory: dict[str, Memory]
    drained_s: float


class Watcher:
    """Looks at the memory of processes until it is told to stop."""

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._began_s = time.monotonic()
        self._next_s = self._began_s
        self._most: dict[str, list[int]] = {}

    def look(self, pids: dict[str, int]) -> float:
        """Look, if it is time; return when to look next."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + LOOK_S
            late = now_s > self._began_s + self._first_s
            for name, pid in pids.items():
                most = self._most.setdefault(name, [0, 0])
                most[late] = max(most[late], resident_bytes(pid))
        return self._next_s

    def memory(self) -> dict[str, Memory]:
        """Return what was seen."""
        return {name: Memory(*most) for name, most in self._most.items()}


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


class Pace:
    """How many messages the source has to offer by now.

    Attributes:
        made: how many it has made.
    """

    def __init__(self, seconds: float) -> None:
        self._began_s = time.monotonic()
        self._seconds = seconds
        self.made = 0

    @property
    def offered(self) -> int:
        return int(OFFERED_S * min(time.monotonic() - self._began_s, self._seconds))

    @property
    def over(self) -> bool:
        return time.monotonic() > self._began_s + self._seconds

    def make(self, line: str) -> bytes:
        """Return some messages in its form; none if it is ahead of its pace."""
        more = min(AT_ONCE, self.offered - self.made)
        self.made += more
        return "".join(line % {"number": number} for number in range(self.made - more, self.made)).encode()


# --- by `fabric run` --------------------------------------------------------------------------------------------------


def by_run(folder: Folder, seconds: float, first_s: float) -> Result:
    """Write to stdin without pause. Raises Broken."""
    read_fd, write_fd = os.pipe()
    command = Command(folder, "run", "--log-level", "info", "main.plumb", stdin=read_fd)
    try:
        wait_ready(command)
        pace = Pace(seconds)
        source = threading.Thread(target=write_lines, args=(pace, write_fd))
        source.start()
        watcher = Watcher(first_s)
        while source.is_alive():
            command.look(watcher.look({"coordinator": command.process.pid} | command.pids))
            expect(command.process.poll() is None, f"it has ended: {command.said[-3:]}")
        source.join()
        ended_s = time.monotonic()
        code = command.end()
        drained_s = time.monotonic() - ended_s
    finally:
        command.close()
    expect(code == 0 and not command.complaints(), f"exit code {code}, it says {command.complaints()}")
    check_numbers([int(line) for line in command.outputs], pace.made)
    return Result(pace.made, pace.offered, watcher.memory(), drained_s)


def write_lines(pace: Pace, descriptor: int) -> None:
    """Write lines at their pace, whole ones, until the time is over or nobody reads any more."""
    line = json.dumps({"number": "@", "text": TEXT}).replace("%", "%%").replace('"@"', "%(number)d") + "\n"
    with open(descriptor, "wb", buffering=0) as pipe:
        while not pace.over:
            data = memoryview(pace.make(line))
            try:
                while data:
                    data = data[pipe.write(data) :]
            except BrokenPipeError:
                return
            if pace.made >= pace.offered:
                time.sleep(0.001)


# --- by `fabric up` ---------------------------------------------------------------------------------------------------


def by_up(folder: Folder, seconds: float, first_s: float) -> Result:
    """Send to a service without waiting for answers. Raises Broken."""
    words = ["up", "--log-format", "json", "--log-level", "info", "--progress", "json"]
    command = Command(folder, *words, "main.plumb")
    try:
        wait_ready(command)
        record = json.loads((folder.path / ".fabric" / "run" / "project.json").read_text())
        client = Client(record["socket"], seconds)
        watcher = Watcher(first_s)
        while not client.pace.over:
            client.step(watcher.look({"coordinator": command.process.pid} | command.pids))
            command.look(0.0)
            expect(command.process.poll() is None, f"it has ended: {command.said[-3:]}")
        ended_s = time.monotonic()
        client.finish()
        drained_s = time.monotonic() - ended_s
        command.process.send_signal(signal.SIGINT)
        code = command.end()
    finally:
        command.close()
    expect(code == 0, f"exit code {code}, it says {command.said[-3:]}")
    check_numbers(client.outputs, client.pace.made)
    return Result(client.pace.made, client.pace.offered, watcher.memory(), drained_s)


class Client:
    """A client of a service that sends more whenever it can, and takes what comes."""

    def __init__(self, path: str, seconds: float) -> None:
        self.pace = Pace(seconds)
        self.outputs: list[int] = []
        self._settled = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.setblocking(False)
        self._unsent = memoryview(b"")
        self._rest = b""
        message = json.dumps({"id": "@", "msg": {"number": "@", "text": TEXT}})
        self._line = message.replace('"@"', "%(number)d") + "\n"

    def step(self, until_s: float) -> None:
        """Send and take what can be until this time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while (left_s := until_s - time.monotonic()) > 0:
                if not self._unsent:
                    self._unsent = memoryview(self.pace.make(self._line))
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
                selector.modify(self._socket, wanted)
                for _, ready in selector.select(left_s if self._unsent else min(left_s, 0.001)):
                    if ready & selectors.EVENT_WRITE:
                        self._unsent = self._unsent[self._socket.send(self._unsent) :]
                    if ready & selectors.EVENT_READ:
                        self._take(self._socket.recv(1 << 20))

    def finish(self) -> None:
        """Send the rest of what was begun, and wait until everything is settled."""
        self._socket.setblocking(True)
        self._socket.settimeout(PATIENCE_S)
        sending = threading.Thread(target=self._socket.sendall, args=(self._unsent,))
        sending.start()
        while self._settled < self.pace.made:
            self._take(self._socket.recv(1 << 20))
        sending.join()
        self._socket.close()

    def _take(self, data: bytes) -> None:
        expect(bool(data), "the service has hung up")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            expect("error" not in answer, f"refused: {answer}")
            if "output" in answer:
                self.outputs.append(answer["output"])
            self._settled += answer.get("settled", False)


# --- both -------------------------------------------------------------------------------------------------------------


def wait_ready(command: Command) -> None:
    """Wait until both workers are ready. Raises Broken."""
    until_s = time.monotonic() + PATIENCE_S
    while command.ready != {"fast", "slow"}:
        expect(command.look(until_s) and time.monotonic() < until_s, f"it does not start: {command.said[-3:]}")


def check_numbers(got: list[int], count: int) -> None:
    """Check that each number came out, once and in order. Raises Broken."""
    if got != list(range(count)):
        place = next((at for at, number in enumerate(got) if number != at), len(got))
        raise Broken(f"{count} went in, {len(got)} came out; {place} is the first that is not in its place")


HOW = {"run": by_run, "up": by_up}


def try_once(how: str, seconds: float) -> Result:
    """Make one trial in a folder of its own. Raises Broken: something does not hold."""
    with tempfile.TemporaryDirectory(prefix="fabric-overload-") as place:
        folder = Folder(Path(place), FILES)
        try:
            result = HOW[how](folder, seconds, min(60.0, seconds / 5))
            folder.wait_gone(2.0)
            expect(folder.left() == [], f"left: {folder.left()}")
        finally:
            for pid in folder.processes():
                os.kill(pid, signal.SIGKILL)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--how", choices=[*HOW, "both"], default="both", help="by which command")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long the source goes on")
    options = parser.parse_args()
    chosen = list(HOW) if options.how == "both" else [options.how]
    with ThreadPoolExecutor(len(chosen)) as pool:
        told = list(pool.map(partial(_attempt, options.seconds), chosen))
    print("\n".join(text for _, text in told))
    sys.exit(not all(holds for holds, _ in told))


def _attempt(seconds: float, how: str) -> tuple[bool, str]:
    """Make one trial; return whether everything holds, and what is to be said."""
    try:
        result = try_once(how, seconds)
    except Broken as broken:
        return False, f"{how}: {broken}\nagain: {sys.executable} {sys.argv[0]} --how {how} --seconds {seconds:g}"
    lines = [
        f"{how}: {seconds:g} s, {result.offered} messages offered, {result.sent} taken, which all came out in order;"
        f" drained {result.drained_s:.1f} s after the source"
    ]
    holds = True
    for name, memory in result.memory.items():
        grown = memory.growth > GROWTH_MAX
        holds &= not grown
        lines.append(
            f"  {name:<12} {memory.first / 2**20:6.1f} MiB at most in the first part,"
            f" {memory.rest / 2**20:6.1f} behind it: {memory.growth:+.1%}{'  too much' if grown else ''}"
        )
    return holds, "\n".join(lines)


if __name__ == "__main__":
    main()
