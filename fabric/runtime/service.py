"""The service of ``fabric up``: a local socket on which clients send messages and get back what comes of them.

One JSON object a line, both ways. Requests carry an ``id`` of the client's choice; answers repeat it:

    -> {"id": 1, "port": "input", "msg": VALUE}          port may be left out where there is one input
    <- {"id": 1, "accepted": true}
    <- {"id": 1, "port": "output", "output": VALUE}      for each output that descends from it
    <- {"id": 1, "error": TEXT, "code": WORD, "node": NAME}  if it, or something that came of it, was refused
    <- {"id": 1, "settled": true}                        nothing more will come of it

An output behind a barrier descends from several inputs; each of their clients gets it, under its first id there.
"""

from __future__ import annotations

__all__ = ["Service"]

from collections.abc import Callable
from typing import Any

import msgspec
import trio

from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Coordinator
from fabric.session.events import Deliver, Note, Refuse
from fabric.wire.payload import encode_json

UNREAD_BYTES_MAX = 64 * 1024 * 1024
"""Answers that a client may leave unread before its connection is given up."""

LINE_BYTES_MAX = 16 * 1024 * 1024


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    msg: msgspec.Raw
    port: str | None = None


_read_request = msgspec.json.Decoder(_Request).decode


class _Connection:
    """One client. Answers are queued, and written by a task of their own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.tickets: set[int] = set()
        self.broken = trio.CancelScope()
        self.settled = trio.Event()
        self._unwritten = bytearray()
        self._to_write = trio.Event()
        self._written = trio.Event()
        self._written.set()

    def answer(self, message: dict[str, Any]) -> None:
        self._unwritten += encode_json(message) + b"\n"
        if self._written.is_set():
            self._written = trio.Event()
        self._to_write.set()
        if len(self._unwritten) > UNREAD_BYTES_MAX:
            self.broken.cancel()

    async def write(self) -> None:
        while True:
            await self._to_write.wait()
            while self._unwritten:
                data, self._unwritten = bytes(self._unwritten), bytearray()
                await self.stream.send_all(data)
            self._to_write = trio.Event()
            self._written.set()

    async def wait_written(self) -> None:
        await self._written.wait()


class Service:
    """A session's client on behalf of many.

    Args:
        plan: whose boundary it is.
        opened: called when every worker is ready.
        noted: takes the session's notes.
        worker_wrote: takes a worker's name and a line of its stderr.
    """

    def __init__(
        self,
        plan: Plan,
        opened: Callable[[], None],
        noted: Callable[[Note], None],
        worker_wrote: Callable[[str, str], None],
    ) -> None:
        self._inputs = [node.outputs[0].name for node in plan.graph.nodes.values() if node.kind == "input"]
        self.opened = opened
        self.noted = noted
        self.worker_wrote = worker_wrote
        self.messages = 0
        self._ticket = 0
        self._asked: dict[int, tuple[_Connection, int]] = {}
        self._connections: set[_Connection] = set()

    # --- what the session gives ---

    def delivered(self, message: Deliver) -> None:
        """Answer the clients whose inputs it descends from."""
        self.messages += 1
        told: set[_Connection] = set()
        for ticket in message.tickets:
            connection, request_id = self._asked.get(ticket, (None, 0))
            if connection is not None and connection not in told:
                told.add(connection)
                connection.answer({"id": request_id, "port": message.port, "output": msgspec.Raw(message.payload)})
        if not told:
            self.noted(Note("info", "output.unclaimed", {"port": message.port, "size_bytes": len(message.payload)}))

    def refused(self, refusal: Refuse) -> None:
        """Tell the clients whose inputs it descends from."""
        for ticket in refusal.tickets:
            connection, request_id = self._asked.get(ticket, (None, 0))
            if connection is not None:
                fields = {"error": refusal.detail, "code": refusal.code, "node": refusal.node}
                connection.answer({"id": request_id, **fields})

    def settled(self, ticket: int) -> None:
        """Tell the client that nothing more will come of its input."""
        connection, request_id = self._asked.pop(ticket, (None, 0))
        if connection is not None:
            connection.answer({"id": request_id, "settled": True})
            connection.tickets.discard(ticket)
            if not connection.tickets:
                connection.settled.set()

    def output_closed(self, port: str) -> None:
        """See ``coordinator.Client``."""

    # --- what clients ask for ---

    async def serve(self, coordinator: Coordinator, listener: trio.SocketListener) -> None:
        """Serve clients until cancelled."""

        async def handle(stream: trio.SocketStream) -> None:
            await self._handle(coordinator, _Connection(stream))

        await trio.serve_listeners(handle, [listener])

    async def finish(self) -> None:
        """Give the clients what is still queued for them."""
        for connection in tuple(self._connections):
            await connection.wait_written()

    async def _handle(self, coordinator: Coordinator, connection: _Connection) -> None:
        self._connections.add(connection)
        try:
            with connection.broken:
                async with connection.stream, trio.open_nursery() as nursery:
                    nursery.start_soon(connection.write)
                    await self._read(coordinator, connection)
                    while connection.tickets:  # the client has said all it wants to say, and listens
                        await connection.settled.wait()
                    await connection.wait_written()
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has left; what comes of its inputs is unclaimed
        finally:
            self._connections.discard(connection)
            for ticket in connection.tickets:
                self._asked.pop(ticket, None)

    async def _read(self, coordinator: Coordinator, connection: _Connection) -> None:
        rest = b""
        async for chunk in connection.stream:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    await coordinator.wait_for_room()
                    self._submit(coordinator, connection, line)
            if len(rest) > LINE_BYTES_MAX:
                connection.answer({"error": f"line of more than {LINE_BYTES_MAX} bytes", "code": "bad_request"})
                return

    def _submit(self, coordinator: Coordinator, connection: _Connection, line: bytes) -> None:
        try:
            request = _read_request(line)
        except (msgspec.DecodeError, ValueError) as error:
            connection.answer({"error": f"cannot read the request: {error}", "code": "bad_request"})
            return
        port = request.port or (self._inputs[0] if len(self._inputs) == 1 else "")
        if port not in self._inputs:
            wanted = ", ".join(self._inputs)
            text = f"there is no input '{port}'; the inputs are: {wanted}" if port else f"say which input: {wanted}"
            connection.answer({"id": request.id, "error": text, "code": "unknown_port"})
            connection.answer({"id": request.id, "accepted": True})
            connection.answer({"id": request.id, "settled": True})
            return
        self._ticket += 1
        self._asked[self._ticket] = (connection, request.id)
        connection.tickets.add(self._ticket)
        connection.settled = trio.Event()
        connection.answer({"id": request.id, "accepted": True})
        coordinator.submit(port, bytes(request.msg), self._ticket)
