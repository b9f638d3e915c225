"""Simulated processes: tasks that see nothing of the world but their ports, and can be killed at any of their steps."""

from __future__ import annotations

__all__ = ["Phase", "Process", "ProcessRecord", "Runner"]

import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, TypeAlias

import msgspec
import trio

from fabric.errors import FabricError
from fabric.plan.endpoints import worker_addresses
from fabric.plan.plan import WorkerPlan
from fabric.testing.faults import Crash, Faults
from fabric.transport.memory import MemoryTransport
from fabric.transport.ports import Receiver, Security, Sender
from fabric.wire.codec import decode, split
from fabric.wire.frame import Data, Eof, Marker
from fabric.wire.payload import encode_json
from fabric.wire.spec import INPUT_PORTS, OUTPUT_PORTS, WorkerSpec

Phase: TypeAlias = Literal["before_ready", "idle", "in_message", "before_marker", "in_control", "in_drain", "after_end"]
"""What a process was at when it died: it had not returned its probe; nothing; a message, without an answer so far;
the same, with an answer, but not with the marker; a control message; what it had, after the end of its input;
nothing, after the end of its output."""


class ProcessRecord(msgspec.Struct, frozen=True):
    """What became of one process.

    Attributes:
        worker, incarnation: whose it is.
        steps: how many it took.
        trusted: which of them was the first that shows it that it was trusted, for its probe had arrived; 0: none.
        status: how it ended.
        phase: what it was at when a fault killed it; ``None``: none did.
        cut: frames that it had sent and nobody will read.
    """

    worker: str
    incarnation: int
    steps: int
    trusted: int
    status: int
    phase: Phase | None = None
    cut: int = 0


class Process:
    """One process, and the :class:`~fabric.transport.ports.Transport` that it gets.

    Args:
        plan: what it is, with the endpoints of this process.
        incarnation: which process of the worker it is.
        network: what its frames go through.
        faults: what befalls it is taken from there.

    Attributes:
        pid: none: it is a task.
    """

    pid = None

    def __init__(self, plan: WorkerPlan, incarnation: int, network: MemoryTransport, faults: Faults) -> None:
        self._plan = plan
        self._incarnation = incarnation
        self._network = network
        mine = (plan.name, incarnation)
        crashes = [crash for crash in faults.crashes if (crash.worker, crash.incarnation) == mine]
        self._crash = crashes[0] if crashes else None
        self._stalls = {stall.step: stall.for_s for stall in faults.stalls if (stall.worker, stall.incarnation) == mine}
        self._per_frame_s = sum(slow.per_frame_s for slow in faults.slow if slow.worker == plan.name)
        self._rng = random.Random(f"{faults.seed}/{plan.name}/{incarnation}")
        self._ends: list[Sender | Receiver] = []
        self._log: list[tuple[str, bytes]] = []
        self._frozen_until_s = 0.0
        self._scope = trio.CancelScope()
        self._status: int | None = None
        self._gone = trio.Event()
        self._phase: Phase | None = None
        self._cut = 0
        self._stderr: list[str] = []
        self.ports = {address: port for port, address in worker_addresses(plan.endpoints).items()}

    @property
    def number(self) -> int:
        """Counts the worker's processes, from 1."""
        return self._incarnation

    @property
    def alive(self) -> bool:
        """Whether it may still do something."""
        return self._status is None

    @property
    def record(self) -> ProcessRecord | None:
        """What became of it, if it is gone."""
        if self._status is None:
            return None
        name, number = self._plan.name, self._incarnation
        steps, trusted = len(self._log), _trusted_at(self._log)
        return ProcessRecord(name, number, steps, trusted, self._status, self._phase, self._cut)

    # --- its life ---

    async def run(self, runner: Runner) -> None:
        """Live."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            with self._scope:
                await self._live(runner)
            nursery.cancel_scope.cancel()
        if self._crash is not None and self._phase is not None:
            await trio.sleep(self._crash.told_after_s)
        self._gone.set()

    async def _live(self, runner: Runner) -> None:
        if self._crash is not None and self._crash.step == 0:
            self._strike(self._crash)
        await trio.lowlevel.checkpoint()
        try:
            status = await runner(self._plan.spec, self, worker_addresses(self._plan.endpoints))
        except FabricError as error:  # as our workers' main functions do
            self.complain(encode_json({"error": str(error), "code": error.code}).decode())
            status = error.exit_code
        if self.alive:
            self._status = status

    def _strike(self, crash: Crash) -> None:
        if crash.after_s:
            self._nursery.start_soon(self._strike_later, crash)
            return
        if self.alive:
            self._phase = _phase_of(self._log)
            self._stderr += crash.stderr
            self._die(crash.status)

    async def _strike_later(self, crash: Crash) -> None:
        await trio.sleep(crash.after_s)
        self._strike(msgspec.structs.replace(crash, after_s=0.0))

    def _die(self, status: int) -> None:
        """It does nothing more, and not all that it has sent arrives."""
        self._status = status
        for endpoint, port in self.ports.items():
            if port in OUTPUT_PORTS:
                self._cut += self._network.cut(endpoint, lambda frames: self._rng.randint(0, frames))
        self._scope.cancel()

    # --- what the coordinator does with it ---

    async def wait(self) -> int:
        """See :class:`~fabric.launch.launcher.Worker`."""
        await self._gone.wait()
        assert self._status is not None
        return self._status

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        """See :class:`~fabric.launch.launcher.Worker`."""
        if self.alive:
            self._die(-15 if name == "TERM" else -9)

    def left(self) -> None:
        """Nothing: its exit is seen."""

    async def stderr_lines(self) -> AsyncIterator[str]:
        """See :class:`~fabric.launch.launcher.Worker`."""
        await self._gone.wait()
        for line in self._stderr:
            yield line

    async def stdout_lines(self) -> AsyncIterator[bytes]:
        """It has none."""
        lines: tuple[bytes, ...] = ()
        for line in lines:
            yield line

    async def write_stdin(self, data: bytes) -> None:
        """It has none."""
        raise AssertionError("a simulated worker has no stdin")

    async def close_stdin(self) -> None:
        """It has none."""
        raise AssertionError("a simulated worker has no stdin")

    # --- what it does itself ---

    def complain(self, line: str) -> None:
        """Write a line to its stderr."""
        if self.alive:
            self._stderr.append(line)

    def sender(self, endpoint: str, *, bind: bool, watch: bool = False, security: Security | None = None) -> Sender:
        """See :class:`~fabric.transport.ports.Transport`."""
        sender = self._network.sender(endpoint, bind=bind, watch=watch, security=security)
        self._ends.append(sender)
        return _ProcessSender(self, self.ports[endpoint], sender)

    def receiver(
        self,
        endpoint: str,
        *,
        bind: bool,
        watch: bool = False,
        frames_max: int = 0,
        security: Security | None = None,
    ) -> Receiver:
        """See :class:`~fabric.transport.ports.Transport`."""
        receiver = self._network.receiver(endpoint, bind=bind, watch=watch, frames_max=frames_max, security=security)
        self._ends.append(receiver)
        return _ProcessReceiver(self, self.ports[endpoint], receiver)

    def leave(self) -> None:
        """Give its addresses up: it is gone, and another process may have them."""
        for end in self._ends:
            end.close()

    async def wait_thawed(self, port: str) -> None:
        """Wait as long as it does nothing, and for what a frame takes it."""
        if port == "input" and self._per_frame_s:
            await trio.sleep(self._per_frame_s)
        if self._frozen_until_s > trio.current_time():
            await trio.sleep_until(self._frozen_until_s)

    def step(self, port: str, raw: bytes) -> None:
        """It receives or sends a frame. Whether it survives that is told by :attr:`alive`."""
        self._log.append((port, raw))
        number = len(self._log)
        if number in self._stalls:
            self._frozen_until_s = trio.current_time() + self._stalls[number]
        if self._crash is not None and number == self._crash.step:
            self._strike(self._crash)


Runner: TypeAlias = Callable[[WorkerSpec, Process, dict[str, str]], Awaitable[int]]
"""A worker's main function: takes its spec, a transport and its endpoints by port; returns its exit status.

One that raises a :class:`~fabric.errors.FabricError` ends as our workers do: with that error on its stderr, and its
status."""


class _ProcessSender:
    """A dead process can still run to its next checkpoint. It is not heard any more."""

    def __init__(self, process: Process, port: str, sender: Sender) -> None:
        self._process = process
        self._port = port
        self._sender = sender

    def send_nowait(self, raw: bytes) -> None:
        if self._process.alive:
            self._sender.send_nowait(raw)
            self._process.step(self._port, raw)

    async def wait_sent(self) -> None:
        await self._sender.wait_sent()

    async def wait_peer(self) -> None:
        await self._sender.wait_peer()

    async def wait_stranger(self) -> None:
        await self._sender.wait_stranger()

    async def wait_broken(self) -> None:
        await self._sender.wait_broken()

    @property
    def renewed(self) -> bool:
        return self._sender.renewed

    def close(self) -> None:
        self._sender.close()


class _ProcessReceiver:
    """Gives one frame at a time, for it is to be possible to die between any two."""

    def __init__(self, process: Process, port: str, receiver: Receiver) -> None:
        self._process = process
        self._port = port
        self._receiver = receiver
        self._frames: deque[bytes] = deque()

    async def receive(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        if not self._frames:
            self._frames += await self._receiver.receive()
        await self._process.wait_thawed(self._port)
        raw = self._frames.popleft()
        self._process.step(self._port, raw)
        if not self._process.alive:
            await trio.sleep_forever()
        return [raw]

    async def wait_broken(self) -> None:
        await self._receiver.wait_broken()

    @property
    def renewed(self) -> bool:
        return self._receiver.renewed

    def close(self) -> None:
        self._receiver.close()


def _trusted_at(log: list[tuple[str, bytes]]) -> int:
    """Return the number of the first frame that was received behind a frame that was sent on ``output``."""
    probed = False
    for number, (port, _) in enumerate(log, 1):
        if probed and port in INPUT_PORTS:
            return number
        probed |= port == "output"
    return 0


def _phase_of(log: list[tuple[str, bytes]]) -> Phase:
    """Say what a process is at that has received and sent these frames."""
    taken = done = asked = answered = outputs = 0
    announced = probed = input_ended = output_ended = False
    for port, raw in log:
        for part in split(raw):
            match port, decode(part):
                case "input", Data():
                    taken += 1
                case "input", Eof():
                    input_ended = True
                case "output", Marker(_, marker) if marker.startswith("probe/"):
                    probed = True
                case "output", Marker():
                    done += 1
                    outputs = 0
                case "output", Data():
                    outputs += 1
                case "output", Eof():
                    output_ended = True
                case "ctrl_in", Data():
                    asked += 1
                case "ctrl_out", Data() if announced:
                    answered += 1
                case "ctrl_out", Data():
                    announced = True
    if output_ended:
        return "after_end"
    if input_ended:
        return "in_drain"
    if not probed:
        return "before_ready"
    if taken > done:
        return "before_marker" if outputs else "in_message"
    return "in_control" if asked > answered else "idle"
