"""The coordinator's ends of one worker's channels. Pull, tell the session, push: nothing is decided here."""

from __future__ import annotations

__all__ = ["LineRelay", "Relay", "SocketRelay"]

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

import trio

from fabric.errors import ConfigError, TransportClosed, ValueRejected
from fabric.launch.launcher import Worker
from fabric.plan.plan import WorkerPlan
from fabric.transport.ports import Receiver, Sender, ServerSide, Transport
from fabric.wire.codec import FRAME_BYTES_MAX, is_eof
from fabric.wire.lines import LineBridge
from fabric.wire.spec import INPUT_PORTS

Arrive: TypeAlias = Callable[[str, list[bytes]], None]
"""Called with a port and the frames that came on it."""

WIRE_NAMES = {"input": "data_in", "output": "data_out"}
"""Of the ports that PROTOCOL.md calls otherwise."""

OUTPUT_FRAMES_MAX = 4_096
"""Frames that wait in our memory on the output of a worker of others: it may send faster than we refuse. Without such a
limit 400,000 of a kilobyte took 420 MiB. Ours send what they were asked for."""

SIDE_FRAMES_MAX = 65_536
"""The same of its other ports. If more wait when it exits the rest is lost, and no missing end of the output tells."""

EXIT_SETTLE_S = 1.0
"""How long after a worker's exit we wait for what it had sent and is still in transit, as long as nothing comes."""


FAILED_SETTLE_S = 0.05
"""The same of one that failed: it has not ended its ports, so we only let what has arrived be read."""


BROKEN_SETTLE_S = 0.2
"""How long after the end of a link from a worker over TCP its end of that port may take to be read."""

LINK_SETTLE_S = 2.0
"""How long after the end of a link to a container its exit may take to be told by its engine: that says more."""


class Relay(Protocol):
    """What the coordinator needs of a worker's channels.

    Attributes:
        complaint: why the relay itself ended the worker, if it did.
    """

    complaint: str | None

    def send(self, port: str, raw: bytes) -> None:
        """Push a frame to an input port of the worker."""
        ...

    async def serve(self, worker: Worker) -> int:
        """Pass on what comes until the process is gone and what it had sent is through; return its exit status."""
        ...

    def close(self) -> None:
        """Close the ports. Idempotent."""
        ...


class SocketRelay:
    """A worker that speaks the wire. Its ports are open as soon as this exists, before the process is started.

    Args:
        secret: the fabric's secret key, if they need keys.
    """

    def __init__(
        self, plan: WorkerPlan, transport: Transport, arrive: Arrive, nursery: trio.Nursery, secret: str = ""
    ) -> None:
        security = ServerSide(secret, plan.name) if plan.secured else None
        self.complaint: str | None = None
        self._ours = plan.ours
        self._linked = plan.runner != "process"  # over TCP, and a connection may go that its worker outlives
        self._exit_told_s = LINK_SETTLE_S if plan.runner == "container" else 0.0
        self._senders: dict[str, Sender] = {}
        self._receivers: dict[str, Receiver] = {}
        self._ended: dict[str, trio.Event] = {"output": trio.Event()}
        self._over: set[str] = set()  # of the ports that we write
        self._renewed = trio.Event()
        self._arrived = 0
        self._arrive = arrive
        self._addresses = [address.bind for address in plan.endpoints.values()]
        try:
            for port, address in plan.endpoints.items():
                if port in INPUT_PORTS:
                    self._senders[port] = transport.sender(address.bind, bind=True, watch=True, security=security)
                else:
                    frames_max = 0 if plan.ours else OUTPUT_FRAMES_MAX if port == "output" else SIDE_FRAMES_MAX
                    watch = self._linked or (port == "output" and not plan.ours)
                    self._receivers[port] = transport.receiver(
                        address.connect, bind=False, watch=watch, frames_max=frames_max, security=security
                    )
        except ConfigError:
            self.close()
            raise
        for port, receiver in self._receivers.items():
            nursery.start_soon(self._pull, port, receiver)

    def send(self, port: str, raw: bytes) -> None:
        """See :class:`Relay`."""
        if self._linked and is_eof(raw):
            self._over.add(port)
        self._senders[port].send_nowait(raw)

    async def _pull(self, port: str, receiver: Receiver) -> None:
        try:
            while True:
                frames = await receiver.receive()
                if self._linked and (self._renewed.is_set() or self._is_renewed()):
                    self._renewed.set()  # it may stand behind a gap
                    continue
                self._ended.setdefault(port, trio.Event())
                self._arrived += len(frames)
                self._arrive(port, frames)
                if is_eof(frames[-1]):
                    self._ended[port].set()
                elif self._ended[port].is_set():  # that was none
                    self._ended[port] = trio.Event()
        except TransportClosed:
            return

    async def serve(self, worker: Worker) -> int:
        """See :class:`Relay`. Waits for the end of each port that has spoken, of ``output`` in any case."""
        async with trio.open_nursery() as nursery:
            if self._linked:
                nursery.start_soon(self._end_renewed, worker)
                for port, receiver in self._receivers.items():
                    nursery.start_soon(self._watch_output, port, receiver, worker)
                for port, sender in self._senders.items():
                    nursery.start_soon(self._watch_input, port, sender, worker)
            elif (
                not self._ours
            ):  # ours refuse to send what would break the channel, and never close it before their end
                nursery.start_soon(self._watch, worker)
            for port, sender in self._senders.items():
                nursery.start_soon(self._guard, port, sender, worker)
            status = await worker.wait()
            nursery.cancel_scope.cancel()
        if status >= 0:  # that was its own end
            self.complaint = None
        await self._settle(EXIT_SETTLE_S if status == 0 else FAILED_SETTLE_S)
        return status

    async def _settle(self, still_s: float) -> None:
        """Wait for the ends of the ports, or until nothing has come for so long: much may lie in our queues."""
        while not all(ended.is_set() for ended in self._ended.values()):
            arrived = self._arrived
            with trio.move_on_after(still_s):
                for ended in tuple(self._ended.values()):
                    await ended.wait()
            if arrived == self._arrived:
                return

    async def _watch(self, worker: Worker) -> None:
        """End a worker that lives on without its output: nothing that it says could reach us."""
        await self._receivers["output"].wait_broken()
        await trio.sleep(EXIT_SETTLE_S)  # its end of the output, and its exit, are in transit usually
        if not self._ended["output"].is_set():
            self._complain(
                worker,
                f"its data_out broke off: it sent a frame of more than {FRAME_BYTES_MAX} bytes, or closed its socket",
            )

    def _is_renewed(self) -> bool:
        """Whether one of the links was made anew."""
        ports: list[Receiver | Sender] = [*self._receivers.values(), *self._senders.values()]
        return any(port.renewed for port in ports)

    async def _end_renewed(self, worker: Worker) -> None:
        await self._renewed.wait()
        self._complain(worker, "one of its links was renewed, and may have lost messages")

    async def _watch_input(self, port: str, sender: Sender, worker: Worker) -> None:
        """End a worker whose link from us is gone, unless it knows that nothing more comes there."""
        await sender.wait_broken()
        if port not in self._over:
            await self._break_off(
                worker, f"the link to its {WIRE_NAMES.get(port, port)} broke off, and may have lost messages"
            )

    async def _watch_output(self, port: str, receiver: Receiver, worker: Worker) -> None:
        """End a worker whose link to us is gone. One that breaks before its port has ended has broken off."""
        await receiver.wait_broken()
        self._ended.setdefault(port, trio.Event())
        with trio.move_on_after(BROKEN_SETTLE_S):  # its end of the port may lie in our queues
            while not self._ended[port].is_set():  # it is another event if what seemed its end was none
                await self._ended[port].wait()
        if not self._ended[port].is_set():
            told = f"the link from its {WIRE_NAMES.get(port, port)} broke off, or it sent a frame of more than"
            await self._break_off(worker, f"{told} {FRAME_BYTES_MAX} bytes")
        elif port == "output":
            worker.left()

    async def _break_off(self, worker: Worker, complaint: str) -> None:
        """End a worker that cannot be reached as before, unless that was its end: what it had goes to the next."""
        await trio.sleep(self._exit_told_s)
        if not (self._exit_told_s and self._ended["output"].is_set()):
            self._complain(worker, complaint)

    async def _guard(self, port: str, sender: Sender, worker: Worker) -> None:
        """End a worker on whose input somebody else is: he takes every second message."""
        await sender.wait_stranger()
        self._complain(worker, f"a stranger connected to its {WIRE_NAMES.get(port, port)}, and may have taken messages")

    def _complain(self, worker: Worker, complaint: str) -> None:
        if self.complaint is None:
            self.complaint = complaint
            worker.signal("KILL")

    def close(self) -> None:
        """See :class:`Relay`."""
        for sender in self._senders.values():
            sender.close()
        for receiver in self._receivers.values():
            receiver.close()
        for address in self._addresses:  # one that was killed leaves its sockets' files
            if address.startswith("ipc://"):
                Path(address.removeprefix("ipc://")).unlink(missing_ok=True)


class LineRelay:
    """A program that reads and writes JSON lines."""

    def __init__(self, plan: WorkerPlan, arrive: Arrive) -> None:
        self.complaint: str | None = None
        self._bridge = LineBridge(plan.name, echoes=plan.markers, calls=plan.calls)
        self._arrive = arrive
        self._lines, self._lines_to_write = trio.open_memory_channel[bytes](float("inf"))  # bounded by the window

    def send(self, port: str, raw: bytes) -> None:
        """See :class:`Relay`."""
        written = self._bridge.to_program(port, raw)
        if written.lines:
            self._lines.send_nowait(written.lines)
        if written.ended:
            self._lines.close()
        for answer_port, answer in written.answers:
            self._arrive(answer_port, [answer])

    async def serve(self, worker: Worker) -> int:
        """See :class:`Relay`. The program is ready since it runs, for it cannot say so."""
        for port, raw in self._bridge.started():
            self._arrive(port, [raw])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, worker)
            read = trio.Event()
            nursery.start_soon(self._read, worker, read)
            status = await worker.wait()
            with trio.move_on_after(EXIT_SETTLE_S):  # something that it started may hold its stdout open
                await read.wait()
            nursery.cancel_scope.cancel()
        for port, raw in self._bridge.exited(status):
            self._arrive(port, [raw])
        return status

    async def _write(self, worker: Worker) -> None:
        try:
            async for lines in self._lines_to_write:
                await worker.write_stdin(lines)
        except TransportClosed:
            return  # it no longer reads; its exit tells the rest
        await worker.close_stdin()

    async def _read(self, worker: Worker, read: trio.Event) -> None:
        try:
            async for line in worker.stdout_lines():
                for port, raw in self._bridge.from_program(line):
                    self._arrive(port, [raw])
        except ValueRejected as error:  # from here on it cannot be told which line answers what
            self.complaint = str(error)
            worker.signal("KILL")
        read.set()

    def close(self) -> None:
        """See :class:`Relay`."""
        self._lines.close()
