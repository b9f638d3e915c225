"""fabric: source and sink in the coordinator's process. The second argument says where A and B are.

``fused``: they are ``map`` expressions, compiled into the coordinator's routes: one process, as Bytewax has it.
``workers``: they are processes that call a Python function; each message is acknowledged by each of them.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import trio
from workload import Figures, Tally, message, print_figures, read_task

from fabric import __version__
from fabric.compiler import compile_file
from fabric.launch.process import open_launcher
from fabric.runtime.coordinator import Coordinator
from fabric.runtime.directory import open_run_directory
from fabric.session.events import Answered, Approval, DeadLetter, Heard, Note, Outcome, Output, Refuse, Seen
from fabric.session.session import Session, Settings
from fabric.transport.sockets import open_sockets

BATCH = 64
"""Messages that the source submits before it asks again for room; a session takes what comes on top of its bound."""


class Sink:
    """The session's client: counts what comes."""

    def __init__(self) -> None:
        self.ready = trio.Event()
        self.tally = Tally(0)
        self._complete = trio.Event()

    def expect(self, count: int) -> Tally:
        self.tally, self._complete = Tally(count), trio.Event()
        return self.tally

    async def wait_complete(self) -> None:
        if not self.tally.complete:
            await self._complete.wait()

    def opened(self) -> None:
        self.ready.set()

    def delivered(self, outputs: Sequence[Output]) -> None:
        take = self.tally.take
        for output in outputs:
            take(output.payload)
        if self.tally.complete:
            self._complete.set()

    def refused(self, refusal: Refuse) -> None:
        sys.exit(f"refused: {refusal.detail}")

    def answered(self, answer: Answered) -> None:
        pass

    def asked(self, approval: Approval) -> None:
        sys.exit(f"asked: {approval}")

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        pass

    def buried(self, letter: DeadLetter) -> None:
        sys.exit(f"buried: {letter.detail}")

    def settled(self, tickets: Sequence[int]) -> None:
        pass

    def tapped(self, messages: Sequence[Seen]) -> None:
        pass

    def observed(self, heard: Sequence[Heard]) -> None:
        pass


class Complaints:
    """The coordinator's report: what workers write goes to stderr."""

    def noted(self, note: Note) -> None:
        if note.level in ("warning", "error"):
            print(note, file=sys.stderr)

    def worker_wrote(self, worker: str, line: str) -> None:
        print(f"{worker}: {line}", file=sys.stderr)


class Graph:
    """A program that runs."""

    def __init__(self, coordinator: Coordinator, sink: Sink) -> None:
        self._coordinator = coordinator
        self._sink = sink

    async def carry(self, count: int) -> Tally:
        """Carry messages at full speed."""
        tally = self._sink.expect(count)
        submitted = 0
        while submitted < count and await self._coordinator.wait_for_room():
            batch = range(submitted, min(submitted + BATCH, count))
            self._coordinator.submit("source", [(number, message(number)) for number in batch])
            submitted = batch.stop
        await self._sink.wait_complete()
        return tally

    async def carry_alone(self, count: int) -> list[float]:
        """Carry messages one at a time; return how long each took."""
        seconds = []
        for _ in range(count):
            began_s = time.perf_counter()
            await self.carry(1)
            seconds.append(time.perf_counter() - began_s)
        return seconds


async def run(program: str, measure: Callable[[Graph], Coroutine[Any, Any, None]]) -> None:
    """Run a program, measure, and let it drain."""
    with open_run_directory(os.environ) as directory:
        plan, _ = compile_file(Path(__file__).with_name(f"{program}.plumb"), run_directory=directory)
        sink = Sink()
        session = Session(plan, Settings(), random.Random(os.urandom(32)))
        async with open_launcher(os.environ) as launcher, open_sockets() as transport, trio.open_nursery() as nursery:
            coordinator = Coordinator(session, transport, launcher, sink, Complaints())

            async def measure_and_close() -> None:
                await sink.ready.wait()
                await measure(Graph(coordinator, sink))
                coordinator.close_input()

            nursery.start_soon(measure_and_close)
            finish = await coordinator.run()
            if finish.exit_code:
                sys.exit(f"the session ended with {finish}")


async def main() -> None:
    task, where = read_task(sys.argv[1]), sys.argv[2]
    figures = Figures(versions={"fabric": __version__})

    async def pipeline(graph: Graph) -> None:
        await graph.carry(1)
        figures.started(task)
        await graph.carry(task.warm_up)
        figures.pipeline(await graph.carry(task.messages))
        figures.alone(await graph.carry_alone(task.alone))

    async def fan(graph: Graph) -> None:
        await graph.carry(task.warm_up)
        figures.fan(await graph.carry(task.messages))

    await run(f"{where}_pipeline", pipeline)
    await run(f"{where}_fan", fan)
    print_figures(figures)


trio.run(main)
