"""Talk to many agents at once while each is paused, read, given another memory, and set, at random.

.venv/bin/python tests/trials/control.py                                 # 20 agents, 10,000 messages
.venv/bin/python tests/trials/control.py --agents 4 --messages 500 --seed 7

A service has agents of ELIZA's, each a process. A client sends them messages, and tells each, one thing after
the other: to pause and to resume, to show its memory in either format, to take another (one that it or another has
shown, none, or one that is malformed), and which temperature and model to use. The seed decides what and when.

ELIZA answers "I want x" with a sentence that has the x in it, whatever it remembers. So each answer tells of which
message it is. Every message has to be answered once, each agent's in the order in which they were sent, and every
control message has to have the reply that it asks for, or, if it is malformed, the answer that there is none.
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
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import trio
from watch import PATIENCE_S, Broken, Folder, expect

AGENTS = 20
MESSAGES = 10_000
WINDOW = 40
"""Messages of one agent that may be under way."""

KINDS = ("pause", "show", "replace", "malformed", "temperature", "model", "together")

MALFORMED: list[dict[str, Any]] = [
    {"set_memory": [{"role": "user"}]},
    {"set_memory": "x", "pause": True},
    {"get_memory": True, "set_temp": "hot"},
    {"pause": True, "stop": "no"},
    {"resume": 1, "get_memory": True},
]


class Result(NamedTuple):
    """What a trial was: what was told, by kind, and how long it took."""

    told: Counter[str]
    took_s: float


def program(agents: int) -> dict[str, str]:
    """Return the files of a program with so many agents."""
    lines = ["type Item = { to: int, text: string }"]
    lines += [f'let a{n} : !string -> !string = agent {{ provider: "eliza" }}' for n in range(agents)]
    lines += ["let main : !Item -> !string = plumb(said, answer) {"]
    lines += [f"  said ; filter(to = {n}) ; map(text) ; a{n} ; answer" for n in range(agents)]
    return {"main.plumb": "\n".join([*lines, "}", ""])}


class Trial:
    """One client of one service."""

    def __init__(self, stream: trio.SocketStream, agents: int, messages: int, seed: int) -> None:
        self._stream = stream
        self._agents = agents
        self._messages = messages
        self._chance = random.Random(seed)
        self._writing = trio.Lock()
        self._ids = 0
        self._waiting: dict[int, Any] = {}
        self._memories: list[Any] = [[]]
        self._answers: list[list[str]] = [[] for _ in range(agents)]
        self._room = [trio.Semaphore(WINDOW) for _ in range(agents)]
        self._settled = 0
        self.told: Counter[str] = Counter()

    async def run(self) -> None:
        """Do all of it. Raises Broken."""
        numbers = [list(range(agent, self._messages, self._agents)) for agent in range(self._agents)]
        async with trio.open_nursery() as everything:
            everything.start_soon(self._read)
            async with trio.open_nursery() as controllers, trio.open_nursery() as talks:
                for agent in range(self._agents):
                    controllers.start_soon(self._control, agent, self._chance.getrandbits(32), len(numbers[agent]))
                    talks.start_soon(self._talk, agent, numbers[agent])
            everything.cancel_scope.cancel()
        for agent, wanted in enumerate(numbers):
            got = [int(answer.rpartition(" N")[2].split()[0]) for answer in self._answers[agent]]
            expect(got == wanted, f"agent a{agent}: {_difference(got, wanted)}")
        expect(not self._waiting, f"{len(self._waiting)} requests are open")

    async def _talk(self, agent: int, numbers: list[int]) -> None:
        """Send an agent its messages, and wait until all are settled."""
        for number in numbers:
            await self._room[agent].acquire()
            await self._send({"msg": {"to": agent, "text": f"I want n{number}"}}, agent)
        for _ in range(WINDOW):
            await self._room[agent].acquire()

    async def _control(self, agent: int, seed: int, messages: int) -> None:
        """Tell an agent one thing after the other, as long as it has messages to answer."""
        chance = random.Random(seed)
        while len(self._answers[agent]) < messages:
            kind = chance.choice(KINDS)
            self.told[kind] += 1
            if kind == "pause":
                await self._tell(agent, {"pause": True}, ["pause_ack"])
                if chance.random() < 0.5:
                    await self._show(agent, chance)
                if chance.random() < 0.5:
                    await self._replace(agent, chance)
                await self._tell(agent, {"resume": True}, ["resume_ack"])
            elif kind == "show":
                await self._show(agent, chance)
            elif kind == "replace":
                await self._replace(agent, chance)
            elif kind == "malformed":
                await self._tell(agent, chance.choice(MALFORMED), None)
            elif kind == "temperature":
                await self._tell(agent, {"set_temp": chance.choice([None, 0, 0.5, 2])}, [])
            elif kind == "model":
                await self._tell(agent, {"set_model": chance.choice([None, "doctor"])}, [])
            else:
                every = {"pause": True, "get_memory": True, "set_memory": [], "resume": True, "set_temp": None}
                await self._tell(agent, every, ["pause_ack", "resume_ack", "memory", "memory_set"])

    async def _show(self, agent: int, chance: random.Random) -> None:
        (reply,) = await self._tell(agent, {"get_memory": True, "format": chance.choice(["openai", "x"])}, ["memory"])
        if len(self._memories) < 50:
            self._memories.append(reply["messages"][-chance.randrange(1, 20) * 2 :])

    async def _replace(self, agent: int, chance: random.Random) -> None:
        memory = chance.choice(self._memories)
        (reply,) = await self._tell(agent, {"set_memory": memory}, ["memory_set"])
        expect(reply["new_messages"] == len(memory), f"{len(memory)} messages were set, {reply}")

    async def _tell(self, agent: int, message: dict[str, Any], kinds: list[str] | None) -> list[dict[str, Any]]:
        """Tell an agent something, and return its replies, which are of these kinds; ``None``: there is none."""
        sent, received = trio.open_memory_channel[Any](1)
        await self._send({"do": "tell", "worker": f"a{agent}", "msg": message}, sent)
        with trio.move_on_after(PATIENCE_S) as limit:
            answer = await received.receive()
        expect(not limit.cancelled_caught, f"a{agent} does not answer {message}")
        if kinds is None:
            expect("gave no reply" in answer.get("error", ""), f"{message} is malformed, and the answer is {answer}")
            return []
        reply = answer.get("reply", [])
        replies = reply if isinstance(reply, list) else [reply]
        expect("error" not in answer, f"{message}: {answer}")
        expect(sorted(r["kind"] for r in replies) == sorted(kinds), f"{message}: {answer}")
        return replies

    async def _send(self, request: dict[str, Any], waiting: Any) -> None:
        self._ids += 1
        self._waiting[self._ids] = waiting
        line = json.dumps({"id": self._ids, **request}).encode() + b"\n"
        async with self._writing:
            await self._stream.send_all(line)

    async def _read(self) -> None:
        rest = b""
        async for chunk in self._stream:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._heard(json.loads(line))

    def _heard(self, answer: dict[str, Any]) -> None:
        waiting = self._waiting[answer["id"]]
        if answer.get("accepted"):
            return
        if isinstance(waiting, trio.MemorySendChannel):
            del self._waiting[answer["id"]]
            waiting.send_nowait(answer)
            return
        expect("error" not in answer, f"a message was refused: {answer}")
        if "output" in answer:
            self._answers[waiting].append(answer["output"])
        if answer.get("settled"):
            del self._waiting[answer["id"]]
            self._room[waiting].release()


def _difference(got: list[int], wanted: list[int]) -> str:
    counts = Counter(got)
    lost = [number for number in wanted if not counts[number]]
    doubled = [number for number, count in counts.items() if count > 1]
    return f"{len(lost)} lost {lost[:10]}, {len(doubled)} doubled {doubled[:10]}; or out of order"


async def _talk(path: str, agents: int, messages: int, seed: int) -> Counter[str]:
    async with await trio.open_unix_socket(path) as stream:
        trial = Trial(stream, agents, messages, seed)
        await trial.run()
        return trial.told


def try_once(agents: int, messages: int, seed: int) -> Result:
    """Make one trial in a folder of its own. Raises Broken: something does not hold."""
    with tempfile.TemporaryDirectory(prefix="fabric-control-") as place:
        folder = Folder(Path(place), program(agents))
        try:
            up = folder.command("up", "-d", "main.plumb")
            expect(up.returncode == 0, f"up: exit code {up.returncode}, {up.stderr.decode()}")
            record = json.loads((folder.path / ".fabric" / "run" / "project.json").read_text())
            began_s = time.monotonic()
            told = trio.run(_talk, record["socket"], agents, messages, seed)
            took_s = time.monotonic() - began_s
            down = folder.command("down")
            expect(down.returncode == 0, f"down: exit code {down.returncode}, {down.stderr.decode()}")
            folder.wait_gone(PATIENCE_S)
            return Result(told, took_s)
        finally:
            for pid in folder.processes():  # of a trial that is broken
                os.kill(pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=AGENTS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        result = try_once(options.agents, options.messages, options.seed)
    except (Broken, BaseExceptionGroup) as broken:
        again = f"{sys.argv[0]} --agents {options.agents} --messages {options.messages} --seed {options.seed}"
        print(f"seed {options.seed}: {_words(broken)}\nagain: {sys.executable} {again}")
        sys.exit(1)
    told = ", ".join(f"{kind} {count}" for kind, count in sorted(result.told.items()))
    print(
        f"seed {options.seed}: {options.messages} messages to {options.agents} agents in {result.took_s:.1f} s, all"
        f" answered in order; {result.told.total()} control messages, all answered ({told})"
    )


def _words(error: BaseException) -> str:
    """Return what is broken: a nursery wraps it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
