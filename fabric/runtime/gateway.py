"""stdin and stdout as a session's boundary: JSON lines in, JSON lines out.

A graph with one input reads plain lines; with several, each line says its port: ``{"__port": NAME, "msg": VALUE}``.
Likewise for outputs.
"""

from __future__ import annotations

__all__ = ["LineGateway"]

import os
from collections.abc import Callable, Mapping

import trio

from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Coordinator
from fabric.session.events import Deliver, Note, Refuse, Stop
from fabric.wire.lines import DATA, read_line, write_line

CHUNK_BYTES = 64 * 1024
UNWRITTEN_BYTES_MAX = 4 * 1024 * 1024
"""Output beyond which no new input is read: the reader of stdout is slower than the graph."""

LINE_BYTES_MAX = 16 * 1024 * 1024


class LineGateway:
    """Feeds a session from one descriptor and writes what comes out to another.

    Reading and writing happen in threads: stdin and stdout may be files, which cannot be waited for, or be shared with
    other processes, which would not like them to become non-blocking.

    Args:
        plan: whose boundary it is.
        report: takes errors: message, code, and more fields.
        noted: takes the session's notes.
        worker_wrote: takes a worker's name and a line of its stderr.
    """

    def __init__(
        self,
        plan: Plan,
        report: Callable[[str, str, Mapping[str, object]], None],
        noted: Callable[[Note], None],
        worker_wrote: Callable[[str, str], None],
    ) -> None:
        boundary = plan.graph.nodes.values()
        self._inputs = [node.outputs[0].name for node in boundary if node.kind == "input"]
        self._outputs = [node.inputs[0].name for node in boundary if node.kind == "output"]
        self._report = report
        self.noted = noted
        self.worker_wrote = worker_wrote
        self.failed = False
        self._unwritten = bytearray()
        self._to_write = trio.Event()
        self._written = trio.lowlevel.ParkingLot()
        self._ended = False
        self._reading = trio.CancelScope()

    # --- what the session gives ---

    def opened(self) -> None:
        """See ``coordinator.Client``."""

    def delivered(self, message: Deliver) -> None:
        """Queue an output for writing."""
        port = DATA if len(self._outputs) == 1 else message.port
        self._unwritten += write_line(port, message.payload)
        self._to_write.set()

    def refused(self, refusal: Refuse) -> None:
        """Report it; it ends the reading."""
        fields: dict[str, object] = {"port" if refusal.code == "input_type_mismatch" else "node": refusal.node}
        if refusal.tickets:
            fields["line"] = refusal.tickets[0]
        self._fail(refusal.detail, refusal.code, fields)

    def settled(self, ticket: int) -> None:
        """See ``coordinator.Client``."""

    def output_closed(self, port: str) -> None:
        """See ``coordinator.Client``."""

    def _fail(self, message: str, code: str, fields: dict[str, object]) -> None:
        self.failed = True
        self._report(message, code, fields)
        self._reading.cancel()

    def stop_reading(self) -> None:
        """Take no more lines."""
        self._reading.cancel()

    # --- the two ends ---

    async def read(self, coordinator: Coordinator, descriptor: int) -> None:
        """Submit each line; at the end, or at the first that is refused, close the inputs."""
        with self._reading:
            await self._read(coordinator, descriptor)
        coordinator.close_input()

    async def _read(self, coordinator: Coordinator, descriptor: int) -> None:
        rest, number = b"", 0
        while True:
            if not await coordinator.wait_for_room():
                return
            chunk = await trio.to_thread.run_sync(os.read, descriptor, CHUNK_BYTES, abandon_on_cancel=True)
            *lines, rest = (rest + chunk).split(b"\n")
            if not chunk and rest:
                lines, rest = [rest], b""
            for line in lines:
                number += 1
                if not line.strip():
                    continue
                while len(self._unwritten) > UNWRITTEN_BYTES_MAX:
                    await self._written.park()
                if not await coordinator.wait_for_room() or self.failed:
                    return
                self._submit(coordinator, line, number)
                if self.failed:
                    return
            if not chunk:
                return
            if len(rest) > LINE_BYTES_MAX:
                self._fail(f"line of more than {LINE_BYTES_MAX} bytes", "input_type_mismatch", {"line": number + 1})
                return

    def _submit(self, coordinator: Coordinator, line: bytes, number: int) -> None:
        port, payload = read_line(line)
        if len(self._inputs) == 1 and port == DATA:
            port = self._inputs[0]
        if port not in self._inputs:
            named = "none" if port == DATA else repr(port)
            wanted = f'a line {{"__port": NAME, "msg": VALUE}} with an input of {", ".join(self._inputs)}'
            self._fail(f"expected {wanted}; got {named}", "input_type_mismatch", {"line": number})
            return
        coordinator.submit(port, payload, number)

    async def write(self, coordinator: Coordinator, descriptor: int) -> None:
        """Write outputs until :meth:`finish`; if nobody reads them any more, end the session."""
        while self._unwritten or not self._ended:
            if not self._unwritten:
                await self._to_write.wait()
                self._to_write = trio.Event()
                continue
            data, self._unwritten = bytes(self._unwritten), bytearray()
            try:
                await trio.to_thread.run_sync(_write_all, descriptor, data)
            except BrokenPipeError:
                self._fail("nobody reads the output any more", "output_closed", {})
                coordinator.stop(Stop("terminate", 1))
                return
            self._written.unpark_all()

    def finish(self) -> None:
        """Let :meth:`write` return when everything is written."""
        self._ended = True
        self._to_write.set()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
