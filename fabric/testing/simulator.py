"""A session in memory: the same session machines and workers, on the memory transport, in one process.

Run it under ``trio.testing.MockClock(autojump_threshold=0)`` and no timer takes real time.
"""

from __future__ import annotations

__all__ = ["Runner", "Simulated", "python_runner", "simulate"]

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec
import trio

from fabric.errors import FabricError, WorkerFailed, sole
from fabric.plan.endpoints import worker_addresses
from fabric.plan.plan import Plan, WorkerPlan
from fabric.runtime.coordinator import Coordinator
from fabric.session.events import Answered, DeadLetter, Finish, Heard, Note, Output, Refuse, Seen
from fabric.session.session import Session, Settings
from fabric.transport.memory import MemoryTransport
from fabric.transport.ports import Transport
from fabric.wire.spec import WorkerSpec
from fabric.worker import Control, load_function, run_control, run_data

Runner: TypeAlias = Callable[[WorkerSpec, Transport, dict[str, str]], Awaitable[int]]
"""A worker's main function: takes its spec, a transport and its endpoints by port; returns its exit status."""


class Simulated(msgspec.Struct, frozen=True):
    """What a simulated session did.

    Attributes:
        outputs: port and JSON text, in order.
        refusals: messages that went no further.
        finish: how it ended.
        notes: what it had to say, in order.
        heard: on observed ports, in order.
        letters: messages that are dead letters, in order.
    """

    outputs: tuple[tuple[str, bytes], ...]
    refusals: tuple[Refuse, ...]
    finish: Finish
    notes: tuple[Note, ...] = ()
    heard: tuple[Heard, ...] = ()
    letters: tuple[DeadLetter, ...] = ()


async def python_runner(spec: WorkerSpec, transport: Transport, endpoints: dict[str, str]) -> int:
    """Run a ``python`` worker."""
    try:
        function = load_function(spec)
        control = Control()
        source = transport.receiver(endpoints["input"], bind=False)
        sink = transport.sender(endpoints["output"], bind=True)
        ctrl_in = transport.receiver(endpoints["ctrl_in"], bind=False)
        ctrl_out = transport.sender(endpoints["ctrl_out"], bind=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_control, ctrl_in, ctrl_out, spec.name, control)
            await run_data(spec, function, source, sink, control)
    except (FabricError, BaseExceptionGroup) as raised:
        error = sole(raised)
        if not isinstance(error, FabricError):
            raise
        return error.exit_code
    return 0


async def simulate(
    plan: Plan,
    inputs: Iterable[tuple[str, bytes]],
    *,
    runners: Mapping[str, Runner],
    settings: Settings | None = None,
    seed: int = 0,
) -> Simulated:
    """Run a plan on these inputs until it has drained.

    Args:
        plan: what to run.
        inputs: boundary port and JSON text of each message, in order.
        runners: by kind of worker: ``python``, ``agent``, ``worker``.
        settings: times.
        seed: of the ids.
    """
    client = _Recorder()  # and nobody wants a report
    session = Session(plan, settings or Settings(), random.Random(seed))
    transport = MemoryTransport()
    async with trio.open_nursery() as nursery:
        launcher = _MemoryLauncher(transport, runners, nursery)
        coordinator = Coordinator(session, transport, launcher, client, client)

        async def feed() -> None:
            for ticket, (port, payload) in enumerate(inputs, 1):
                if not await coordinator.wait_for_room():
                    return
                coordinator.submit(port, [(ticket, payload)])
                await trio.lowlevel.checkpoint()
            if await coordinator.wait_for_room():
                coordinator.close_input()

        nursery.start_soon(feed)
        finish = await coordinator.run()
        nursery.cancel_scope.cancel()
    return Simulated(
        tuple(client.outputs),
        tuple(client.refusals),
        finish,
        tuple(client.notes),
        tuple(client.heard),
        tuple(client.letters),
    )


class _Recorder:
    """A client that remembers."""

    def __init__(self) -> None:
        self.outputs: list[tuple[str, bytes]] = []
        self.refusals: list[Refuse] = []
        self.notes: list[Note] = []
        self.heard: list[Heard] = []
        self.letters: list[DeadLetter] = []

    def opened(self) -> None:
        pass

    def delivered(self, outputs: Sequence[Output]) -> None:
        self.outputs += [(output.port, output.payload) for output in outputs]

    def refused(self, refusal: Refuse) -> None:
        self.refusals.append(refusal)

    def answered(self, answer: Answered) -> None:
        pass

    def buried(self, letter: DeadLetter) -> None:
        self.letters.append(letter)

    def tapped(self, messages: Sequence[Seen]) -> None:
        pass

    def observed(self, heard: Sequence[Heard]) -> None:
        self.heard += heard

    def settled(self, tickets: Sequence[int]) -> None:
        pass

    def noted(self, note: Note) -> None:
        self.notes.append(note)

    def worker_wrote(self, worker: str, line: str) -> None:
        pass


class _MemoryWorker:
    """A worker that is a task."""

    pid = None

    def __init__(self) -> None:
        self.status: int | None = None
        self.over = trio.Event()
        self.scope = trio.CancelScope()

    async def wait(self) -> int:
        await self.over.wait()
        assert self.status is not None
        return self.status

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        if self.status is None:
            self.status = -15 if name == "TERM" else -9
            self.scope.cancel()

    async def stderr_lines(self) -> AsyncIterator[str]:
        lines: tuple[str, ...] = ()  # it writes to the stderr of the process that it is a task of
        for line in lines:
            yield line

    async def stdout_lines(self) -> AsyncIterator[bytes]:
        lines: tuple[bytes, ...] = ()
        for line in lines:
            yield line

    async def write_stdin(self, data: bytes) -> None:
        raise AssertionError("a simulated worker has no stdin")

    async def close_stdin(self) -> None:
        raise AssertionError("a simulated worker has no stdin")


class _MemoryLauncher:
    def __init__(self, transport: MemoryTransport, runners: Mapping[str, Runner], nursery: trio.Nursery) -> None:
        self._transport = transport
        self._runners = runners
        self._nursery = nursery

    async def launch(self, worker: WorkerPlan) -> _MemoryWorker:
        runner = self._runners.get(worker.spec.kind)
        if runner is None or worker.transport == "stdio":
            raise WorkerFailed(f"no runner for a {worker.spec.kind} on {worker.transport} was given to the simulator")
        started = _MemoryWorker()
        self._nursery.start_soon(self._run, runner, worker, started)
        await trio.lowlevel.checkpoint()
        return started

    async def _run(self, runner: Runner, worker: WorkerPlan, started: _MemoryWorker) -> None:
        endpoints = worker_addresses(worker.endpoints)
        with started.scope:
            status = await runner(worker.spec, self._transport, endpoints)
            if started.status is None:
                started.status = status
        started.over.set()
