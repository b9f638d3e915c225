"""One running session: every event in, the commands that follow out.

The session holds the messages. A message enters, takes its route (one compiled function, ``morphisms``) and ends in
sinks: a worker's queue, a slot of a barrier, a merge that cuts a loop, or the boundary. What workers answer takes the
next route, when it is committed. Steps that need no worker are done at once, feedback before new input, but at most
``STEPS_PER_EVENT_MAX`` in one go, so that a loop that never ends can still be stopped.

The machines it asks know nothing of each other: :class:`Startup` and :class:`Shutdown` for one worker's life,
:class:`Delivery` for one edge, :class:`Barrier` for one barrier, :class:`Monitor` for one session wire, :class:`Drain`
for what has ended.

Once the session has failed it only waits for its workers to be gone: no message moves any more, so that what it then
reports as lost is lost.
"""

from __future__ import annotations

__all__ = ["Session", "Settings"]

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec

from fabric.errors import RemoteProtocolError, ValueRejected
from fabric.graph.ir import MONITORED, End
from fabric.lang.typed import Way
from fabric.plan.plan import Plan, Route, Sink, WorkerPlan, sinks_of
from fabric.session.barriers import Barrier
from fabric.session.control_edge import WAITING_MAX, ControlEdge
from fabric.session.delivery import Delivery, Message, Trace, Unacked
from fabric.session.drain import Drain, Ending
from fabric.session.events import (
    Answered,
    Asked,
    BadInput,
    Command,
    Continue,
    Deliver,
    Event,
    Exited,
    Finish,
    Frames,
    Heard,
    Input,
    InputClosed,
    Interrupted,
    Launched,
    LaunchFailed,
    Level,
    LossReport,
    Note,
    Observed,
    Opened,
    Output,
    OutputBroken,
    Refuse,
    Release,
    Seen,
    Send,
    Settled,
    Signal,
    Start,
    Tap,
    Tapped,
    TimerFired,
    Wish,
)
from fabric.session.failure import Failure, describe_exit, name_of
from fabric.session.monitor import Monitor, Passed, Swallowed, Violation
from fabric.session.morphisms import RouteError, compile_route
from fabric.session.shutdown import Shutdown
from fabric.session.snapshot import Activity, Snapshot, WorkerSnapshot, activity
from fabric.session.startup import PROBE, Startup
from fabric.wire.codec import (
    BATCH_START,
    PARENTS_MAX,
    PAYLOAD_BYTES_MAX,
    decode,
    encode,
    encode_batch,
    encode_traced,
    is_batch,
    join,
    split,
)
from fabric.wire.control import BATCHES, MARK_ALL_PORTS, parse_ready, paused_by
from fabric.wire.frame import Data, Eof, Marker
from fabric.wire.lifecycle import Life, State, Step

STEPS_PER_EVENT_MAX = 1_000
"""Routes taken before the session lets others have their turn: some milliseconds."""

INFLIGHT_MAX = 1_000
"""Messages at or before workers beyond which no new input is taken. What comes out of workers is always taken: with
every queue bounded a loop could deadlock."""

LOOP_ADMITTED_MAX = 16
"""Messages inside a loop beyond which none is let in from outside. Those inside would starve, or fill the memory."""

LOOP_MESSAGES_MAX = 10_000
"""Messages inside a loop beyond which it is taken for an amplifier: one that makes more than it consumes."""

MALFORMED_NOTE_S = 1.0
"""Malformed frames of one worker and reason are logged once in so many seconds; each is counted."""

_FORCED = Failure(0, "stopped", "ended by force before everything was done")


class Settings(msgspec.Struct, frozen=True):
    """How a session is run.

    Attributes:
        ready_timeout_s: from a worker's launch to the return of its probe.
        grace_s: silence after which a worker that was asked for an end is terminated, and after as much again killed.
        refusal_ends: whether the first message that is refused ends the input, and makes the exit code 1.
    """

    ready_timeout_s: float = 30.0
    grace_s: float = 10.0
    refusal_ends: bool = False


class _Way:
    """A route and its function; ``taken`` counts the messages that took it."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.taken = 0
        self.take = compile_route(route)


class _Worker:
    """One worker: the machines of its life and of its edge."""

    def __init__(self, plan: WorkerPlan, settings: Settings, ways: dict[str, _Way], observed: frozenset[str]) -> None:
        self.plan = plan
        self.name = plan.name
        self.ways = ways
        self.wired = frozenset(ways) - {"output"} - observed  # to look at a port delays nothing
        self.control = ControlEdge(plan.name)
        self.input_ended = False
        self.left_messages = False
        self.abandoned = False
        self.stopping = False
        self.stopped = False
        self.starts_again = False
        self.stop_error: str | None = None
        self.asked_by: list[int] = []
        self.fed_s = 0.0
        self.incarnation = 0
        self.delivery = Delivery(plan.name, 1, plan.window)
        self.renew(settings)

    def renew(self, settings: Settings) -> None:
        """Get ready for a new process. The edge keeps its messages."""
        self.incarnation += 1
        self.life = Life(self.name)
        self.startup = Startup(self.life, self.incarnation, settings.ready_timeout_s, probe=not self.plan.compat)
        self.shutdown = Shutdown(self.name, settings.grace_s, control=self.plan.transport == "zmq")
        self.delivery.begin(self.incarnation)
        self.control.begin(self.incarnation)
        self.batches = False
        self.answered = False
        self.stopped = False
        self.paused = False

    @property
    def state(self) -> State:
        return self.life.state

    @property
    def starting(self) -> bool:
        return self.state in (State.LAUNCHED, State.READY)

    @property
    def activity(self) -> Activity:
        if self.stopping:
            return "stopping"
        return "stopped" if self.stopped else activity(self.state, idle=self.delivery.idle)

    @property
    def away(self) -> bool:
        """Whether it was asked to stop, and may come back: messages wait for it."""
        return self.stopping or self.stopped

    @property
    def takes_messages(self) -> bool:
        if self.input_ended or self.abandoned:
            return False
        return self.life.state is State.RUNNING or self.away or self.state not in (State.DRAINED, State.EXITED)

    @property
    def takes_short_way(self) -> bool:
        """Whether its outputs need nothing but to be held and committed."""
        plain = not (self.plan.release_early or self.plan.compat)
        return plain and self.state in (State.RUNNING, State.DRAINING)

    @property
    def owes(self) -> bool:
        """Whether something is expected of it: an answer, or its end."""
        return self.input_ended or self.stopping or not (self.delivery.idle and self.control.idle)


class Session:
    """One run of a plan. Events in, commands out; see ``events``.

    Args:
        plan: what to run.
        settings: times and policy.
        rng: source of trace and span ids.
    """

    def __init__(self, plan: Plan, settings: Settings, rng: random.Random) -> None:
        self.plan = plan
        self._settings = settings
        self._rng = rng
        self._span = rng.getrandbits(64)
        self._trace = rng.getrandbits(128)
        self._now_s = 0.0
        self._commands: list[Command] = []
        self._delivered: list[Output] = []
        self._settled: list[int] = []
        self._seen: list[Seen] = []
        self._to_feed: dict[str, _Worker] = {}
        self._ways = {route.source: _Way(route) for route in plan.routes}
        extras = {index for index, sink in enumerate(plan.sinks) if sink.end.node in plan.extras}
        self._observed = {route.source for route in plan.routes if not extras.isdisjoint(sinks_of(route.steps))}
        self._heard: list[Heard] = []
        self._entries = {port: self._ways[End(node, port)] for port, node in plan.inputs.items()}
        self._barriers = {
            node.id: Barrier(port.name for port in node.inputs)
            for node in plan.graph.nodes.values()
            if node.kind == "barrier"
        }
        self._monitors = {node.id: Monitor(node.wire) for node in plan.graph.nodes.values() if node.wire is not None}
        self._workers = {
            worker.name: _Worker(
                worker,
                settings,
                {end.port: way for end, way in self._ways.items() if end.node == worker.name},
                frozenset(end.port for end in self._observed if end.node == worker.name),
            )
            for worker in plan.workers
        }
        self._loops = {
            node: component.nodes for component in plan.components if component.loop for node in component.nodes
        }
        self._loop_workers = {
            name: [self._workers[node] for node in self._loops[name] if node in self._workers]
            for name in self._workers
            if name in self._loops
        }
        self._sinks = [self._sink(sink) for sink in plan.sinks]
        self._arrived = [0] * len(plan.sinks)
        self._through = self._untapped_through(frozenset())
        self._ports = [plan.outputs.get(sink.end.node, "") for sink in plan.sinks]
        self._entering: deque[tuple[str, int, bytes]] = deque()
        self._work: deque[tuple[End, Message]] = deque()
        self._closed_inputs: set[str] = set()
        self._drain = Drain(plan, self._is_idle, lambda barrier: self._barriers[barrier].starved)
        self._inflight = 0
        self._rested: set[str] = set(self._workers) | set(self._barriers)
        self._gone: set[str] = set()
        self._lost = self._dead_lettered = self._unpaired = 0
        self._malformed: Counter[tuple[str, str]] = Counter()
        self._malformed_noted_s: dict[tuple[str, str], float] = {}
        self._interrupts = 0
        self._open = False
        self._refused_any = False
        self._failure: Failure | None = None
        self._finished = False

    # --- what the shell asks ---

    @property
    def has_work(self) -> bool:
        """Whether the shell should feed ``Continue``, between other events, until this is false."""
        return bool(self._work or self._entering) and self._failure is None

    @property
    def wants_input(self) -> bool:
        """Whether an ``Input`` is welcome now. One that comes all the same is taken: the bound is then the shell's."""
        waits = self._work or self._entering
        return self._open and not waits and not self.closing and self._inflight < INFLIGHT_MAX

    @property
    def closing(self) -> bool:
        """Whether no input will ever be welcome again."""
        return self._finished or self._failure is not None or len(self._closed_inputs) == len(self.plan.inputs)

    def snapshot(self) -> Snapshot:
        """Return how things stand."""
        workers = tuple(
            WorkerSnapshot(
                worker.name,
                worker.activity,
                *worker.delivery.counts,
                moved_s=max(worker.fed_s, worker.shutdown.moved_s),
                paused=worker.paused,
                output_ended=worker.state is State.DRAINED,
            )
            for worker in self._workers.values()
        )
        slots = {name: barrier.slots for name, barrier in self._barriers.items()}
        said = {name: text for name, monitor in self._monitors.items() if (text := monitor.waits_for)}
        taken = tuple(way.taken for way in self._ways.values())
        return Snapshot(
            workers, slots, self._lost, self._dead_lettered, self._unpaired, taken, tuple(self._arrived), said
        )

    def set_grace(self, grace_s: float) -> None:
        """Replace the grace time of the settings, for workers that are not asked to end yet."""
        self._settings = msgspec.structs.replace(self._settings, grace_s=grace_s)
        for worker in self._workers.values():
            worker.shutdown.grace_s = grace_s

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Return the commands that follow, in the order in which they have to be performed."""
        self._now_s = now_s
        self._commands = []
        if self._finished:
            return []
        if self._failure is None:
            self._handle(event)
            self._step()
        else:
            self._handle_failed(event)
        self._tell()
        self._finish_if_over()
        return self._commands

    def _tell(self) -> None:
        """Put what the event brought about for the workers and for the client into commands: one for many messages."""
        to_feed, self._to_feed = self._to_feed, {}
        for worker in to_feed.values():
            if self._failure is None:
                self._feed(worker)
        if self._failure is None:
            self._deliver()
        else:  # it came out of the same event, but behind the failure
            self._lost += len(self._delivered)
            self._delivered = []
        if self._settled:
            self._do(Settled(self._settled))
            self._settled = []
        if self._seen:
            self._do(Tapped(self._seen))
            self._seen = []
        if self._heard:
            self._do(Observed(self._heard))
            self._heard = []

    def _deliver(self) -> None:
        if self._delivered:
            self._do(Deliver(self._delivered))
            self._delivered = []

    def _do(self, *commands: Command) -> None:
        self._commands += commands

    def _note(self, level: Level, event: str, **fields: object) -> None:
        self._commands.append(Note(level, event, fields))

    def _handle(self, event: Event) -> None:
        match event:
            case Frames(name, port, raw):
                self._frames(self._workers[name], port, raw)
            case Input():
                self._input(event)
            case InputClosed(port):
                self._closed_inputs |= set(self.plan.inputs) if port is None else {port}
            case Continue():
                pass
            case Start():
                for worker in self._workers.values():
                    self._launch(worker)
                self._open_if_ready()
                self._end(self._drain.begin())
            case TimerFired((kind, name)):
                self._timer(kind, self._workers[name])
            case Exited():
                self._exited(self._workers[event.worker], event)
            case Launched(name, pid):
                self._note("info", "worker.spawned", worker=name, pid=pid)
                if self._workers[name].stopping:  # asked while it was started: no signal has reached it
                    self._do(Signal(name, "TERM"))
            case LaunchFailed(name, reason) if self._workers[name].incarnation > 1:
                self._launch_failed(name, reason)
                self._stopped(self._workers[name], f"could not be started: {reason}")
            case LaunchFailed(name, reason):
                self._launch_failed(name, reason)
                self._fail(Failure(4, "worker_not_started", f"{name_of(name)} could not be started: {reason}"))
            case BadInput(detail, ticket):
                self._refuse("input_type_mismatch", detail, "", (ticket,))
                self._settled.append(ticket)
            case OutputBroken(reason):
                self._fail(Failure(1, "output_closed", reason))
            case Asked(name, wish, ticket):
                self._asked(self._workers[name], wish, ticket)
            case Tap(sinks):
                self._tap(sinks)
            case Interrupted(number):
                self._interrupted(number)

    def _handle_failed(self, event: Event) -> None:
        """Nothing but the end of the workers matters any more."""
        match event:
            case TimerFired(("grace", name)) if name not in self._gone:
                self._do(*self._workers[name].shutdown.timer(self._now_s, owes=True))
            case Exited(name, status):
                self._gone.add(name)
                self._workers[name].life.advance(Step.EXIT)
                self._do(Release(name))
                self._note("info", "worker.exited", worker=name, status=status)
            case Launched(name):  # it was started while the session failed: no signal has reached it
                self._do(*self._workers[name].shutdown.kill())
            case LaunchFailed(name, reason):
                self._launch_failed(name, reason)
            case Input():
                self._input_refused(event.port, event.messages)
            case Asked(_, _, ticket):
                self._do(Answered(ticket, "the session is ending"))
            case Interrupted(number):
                self._interrupted(number)

    # --- starting ---

    def _launch(self, worker: _Worker) -> None:
        worker.fed_s = self._now_s
        self._do(*worker.startup.begin(self._now_s))

    def _open_if_ready(self) -> None:
        if not self._open and not any(worker.starting for worker in self._workers.values()):
            self._open = True
            self._do(Opened())

    def _running(self, worker: _Worker) -> None:
        """The worker may be trusted with messages."""
        self._note("info", "worker.ready", worker=worker.name)
        self._answer(worker)
        worker.delivery.may_send = True
        for frame in worker.control.take_waiting():
            self._send_control(worker, frame)
        self._open_if_ready()
        self._to_feed[worker.name] = worker
        if worker.input_ended:
            self._end_input(worker)

    def _launch_failed(self, name: str, reason: str) -> None:
        self._note("warning", "worker.not_started", worker=name, reason=reason)
        self._gone.add(name)
        self._workers[name].life.advance(Step.EXIT)
        self._do(Release(name))

    def _timer(self, kind: str, worker: _Worker) -> None:
        if worker.state is State.EXITED:
            return  # the others may need longer than its grace
        if kind == "grace":
            self._do(*worker.shutdown.timer(self._now_s, owes=worker.owes))
        elif worker.starting and worker.incarnation > 1:
            worker.starts_again, worker.stop_error = False, worker.startup.missing()
            self._stop(worker)
        elif worker.starting:
            self._fail(Failure(4, "ready_timeout", f"{name_of(worker.name)} {worker.startup.missing()}"))

    # --- boundary ---

    def _input(self, event: Input) -> None:
        if event.port in self._closed_inputs:
            self._input_refused(event.port, event.messages)
        elif event.port in self._through and not self._entering:
            self._pass_through(event)
        else:
            self._entering += [(event.port, ticket, payload) for ticket, payload in event.messages]

    def _enter(self, port: str, ticket: int, payload: bytes) -> None:
        self._trace = (self._trace + 1) & 0xFFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF
        trace = Trace(self._trace.to_bytes(16, "big"), ticket)
        message = Message(payload, (trace,), trace.id, self._new_span(), b"", port)
        trace.live += 1
        self._travel(self._entries[port], message)
        self._consume(message)

    def _pass_through(self, event: Input) -> None:
        """Take messages from the boundary to the boundary: nobody counts what is never inside."""
        way = self._entries[event.port]
        way.taken += len(event.messages)
        take, ports, deliver, arrived = way.take, self._ports, self._delivered.append, self._arrived

        def emit(index: int, payload: bytes, tickets: tuple[int]) -> None:
            arrived[index] += 1
            deliver(Output(ports[index], payload, tickets))

        for number, (ticket, payload) in enumerate(event.messages):
            try:
                take(payload, emit, (ticket,))
            except RouteError as error:
                self._refused_on_route(error, way.route, (ticket,))
                if event.port in self._closed_inputs:  # the rest comes too late
                    self._settled.append(ticket)
                    self._input_refused(event.port, event.messages[number + 1 :])
                    return
            self._settled.append(ticket)

    def _input_refused(self, port: str, messages: Sequence[tuple[int, bytes]]) -> None:
        for ticket, _ in messages:
            self._do(Refuse("input_closed", "the session takes no more input", port, (ticket,)))
            self._settled.append(ticket)

    def _refuse_entering(self) -> None:
        entering, self._entering = self._entering, deque()
        for port, ticket, payload in entering:
            self._input_refused(port, [(ticket, payload)])

    def _interrupted(self, number: int) -> None:
        """First: take no more input, finish the rest. Second: end the workers now. Third: without asking."""
        self._interrupts += 1
        if self._interrupts == 1 and self._failure is None:
            self._closed_inputs |= set(self.plan.inputs)
            for worker in self._workers.values():
                if worker.stopped:
                    self._abandon(worker)
                if worker.owes and not worker.starting and worker.state is not State.EXITED:
                    self._do(*worker.shutdown.asked(self._now_s))
            return
        if self._failure is None:
            self._fail(msgspec.structs.replace(_FORCED, exit_code=128 + number))
            return
        self._failure = msgspec.structs.replace(self._failure, exit_code=128 + number)
        for name in self._workers.keys() - self._gone:
            self._do(*self._workers[name].shutdown.kill())

    def _refuse(self, code: str, detail: str, node: str, tickets: tuple[int, ...]) -> None:
        self._refused_any = True
        self._note("warning", "message.rejected", node=node, code=code, detail=detail)
        self._do(Refuse(code, detail, node, tickets))
        if self._settings.refusal_ends:
            self._closed_inputs |= set(self.plan.inputs)
            self._refuse_entering()

    # --- messages on their way ---

    def _new_span(self) -> bytes:
        self._span = (self._span + 1) & 0xFFFF_FFFF_FFFF_FFFF
        return self._span.to_bytes(8, "big")

    def _appear(self, message: Message) -> None:
        for trace in message.traces:
            trace.live += 1

    def _consume(self, message: Message) -> None:
        """A message is no more; what came of it was counted before."""
        for trace in message.traces:
            trace.live -= 1
            if trace.live == 0:
                self._settled.append(trace.ticket)

    def _travel(self, way: _Way, message: Message) -> None:
        """Send a message along its route."""
        way.taken += 1
        try:
            way.take(message.payload, self._emit, message)
        except RouteError as error:
            self._refused_on_route(error, way.route, message.tickets)

    def _emit(self, index: int, payload: bytes, message: Message) -> None:
        """A message has come to the end of its route, as it was or as what became of it."""
        if payload is not message.payload:
            parent = message.span_id
            message = Message(payload, message.traces, message.trace_id, self._new_span(), parent, message.topic)
        self._arrived[index] += 1
        self._sinks[index](message)

    def _refused_on_route(self, error: RouteError, route: Route, tickets: tuple[int, ...]) -> None:
        if route.source in self._observed:  # who only looks on refuses nothing
            source = route.source
            self._note("warning", "observed.malformed", worker=source.node, port=source.port, detail=str(error.cause))
            return
        at_source = error.node == route.source.node
        entering = at_source and self.plan.graph.nodes[route.source.node].kind == "input"
        if not isinstance(error.cause, ValueRejected):
            code = "expr_eval"
        else:
            code = "input_type_mismatch" if entering else "output_type_mismatch"
        if code != "input_type_mismatch":  # that one never came in
            self._lost += 1
        node = route.source.port if entering else error.node
        self._refuse(code, str(error.cause), node, tickets)

    def _sink(self, sink: Sink) -> Callable[[Message], None]:
        """Return what puts a message where its route ends."""
        match sink.kind:
            case "output" if sink.end.node in self.plan.extras:
                return partial(self._hear, self.plan.extras[sink.end.node])
            case "output":
                return partial(self._leave, self.plan.outputs[sink.end.node])
            case "merge":
                return partial(self._arrive_at_merge, sink.end)
            case "barrier":
                return partial(self._arrive_at_barrier, sink.end)
            case "monitor":
                way, output = MONITORED[sink.end.port]
                return partial(self._arrive_at_monitor, self._monitors[sink.end.node], way, End(sink.end.node, output))
        worker = self._workers[sink.end.node]
        if sink.end.port == "input":
            return partial(self._offer, worker, sink.feedback) if sink.feedback else self._queue_of(worker)
        return partial(self._control, worker)

    def _untapped_through(self, tapped: frozenset[int]) -> set[str]:
        """Return the inputs whose messages leave at once, seen by nobody on their way."""
        leaves = {i for i, sink in enumerate(self.plan.sinks) if sink.kind == "output"} - tapped
        return {port for port, way in self._entries.items() if leaves.issuperset(sinks_of(way.route.steps))}

    def _tap(self, tapped: frozenset[int]) -> None:
        """Look at what comes to these sinks, and to no others. The others cost nothing: they are not wrapped."""
        for index, sink in enumerate(self.plan.sinks):
            put = self._sink(sink)
            self._sinks[index] = partial(self._show, index, put) if index in tapped else put
        self._through = self._untapped_through(tapped)

    def _show(self, index: int, put: Callable[[Message], None], message: Message) -> None:
        self._seen.append(Seen(index, message.payload, message.trace_id))
        put(message)

    def _leave(self, port: str, message: Message) -> None:
        self._delivered.append(Output(port, message.payload, message.tickets))

    def _hear(self, label: str, message: Message) -> None:
        self._heard.append(Heard(label, message.topic, message.payload))

    def _fits(self, worker: _Worker, message: Message) -> bool:
        """Whether a frame can hold the message; one that is too large is refused."""
        if len(message.payload) <= PAYLOAD_BYTES_MAX:
            return True
        self._lost += 1
        detail = f"{len(message.payload)} bytes; a worker's message has at most {PAYLOAD_BYTES_MAX}"
        self._refuse("too_large", detail, worker.name, message.tickets)
        return False

    def _arrive_at_merge(self, end: End, message: Message) -> None:
        if self._drain.closed(end.node):  # only a merge_any closes while something may still come
            self._note("info", "message.forgotten", node=end.node)
            return
        self._appear(message)
        self._work.append((end, message))
        if end.node in self._loops and len(self._work) > LOOP_MESSAGES_MAX:
            self._amplified(end.node)

    def _arrive_at_barrier(self, end: End, message: Message) -> None:
        barrier = self._barriers[end.node]
        if barrier.closed:
            self._report_unpaired(end.node, end.port, 1)
            return
        self._appear(message)
        parts = barrier.put(end.port, message)
        if not parts:
            return
        traces = tuple(dict.fromkeys(trace for part in parts for trace in part.traces))
        parents = b"".join(list(dict.fromkeys(part.span_id for part in parts))[:PARENTS_MAX])
        payload = b"[" + b",".join(part.payload for part in parts) + b"]"
        pair = Message(payload, traces, parts[0].trace_id, self._new_span(), parents, end.node)
        self._appear(pair)
        self._rested.add(end.node)
        self._work.append((End(end.node, "output"), pair))
        for part in parts:
            self._consume(part)

    def _arrive_at_monitor(self, monitor: Monitor, way: Way, onward: End, message: Message) -> None:
        match monitor.take(way, message.payload):
            case Passed(payload):
                if payload is not message.payload:
                    parent, span_id = message.span_id, self._new_span()
                    message = Message(payload, message.traces, message.trace_id, span_id, parent, message.topic)
                self._appear(message)
                self._work.append((onward, message))
            case Swallowed():
                self._note("debug", "protocol.swallowed", node=onward.node)
            case Violation(text):
                self._lost += 1
                self._fail(Failure(1, "protocol_violation", text))

    def _amplified(self, node: str) -> None:
        text = f"more than {LOOP_MESSAGES_MAX} messages are on the loop of '{node}': it makes more than it consumes"
        self._fail(Failure(1, "amplifying_loop", text))

    # --- workers ---

    def _is_idle(self, name: str) -> bool:
        worker = self._workers[name]
        return worker.delivery.idle and worker.control.idle

    def _inside(self, worker: _Worker) -> int:
        """Count the messages inside of the loop that a worker lies on."""
        return sum(other.delivery.inside for other in self._loop_workers.get(worker.name, ()))

    def _offer(self, worker: _Worker, feedback: bool, message: Message) -> None:
        if not self._fits(worker, message):
            return
        for trace in message.traces:
            trace.live += 1
        if not worker.takes_messages:
            self._dead_letter(worker, [message])
            return
        worker.delivery.offer(message, feedback=feedback)
        self._inflight += 1
        if feedback and self._inside(worker) > LOOP_MESSAGES_MAX:
            self._amplified(worker.name)
        self._to_feed[worker.name] = worker

    def _queue_of(self, worker: _Worker) -> Callable[[Message], None]:
        """Return what :meth:`_offer` does with messages from outside of loops, with all that is known beforehand."""
        queue = worker.delivery.forward.append

        def offer(message: Message) -> None:
            if len(message.payload) > PAYLOAD_BYTES_MAX or not worker.takes_messages:
                self._offer(worker, False, message)
                return
            for trace in message.traces:
                trace.live += 1
            queue(message)
            self._inflight += 1
            self._to_feed[worker.name] = worker

        return offer

    def _feed(self, worker: _Worker) -> None:
        """Send what the window, and the loop that the worker may lie on, allow."""
        if worker.name not in self._loop_workers:
            taken = worker.delivery.take_all()
        else:
            taken = []
            while (one := worker.delivery.take(admit=self._inside(worker) < LOOP_ADMITTED_MAX)) is not None:
                taken.append(one)
        if taken:
            worker.fed_s = self._now_s
            if self._interrupts:
                self._do(*worker.shutdown.asked(self._now_s))
        for raw in self._written(worker, taken):
            self._do(Send(worker.name, "input", raw))

    def _written(self, worker: _Worker, taken: list[Unacked]) -> Iterable[bytes]:
        """Return messages and their markers as frames."""
        traced, marked = worker.plan.frames == "v2", not worker.plan.compat
        if worker.batches and traced and marked:
            parts = [
                (m.topic, m.payload, m.trace_id, m.span_id, unacked.seq, m.parents, unacked.marker)
                for unacked in taken
                for m in (unacked.message,)
            ]
            return encode_batch(parts, "fabric")
        frames = []
        for unacked in taken:
            m = unacked.message
            if traced:
                frames.append(encode_traced(m.topic, m.payload, m.trace_id, m.span_id, unacked.seq, m.parents))
            else:
                frames.append(encode(Data(m.topic, m.payload)))
            if marked:
                frames.append(worker.delivery.marker_frame(unacked))
        return join(frames) if worker.batches else frames

    def _control(self, worker: _Worker, message: Message) -> None:
        """Pass a message to ctrl_in. It is consumed there; what it brings about comes on ctrl_out as something new."""
        if not self._fits(worker, message):
            return
        if not worker.takes_messages:
            self._note("info", "control.dropped", worker=worker.name)
            return
        frame = worker.control.frame(message)
        if not (worker.starting or worker.away):
            self._send_control(worker, frame)
        elif len(worker.control.waiting) < WAITING_MAX:
            worker.control.waiting.append(frame)
        else:
            self._lost += 1
            self._note("warning", "control.dropped", worker=worker.name, reason="too many wait for it")

    def _send_control(self, worker: _Worker, frame: bytes) -> None:
        for raw in worker.control.send(frame):
            self._do(Send(worker.name, "ctrl_in", raw))

    def _dead_letter(self, worker: _Worker, messages: Iterable[Message]) -> None:
        for message in messages:
            self._dead_lettered += 1
            level: Level = "warning" if worker.left_messages else "error"  # the first is told, the others counted
            worker.left_messages = True
            reason = "worker_stopped" if worker.abandoned else "worker_ended"
            self._note(level, "message.dead_lettered", worker=worker.name, reason=reason)
            if message.traces:
                detail = f"{name_of(worker.name)} {'was stopped' if worker.abandoned else 'has ended'}"
                self._do(Refuse("dead_lettered", detail, worker.name, message.tickets))
            self._consume(message)

    def _frames(self, worker: _Worker, port: str, raws: list[bytes]) -> None:
        worker.shutdown.moved(self._now_s)
        for raw in raws:
            if self._failure is not None:
                return
            start = BATCH_START
            if port == "output" and is_batch(raw) and worker.takes_short_way:
                committed, start = worker.delivery.collect(raw)
                worker.answered |= bool(committed)
                self._pass_on_all(worker, committed)
            try:
                parts = split(raw, start)
            except RemoteProtocolError as error:
                self._malformed_frame(worker, error)
                continue
            for part in parts:
                if worker.state is State.EXITED or self._failure is not None:
                    return
                self._frame(worker, port, part)

    def _frame(self, worker: _Worker, port: str, raw: bytes) -> None:
        try:
            frame = decode(raw)
        except RemoteProtocolError as error:
            self._malformed_frame(worker, error)
            return
        try:
            match frame:
                case Data():
                    self._data(worker, port, frame)
                case Marker(_, marker):
                    self._marker(worker, port, marker)
                case Eof():
                    self._port_ended(worker, port)
        except RemoteProtocolError as error:
            self._fail(Failure(1, "protocol_violation", str(error)))

    def _malformed_frame(self, worker: _Worker, error: RemoteProtocolError) -> None:
        """Count a frame that is none as lost; it may have been a message."""
        self._lost += 1
        key = worker.name, error.reason
        self._malformed[key] += 1
        if self._now_s - self._malformed_noted_s.get(key, float("-inf")) >= MALFORMED_NOTE_S:
            self._malformed_noted_s[key] = self._now_s
            fields = {"reason": error.reason, "count": self._malformed[key], "detail": str(error)}
            self._note("error", "message.rejected", worker=worker.name, **fields)

    def _data(self, worker: _Worker, port: str, frame: Data) -> None:
        name, delivery = worker.name, worker.delivery
        span = frame.provenance.span_id if frame.provenance else None
        match port:
            case "output":
                worker.life.advance(Step.OUTPUT)
                worker.answered = True
                if worker.plan.release_early:
                    self._pass_on(worker, delivery.cause(port).message, port, frame.payload, span)
                else:
                    delivery.hold(port, frame.payload, span)
                if worker.plan.compat:
                    self._commit(worker, port, delivery.marker(delivery.cause(port).seq))
            case "ctrl_out" if worker.state is State.LAUNCHED:
                self._announced(worker, frame.payload)
            case "ctrl_out":
                worker.paused = paused_by(frame.payload, before=worker.paused)
                if port in worker.ways:  # at once: a reply may be what the worker waits for
                    self._spontaneous(worker, port, frame.payload, span)
            case "telemetry":
                self._note("debug", "worker.telemetry", worker=name, telemetry=frame.payload)
                if port in worker.wired and delivery.marks(port) and delivery.oldest is not None:
                    delivery.hold(port, frame.payload, span)
                elif port in worker.ways:
                    self._spontaneous(worker, port, frame.payload, span)
            case _:
                raise RemoteProtocolError("port", f"{name_of(name)} sent a message on {port}, which is not open")

    def _announced(self, worker: _Worker, payload: bytes) -> None:
        ready = parse_ready(payload)
        if ready is None:
            raise RemoteProtocolError("ready", f"{name_of(worker.name)}: the first message on ctrl_out is not ready")
        if MARK_ALL_PORTS in ready.features:
            worker.delivery.mark(worker.wired)
            worker.control.marks = "ctrl_out" in worker.wired
        if BATCHES in ready.features:
            worker.batches = True
            worker.delivery.widen()
        self._do(*worker.startup.announced())
        if worker.state is State.RUNNING:
            self._running(worker)

    def _spontaneous(self, worker: _Worker, port: str, payload: bytes, span: bytes | None) -> None:
        """Send on what no input brought about, such as a control reply. It belongs to no input's trace."""
        message = Message(payload, (), self._rng.randbytes(16), span or self._new_span(), b"", worker.name)
        self._travel(worker.ways[port], message)

    def _marker(self, worker: _Worker, port: str, marker: str) -> None:
        if marker.startswith(PROBE):
            if port == "output" and marker == worker.startup.marker:
                worker.startup.probed()
                self._running(worker)
        elif worker.delivery.owns(marker):
            if worker.delivery.marks(port):
                self._commit(worker, port, marker)
        elif port == "ctrl_out" and worker.control.owns(marker):
            worker.control.returned(marker)
            if self._is_idle(worker.name):
                self._rested.add(worker.name)
        else:
            self._note("warning", "marker.dropped", worker=worker.name, port=port, marker=marker)

    def _commit(self, worker: _Worker, port: str, marker: str) -> None:
        """Pass on what the worker made of the messages whose markers are back."""
        worker.answered = True
        self._pass_on_all(worker, worker.delivery.returned(port, marker))

    def _pass_on_all(self, worker: _Worker, committed: list[Unacked]) -> None:
        if not committed:
            return
        way = worker.ways.get("output")
        for unacked in committed:
            if worker.wired:
                self._pass_on_held(worker, unacked)
            elif way is not None:
                cause = unacked.message
                way.taken += len(unacked.outputs)
                for _, payload, span in unacked.outputs:
                    span_id = span or self._new_span()
                    message = Message(payload, cause.traces, cause.trace_id, span_id, cause.span_id, worker.name)
                    try:
                        way.take(payload, self._emit, message)
                    except RouteError as error:
                        self._refused_on_route(error, way.route, message.tickets)
            self._consume(unacked.message)
        self._inflight -= len(committed)
        for other in self._loop_workers.get(worker.name, (worker,)):  # there may be room on the whole loop
            self._to_feed[other.name] = other
        if self._is_idle(worker.name):
            self._rested.add(worker.name)

    def _pass_on_held(self, worker: _Worker, unacked: Unacked) -> None:
        """Pass on what was held back: what came on ``output`` first, whichever socket was faster."""
        outputs = unacked.outputs
        if worker.wired:
            outputs = sorted(outputs, key=lambda held: held[0] != "output")
        for port, payload, span_id in outputs:
            self._pass_on(worker, unacked.message, port, payload, span_id)

    def _pass_on(self, worker: _Worker, cause: Message, port: str, payload: bytes, span: bytes | None) -> None:
        way = worker.ways.get(port)
        if way is not None:
            span_id = span or self._new_span()
            self._travel(way, Message(payload, cause.traces, cause.trace_id, span_id, cause.span_id, worker.name))

    def _port_ended(self, worker: _Worker, port: str) -> None:
        if port == "output":
            early = worker.state is State.RUNNING
            worker.life.advance(Step.EOF_OUT)
            if early:
                self._left_early(worker)
            self._do(*worker.shutdown.output_ended(self._now_s))
            self._note("debug", "channel.eof", worker=worker.name, port=port)
        if not worker.stopping:  # it comes back, or its exit ends the port
            self._end(self._drain.port_ended(End(worker.name, port)))

    def _left_early(self, worker: _Worker) -> None:
        """The worker ended its output by itself: its last outputs stand, what it leaves behind is a dead letter."""
        if worker.plan.transport == "stdio" and not worker.answered:
            text = f"{name_of(worker.name)} ended before it answered anything"
            self._fail(Failure(4, "worker_not_started", text))
            return
        self._inflight -= worker.delivery.waiting
        head, left = worker.delivery.end()
        self._rested.add(worker.name)
        if head is not None:
            self._pass_on_held(worker, head)
            self._consume(head.message)
        worker.left_messages = bool(left)
        self._note("error" if left else "info", "worker.left", worker=worker.name, messages_left=len(left))
        self._dead_letter(worker, left)

    # --- ends ---

    def _step(self) -> None:
        """Take the routes that are due, then new input; when there is neither, see what has ended."""
        for _ in range(STEPS_PER_EVENT_MAX):
            if self._failure is not None:
                break
            if self._work:
                source, message = self._work.popleft()
                self._travel(self._ways[source], message)
                self._consume(message)
            elif self._entering:
                self._enter(*self._entering.popleft())
            else:
                break
        if self._work or self._entering or self._failure is not None:
            return
        for port in sorted(self._closed_inputs):
            self._end(self._drain.input_closed(self.plan.inputs[port]))
        rested, self._rested = sorted(self._rested), set()
        for node in rested:
            self._end(self._drain.rested(node))

    def _end(self, endings: list[Ending]) -> None:
        for ending in endings:
            for barrier in ending.barriers:
                for port, left in self._barriers[barrier].close().items():
                    self._report_unpaired(barrier, port, len(left))
                    for message in left:
                        self._consume(message)
            for name in ending.workers:
                worker = self._workers[name]
                worker.input_ended = True
                if worker.state is State.RUNNING:
                    self._end_input(worker)
                elif worker.stopped:
                    self._end_ports(worker)

    def _end_input(self, worker: _Worker) -> None:
        worker.life.advance(Step.EOF_IN)
        self._do(Send(worker.name, "input", encode(Eof("fabric"))))
        self._do(*worker.shutdown.asked(self._now_s))

    def _report_unpaired(self, barrier: str, port: str, messages: int) -> None:
        self._unpaired += messages
        self._note("warning", "barrier.unpaired", barrier=barrier, port=port, messages=messages)

    def _exited(self, worker: _Worker, event: Exited) -> None:
        name, state = worker.name, worker.state
        self._gone.add(name)
        worker.life.advance(Step.EXIT)
        self._do(Release(name))
        clean = state is State.DRAINED and event.status == 0
        self._note("info" if clean else "warning", "worker.exited", worker=name, status=event.status, state=state.name)
        if worker.stopping:
            orderly = clean or state in (State.LAUNCHED, State.READY)  # those have nothing to finish
            self._stopped(worker, worker.stop_error or (None if orderly else self._why_stopped(worker, event)))
        elif worker.shutdown.forced:
            silent = f"gave no sign of life for {self._settings.grace_s:g} s after it was asked to end, and was ended"
            missing = "; what it had not sent is missing" if state is not State.DRAINED else ""
            self._fail(Failure(5, "worker_killed", f"{name_of(name)} {silent}{missing}"))
        elif state is State.DRAINED:
            self._end_ports(worker)
        else:
            lines = worker.plan.transport == "stdio"
            started = worker.answered or not (lines or state in (State.LAUNCHED, State.READY))
            before = None if started else "it answered anything" if lines else "it was ready"
            unanswered = worker.delivery.waiting
            failure = describe_exit(name, event.status, event.stderr, before=before, unanswered=unanswered)
            if before is not None and worker.incarnation > 1:
                self._stopped(worker, failure.message)
            else:
                self._fail(failure)

    def _end_ports(self, worker: _Worker) -> None:
        """The worker is gone for good, and with it all that it could still have said."""
        for port in ("output", "ctrl_out", "telemetry"):
            self._end(self._drain.port_ended(End(worker.name, port)))

    # --- workers that are stopped and started by hand ---

    def _asked(self, worker: _Worker, wish: Wish, ticket: int) -> None:
        """The last wish counts; all who asked are told when it is fulfilled."""
        if self._interrupts or not worker.takes_messages:
            ending = "the session is ending" if self._interrupts else f"{name_of(worker.name)} has ended"
            self._do(Answered(ticket, ending))
            return
        worker.asked_by.append(ticket)
        if worker.stopping:
            worker.starts_again = wish != "stop"
        elif worker.stopped and wish != "stop":
            self._start_again(worker)
        elif not worker.stopped and wish != "start":
            worker.starts_again, worker.stop_error = wish == "restart", None
            self._stop(worker)
        elif not worker.starting:
            self._answer(worker)  # it is so already

    def _answer(self, worker: _Worker, error: str | None = None) -> None:
        self._do(*(Answered(ticket, error) for ticket in worker.asked_by))
        worker.asked_by.clear()

    def _stop(self, worker: _Worker) -> None:
        """Let the worker finish what it has and end it in order; what else is for it waits."""
        worker.stopping = True
        worker.delivery.may_send = False
        if worker.state is State.RUNNING:
            self._end_input(worker)
        elif worker.starting:
            self._do(*worker.shutdown.terminate(self._now_s))

    def _stopped(self, worker: _Worker, error: str | None) -> None:
        """The process of a worker that may come back is gone."""
        worker.stopping, worker.stopped = False, True
        if worker.plan.compat or worker.plan.release_early:  # it may have had its effect already
            for message in worker.delivery.give_up():
                self._lost += 1
                self._inflight -= 1
                self._note("error", "message.lost", worker=worker.name, reason="worker_ended")
                self._consume(message)
        worker.delivery.begin(worker.incarnation)  # what it had waits
        if worker.input_ended:
            self._end_ports(worker)
        elif worker.starts_again:
            self._note("info", "worker.stopped", worker=worker.name, reason="restart")
            self._start_again(worker)
            return
        else:
            self._note("error" if error else "info", "worker.stopped", worker=worker.name, reason=error or "asked")
            if self._interrupts:
                self._abandon(worker)
            self._open_if_ready()  # it may be the one that the others waited for
        name = name_of(worker.name)
        self._answer(worker, error and (error if error.startswith(name) else f"{name} {error}"))

    def _why_stopped(self, worker: _Worker, event: Exited) -> str:
        """Say how a worker ended that was to stop in order."""
        if worker.shutdown.forced:
            how = f"gave no sign of life for {worker.shutdown.grace_s:g} s, and was ended"
        else:
            how = describe_exit(worker.name, event.status, event.stderr, before=None, unanswered=0).message
        waits = "; what it had not finished waits for the next" if worker.delivery.waiting else ""
        return how + waits

    def _start_again(self, worker: _Worker) -> None:
        self._gone.discard(worker.name)
        worker.starts_again = False
        worker.renew(self._settings)
        self._launch(worker)

    def _abandon(self, worker: _Worker) -> None:
        """Nobody will start the worker any more: what waits for it is a dead letter."""
        worker.abandoned = True
        self._inflight -= worker.delivery.waiting
        _, left = worker.delivery.end()
        self._dead_lettered += len(worker.control.take_waiting())
        self._rested.add(worker.name)
        self._dead_letter(worker, left)

    def _fail(self, failure: Failure) -> None:
        """End the session. The first failure is the one that is told."""
        if self._failure is not None:
            return
        self._deliver()
        self._failure = failure
        self._refuse_entering()
        for worker in self._workers.values():
            self._answer(worker, "the session has failed")
        self._note("error", "session.failed", code=failure.code, message=failure.message)
        for name in self._workers.keys() - self._gone:
            self._do(*self._workers[name].shutdown.terminate(self._now_s))

    def _finish_if_over(self) -> None:
        if len(self._gone) < len(self._workers):
            return
        if self._failure is None and (self._work or not self._drain.over):
            return
        workers = self._workers.values()
        left = len(self._work) + sum(worker.delivery.waiting + len(worker.control.waiting) for worker in workers)
        left += sum(barrier.waiting for barrier in self._barriers.values())
        losses = LossReport(self._lost + left, self._dead_lettered, self._unpaired)
        self._finished = True
        for name, monitor in self._monitors.items() if self._failure is None else ():
            if monitor.unfinished:
                self._note("warning", "protocol.unfinished", node=name, detail=monitor.waits_for)
        if self._failure is not None:
            error = self._failure.code, self._failure.message
            self._do(Finish(self._failure.exit_code, losses, error))
        elif self._refused_any and self._settings.refusal_ends:
            self._do(Finish(1, losses))
        else:
            self._do(Finish(5 if losses.lost or losses.dead_lettered else 0, losses))
