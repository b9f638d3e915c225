"""NATS core with nats-py: A and B are processes, source and sink are one, nats-server is between them.

Chosen: core NATS, which is its fastest and promises delivery at most once; uvloop; one connection a process; callbacks,
not iterators. No client drops messages here: the source keeps at most ``WINDOW`` messages on their way, far below the
pending limits of server and client.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.metadata import version

import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from servers import nats_server
from workload import (
    GIVE_UP_S,
    Figures,
    Pairs,
    Tally,
    Task,
    message,
    print_figures,
    read_task,
    text_through_a,
    text_through_b,
)

WINDOW = 4_000
"""Tried: 500 and 16,000 are slower."""

STAGES = {
    "a": (text_through_a, {"source": "from_a", "copies": "copy_a"}),
    "b": (text_through_b, {"from_a": "sink", "copies": "copy_b"}),
}
"""Of each stage: what it does, and to which subject it passes on what comes on which."""


async def serve(address: str, name: str) -> None:
    """Be a stage; for ever."""
    client = await nats.connect(address)
    work, subjects = STAGES[name]
    for subject, following in subjects.items():
        await client.subscribe(subject, cb=passing_on(client, work, following))
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


def passing_on(client: Client, work: Callable[[bytes], bytes], following: str):
    async def pass_on(received: Msg) -> None:
        await client.publish(following, work(received.data))

    return pass_on


class Ends:
    """Source and sink.

    Attributes:
        lost: messages that never came.
    """

    def __init__(self, client: Client) -> None:
        self.lost = 0
        self._client = client
        self._tally = Tally(0)
        self._pairs = Pairs()
        self._room = asyncio.Event()

    async def subscribe(self) -> None:
        await self._client.subscribe("sink", cb=self._take)
        await self._client.subscribe("copy_a", cb=self._take_copy)
        await self._client.subscribe("copy_b", cb=self._take_copy)
        await self._client.flush()

    async def _take(self, received: Msg) -> None:
        self._tally.take(received.data)
        self._room.set()

    async def _take_copy(self, received: Msg) -> None:
        joined = self._pairs.take(received.data, from_a=received.subject == "copy_a")
        if joined is not None:
            self._tally.take(joined)
            self._room.set()

    async def carry(self, count: int, subject: str) -> Tally:
        self._tally = tally = Tally(count)
        written_off = 0
        for number in range(count):
            while number - tally.received - written_off >= WINDOW:
                if not await self._something_came():
                    written_off = number - tally.received
            await self._client.publish(subject, message(number))
        while not tally.complete:
            if not await self._something_came():
                tally.give_up()
                self._pairs = Pairs()
                break
        self.lost += tally.lost
        return tally

    async def _something_came(self) -> bool:
        """Wait for a message; return whether one came in time."""
        self._room.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), GIVE_UP_S)
        return self._room.is_set()

    async def carry_alone(self, count: int) -> list[float]:
        seconds = []
        for _ in range(count):
            began_s = time.perf_counter()
            await self.carry(1, "source")
            seconds.append(time.perf_counter() - began_s)
        return seconds


async def measure(task: Task, address: str) -> Figures:
    client = await nats.connect(address)
    ends = Ends(client)
    await ends.subscribe()
    server = str(client.connected_server_version).strip("<>").rpartition("v")[2]
    figures = Figures(versions={"nats-server": server, "nats-py": version("nats-py")})
    await ends.carry(1, "source")
    figures.started(task)
    await ends.carry(task.warm_up, "source")
    figures.pipeline(await ends.carry(task.messages, "source"))
    figures.alone(await ends.carry_alone(task.alone))
    await ends.carry(task.warm_up, "copies")
    figures.fan(await ends.carry(task.messages, "copies"))
    figures.lost = ends.lost
    await client.close()
    return figures


def main() -> None:
    task = read_task(sys.argv[1])
    with ExitStack() as stack:
        address = stack.enter_context(nats_server())
        stages = [
            subprocess.Popen([sys.executable, __file__, address, name], stdout=subprocess.PIPE, text=True)
            for name in STAGES
        ]
        for stage in stages:
            stack.callback(stage.wait)
            stack.callback(stage.kill)
            assert stage.stdout is not None
            if stage.stdout.readline() != "ready\n":
                sys.exit("a stage could not be started")
        print_figures(uvloop.run(measure(task, address)))


if len(sys.argv) == 3:
    uvloop.run(serve(*sys.argv[1:]))
else:
    main()
