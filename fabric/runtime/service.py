"""The service of ``fabric up``: a local socket on which clients send messages and get back what comes of them, ask how
things stand, or ask for an end.

Its words are in :mod:`fabric.runtime.service_protocol`. An output behind a barrier descends from several inputs; each
of their clients gets it, under its first id there.
"""

from __future__ import annotations

__all__ = ["Service"]

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import trio

from fabric.errors import ValueRejected
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Coordinator
from fabric.runtime.service_protocol import Answer, Request, Status, WorkerStatus, read_request, write
from fabric.runtime.services import Phase
from fabric.session.events import Note, Output, Refuse
from fabric.session.snapshot import Snapshot, waits_on
from fabric.wire.lines import LineSplitter

UNREAD_BYTES_MAX = 64 * 1024 * 1024
"""Answers that a client may leave unread before its connection is given up."""

LOOK_S = 1.0
"""How often the service looks whether its workers move. Finer than what people call stuck, and no load."""


class _Connection:
    """One client. Answers are queued, and written by a task of their own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.tickets: set[int] = set()
        self.broken = trio.CancelScope()
        self.settled = trio.Event()
        self.unread_outputs = 0
        self._unwritten = bytearray()
        self._to_write = trio.Event()
        self._written = trio.Event()
        self._written.set()

    def answer(self, answer: Answer) -> None:
        self._unwritten += write(answer)
        if answer.output is not msgspec.UNSET:
            self.unread_outputs += 1
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
                outputs = self.unread_outputs
                await self.stream.send_all(data)
                self.unread_outputs -= outputs
            self._to_write = trio.Event()
            self._written.set()

    async def wait_written(self) -> None:
        await self._written.wait()


class Service:
    """A session's client on behalf of many.

    Attributes:
        messages: outputs that left the graph.
        unclaimed: those of them whose client had left.
        lost: those of them that their client was there for, and did not read.

    Args:
        plan: whose boundary it is.
        opened: called when every worker is ready.
        noted: takes a note of what nobody asked for.
        drain: called when a client asks for an end.
        insist: called when one does not want to wait for it.
    """

    def __init__(
        self,
        plan: Plan,
        opened: Callable[[], None],
        noted: Callable[[Note], None],
        *,
        drain: Callable[[float | None], None],
        insist: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._inputs = list(plan.inputs)
        self._opened = opened
        self._noted = noted
        self._drain = drain
        self._insist = insist
        self._ready = False
        self._taken: Counter[str] = Counter()
        self._given: Counter[str] = Counter()
        self._moved: dict[str, tuple[int, int, float]] = {}
        self.messages = 0
        self.unclaimed = self.lost = 0
        self._ticket = 0
        self._asked: dict[int, tuple[_Connection, int]] = {}
        self._connections: set[_Connection] = set()

    # --- what the session gives ---

    def opened(self) -> None:
        """Pass it on."""
        self._ready = True
        self._opened()

    def delivered(self, outputs: Sequence[Output]) -> None:
        """Answer the clients whose inputs they descend from."""
        self.messages += len(outputs)
        for output in outputs:
            self._given[output.port] += 1
            told: set[_Connection] = set()
            for ticket in output.tickets:
                connection, request_id = self._asked.get(ticket, (None, 0))
                if connection is not None and connection not in told:
                    told.add(connection)
                    connection.answer(Answer(request_id, port=output.port, output=msgspec.Raw(output.payload)))
            if not told:
                self.unclaimed += 1
                fields = {"port": output.port, "size_bytes": len(output.payload)}
                self._noted(Note("info", "output.unclaimed", fields))

    def refused(self, refusal: Refuse) -> None:
        """Tell the clients whose inputs it descends from."""
        for ticket in refusal.tickets:
            connection, request_id = self._asked.get(ticket, (None, 0))
            if connection is not None:
                answer = Answer(request_id, error=refusal.detail, code=refusal.code, node=refusal.node)
                connection.answer(answer)

    def answered(self, ticket: int, error: str | None) -> None:
        """Tell whoever asked for a worker to be stopped or started."""

    def settled(self, tickets: Sequence[int]) -> None:
        """Tell the clients that nothing more will come of their inputs."""
        for ticket in tickets:
            connection, request_id = self._asked.pop(ticket, (None, 0))
            if connection is not None:
                connection.answer(Answer(request_id, settled=True))
                connection.tickets.discard(ticket)
                if not connection.tickets:
                    connection.settled.set()

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
            # The client has left; what comes of its inputs is unclaimed.
            self.unclaimed += connection.unread_outputs
            connection.unread_outputs = 0
        finally:
            self.lost += connection.unread_outputs  # it is there, and does not read
            self._connections.discard(connection)
            for ticket in connection.tickets:
                self._asked.pop(ticket, None)

    async def _read(self, coordinator: Coordinator, connection: _Connection) -> None:
        splitter = LineSplitter()
        more = True
        while more:
            chunk = await connection.stream.receive_some()
            more = bool(chunk)
            try:
                for line in splitter.feed(chunk):
                    if line.strip():
                        request = read_request(line)
                        if request.do == "send":
                            await coordinator.wait_for_room()
                            self._submit(coordinator, connection, request)
                        else:
                            connection.answer(self._order(coordinator, request))
            except ValueRejected as error:
                connection.answer(Answer(error=f"cannot read the request: {error}", code="bad_request"))
                return

    def _order(self, coordinator: Coordinator, request: Request) -> Answer:
        """Do what is no message."""
        match request.do:
            case "status":
                return Answer(request.id, status=self._status(coordinator))
            case "drain":
                self._drain(request.grace_s)
            case "insist":
                self._insist()
        return Answer(request.id, accepted=True)

    def _submit(self, coordinator: Coordinator, connection: _Connection, request: Request) -> None:
        assert request.msg is not msgspec.UNSET
        connection.answer(Answer(request.id, accepted=True))
        port = request.port or (self._inputs[0] if len(self._inputs) == 1 else "")
        if port not in self._inputs:
            wanted = ", ".join(self._inputs)
            text = f"there is no input '{port}'; the inputs are: {wanted}" if port else f"say which input: {wanted}"
            connection.answer(Answer(request.id, error=text, code="unknown_port"))
            connection.answer(Answer(request.id, settled=True))
            return
        self._taken[port] += 1
        self._ticket += 1
        self._asked[self._ticket] = (connection, request.id)
        connection.tickets.add(self._ticket)
        connection.settled = trio.Event()
        coordinator.submit(port, [(self._ticket, bytes(request.msg))])

    # --- how things stand ---

    async def look(self, coordinator: Coordinator) -> None:
        """Look again and again which workers move, until cancelled."""
        while True:
            self._look(coordinator.snapshot())
            await trio.sleep(LOOK_S)

    def _look(self, snapshot: Snapshot) -> None:
        now_s = trio.current_time()
        for worker in snapshot.workers:
            known = self._moved.get(worker.name)
            if known is None or known[:2] != (worker.accepted, worker.answered):
                self._moved[worker.name] = (worker.accepted, worker.answered, now_s)

    def _status(self, coordinator: Coordinator) -> Status:
        snapshot = coordinator.snapshot()
        self._look(snapshot)
        now_s = trio.current_time()
        workers = tuple(
            WorkerStatus(
                **msgspec.structs.asdict(worker),
                still_s=now_s - self._moved[worker.name][2],
                waits_on=waits_on(self._plan, snapshot, worker.name) if worker.activity == "ready" else (),
            )
            for worker in snapshot.workers
        )
        phase: Phase = "draining" if coordinator.closing else "ready" if self._ready else "starting"
        taken = {port: self._taken[port] for port in self._plan.inputs}
        given = {port: self._given[port] for port in self._plan.outputs.values()}
        losses = (snapshot.lost, snapshot.dead_lettered, snapshot.unpaired)
        return Status(phase, workers, taken, given, snapshot.barriers, *losses)
