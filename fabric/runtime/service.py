"""The service of ``fabric up``: a local socket on which clients send messages and get back what comes of them, ask how
things stand, or ask for an end.

Its words are in :mod:`fabric.runtime.service_protocol`. An output behind a barrier descends from several inputs; each
of their clients gets it, under its first id there.
"""

from __future__ import annotations

__all__ = ["Service"]

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec
import trio

from fabric.errors import UnknownName, ValueRejected
from fabric.plan.channels import channels, find_channels
from fabric.plan.plan import Plan
from fabric.plan.replicas import known_names, meant
from fabric.runtime.connection import Asker, Connection, Inquiry
from fabric.runtime.coordinator import Coordinator
from fabric.runtime.keyed import Came, Keyed
from fabric.runtime.letter_keeper import LetterKeeper
from fabric.runtime.log_files import timestamp
from fabric.runtime.prices import Prices
from fabric.runtime.retries import Retries, Settlement
from fabric.runtime.service_protocol import (
    Answer,
    PendingApproval,
    QueueStatus,
    Request,
    Status,
    WorkerStatus,
    read_request,
)
from fabric.runtime.services import Phase
from fabric.session.causes import Chain, Link, why_stuck
from fabric.session.events import Answered, Approval, DeadLetter, Heard, Note, Outcome, Output, Refuse, Seen, Wish
from fabric.session.flow import flows
from fabric.session.snapshot import waits_on
from fabric.wire.lines import LineSplitter
from fabric.wire.payload import decode_json

LAST_LOOK_S = 1.0
"""How long the end of a service waits for those who only look."""


class Service:
    """A session's client on behalf of many.

    Attributes:
        messages: outputs that left the graph.
        unclaimed: those of them whose client had left.
        lost: those of them that their client was there for, and did not read.
        revived: dead letters that the session counts and that are none: tried again and done, or counted twice.

    Args:
        plan: whose boundary it is.
        letters: keeps dead letters.
        opened: called when every worker is ready.
        noted: takes a note of what nobody asked for.
        asked: called when a call waits for approval; any client may decide.
        asked_no_more: called when it does not any more.
        drain: called when a client asks for an end.
        insist: called when one does not want to wait for it.
        prices: of models.
    """

    def __init__(
        self,
        plan: Plan,
        letters: LetterKeeper,
        opened: Callable[[], None],
        noted: Callable[[Note], None],
        *,
        asked: Callable[[Approval], None],
        asked_no_more: Callable[[str, Outcome], None],
        drain: Callable[[float | None], None],
        insist: Callable[[], None],
        prices: Prices | None = None,
    ) -> None:
        self._prices = prices
        self._plan = plan
        self._letters = letters
        self._retries = Retries()
        self._node_names = {name: worker.node for worker in plan.workers for name in (worker.name, worker.node)}
        self._inputs = list(plan.inputs)
        self._opened = opened
        self._noted = noted
        self._ask = asked
        self._ask_no_more = asked_no_more
        self._decisions: dict[int, str] = {}
        self._drain = drain
        self._insist = insist
        self._ready = False
        self._taken: Counter[str] = Counter()
        self._given: Counter[str] = Counter()
        self._channels = channels(plan)
        self._wishes: dict[int, tuple[Coordinator, str, bool]] = {}
        self.messages = 0
        self.unclaimed = self.lost = self.revived = 0
        self._given_s: dict[str, float] = {}
        self._ticket = 0
        self._keyed: Keyed | None = None
        self._asked: dict[int, tuple[Asker, int]] = {}
        self._accepting: dict[int, list[Callable[[], None]]] = {}
        self._connections: set[Connection] = set()

    def resume(self, last_ticket: int, keyed: Keyed, letters: Iterable[DeadLetter] = ()) -> int:
        """Go on where a kept session was left.

        Args:
            last_ticket: of its input so far.
            keyed: what came of the messages with keys.
            letters: that the session has so far.

        Returns:
            how many of the letters were not kept yet.
        """
        self._ticket, self._keyed = last_ticket, keyed
        return self._letters.restore(letters, timestamp(time.time()))

    # --- what the session gives ---

    def opened(self) -> None:
        """Pass it on."""
        self._ready = True
        self._given_s = dict.fromkeys(self._plan.outputs.values(), trio.current_time())
        self._opened()

    def delivered(self, outputs: Sequence[Output]) -> None:
        """Answer the clients whose inputs they descend from."""
        self.messages += len(outputs)
        if self._keyed is not None:
            self._keyed.delivered(outputs)
        now_s = trio.current_time()
        for output in outputs:
            self._given[output.port] += 1
            self._given_s[output.port] = now_s
            told: set[Asker] = set()
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
            self._accept(ticket)
            if refusal.code != "dead_lettered":  # that one is kept, whosever it is
                self._retries.refused(ticket)
            connection, request_id = self._asked.get(ticket, (None, 0))
            if connection is not None:
                answer = Answer(request_id, error=refusal.detail, code=refusal.code, node=refusal.node)
                connection.answer(answer)

    def asked(self, approval: Approval) -> None:
        """Pass it on; clients see it when they look."""
        self._ask(approval)

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        """Pass it on."""
        self._ask_no_more(approval, outcome)

    def buried(self, letter: DeadLetter) -> None:
        """Keep it, under its number if it had one."""
        before = self._retries.buried(letter)
        self.revived += before is not None  # the session counts it once more
        self._letters.keep(letter, timestamp(time.time()), before)

    def answered(self, answer: Answered) -> None:
        """Tell whoever asked for a worker to be stopped or started, or told it something."""
        ticket, error = answer.ticket, answer.error
        if ticket in self._decisions:
            self._decided(answer)
        if ticket not in self._wishes:  # it was decided at the terminal
            return
        coordinator, name, told = self._wishes.pop(ticket)
        connection, request_id = self._asked.pop(ticket, (None, 0))
        if connection is None:
            return
        if error is not None:
            connection.answer(Answer(request_id, error=error, code="not_done", node=name))
        elif told:
            reply = msgspec.UNSET if answer.reply is None else msgspec.Raw(answer.reply)
            connection.answer(Answer(request_id, worker=name, reply=reply))
        else:
            found = {worker.name: worker for worker in coordinator.snapshot().workers}
            workers = [found[worker] for worker in meant(name, found)]
            activities = {worker.activity for worker in workers}
            activity = activities.pop() if len(activities) == 1 else "ready"
            if any(worker.awaited for worker in workers):
                activity = "starting"  # when somebody else starts it
            pid = None if activity in ("stopped", "starting") else coordinator.pid_of(name)
            connection.answer(Answer(request_id, worker=name, activity=activity, pid=pid))
        connection.done(ticket)

    def _decided(self, answer: Answered) -> None:
        """Tell whoever decided about an approval whether that counts."""
        approval = self._decisions.pop(answer.ticket)
        connection, request_id = self._asked.pop(answer.ticket, (None, 0))
        if connection is None:
            return
        if answer.error is not None:
            connection.answer(Answer(request_id, error=answer.error, code=answer.code, approval=approval))
        else:
            connection.answer(Answer(request_id, approval=approval))
        connection.done(answer.ticket)

    def tapped(self, messages: Sequence[Seen]) -> None:
        """Show them to who looks."""
        for connection in self._connections:
            if connection.tail:
                connection.show(messages)

    def observed(self, heard: Sequence[Heard]) -> None:
        """See ``coordinator.Client``. A service observes no ports; its clients tail channels."""

    def settled(self, tickets: Sequence[int]) -> None:
        """Tell the clients that nothing more will come of their inputs."""
        if self._keyed is not None:
            self._keyed.settled(tickets)
        for ticket in tickets:
            self._accept(ticket)
            connection, request_id = self._asked.pop(ticket, (None, 0))
            retried = self._retries.settled(ticket)
            if retried is not None:
                self._retried(*retried, partial(self._tell_retried, connection, request_id, ticket, *retried))
            elif connection is not None:
                connection.answer(Answer(request_id, settled=True))
                connection.done(ticket)

    def _retried(self, letter: int, came_of_it: Settlement, tell: Callable[[], None]) -> None:
        """A dead letter that was tried again has settled: if it is none any more, take it out before that is told."""
        self._noted(Note("info", "letter.retried", {"letter": letter, "came_of_it": came_of_it}))
        if came_of_it == "done":
            self.revived += self._letters.is_of_this_session(letter)
            self._letters.strike(letter, tell)
        else:
            tell()

    def _tell_retried(
        self, connection: Asker | None, request_id: int, ticket: int, letter: int, came_of_it: Settlement
    ) -> None:
        if connection is not None:
            connection.answer(Answer(request_id, settled=True, letter=letter, came_of_it=came_of_it))
            connection.done(ticket)

    # --- what clients ask for ---

    async def serve(self, coordinator: Coordinator, listener: trio.SocketListener) -> None:
        """Serve clients until cancelled."""

        async def handle(stream: trio.SocketStream) -> None:
            await self._handle(coordinator, Connection(stream))

        await trio.serve_listeners(handle, [listener])

    async def ask(self, coordinator: Coordinator, request: Request) -> Inquiry:
        """Do for somebody in this process what is asked on the socket, and return it when all is answered.

        Who does not wait so long is forgotten; what was asked for goes on.
        """
        inquiry = Inquiry()
        if request.do == "retry":
            await coordinator.wait_for_room()
        try:
            self._order(coordinator, inquiry, request)
            while inquiry.tickets:
                await inquiry.settled.wait()
        finally:
            for ticket in inquiry.tickets:
                self._asked.pop(ticket, None)
        return inquiry

    async def finish(self) -> None:
        """Give the clients what is still queued for them."""
        lookers = [connection for connection in self._connections if connection.tail]
        for connection in tuple(self._connections.difference(lookers)):
            await connection.wait_written()
        with trio.move_on_after(LAST_LOOK_S):
            for connection in lookers:
                await connection.wait_written()

    async def _handle(self, coordinator: Coordinator, connection: Connection) -> None:
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

    async def _read(self, coordinator: Coordinator, connection: Connection) -> None:
        splitter = LineSplitter()
        more = True
        while more:
            chunk = await connection.stream.receive_some()
            more = bool(chunk)
            try:
                for line in splitter.feed(chunk):
                    if line.strip():
                        request = read_request(line)
                        if request.do in ("send", "retry"):
                            await coordinator.wait_for_room()
                        if request.do == "send":
                            self._submit(coordinator, connection, request)
                        else:
                            self._order(coordinator, connection, request)
            except ValueRejected as error:
                connection.answer(Answer(error=f"cannot read the request: {error}", code="bad_request"))
                return

    def _order(self, coordinator: Coordinator, connection: Asker, request: Request) -> None:
        """Do what is no message."""
        if request.do == "status":
            connection.answer(Answer(request.id, status=self._status(coordinator)))
            return
        if request.do == "stuck":
            connection.answer(Answer(request.id, stuck=self._stuck(coordinator)))
            return
        if request.do == "approvals":
            connection.answer(Answer(request.id, approvals=self._approvals(coordinator)))
            return
        connection.answer(Answer(request.id, accepted=True))
        match request.do:
            case "drain":
                self._drain(request.grace_s)
            case "insist":
                self._insist()
            case "tail":
                assert isinstance(connection, Connection), "who looks on has to be written to"
                self._look_at(coordinator, connection, request)
            case "approve" | "deny":
                self._decide(coordinator, connection, request)
            case "retry":
                self._retry(coordinator, connection, request)
            case "tell":
                self._tell(coordinator, connection, request)
            case "stop" | "start" | "restart" as wish:
                self._wish(coordinator, connection, request, wish)

    def _look_at(self, coordinator: Coordinator, connection: Connection, request: Request) -> None:
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

    def _wish(self, coordinator: Coordinator, connection: Asker, request: Request, wish: Wish) -> None:
        if self._knows(connection, request):
            ticket = self._expect(connection, request.id)
            self._wishes[ticket] = coordinator, request.worker, False
            coordinator.ask(request.worker, wish, ticket)

    def _tell(self, coordinator: Coordinator, connection: Asker, request: Request) -> None:
        assert request.msg is not msgspec.UNSET
        payload = bytes(request.msg)
        if not _is_object(payload):  # a worker need not bear what is no JSON
            got = payload[:40].decode(errors="replace")
            text = f'a control message is an object, such as {{"pause": true}}; got {got}'
            connection.answer(Answer(request.id, error=text, code="bad_request"))
        elif self._knows(connection, request):
            ticket = self._expect(connection, request.id)
            self._wishes[ticket] = coordinator, request.worker, True
            coordinator.tell(request.worker, payload, ticket)

    def _decide(self, coordinator: Coordinator, connection: Asker, request: Request) -> None:
        ticket = self._expect(connection, request.id)
        self._decisions[ticket] = request.approval
        granted = request.do == "approve"
        coordinator.decide(
            request.approval, granted=granted, ticket=ticket, always=request.always, reason=request.reason
        )

    def _retry(self, coordinator: Coordinator, connection: Asker, request: Request) -> None:
        assert request.msg is not msgspec.UNSET
        if self._retries.taken(request.letter):
            text = f"dead letter {request.letter} is being tried again already, or is none any more"
            connection.answer(Answer(request.id, error=text, code="not_done", letter=request.letter))
        elif self._knows(connection, request):
            payload, ticket = bytes(request.msg), self._expect(connection, request.id)
            node = self._node_names[request.worker]  # whose letter it is again, if it is
            self._retries.begin(ticket, request.letter, node, payload)
            coordinator.retry(node, payload, ticket)

    def _knows(self, connection: Asker, request: Request) -> bool:
        """Whether there is such a worker; if not, say so."""
        names = known_names(worker.name for worker in self._plan.workers)
        if request.worker not in names:
            text = f"there is no worker '{request.worker}'; the workers are: {', '.join(names)}"
            connection.answer(Answer(request.id, error=text, code=UnknownName.code))
        return request.worker in names

    def _expect(self, connection: Asker, request_id: int) -> int:
        """Return a ticket by which a client's request is recognised when there is an answer."""
        self._ticket += 1
        self._asked[self._ticket] = (connection, request_id)
        connection.tickets.add(self._ticket)
        connection.settled = trio.Event()
        return self._ticket

    def _submit(self, coordinator: Coordinator, connection: Connection, request: Request) -> None:
        assert request.msg is not msgspec.UNSET
        port = request.port or (self._inputs[0] if len(self._inputs) == 1 else "")
        wanted = ", ".join(self._inputs)
        if port not in self._inputs:
            text = f"there is no input '{port}'; the inputs are: {wanted}" if port else f"say which input: {wanted}"
            self._refuse(connection, request.id, text, "unknown_port")
        elif request.key and self._keyed is None:
            text = "a key needs a session that is kept: fabric up --session ID"
            self._refuse(connection, request.id, text, "not_kept")
        elif request.key and self._keyed is not None and (came := self._keyed.find(request.key)) is not None:
            self._answer_again(connection, request, port, came)
        else:
            self._taken[port] += 1
            ticket, payload = self._expect(connection, request.id), bytes(request.msg)
            if request.key and self._keyed is not None:
                self._keyed.add(request.key, ticket, port, payload)
            self._accepting[ticket] = [partial(connection.answer, Answer(request.id, accepted=True))]
            coordinator.submit(
                port, [(ticket, payload)], (request.key,) if request.key else (), partial(self._accept, ticket)
            )

    def _accept(self, ticket: int) -> None:
        """A message cannot be lost any more, or is refused: tell its clients so, before all that comes of it."""
        for tell in self._accepting.pop(ticket, ()):
            tell()

    def _refuse(self, connection: Connection, request_id: int, text: str, code: str) -> None:
        connection.answer(Answer(request_id, accepted=True))
        connection.answer(Answer(request_id, error=text, code=code))
        connection.answer(Answer(request_id, settled=True))

    def _answer_again(self, connection: Connection, request: Request, port: str, came: Came) -> None:
        """Answer to a message that was given before: what came of it, and from now on what still comes."""
        assert request.msg is not msgspec.UNSET
        if not came.is_of(port, bytes(request.msg)):
            text = f"key {request.key!r} is that of another message: each message has a key of its own"
            self._refuse(connection, request.id, text, "other_message")
            return
        if came.outputs is None:
            text = f"the message with key {request.key!r} is done, and what came of it is not kept any more"
            self._refuse(connection, request.id, text, "done_before")
            return
        accepted = Answer(request.id, accepted=True)
        if came.ticket in self._accepting:  # the first attempt is not durable yet, so neither is this one
            self._accepting[came.ticket].append(partial(connection.answer, accepted))
            self._take_over(came.ticket, connection, request.id)
            return
        connection.answer(accepted)
        for output in came.outputs:
            connection.answer(Answer(request.id, port=output.port, output=msgspec.Raw(output.payload)))
        if came.settled:
            connection.answer(Answer(request.id, settled=True))
        else:
            self._take_over(came.ticket, connection, request.id)

    def _take_over(self, ticket: int, connection: Connection, request_id: int) -> None:
        """Whoever asked for this before is not waited for any more."""
        before, _ = self._asked.pop(ticket, (None, 0))
        if before is not None:
            before.done(ticket)
        self._asked[ticket] = (connection, request_id)
        connection.tickets.add(ticket)
        connection.settled = trio.Event()

    # --- how things stand ---

    def _status(self, coordinator: Coordinator) -> Status:
        snapshot = coordinator.snapshot()
        now_s = coordinator.now_s
        callers = {caller for caller, _ in snapshot.calls} | {approval.worker for approval in snapshot.approvals}
        callers |= set(snapshot.budget.waiting if snapshot.budget is not None else ())
        workers = tuple(
            WorkerStatus(
                **msgspec.structs.asdict(worker),
                still_s=now_s - worker.moved_s,
                waits_on=waits_on(self._plan, snapshot, worker.name)
                if worker.activity == "ready" or worker.name in callers
                else (),
                oldest_age_s=None if worker.oldest_s is None else now_s - worker.oldest_s,
                starts_in_s=None if worker.starts_at_s is None else max(0.0, worker.starts_at_s - now_s),
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
            dead_lettered=snapshot.dead_lettered - self.revived,
            unpaired=snapshot.unpaired,
            called=snapshot.called,
            calls_failed=snapshot.calls_failed,
            rejected=snapshot.rejected,
            channels={name: sum(snapshot.arrived[sink] for sink in sinks) for name, sinks in self._channels.items()},
            ports={f"{end.node}.{end.port}": count for end, count in flows(self._plan, snapshot).items()},
            monitors=snapshot.monitors,
            usage=snapshot.usage,
            budget=snapshot.budget,
            queues=tuple(
                QueueStatus(
                    **msgspec.structs.asdict(queue),
                    oldest_age_s=None if queue.oldest_s is None else now_s - queue.oldest_s,
                )
                for queue in snapshot.queues
            ),
            priced_by=self._prices.source if self._prices is not None and snapshot.usage else "",
        )

    def _approvals(self, coordinator: Coordinator) -> tuple[PendingApproval, ...]:
        """Return what waits for approval."""
        now_s = coordinator.now_s
        return tuple(
            PendingApproval(
                approval.id,
                approval.worker,
                approval.tool,
                approval.arguments,
                approval.size_bytes,
                approval.digest,
                age_s=round(now_s - approval.asked_s, 3),
                expires_in_s=round(max(0.0, approval.expires_s - now_s), 3),
                in_doubt=approval.in_doubt,
            )
            for approval in coordinator.snapshot().approvals
        )

    def _stuck(self, coordinator: Coordinator) -> tuple[Chain, ...]:
        """Return why messages do not move, also those that have left the graph and that nobody reads."""
        now_s = trio.current_time()
        quiet_s = {port: now_s - at_s for port, at_s in self._given_s.items()}
        chains = why_stuck(self._plan, coordinator.snapshot(), coordinator.now_s, quiet_s)
        unread = [
            _of_client(connection.unread_outputs, connection.unread_bytes, now_s - connection.waits_since_s)
            for connection in self._connections
            if connection.unread_outputs and connection.waits_since_s is not None
        ]
        return (*chains, *(Chain((link,)) for link in unread))


def _is_object(payload: bytes) -> bool:
    try:
        return isinstance(decode_json(payload), dict)
    except ValueRejected:
        return False


def _of_client(outputs: int, size_bytes: int, for_s: float) -> Link:
    text = f"a client has not read its {outputs} output{'s' * (outputs != 1)} ({size_bytes} bytes) for {for_s:.0f} s"
    return Link("client", "", text, "unread", outputs, round(for_s, 3))
