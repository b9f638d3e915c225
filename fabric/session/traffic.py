"""The messages of a session: in, along their routes, to the workers and back, out.

A message enters, takes its route (one compiled function, ``morphisms``) and ends in sinks: a worker's queue, a slot of
a barrier, a merge that cuts a loop, the monitor of a session wire, or the boundary. What workers answer takes the next
route, when it is committed. Steps that need no worker are done at once, feedback before new input, but only so many in
one go, so that a loop that never ends can still be stopped.

What this knows of a worker is what it may be given. Its life, and what has ended, are the session's matter.
"""

from __future__ import annotations

__all__ = ["INFLIGHT_MAX", "LOOP_MESSAGES_MAX", "STEPS_PER_EVENT_MAX", "Traffic"]

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from fabric.errors import ValueRejected
from fabric.graph.ir import MONITORED, End
from fabric.lang.typed import Way
from fabric.plan.plan import Plan, Route, Sink, sinks_of
from fabric.session.calls import Calls
from fabric.session.delivery import Message, Trace, Unacked
from fabric.session.entrance import Entrance
from fabric.session.events import (
    Answered,
    Buried,
    DeadLetter,
    DeathCause,
    Input,
    Level,
    LossReport,
    Output,
    Refuse,
    Send,
)
from fabric.session.failure import Failure, name_of
from fabric.session.figures import Figures, Look, Places
from fabric.session.flow_control import FlowControl
from fabric.session.loop_entry import LoopEntry
from fabric.session.losses import Losses
from fabric.session.monitor import Monitor, Passed, Swallowed, Violation
from fabric.session.morphisms import RouteError
from fabric.session.nodes import NodeState
from fabric.session.outbox import Outbox
from fabric.session.pairing import Pairing
from fabric.session.routes import (
    CompiledRoute,
    Ends,
    Put,
    observed_sources,
    passing_through,
    repeating_sinks,
    sinks_behind,
)
from fabric.session.settings import Settings
from fabric.session.snapshot import Snapshot
from fabric.session.spans import NO_SPANS, Spans, TracedTraces
from fabric.session.traces import Traces
from fabric.session.worker_state import WorkerState
from fabric.wire.codec import PAYLOAD_BYTES_MAX
from fabric.wire.frame import Provenance
from fabric.wire.payload import validator

STEPS_PER_EVENT_MAX = 1_000
"""Routes taken before the session lets others have their turn: some milliseconds."""

INFLIGHT_MAX = 1_000
"""Messages at or before workers beyond which no new input is taken. What comes out of workers is always taken: with
every queue bounded a loop could deadlock."""

LOOP_MESSAGES_MAX = 10_000
"""Messages inside a loop beyond which it is taken for an amplifier: one that makes more than it consumes."""


class Traffic:
    """The messages of one session.

    Args:
        plan: what runs.
        routes: of the plan, compiled, by source.
        nodes: that workers run, by name.
        out: where commands go.
        rng: source of trace and span ids.
        calls: of tools.
        closed: tells of a merge whether it has closed.
        fail: called when the session cannot go on; :meth:`stop` is expected to follow.
        settings: bounds and policy.
        spans: tell of messages, if anybody wants that.
        traces: make the messages; ``None``: as always.

    Attributes:
        entrance: the inputs of the boundary.
        losses: what did not come out.
        refused_any: whether a message was refused that could have been answered.
        closed_because: why no input is taken any more, in words, when none is.
    """

    def __init__(
        self,
        plan: Plan,
        routes: Mapping[End, CompiledRoute],
        nodes: Mapping[str, NodeState],
        out: Outbox,
        rng: random.Random,
        *,
        calls: Calls,
        closed: Callable[[str], bool],
        fail: Callable[[Failure], None],
        settings: Settings,
        spans: Spans = NO_SPANS,
        traces: Traces | None = None,
    ) -> None:
        self.entrance = Entrance(plan.inputs)
        self.losses = Losses()
        self.refused_any = False
        self.closed_because = "the session takes no more input"
        self._plan = plan
        self._routes = routes
        self._nodes = nodes
        self._node_names = {worker.name: node.name for node in nodes.values() for worker in node.workers}
        self._node_names |= {name: name for name in nodes}
        self._out = out
        self._traces = traces or (TracedTraces(rng, spans) if spans.wanted else Traces(rng))
        self._spans = spans
        self._calls = calls
        self._closed = closed
        self._fail = fail
        self._settings = settings
        self._entries = {port: routes[End(node, port)] for port, node in plan.inputs.items()}
        self._observed = observed_sources(plan)
        in_graph = plan.graph.nodes.values()
        self._pairing = Pairing(plan, self._traces, self.losses, out, go_on=self._appeared, moved=self._fired)
        self._monitors = {node.id: Monitor(node.wire) for node in in_graph if node.wire is not None}
        self._to_feed: dict[str, NodeState] = {}
        self._flow = FlowControl(plan, nodes, self._pairing.barriers, settings.queue, self._feed_node)
        self._looping = {node for component in plan.components if component.loop for node in component.nodes}
        way_to = {index: route for route in routes.values() for index in sinks_of(route.route.steps)}
        self._repeating = repeating_sinks(plan)
        self._ends = Ends(self._entering(index, sink, way_to[index]) for index, sink in enumerate(plan.sinks))
        self._through = frozenset() if spans.wanted else passing_through(plan)
        self._places = Places(plan, {index: self._places_of(sink) for index, sink in enumerate(plan.sinks)})
        self._ports = [plan.outputs.get(sink.end.node, "") for sink in plan.sinks]
        self._work: deque[tuple[End, Message]] = deque()
        self._inflight = 0
        self._rested: set[str] = set(nodes) | set(self._pairing.barriers)
        self._stopped = self._took_in = False
        self._late: list[int] = []

    # --- how it stands ---

    @property
    def waits(self) -> bool:
        """Whether something is to be done that needs no worker: :meth:`advance`."""
        return bool(self._work or self._pairing.bereaved or self._flow.admitting or self.entrance.waiting)

    @property
    def full(self) -> bool:
        """Whether so much is under way that no new input should come, unless that is all that could still come."""
        full = self._inflight >= INFLIGHT_MAX or self._flow.full
        return full and not self._flow.waits_for_partners

    def starved(self, barrier: str) -> frozenset[str]:
        """Return the inputs of a barrier on which nothing waits."""
        return self._pairing.barriers[barrier].starved

    def unfinished(self) -> dict[str, str]:
        """Return what is to be said next on each session wire on which a conversation is under way, in words."""
        return {name: text for name, monitor in self._monitors.items() if (text := monitor.waits_for)}

    def snapshot(self) -> Snapshot:
        """Return how the session stands."""
        return Snapshot(
            workers=tuple(worker for node in self._nodes.values() for worker in node.snapshots),
            queues=tuple(queue for node in self._nodes.values() if (queue := node.queue) is not None),
            barriers={name: barrier.slots for name, barrier in self._pairing.barriers.items()},
            lost=self.losses.lost,
            dead_lettered=self.losses.dead_lettered,
            unpaired=self.losses.unpaired,
            entering=self._flow.entering,
            taken=tuple(route.taken for route in self._routes.values()),
            arrived=tuple(self._ends.arrived),
            monitors=self.unfinished(),
            calls=self._calls.under_way,
            approvals=self._calls.approvals,
            called=self._calls.made,
            calls_failed=self._calls.failed,
            rejected=self.losses.rejected,
            barriers_since_s=self._pairing.since_s,
        )

    def figures(self, now_s: float) -> Figures:
        """Return what was counted of messages for whoever measures."""
        self._flow.now_s = now_s
        return Figures(
            tuple(self._ends.size_bytes), self._places.look(), self._flow.blocked_s, dict(self.losses.invalid)
        )

    def _places_of(self, sink: Sink) -> list[tuple[object, Look]]:
        """Return where messages wait that come to a sink."""
        if sink.kind == "barrier":
            return [(sink.end, self._pairing.barriers[sink.end.node].lines[sink.end.port].__iter__)]
        if sink.kind != "worker" or sink.end.port != "input":
            return []
        delivery = self._nodes[sink.end.node].delivery
        places: list[tuple[object, Look]] = [(delivery, delivery.messages)]
        if sink.entry:
            entry = self._flow.entries[sink.end.node]
            places.append((entry, entry.messages))
        return places

    def loss_report(self) -> LossReport:
        """Return what will not have come out if the session ends now."""
        left = len(self._work) + sum(node.waiting for node in self._nodes.values())
        left += self._pairing.waiting
        left += sum(self._flow.entering.values())
        return self.losses.report(left, tuple(self.unfinished().values()))

    # --- who has to wait ---

    def holds_back(self, node: NodeState) -> bool:
        """Whether a node is to get nothing now, because a place that its answers may come to is full."""
        return self._flow.holds_back(node)

    def took(self, worker: WorkerState, taken: list[Unacked]) -> None:
        """A worker is given some of what waited for it."""
        self._flow.took(self._node_of(worker))

    def relieved(self) -> NodeState | None:
        """Return a node that has to get something all the same, for otherwise nothing would ever move again."""
        return self._flow.relieved() if self.entrance.all_closed and not self.waits else None

    # --- what the session does with it ---

    def set_clock(self, now_s: float) -> None:
        """Say what time it is: messages that come into being from now on are so old."""
        self._traces.now_s = self._flow.now_s = now_s
        if self._spans.wanted:
            self._spans.now_s = now_s

    def tap(self, sinks: frozenset[int]) -> None:
        """Look at what comes to these sinks, and to no others."""
        self._ends.tap(sinks, self._out.show)
        self._through = frozenset() if self._spans.wanted else passing_through(self._plan, sinks)

    def advance(self) -> None:
        """Take the routes that are due, then new input; so many steps at most, or until :meth:`stop`."""
        for _ in range(STEPS_PER_EVENT_MAX):
            if self._stopped:
                return
            if self._work:
                source, message = self._work.popleft()
                self._travel(self._routes[source], message)
                self._traces.consume(message)
            elif self._pairing.bereaved:
                self._pairing.settle()
            elif self._flow.admitting:
                self._admit(next(iter(self._flow.admitting)))
            elif self.entrance.waiting:
                self._enter(*self.entrance.waiting.popleft())
            else:
                return

    def move_calls(self) -> None:
        """Answer the calls of which nothing is left, and let arguments enter tools."""
        for ticket in self._traces.take_settled_calls():
            self._calls.settled(ticket)
        for entering in self._calls.take_entering():
            caller, ticket, payload, origin = entering.caller, entering.ticket, entering.payload, entering.origin
            message = self._traces.called(caller, ticket, payload, origin, entering.key)
            self._work.append((entering.call, message))

    def declined(self, worker: WorkerState, message: Message, error: str) -> None:
        """A worker of a tool does not do a message."""
        if self._spans.wanted:
            self._spans.declined(worker.plan, message, error)
        if _of_call(message.tickets):
            self._calls.refused(message.traces[0].ticket, error)
        else:  # it is of no call: telemetry of another part of the tool, say
            self.losses.lost += 1
            self._out.note("warning", "message.rejected", node=worker.plan.node, code="declined", detail=error)

    def _admit(self, entry: LoopEntry) -> None:
        """Let a message into a loop, if there is room inside."""
        if not entry.admits:
            del self._flow.admitting[entry]
            return
        for put, message in entry.take():
            self._inflight -= 1
            put(message)
            self._traces.consume(message)
        self._flow.admitted(entry)
        self._rested.update(node.name for node in entry.nodes)

    def take_rested(self) -> list[str]:
        """Return the nodes that have nothing left to do and the barriers that fired, since the last time."""
        rested, self._rested = sorted(self._rested), set()
        return rested

    def take_to_feed(self) -> list[NodeState]:
        """Return the nodes for which there may be something to send, since the last time."""
        to_feed, self._to_feed = self._to_feed, {}
        return list(to_feed.values())

    def stop(self) -> None:
        """The session has failed: what is inside stays there, what waits to come in is refused."""
        self._out.deliver()
        self._out.tell(self._traces.take_settled())
        self._stopped = True
        self._refuse_entering()

    def tell(self) -> None:
        """Command what the client gets of an event."""
        if self._took_in:  # only then can it be input that has filled a place
            self._took_in = False
            self._flow.holds_back_input()
        settled = self._traces.take_settled()
        if self._stopped:  # what came out behind the failure is lost, so what it came of has not settled
            self.losses.lost += self._out.withhold()
            settled, self._late = self._late, []
        self._out.deliver()
        self._out.tell(settled)

    def close_barrier(self, barrier: str, *, for_now: bool) -> None:
        """A barrier will never fire again: report what is left in it.

        Args:
            barrier: its name.
            for_now: whether it might, had nobody ended the session before its time.
        """
        self._pairing.close(barrier)

    def close_merge(self, merge: str) -> None:
        """A ``merge_any`` passes on nothing any more."""

    def finished(self, exit_code: int) -> None:
        """All that came was done, and nothing more is to come."""

    def bad_input(self, detail: str, ticket: int) -> None:
        """Something came that is no message for any input."""
        self._refuse("input_type_mismatch", detail, "", (ticket,))
        self._traces.settled.append(ticket)

    # --- boundary ---

    def take_in(self, event: Input) -> None:
        """Messages come from outside."""
        self._took_in = True
        if event.port in self.entrance.closed:
            self.refuse_late(event.port, event.messages)
        elif event.port in self._through and not self.entrance.waiting:
            self._pass_through(event)
        else:
            self.entrance.queue(event.port, event.messages)

    def refuse_late(self, port: str, messages: Sequence[tuple[int, bytes]]) -> None:
        """Messages come when none is taken any more."""
        for ticket, _ in messages:
            self._out.do(Refuse("input_closed", self.closed_because, port, (ticket,)))
            (self._late if self._stopped else self._traces.settled).append(ticket)

    def _enter(self, port: str, ticket: int, payload: bytes) -> None:
        message = self._traces.enter(port, ticket, payload)
        self._travel(self._entries[port], message)
        self._traces.consume(message)

    def _pass_through(self, event: Input) -> None:
        """Take messages from the boundary to the boundary: nobody counts what is never inside."""
        way = self._entries[event.port]
        way.taken += len(event.messages)
        take, ports, deliver = way.take, self._ports, self._out.outputs.append
        arrived, size_bytes = self._ends.arrived, self._ends.size_bytes

        def emit(index: int, payload: bytes, tickets: tuple[int]) -> None:
            arrived[index] += 1
            size_bytes[index] += len(payload)
            deliver(Output(ports[index], payload, tickets))

        for number, (ticket, payload) in enumerate(event.messages):
            try:
                take(payload, emit, (ticket,))
            except RouteError as error:
                self._refused_on_route(error, way.route, (ticket,))
                if event.port in self.entrance.closed:  # the rest comes too late
                    self._traces.settled.append(ticket)
                    self.refuse_late(event.port, event.messages[number + 1 :])
                    return
            self._traces.settled.append(ticket)

    def _refuse_entering(self) -> None:
        for port, ticket, payload in self.entrance.take_waiting():
            self.refuse_late(port, [(ticket, payload)])

    def _refuse(self, code: str, detail: str, node: str, tickets: tuple[int, ...]) -> None:
        if _of_call(tickets):
            self._calls.refused(tickets[0], detail)
            return
        self.refused_any = True
        self._out.note("warning", "message.rejected", node=node, code=code, detail=detail)
        self._out.do(Refuse(code, detail, node, tickets))
        if self._settings.refusal_ends:
            self.entrance.close()
            self._refuse_entering()

    # --- on the way ---

    def _travel(self, way: CompiledRoute, message: Message) -> None:
        """Send a message along its route."""
        way.taken += 1
        try:
            way.take(message.payload, self._emit, message)
        except RouteError as error:
            self._refused_on_route(error, way.route, message.tickets, message.traces)

    def _emit(self, index: int, payload: bytes, message: Message) -> None:
        """A message has come to the end of its route, as it was or as what became of it."""
        if payload is not message.payload:
            message = self._traces.changed(message, payload)
        ends = self._ends
        ends.arrived[index] += 1
        ends.size_bytes[index] += len(payload)
        ends.put[index](message)

    def _refused_on_route(
        self, error: RouteError, route: Route, tickets: tuple[int, ...], traces: tuple[Trace, ...] = ()
    ) -> None:
        if route.source in self._observed:  # who only looks on refuses nothing
            source = route.source
            self._out.note(
                "warning", "observed.malformed", worker=source.node, port=source.port, detail=str(error.cause)
            )
            return
        violation = self._broken_by(error, route)
        if violation is not None:
            self._violated(violation)
            return
        if _of_call(tickets):
            is_argument = self._plan.graph.nodes[error.node].kind == "call"
            where = "arguments" if is_argument else f"'{error.node}'"
            self._calls.refused(tickets[0], f"{where}: {error.cause}")
            return
        at_source = error.node == route.source.node
        entering = at_source and self._plan.graph.nodes[route.source.node].kind == "input"
        if not isinstance(error.cause, ValueRejected):
            code = "expr_eval"
        else:
            code = "input_type_mismatch" if entering else "output_type_mismatch"
        self.losses.invalid[route.source, code] += 1
        if code != "input_type_mismatch":  # that one never came in
            self.losses.lost += 1
        node = route.source.port if entering else error.node
        self._refuse(code, str(error.cause), node, tickets)
        self._pairing.died_before(sinks_behind(route, error.node), traces)

    def _put_of(self, sink: Sink) -> Put:
        """Return what puts a message where its route ends."""
        match sink.kind:
            case "output" if sink.end.node in self._plan.extras:
                return partial(self._out.hear, self._plan.extras[sink.end.node])
            case "output":
                return partial(self._out.leave, self._plan.outputs[sink.end.node])
            case "merge":
                return partial(self._arrive_at_merge, sink.end)
            case "result":
                return lambda message: self._calls.came(message.tickets, message.payload)
            case "barrier":
                return partial(self._arrive_at_barrier, sink.end)
            case "monitor":
                way, output = MONITORED[sink.end.port]
                return partial(self._arrive_at_monitor, self._monitors[sink.end.node], way, End(sink.end.node, output))
        node = self._nodes[sink.end.node]
        if sink.end.port == "input":
            return partial(self._offer, node) if node.loop else self._queue_of(node)
        return partial(self._control, node)

    def _arrive_at_merge(self, end: End, message: Message) -> None:
        if self._closed(end.node):  # only a merge_any closes while something may still come
            self._out.note("info", "message.forgotten", node=end.node)
            return
        self._traces.appear(message)
        self._work.append((end, message))
        if end.node in self._looping and len(self._work) > LOOP_MESSAGES_MAX:
            self._amplified(end.node)

    def _entering(self, index: int, sink: Sink, way: CompiledRoute) -> Put:
        """Return what puts a message where its route ends, or before the loop that it has to enter first."""
        put = self._put_of(sink)
        if sink.entry:
            put = partial(self._arrive_before_loop, self._flow.entries[sink.end.node], way, put)
        return partial(self._put_again, put) if index in self._repeating else put

    def _put_again(self, put: Put, message: Message) -> None:
        """Put a message where it comes on another way, too: it is another one there."""
        put(self._traces.changed(message, message.payload))

    def _arrive_before_loop(self, entry: LoopEntry, way: CompiledRoute, put: Put, message: Message) -> None:
        if self._flow.is_full_before(entry) and self._overflows(entry.nodes[0].name, message):
            return
        self._traces.appear(message)
        self._inflight += 1
        entry.put((way, way.taken), put, message)
        self._flow.admitting[entry] = None

    def _overflows(self, worker: str, message: Message) -> bool:
        """Whether a message is a dead letter, since nobody waits for room where it would have to wait."""
        if self._settings.policy == "block":
            return False
        self._traces.appear(message)
        detail = f"{name_of(worker)} has {self._settings.queue} messages waiting for it already"
        self._bury(message, worker, "queue_full", detail)
        return True

    def _arrive_at_barrier(self, end: End, message: Message) -> None:
        if _of_call(message.tickets):
            self._pair_in_call(end, message)
        else:
            self._pairing.arrive(end, message)

    def _appeared(self, source: End, message: Message) -> None:
        """A message has come into being that needs no worker to go on."""
        self._work.append((source, message))

    def _fired(self, barrier: str) -> None:
        """Something has left a barrier."""
        self._rested.add(barrier)
        self._flow.paired(barrier)

    def _pair_in_call(self, end: End, message: Message) -> None:
        """A message of a call comes to a barrier of its tool. What waits there does not keep the call from its end."""
        ports = [port.name for port in self._plan.graph.nodes[end.node].inputs]
        parts = self._calls.barrier(message.tickets[0], end.node, ports).put(end.port, message)
        if parts:
            pair = self._traces.joined(parts, end.node)
            self._traces.appear(pair)
            self._work.append((End(end.node, "output"), pair))

    def _arrive_at_monitor(self, monitor: Monitor, way: Way, onward: End, message: Message) -> None:
        match monitor.take(way, message.payload):
            case Passed(payload):
                if payload is not message.payload:
                    message = self._traces.changed(message, payload)
                self._traces.appear(message)
                self._work.append((onward, message))
            case Swallowed():
                self._out.note("debug", "protocol.swallowed", node=onward.node)
            case Violation() as violation:
                self._violated(violation)

    def _broken_by(self, error: RouteError, route: Route) -> Violation | None:
        """Return what a refusal means for a session wire that the message was on, if it was: one end would wait.

        What comes from outside and is refused before the wire is not said yet: its client is told.
        """
        source = self._plan.graph.nodes[route.source.node]
        if source.kind == "monitor":
            way: Way = "there" if route.source.port == MONITORED["left"].output else "back"
            behind = sum(end.node == source.id for end, _ in self._work)  # passed on after it, and still here
            monitor = self._monitors[source.id]
            return monitor.refused(way, monitor.step - 1 - behind, str(error.cause))
        if source.kind in ("input", "call"):
            return None
        for index in sorted(sinks_behind(route, error.node)):
            sink = self._plan.sinks[index]
            if sink.kind == "monitor":
                monitor = self._monitors[sink.end.node]
                return monitor.missed(MONITORED[sink.end.port].way, str(error.cause))
        return None

    def _violated(self, violation: Violation) -> None:
        self.losses.lost += 1
        self._fail(Failure(1, "protocol_violation", violation.text))

    def _amplified(self, node: str) -> None:
        text = f"more than {LOOP_MESSAGES_MAX} messages are on the loop of '{node}': it makes more than it consumes"
        self._fail(Failure(1, "amplifying_loop", text))

    # --- to workers ---

    def _node_of(self, worker: WorkerState) -> NodeState:
        """Return the node that a worker runs."""
        return self._nodes[worker.plan.node]

    def _offer(self, node: NodeState, message: Message) -> None:
        if not self._fits(node.name, message):
            return
        full = node.takes_messages and not node.loop and self._flow.is_full(node.name)
        if full and self._overflows(node.name, message):
            return
        self._traces.appear(message)
        if not node.takes_messages:
            self._left(node, [message])
            return
        node.delivery.offer(message)
        self._inflight += 1
        if node.inside > LOOP_MESSAGES_MAX:
            self._amplified(node.name)
        self._to_feed[node.name] = node

    def _queue_of(self, node: NodeState) -> Put:
        """Return what :meth:`_offer` does for a node on no loop, with all that is known beforehand."""
        delivery = node.delivery
        taker = node if len(node.workers) > 1 else node.workers[0]
        queue = delivery.queue.append
        blocks = self._settings.policy == "block"

        def offer(message: Message) -> None:
            size_bytes = len(message.payload)
            if size_bytes > PAYLOAD_BYTES_MAX or not (blocks and taker.takes_messages):
                self._offer(node, message)
                return
            for trace in message.traces:
                trace.live += 1
            queue(message)
            delivery.size_bytes += size_bytes
            self._inflight += 1
            self._to_feed[node.name] = node

        return offer

    def _control(self, node: NodeState, message: Message) -> None:
        """Pass a message to ctrl_in. It is consumed there; what it brings about comes on ctrl_out as something new."""
        if self._fits(node.name, message):
            for worker in node.workers:
                self._control_one(worker, message)

    def _control_one(self, worker: WorkerState, message: Message) -> None:
        if not worker.takes_messages:
            self._out.note("info", "control.dropped", worker=worker.name)
            return
        if not worker.control.tell(message):
            self.losses.lost += 1
            self._out.note("warning", "control.dropped", worker=worker.name, reason="too many wait for it")
        self.send_control(worker)

    def send_control(self, worker: WorkerState) -> None:
        """Send the control messages that wait for a worker, if it is there."""
        frames, answered = worker.control.take()
        self.steered(worker)
        for raw in frames:
            self._out.do(Send(worker.name, "ctrl_in", raw))
        for ticket in answered:
            self._out.do(Answered(ticket))
        self.look_at(worker)  # unless it returns markers, that was it

    def give_up_control(self, worker: WorkerState) -> list[int]:
        """Nobody is there any more to be told something; return the tickets of who waits for a reply."""
        lost, tickets = worker.control.give_up()
        self.steered(worker)
        self.losses.dead_lettered += lost
        self.look_at(worker)
        return tickets

    def order(self, worker: WorkerState, payload: bytes, ticket: int) -> None:
        """An operator has a control message for a worker."""
        worker.control.ask(payload, ticket)
        self.send_control(worker)

    def steered(self, worker: WorkerState, done: int = 0) -> None:
        """Nothing more will come of some control messages.

        Args:
            worker: for which they were.
            done: the number of one that was done as well; 0: there is none.
        """
        worker.control.over.clear()

    def remembered(self, worker: WorkerState, dump: bytes) -> None:
        """An agent says what it remembers."""
        if worker.recollection is not None:
            worker.recollection.dumped(dump)

    def forgotten(self, worker: WorkerState) -> None:
        """A worker is started anew by hand."""

    def retry(self, name: str, payload: bytes, ticket: int) -> None:
        """Give a node a message that was a dead letter, or what somebody made of one.

        Args:
            name: of the node, or of one of its replicas: any of them may take it.
            payload: the message.
            ticket: by which it is known.
        """
        name = self._node_names[name]
        node = self._nodes[name]
        message = self._traces.enter(name, ticket, payload)
        try:
            _, payload = validator(node.plan.spec.input).check(payload)
        except ValueRejected as error:
            self._refuse("input_type_mismatch", str(error), name, (ticket,))
        else:
            self._pairing.alone(name, message.traces)
            self._offer(node, self._traces.changed(message, payload))
        self._traces.consume(message)

    def _fits(self, node: str, message: Message) -> bool:
        """Whether a frame can hold the message; one that is too large is refused."""
        if len(message.payload) <= PAYLOAD_BYTES_MAX:
            return True
        self.losses.invalid[End(node, "input"), "too_large"] += 1
        self.losses.lost += not _of_call(message.tickets)  # whose caller is told
        detail = f"{len(message.payload)} bytes; a worker's message has at most {PAYLOAD_BYTES_MAX}"
        self._refuse("too_large", detail, node, message.tickets)
        return False

    def _left(self, node: NodeState, messages: Iterable[Message]) -> None:
        """A node takes no messages any more."""
        cause: DeathCause = "worker_stopped" if node.abandoned else "worker_ended"
        detail = f"{name_of(node.name)} {'was stopped' if node.abandoned else 'has ended'}"
        for message in messages:
            level: Level = "warning" if node.left_messages else "error"  # the first is told, the others counted
            node.left_messages = True
            self._bury(message, node.name, cause, detail, level=level)

    def _bury(
        self,
        message: Message,
        worker: str,
        cause: DeathCause,
        detail: str,
        *,
        attempts: int = 0,
        stderr: tuple[str, ...] = (),
        level: Level = "error",
    ) -> None:
        self._write_letter(message, worker, cause, detail, attempts=attempts, stderr=stderr, level=level)
        self._traces.consume(message)

    def _write_letter(
        self,
        message: Message,
        worker: str,
        cause: DeathCause,
        detail: str,
        *,
        attempts: int = 0,
        stderr: tuple[str, ...] = (),
        level: Level = "error",
    ) -> None:
        if self._spans.wanted:
            self._spans.buried(self._nodes[worker].plan, message, detail)
        if _of_call(message.tickets):  # whose caller is told: nothing is lost
            self._calls.refused(message.tickets[0], detail)
            return
        self.losses.dead_lettered += 1
        inputs = list(message.tickets)
        self._out.note(level, "message.dead_lettered", worker=worker, reason=cause, detail=detail, inputs=inputs)
        died = worker, message.payload, cause, detail, attempts, stderr, message.trace_id, message.tickets
        self._out.do(Buried(DeadLetter(*died, self._recorded_as())))
        if message.traces:
            self._out.do(Refuse("dead_lettered", detail, worker, message.tickets))
        self._pairing.died_at(worker, message.traces)

    def _recorded_as(self) -> tuple[str, int] | None:
        """Return the durable session and the entry by which something happens."""
        return None

    def poisoned(
        self, worker: WorkerState, message: Message, detail: str, attempts: int, stderr: tuple[str, ...]
    ) -> None:
        """A worker died of a message again and again, or says that it cannot do it."""
        turned = worker.delivery.remove(message)
        self._inflight -= 1
        self._rest(worker)
        self._bury(message, worker.plan.node, "poison", detail, attempts=attempts, stderr=stderr)
        self.pass_on_all(worker, turned)

    def _unpaid(self, worker: WorkerState, message: Message, declined: str) -> None:
        """A worker has declined a message, for which the budget had no call of a model."""
        detail = f"{name_of(worker.name)} has no call of its model for it: {declined}"
        self._write_letter(message, worker.plan.node, "budget", detail, level="warning")

    def feed(self, worker: WorkerState) -> None:
        """There may be something to send to a worker, or room for it: see :meth:`take_to_feed`."""
        self._feed_node(self._node_of(worker))

    def _feed_node(self, node: NodeState) -> None:
        self._to_feed[node.name] = node

    def _rest(self, worker: WorkerState) -> None:
        """Something of a worker is gone: perhaps that was the last, and there is room."""
        node = self._node_of(worker)
        self._rested.add(node.name)
        self._flow.done(node)

    def leave_behind(self, worker: WorkerState) -> None:
        """A worker has ended its output by itself: its last outputs stand, what it leaves behind is a dead letter.

        Unless other replicas are there, which get that.
        """
        node = self._node_of(worker)
        committed, left = node.leave(worker)
        node.left_messages = bool(left)
        self._out.note("error" if left else "info", "worker.left", worker=worker.name, messages_left=len(left))
        self._leave(worker, committed, left)

    def abandon(self, worker: WorkerState) -> None:
        """Nobody will start a worker any more: what waits for it is a dead letter, unless others take it."""
        worker.abandoned = True
        self._leave(worker, *self._node_of(worker).leave(worker))

    def _leave(self, worker: WorkerState, committed: list[Unacked], left: list[Message]) -> None:
        self._inflight -= len(left)
        self._rest(worker)
        self._flow.took(self._node_of(worker))
        self.pass_on_all(worker, committed)
        self._left(self._node_of(worker), left)

    def give_up(self, worker: WorkerState) -> None:
        """What a worker had and did not acknowledge must not happen twice: it is lost. It may have been the last."""
        for message in worker.delivery.give_up():
            self.losses.lost += 1
            self._inflight -= 1
            self._out.note("error", "message.lost", worker=worker.name, reason="worker_ended")
            if self._spans.wanted:
                self._spans.buried(worker.plan, message, "its worker is gone, and may have done it")
            self._traces.consume(message)
        self._rest(worker)

    # --- from workers ---

    def pass_on_all(self, worker: WorkerState, committed: list[Unacked]) -> None:
        """Pass on messages that are done, in order. Of several replicas each may have done some of them.

        Args:
            worker: that was heard, or is gone, so that these may go on.
            committed: what may.
        """
        node = self._nodes[worker.plan.node]
        if not committed:
            if len(node.workers) > 1:  # it waits for its turn, but there is room
                self._feed_node(node)
            return
        replicas = {one.name: one for one in node.workers} if len(node.workers) > 1 else None
        if self._spans.wanted:  # before what was made goes on
            for unacked in committed:
                self._committed(worker if replicas is None else replicas[unacked.worker], unacked)
        way, now_s = worker.ways.get("output"), self._traces.now_s
        for unacked in committed:
            if replicas is not None:
                worker = replicas[unacked.worker]
            if unacked.declined:
                self._unpaid(worker, unacked.message, unacked.declined)
            if worker.wired:
                self._pass_on_held(worker, unacked)
            elif way is not None:
                cause = unacked.message
                for _, payload, span in unacked.outputs:
                    way.taken += 1
                    span_id = span or self._traces.new_span()
                    message = Message(payload, cause.traces, cause.trace_id, span_id, cause.span_id, node.name, now_s)
                    try:
                        way.take(payload, self._emit, message)
                    except RouteError as error:
                        self._refused_on_route(error, way.route, message.tickets, message.traces)
            if worker.recollection is not None and worker.remembers:  # else nobody would ever ask for it
                outputs = [payload for port, payload, _ in unacked.outputs if port == "output"]
                worker.recollection.committed(unacked.message.payload, outputs)
            self._traces.consume(unacked.message)
        self._inflight -= len(committed)
        self._flow.done(node)
        if worker.plan.release_early and (leading := node.leading) is not None:  # what it has said so far may go on
            self._pass_on_held(worker, leading)
            leading.outputs, leading.size_bytes = [], 0
        if node.idle:
            self._rested.add(node.name)

    def look_at(self, worker: WorkerState) -> None:
        """A worker may have nothing left to do: see :meth:`take_rested`."""
        node = self._node_of(worker)
        if node.idle:
            self._rested.add(node.name)

    def reconsider(self, worker: WorkerState) -> None:
        """A worker is not there as it was: it may have nothing left to do, and other replicas more."""
        node = self._node_of(worker)
        if node.idle:
            self._rested.add(node.name)
        if len(node.workers) > 1:
            self._feed_node(node)

    def _pass_on_held(self, worker: WorkerState, unacked: Unacked) -> None:
        """Pass on what was held back: what came on ``output`` first, whichever socket was faster."""
        outputs = unacked.outputs
        if worker.wired:
            outputs = sorted(outputs, key=lambda held: held[0] != "output")
        for port, payload, span_id in outputs:
            self.pass_on(worker, unacked.message, port, payload, span_id)

    def pass_on(self, worker: WorkerState, cause: Message, port: str, payload: bytes, span: bytes | None) -> None:
        """Pass on one outcome of a message."""
        way = worker.ways.get(port)
        if way is not None:
            self._travel(way, self._traces.outcome(cause, worker.plan.node, payload, span))

    def spontaneous(
        self, worker: WorkerState, port: str, payload: bytes, span: bytes | None, *, answers: int = 0
    ) -> None:
        """Send on what no input brought about, such as a control reply. It belongs to no input's trace.

        Args:
            worker, port: where it comes from.
            payload: JSON text.
            span: its id, if it brought one.
            answers: the number of the control message to which it is a reply; 0: to none.
        """
        message = self._traces.spontaneous(worker.plan.node, payload, span)
        if self._spans.wanted and port in worker.wired:
            self._spans.reported(message, port)
        self._travel(worker.ways[port], message)

    def origin_of(self, worker: WorkerState, said: Provenance | None) -> Provenance:
        """Return where a call of a worker comes from.

        Args:
            worker: the caller.
            said: by its request. It counts as far as it names a message that the worker has; otherwise that is the one
                that it should be at.
        """
        oldest = worker.delivery.oldest
        cause = None if oldest is None else oldest.message
        if said is None:
            return self._traces.request(cause, None)
        return self._traces.request(worker.delivery.given(said.parents[:8]) or cause, said.span_id)

    def _committed(self, worker: WorkerState, unacked: Unacked) -> None:
        """Let spans tell of what a worker has done."""
        self._spans.committed(worker.plan, unacked, told=worker.delivery.has_told_of(unacked, "telemetry"))


def _of_call(tickets: tuple[int, ...]) -> bool:
    """Whether a message belongs to a call of a tool, and to nothing else: what a tool is made of is wired to itself."""
    return bool(tickets) and tickets[0] < 0
