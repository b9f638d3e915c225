"""The coordinator's ends of one worker's channels. Pull, tell the session, push: nothing is decided here."""

from __future__ import annotations

__all__ = ["LineRelay", "Relay", "SocketRelay"]

from collections.abc import Callable
from typing import Protocol, TypeAlias

import trio

from fabric.errors import TransportClosed, ValueRejected
from fabric.launch.launcher import Worker
from fabric.plan.plan import WorkerPlan
from fabric.transport.ports import Receiver, Sender, Transport
from fabric.wire.codec import encode
from fabric.wire.control import READY
from fabric.wire.frame import Data, Eof
from fabric.wire.lines import LineBridge
from fabric.wire.spec import INPUT_PORTS

Arrive: TypeAlias = Callable[[str, list[bytes]], None]
"""Called with a port and the frames that came on it."""

EXIT_SETTLE_S = 1.0
"""A worker without ctrl_in may exit right behind its end of data_out, which may still be on its way to us so long."""


class Relay(Protocol):
    """What the coordinator needs of a worker's channels."""

    def send(self, port: str, raw: bytes) -> None:
        """Push a frame to an input port of the worker."""
        ...

    async def serve(self, worker: Worker) -> int:
        """Pass on what comes until the process is gone and what it had sent is through; return its exit status."""
        ...

    def close(self) -> None:
        """Close the ports."""
        ...


class SocketRelay:
    """A worker that speaks the wire. Its ports are open as soon as this exists, before the process is started."""

    def __init__(self, plan: WorkerPlan, transport: Transport, arrive: Arrive, nursery: trio.Nursery) -> None:
        self._senders: dict[str, Sender] = {}
        self._receivers: dict[str, Receiver] = {}
        self._output_ended = trio.Event()
        self._arrive = arrive
        for port, address in plan.endpoints.items():
            if port in INPUT_PORTS:
                self._senders[port] = transport.sender(address.bind, bind=True)
            else:
                self._receivers[port] = transport.receiver(address.connect, bind=False)
        for port, receiver in self._receivers.items():
            nursery.start_soon(self._pull, port, receiver)

    def send(self, port: str, raw: bytes) -> None:
        """See :class:`Relay`."""
        self._senders[port].send_nowait(raw)

    async def _pull(self, port: str, receiver: Receiver) -> None:
        try:
            while True:
                frames = await receiver.receive()
                self._arrive(port, frames)
                if port == "output" and int.from_bytes(frames[-1][:4], "big") + 4 == len(frames[-1]):
                    self._output_ended.set()
        except TransportClosed:
            return

    async def serve(self, worker: Worker) -> int:
        """See :class:`Relay`."""
        status = await worker.wait()
        if status == 0:
            with trio.move_on_after(EXIT_SETTLE_S):
                await self._output_ended.wait()
        return status

    def close(self) -> None:
        """See :class:`Relay`."""
        for sender in self._senders.values():
            sender.close()
        for receiver in self._receivers.values():
            receiver.close()


class LineRelay:
    """A program that reads and writes JSON lines."""

    def __init__(self, plan: WorkerPlan, arrive: Arrive) -> None:
        self._name = plan.name
        self._bridge = LineBridge(plan.name, echoes=plan.markers)
        self._arrive = arrive
        self._lines, self._lines_to_write = trio.open_memory_channel[bytes](float("inf"))  # bounded by the window

    def send(self, port: str, raw: bytes) -> None:
        """See :class:`Relay`."""
        lines, answers = self._bridge.to_program(port, raw)
        if lines:
            self._lines.send_nowait(lines)
        for answer_port, answer in answers:
            self._arrive(answer_port, [answer])
        if port == "input" and raw == encode(Eof("fabric")):
            self._lines.close()

    async def _write(self, worker: Worker) -> None:
        try:
            async for lines in self._lines_to_write:
                await worker.write_stdin(lines)
        except TransportClosed:
            return  # it no longer reads; its exit tells the rest
        await worker.close_stdin()

    async def serve(self, worker: Worker) -> int:
        """See :class:`Relay`. The program is ready since it runs, for it cannot say so.

        The end of its stdout counts as an end of its channels only if it then exits with 0.
        """
        self._arrive("ctrl_out", [encode(Data(self._name, READY))])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, worker)
            async for line in worker.stdout_lines():
                try:
                    frames = self._bridge.from_program(line)
                except ValueRejected:
                    frames = [("output", line)]  # no frame: counted and refused like any malformed one
                for port, raw in frames:
                    self._arrive(port, [raw])
            status = await worker.wait()
            nursery.cancel_scope.cancel()
        if status == 0:
            for port in ("output", "ctrl_out", "telemetry"):
                self._arrive(port, [encode(Eof(self._name))])
        return status

    def close(self) -> None:
        """See :class:`Relay`."""
        self._lines.close()
