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

from fabric.errors import UnknownName, ValueRejected
from fabric.plan.channels import channels, find_channels
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Coordinator
from fabric.runtime.service_protocol import Answer, Request, Status, WorkerStatus, read_request, write
from fabric.runtime.services import Phase
from fabric.session.events import Answered, DeadLetter, Heard, Note, Output, Refuse, Seen, Wish
from fabric.session.flow import flows
from fabric.session.snapshot import waits_on
from fabric.wire.lines import LineSplitter

UNREAD_BYTES_MAX = 64 * 1024 * 1024
"""Answers that a client may leave unread before its connection is given up."""

TAIL_UNREAD_BYTES_MAX = 1024 * 1024
"""Beyond this, what a client only looks at is left out, and counted: thousands of lines, which nobody reads as fast."""

LAST_LOOK_S = 1.0
"""How long the end of a service waits for those who only look."""


class _Connection:
    """One client. Answers are queued, and written by a task of their own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.tickets: set[int] = set()
        self.broken = trio.CancelScope()
        self.settled = trio.Event()
        self.unread_outputs = 0
        self.tail: dict[int, str] = {}
        self._tail_id = 0
        self._left_out = 0
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

    def look_at(self, request_id: int, sinks: dict[int, str]) -> None:
        """Show from now on what comes to these sinks; each with the name of its channel."""
        self._tail_id, self.tail = request_id, sinks

    def show(self, messages: Sequence[Seen]) -> None:
        """Queue what is looked at as long as the client keeps up; count what is left out."""
        for seen in messages:
            channel = self.tail.get(seen.sink)
            if channel is None:
                continue
            if self._left_out or len(self._unwritten) > TAIL_UNREAD_BYTES_MAX:
                self._left_out += 1
                continue
            payload = msgspec.Raw(seen.payload)
            self.answer(Answer(self._tail_id, channel=channel, msg=payload, trace=seen.trace_id.hex()))

    def done(self, ticket: int) -> None:
        """Nothing more will be answered to this."""
        self.tickets.discard(ticket)
        if not self.tickets:
            self.settled.set()

    async def write(self) -> None:
        while True:
            await self._to_write.wait()
            while self._unwritten:
                data, self._unwritten = bytes(self._unwritten), bytearray()
                if self._left_out:
                    self.answer(Answer(self._tail_id, left_out=self._left_out))
                    self._left_out = 0
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
        self._channels = channels(plan)
        self._wishes: dict[int, tuple[Coordinator, str]] = {}
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

    def buried(self, letter: DeadLetter) -> None:
        """See ``coordinator.Client``."""

    def answered(self, answer: Answered) -> None:
        """Tell whoever asked for a worker to be stopped or started."""
        ticket, error = answer.ticket, answer.error
        coordinator, name = self._wishes.pop(ticket)
        connection, request_id = self._asked.pop(ticket, (None, 0))
        if connection is None:
            return
        if error is not None:
            connection.answer(Answer(request_id, error=error, code="not_done", node=name))
        else:
            activity = next(worker.activity for worker in coordinator.snapshot().workers if worker.name == name)
            pid = None if activity == "stopped" else coordinator.pid_of(name)
            connection.answer(Answer(request_id, worker=name, activity=activity, pid=pid))
        connection.done(ticket)

    def tapped(self, messages: Sequence[Seen]) -> None:
        """Show them to who looks."""
        for connection in self._connections:
            if connection.tail:
                connection.show(messages)

    def observed(self, heard: Sequence[Heard]) -> None:
        """See ``coordinator.Client``. A service observes no ports; its clients tail channels."""

    def settled(self, tickets: Sequence[int]) -> None:
        """Tell the clients that nothing more will come of their inputs."""
        for ticket in tickets:
            connection, request_id = self._asked.pop(ticket, (None, 0))
            if connection is not None:
                connection.answer(Answer(request_id, settled=True))
                connection.done(ticket)

    # --- what clients ask for ---

    async def serve(self, coordinator: Coordinator, listener: trio.SocketListener) -> None:
        """Serve clients until cancelled."""

        async def handle(stream: trio.SocketStream) -> None:
            await self._handle(coordinator, _Connection(stream))

        await trio.serve_listeners(handle, [listener])

    async def finish(self) -> None:
        """Give the clients what is still queued for them."""
        lookers = [connection for connection in self._connections if connection.tail]
        for connection in tuple(self._connections.difference(lookers)):
            await connection.wait_written()
        with trio.move_on_after(LAST_LOOK_S):
            for connection in lookers:
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
            if connection.tail:
                self._tap(coordinator)
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
                            self._order(coordinator, connection, request)
            except ValueRejected as error:
                connection.answer(Answer(error=f"cannot read the request: {error}", code="bad_request"))
                return

    def _order(self, coordinator: Coordinator, connection: _Connection, request: Request) -> None:
        """Do what is no message."""
        if request.do == "status":
            connection.answer(Answer(request.id, status=self._status(coordinator)))
            return
        connection.answer(Answer(request.id, accepted=True))
        match request.do:
            case "drain":
                self._drain(request.grace_s)
            case "insist":
                self._insist()
            case "tail":
                self._look_at(coordinator, connection, request)
            case "stop" | "start" | "restart" as wish:
                self._wish(coordinator, connection, request, wish)

    def _look_at(self, coordinator: Coordinator, connection: _Connection, request: Request) -> None:
        found: dict[str, tuple[int, ...]] = {}
        try:
            for name in request.channels or self._channels:
                found |= find_channels(self._plan, name)
        except UnknownName as error:
            connection.answer(Answer(request.id, error=str(error), code=error.code))
            return
        connection.look_at(request.id, {sink: name for name, sinks in found.items() for sink in sinks})
        self._tap(coordinator)

    def _tap(self, coordinator: Coordinator) -> None:
        """Let the session show what any client looks at."""
        coordinator.tap(frozenset(sink for connection in self._connections for sink in connection.tail))

    def _wish(self, coordinator: Coordinator, connection: _Connection, request: Request, wish: Wish) -> None:
        names = [worker.name for worker in self._plan.workers]
        if request.worker not in names:
            text = f"there is no worker '{request.worker}'; the workers are: {', '.join(names)}"
            connection.answer(Answer(request.id, error=text, code=UnknownName.code))
            return
        ticket = self._expect(connection, request.id)
        self._wishes[ticket] = coordinator, request.worker
        coordinator.ask(request.worker, wish, ticket)

    def _expect(self, connection: _Connection, request_id: int) -> int:
        """Return a ticket by which a client's request is recognised when there is an answer."""
        self._ticket += 1
        self._asked[self._ticket] = (connection, request_id)
        connection.tickets.add(self._ticket)
        connection.settled = trio.Event()
        return self._ticket

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
        coordinator.submit(port, [(self._expect(connection, request.id), bytes(request.msg))])

    # --- how things stand ---

    def _status(self, coordinator: Coordinator) -> Status:
        snapshot = coordinator.snapshot()
        now_s = trio.current_time()
        callers = {caller for caller, _ in snapshot.calls}
        workers = tuple(
            WorkerStatus(
                **msgspec.structs.asdict(worker),
                still_s=now_s - worker.moved_s,
                waits_on=waits_on(self._plan, snapshot, worker.name)
                if worker.activity == "ready" or worker.name in callers
                else (),
            )
            for worker in snapshot.workers
        )
        phase: Phase = "draining" if coordinator.closing else "ready" if self._ready else "starting"
        return Status(
            phase=phase,
            workers=workers,
            inputs={port: self._taken[port] for port in self._plan.inputs},
            outputs={port: self._given[port] for port in self._plan.outputs.values()},
            barriers=snapshot.barriers,
            lost=snapshot.lost,
            dead_lettered=snapshot.dead_lettered,
            unpaired=snapshot.unpaired,
            called=snapshot.called,
            calls_failed=snapshot.calls_failed,
            rejected=snapshot.rejected,
            channels={name: sum(snapshot.arrived[sink] for sink in sinks) for name, sinks in self._channels.items()},
            ports={f"{end.node}.{end.port}": count for end, count in flows(self._plan, snapshot).items()},
        )
