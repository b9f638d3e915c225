"""One running session: every event in, the commands that follow out.

The session holds the messages. A message enters, takes its route (one compiled function, ``morphisms``) and ends in
sinks: a worker's queue, a slot of a barrier, a merge that cuts a loop, or the boundary. What workers answer takes the
next route, when it is committed. Steps that need no worker are done at once, feedback before new input, but at most
``STEPS_PER_EVENT_MAX`` in one go, so that a loop that never ends can still be stopped.

The machines it asks know nothing of each other: :class:`Startup` and :class:`Shutdown` for one worker's life,
    :class:`Delivery` for one edge,
:class:`Drain` for what has ended.
"""

from __future__ import annotations

__all__ = ["Session", "Settings"]

import random
from collections import Counter, deque
from collections.abc import Iterable

import msgspec

from fabric.errors import RemoteProtocolError, ValueRejected
from fabric.graph.ir import End
from fabric.plan.plan import Plan, Route, Sink, WorkerPlan
from fabric.session.delivery import Delivery, Message, Trace, Unacked
from fabric.session.drain import Drain, Ending
from fabric.session.events import (
    CloseOutput,
    Command,
    Continue,
    Deliver,
    Event,
    Exited,
    Finish,
    Frames,
    Input,
    InputClosed,
    Launched,
    LaunchFailed,
    LossReport,
    Note,
    Opened,
    Refuse,
    Release,
    Send,
    Settled,
    Start,
    Stop,
    TimerFired,
)
from fabric.session.morphisms import RouteError, compile_route
from fabric.session.shutdown import Shutdown
from fabric.session.startup import PROBE, Startup
from fabric.wire import lifecycle
from fabric.wire.codec import decode, encode
from fabric.wire.control import MARK_ALL_PORTS, parse_ready
from fabric.wire.frame import Data, Eof, Marker, Provenance
from fabric.wire.lifecycle import State, Step
from fabric.wire.payload import decode_json

STEPS_PER_EVENT_MAX = 1_000
"""Routes taken before the session lets others have their turn: some milliseconds."""

INFLIGHT_MAX = 1_000
"""Messages at or before workers beyond which no new input is taken. What comes out of workers is always taken: with
every queue bounded a loop could deadlock."""

LOOP_MESSAGES_MAX = 10_000
"""Messages on one loop beyond which it is taken for an amplifier: one that makes more than it consumes."""


class Settings(msgspec.Struct, frozen=True):
    """Times in seconds.

    Attributes:
        ready_timeout_s: from a worker's launch to the return of its probe.
        grace_s: silence after which a worker that was asked for an end is terminated, and after as much again killed.
    """

    ready_timeout_s: float = 30.0
    grace_s: float = 10.0


class _Worker:
    """One worker: the machines of its life and of its edge."""

    def __init__(self, plan: WorkerPlan, settings: Settings, wired: frozenset[str]) -> None:
        control = plan.transport == "zmq"
        self.plan = plan
        self.wired = wired
        self.startup = Startup(plan.name, 1, settings.ready_timeout_s, probe=not plan.compat)
        self.shutdown = Shutdown(plan.name, settings.grace_s, control=control)
        self.delivery = Delivery(plan.name, 1, plan.window)
        self.early_control: list[bytes] = []
        self.input_ended = False
        self.answered = False
        self.malformed: Counter[str] = Counter()

    @property
    def state(self) -> State:
        return self.startup.state

    def advance(self, step: Step) -> None:
        self.startup.state = lifecycle.advance(self.plan.name, self.startup.state, step)


class Session:
    """One run of a plan. Events in, commands out; see ``events``.

    Args:
        plan: what to run.
        settings: times.
        rng: source of trace and span ids.
    """

    def __init__(self, plan: Plan, settings: Settings, rng: random.Random) -> None:
        self.plan = plan
        self._settings = settings
        self._rng = rng
        self._span = rng.getrandbits(63)
        self._now_s = 0.0
        self._commands: list[Command] = []
        self._routes = {route.source: (compile_route(route), route) for route in plan.routes}
        self._sinks = plan.sinks
        self._sink_seq = [0] * len(plan.sinks)
        self._slots = {
            node.id: {port.name: deque[Message]() for port in node.inputs}
            for node in plan.graph.nodes.values()
            if node.kind == "barrier"
        }
        self._loops = {
            node: i for i, component in enumerate(plan.components) if component.loop for node in component.nodes
        }
        self._workers = {
            worker.name: _Worker(
                worker,
                settings,
                frozenset(end.port for end in self._routes if end.node == worker.name and end.port != "output"),
            )
            for worker in plan.workers
        }
        self._work: deque[tuple[End, Message]] = deque()
        self._inputs = {node.outputs[0].name: node.id for node in plan.graph.nodes.values() if node.kind == "input"}
        self._outputs = {node.id: node.inputs[0].name for node in plan.graph.nodes.values() if node.kind == "output"}
        self._closed_inputs: set[str] = set()
        self._drain = Drain(plan, self._is_idle, self._starved)
        self._inflight = 0
        self._rested: set[str] = set(self._workers) | set(self._slots)
        self._gone: set[str] = set()
        self._lost = self._dead_lettered = self._unpaired = 0
        self._open = False
        self._draining = False
        self._error: tuple[str, str] | None = None
        self._exit_code: int | None = None
        self._finished = False

    # --- what the shell asks ---

    @property
    def has_work(self) -> bool:
        """Whether ``Continue`` should be sent before anything else is."""
        return bool(self._work) and not self._finished

    @property
    def wants_input(self) -> bool:
        """Whether an ``Input`` is welcome now. One that comes all the same is taken: the bound is then the shell's."""
        return self._open and not self._work and self._error is None and self._inflight < INFLIGHT_MAX

    @property
    def closing(self) -> bool:
        """Whether no input will ever be welcome again."""
        return self._finished or self._error is not None or len(self._closed_inputs) == len(self._inputs)

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Return the commands that follow, in the order in which they have to be performed."""
        self._now_s = now_s
        self._commands = []
        if not self._finished:
            self._handle(event)
            self._step()
            self._finish_if_over()
        return self._commands

    def _do(self, *commands: Command) -> None:
        self._commands += commands

    def _note(self, level: str, event: str, **fields: object) -> None:
        self._commands.append(Note(level, event, fields))  # type: ignore[arg-type]

    def _handle(self, event: Event) -> None:
        match event:
            case Frames(name, port, raw):
                self._frames(self._workers[name], port, raw)
            case Input():
                self._input(event)
            case InputClosed(port):
                self._input_closed(port)
            case Continue():
                pass
            case Start():
                for worker in self._workers.values():
                    self._do(*worker.startup.begin(self._now_s))
                self._open_if_ready()
                self._end(self._drain.begin())
            case TimerFired((kind, name)):
                self._timer(kind, self._workers[name])
            case Exited():
                self._exited(self._workers[event.worker], event)
            case Launched(name, pid):
                self._note("info", "worker.spawned", worker=name, pid=pid)
                if self._error is not None:  # it was started while the session failed
                    self._do(*self._workers[name].shutdown.kill())
            case LaunchFailed(name, reason):
                self._gone.add(name)
                self._workers[name].startup.state = State.EXITED
                self._fail(4, "worker_not_started", f"worker '{name}' could not be started: {reason}")
            case Stop():
                self._stop(event)

    # --- starting ---

    def _open_if_ready(self) -> None:
        ready = all(worker.state not in (State.LAUNCHED, State.READY) for worker in self._workers.values())
        if ready and not self._open and self._error is None:
            self._open = True
            self._do(Opened())

    def _running(self, worker: _Worker) -> None:
        """The worker may be trusted with messages."""
        self._note("info", "worker.ready", worker=worker.plan.name)
        worker.delivery.may_send = True
        for raw in worker.early_control:
            self._do(Send(worker.plan.name, "ctrl_in", raw))
        worker.early_control.clear()
        self._open_if_ready()
        self._feed(worker)
        if worker.input_ended:
            self._end_input(worker)

    def _timer(self, kind: str, worker: _Worker) -> None:
        if worker.state is State.EXITED:
            return  # the others may need longer than its grace
        if kind == "grace":
            self._do(*worker.shutdown.timer(self._now_s))
        elif worker.state in (State.LAUNCHED, State.READY) and self._error is None:
            self._fail(4, "ready_timeout", f"worker '{worker.plan.name}' {worker.startup.missing()}")

    # --- boundary ---

    def _input(self, event: Input) -> None:
        node = self._inputs[event.port]
        trace = Trace(self._rng.randbytes(16), event.ticket)
        if event.port in self._closed_inputs or self._error is not None:
            self._do(Refuse("input_closed", "the session takes no more input", event.port, (event.ticket,)))
            self._do(Settled(event.ticket))
            return
        message = Message(event.payload, (trace,), trace.id, self._new_span(), b"")
        trace.live += 1
        self._travel(End(node, event.port), message)
        self._run()
        self._consume(message)

    def _input_closed(self, port: str | None) -> None:
        for name in self._inputs if port is None else (port,):
            if name not in self._closed_inputs:
                self._closed_inputs.add(name)
        # The ends take effect in _step, behind the work that is left.

    def _stop(self, event: Stop) -> None:
        if event.how == "drain":
            self._input_closed(None)
            if not self._draining:
                self._draining = True
                for worker in self._workers.values():
                    if worker.state is not State.EXITED and not worker.delivery.idle:
                        self._do(*worker.shutdown.asked(self._now_s))
            return
        self._exit_code = event.exit_code
        self._abandon(("stopped", "ended by force before everything was done"), event.how)

    # --- messages on their way ---

    def _new_span(self) -> bytes:
        self._span = (self._span + 1) & 0xFFFF_FFFF_FFFF_FFFF
        return self._span.to_bytes(8, "big")

    def _consume(self, message: Message) -> None:
        """A message is no more; what came of it was counted before."""
        for trace in message.traces:
            trace.live -= 1
            if trace.live == 0:
                self._do(Settled(trace.ticket))

    def _travel(self, source: End, message: Message) -> None:
        """Send a message along its route."""
        compiled, route = self._routes[source]

        def emit(index: int, payload: bytes) -> None:
            if payload is message.payload:
                child = message
            else:
                child = Message(payload, message.traces, message.trace_id, self._new_span(), message.span_id)
            self._arrive(index, child)

        try:
            compiled(message.payload, emit)
        except RouteError as error:
            self._refused(error, route, message)

    def _refused(self, error: RouteError, route: Route, message: Message) -> None:
        kind = self.plan.graph.nodes[route.source.node].kind
        if not isinstance(error.cause, ValueRejected):
            code = "expr_eval"
        elif error.node == route.source.node:
            code = "input_type_mismatch" if kind == "input" else "output_type_mismatch"
        else:
            code = "type_mismatch"
        if code != "input_type_mismatch":
            self._lost += 1
        at = route.source.port if kind == "input" and error.node == route.source.node else error.node
        detail = str(error.cause)
        self._note("warning", "message.rejected", node=at, code=code, detail=detail)
        self._do(Refuse(code, detail, at, tuple(trace.ticket for trace in message.traces)))

    def _arrive(self, index: int, message: Message) -> None:
        """Put a message where its route ends."""
        sink = self._sinks[index]
        match sink.kind:
            case "output":
                tickets = tuple(trace.ticket for trace in message.traces)
                self._do(Deliver(self._outputs[sink.end.node], message.payload, tickets, message.trace_id))
            case "merge":
                self._appear(message)
                self._work.append((End(sink.end.node, "output"), message))
                if len(self._work) > LOOP_MESSAGES_MAX:
                    self._amplified(sink.end.node)
            case "barrier":
                self._appear(message)
                self._slot(sink.end, message)
            case "worker":
                if sink.end.port == "input":
                    self._appear(message)
                    self._offer(self._workers[sink.end.node], sink, message)
                else:
                    self._control(self._workers[sink.end.node], index, message)

    def _appear(self, message: Message) -> None:
        for trace in message.traces:
            trace.live += 1

    def _slot(self, end: End, message: Message) -> None:
        """Put a message into a barrier; if that makes it complete, it fires: the k-th of each side go on together."""
        slots = self._slots[end.node]
        slots[end.port].append(message)
        if not all(slots.values()):
            return
        parts = [slot.popleft() for slot in slots.values()]
        traces = tuple(dict.fromkeys(trace for part in parts for trace in part.traces))
        parents = b"".join(dict.fromkeys(part.span_id for part in parts))
        payload = b"[" + b",".join(part.payload for part in parts) + b"]"
        pair = Message(payload, traces, parts[0].trace_id, self._new_span(), parents)
        self._appear(pair)
        self._rested.add(end.node)
        self._work.append((End(end.node, "output"), pair))
        for part in parts:
            self._consume(part)

    def _starved(self, barrier: str) -> frozenset[str]:
        return frozenset(port for port, slot in self._slots[barrier].items() if not slot)

    def _amplified(self, node: str) -> None:
        if self._error is None:
            self._fail(
                1,
                "amplifying_loop",
                f"more than {LOOP_MESSAGES_MAX} messages wait on the loop of '{node}': it makes more than it consumes",
            )

    # --- workers ---

    def _is_idle(self, name: str) -> bool:
        worker = self._workers[name]
        return worker.delivery.idle and not worker.early_control

    def _offer(self, worker: _Worker, sink: Sink, message: Message) -> None:
        if worker.state in (State.DRAINED, State.EXITED):
            self._dead_letter(worker, [message])
            return
        worker.delivery.offer(message, feedback=sink.feedback)
        self._inflight += 1
        if worker.plan.name in self._loops and worker.delivery.waiting > LOOP_MESSAGES_MAX:
            self._amplified(worker.plan.name)
        self._feed(worker)

    def _feed(self, worker: _Worker) -> None:
        """Send what the window allows."""
        delivery, name = worker.delivery, worker.plan.name
        while (unacked := delivery.take()) is not None:
            message = unacked.message
            origin = Provenance(message.trace_id, message.span_id, unacked.seq, message.parents)
            frame = Data("fabric", message.payload, origin if worker.plan.frames == "v2" else None)
            self._do(Send(name, "input", encode(frame)))
            if not worker.plan.compat:
                self._do(Send(name, "input", encode(Marker("fabric", delivery.marker(unacked.seq)))))
            if self._draining:
                self._do(*worker.shutdown.asked(self._now_s))

    def _control(self, worker: _Worker, index: int, message: Message) -> None:
        """Pass a message to ctrl_in. It is consumed there; what it brings about comes on ctrl_out as something new."""
        if worker.state in (State.DRAINED, State.EXITED):
            return
        self._sink_seq[index] += 1
        origin = Provenance(message.trace_id, message.span_id, self._sink_seq[index], message.parents)
        raw = encode(Data(self._sinks[index].source, message.payload, origin))
        if worker.state in (State.LAUNCHED, State.READY):
            worker.early_control.append(raw)
        else:
            self._do(Send(worker.plan.name, "ctrl_in", raw))

    def _dead_letter(self, worker: _Worker, messages: Iterable[Message]) -> None:
        for message in messages:
            self._dead_lettered += 1
            self._note("warning", "message.dead_lettered", worker=worker.plan.name, reason="worker_ended")
            self._consume(message)

    def _frames(self, worker: _Worker, port: str, raws: list[bytes]) -> None:
        worker.shutdown.moved(self._now_s)
        for raw in raws:
            if worker.state is State.EXITED:
                return
            try:
                frame = decode(raw)
            except RemoteProtocolError as error:
                worker.malformed[error.reason] += 1
                self._lost += 1
                self._note(
                    "warning", "message.rejected", worker=worker.plan.name, reason=error.reason, detail=str(error)
                )
                self._do(Refuse("malformed_frame", str(error), worker.plan.name, ()))
                continue
            try:
                match frame:
                    case Data():
                        self._data(worker, port, frame)
                    case Marker(_, marker):
                        self._marker(worker, port, marker)
                    case Eof():
                        self._port_ended(worker, port)
            except RemoteProtocolError as error:
                self._fail(1, "protocol_violation", str(error))
                return

    def _data(self, worker: _Worker, port: str, frame: Data) -> None:
        name, delivery = worker.plan.name, worker.delivery
        span = frame.provenance.span_id if frame.provenance else None
        match port:
            case "output":
                worker.advance(Step.OUTPUT)
                worker.answered = True
                delivery.output("output", frame.payload, span)
                if worker.plan.release_early:
                    self._release(worker)
                if worker.plan.compat:
                    self._commit(worker, "output", delivery.marker(delivery.oldest.seq))  # type: ignore[union-attr]
            case "ctrl_out" if worker.state is State.LAUNCHED:
                self._announced(worker, frame.payload)
            case "ctrl_out":
                if port in worker.wired:  # at once: a reply may be what the worker waits for
                    self._spontaneous(End(name, port), frame.payload, span)
            case "telemetry":
                self._note("debug", "worker.telemetry", worker=name, telemetry=frame.payload)
                if port in worker.wired:
                    if delivery.marks(port) and delivery.oldest is not None:
                        delivery.output(port, frame.payload, span)
                    else:
                        self._spontaneous(End(name, port), frame.payload, span)
            case _:
                raise RemoteProtocolError("port", f"worker '{name}' sent a message on {port}, which is not open")

    def _announced(self, worker: _Worker, payload: bytes) -> None:
        ready = parse_ready(payload)
        if ready is None:
            raise RemoteProtocolError(
                "ready", f"worker '{worker.plan.name}': the first message on ctrl_out is not ready"
            )
        if MARK_ALL_PORTS in ready.features:
            worker.delivery.mark(worker.wired)
        self._do(*worker.startup.announced())
        if worker.state is State.RUNNING:
            self._running(worker)

    def _spontaneous(self, end: End, payload: bytes, span: bytes | None) -> None:
        """Send on what no input brought about, such as a control reply. It belongs to no input's trace."""
        self._travel(end, Message(payload, (), self._rng.randbytes(16), span or self._new_span(), b""))

    def _marker(self, worker: _Worker, port: str, marker: str) -> None:
        if marker.startswith(PROBE):
            if port == "output" and marker == worker.startup.marker:
                worker.startup.probed()
                self._running(worker)
        elif worker.delivery.owns(marker):
            if worker.delivery.marks(port):
                self._commit(worker, port, marker)
        else:
            self._note("warning", "marker.dropped", worker=worker.plan.name, port=port, marker=marker)

    def _commit(self, worker: _Worker, port: str, marker: str) -> None:
        """Pass on what the worker made of the messages whose markers are back."""
        for unacked in worker.delivery.returned(port, marker):
            worker.answered = True
            self._pass_on(worker, unacked)
            self._consume(unacked.message)
            self._inflight -= 1
        self._feed(worker)
        if worker.delivery.idle:
            self._rested.add(worker.plan.name)

    def _release(self, worker: _Worker) -> None:
        """Pass the outputs of the oldest message on before its marker (``release: "early"``)."""
        oldest = worker.delivery.oldest
        assert oldest is not None
        self._pass_on(worker, oldest)
        oldest.outputs.clear()

    def _pass_on(self, worker: _Worker, unacked: Unacked) -> None:
        """Send on what the worker made of a message: what came on ``output`` first, whichever socket was faster."""
        cause = unacked.message
        for held in sorted(unacked.outputs, key=lambda held: held.port != "output"):
            end = End(worker.plan.name, held.port)
            if end in self._routes:
                span_id = held.span_id or self._new_span()
                self._travel(end, Message(held.payload, cause.traces, cause.trace_id, span_id, cause.span_id))

    def _port_ended(self, worker: _Worker, port: str) -> None:
        if port == "output":
            early = worker.state is State.RUNNING
            worker.advance(Step.EOF_OUT)
            if early:
                self._left_early(worker)
            self._do(*worker.shutdown.output_ended(self._now_s))
            self._note("debug", "channel.eof", worker=worker.plan.name, port=port)
        self._end(self._drain.port_ended(End(worker.plan.name, port)))

    def _left_early(self, worker: _Worker) -> None:
        """The worker ended its output by itself: its last outputs stand, what it leaves behind is a dead letter."""
        self._inflight -= worker.delivery.waiting
        head, left = worker.delivery.end()
        self._rested.add(worker.plan.name)
        if head is not None:
            self._pass_on(worker, head)
            self._consume(head.message)
        self._note("info", "worker.left", worker=worker.plan.name, messages_left=len(left))
        if worker.plan.transport == "stdio" and not worker.answered:
            self._fail(4, "worker_not_started", f"worker '{worker.plan.name}' ended before it answered anything")
        self._dead_letter(worker, left)

    # --- ends ---

    def _step(self) -> None:
        """Take the routes that are due; when none is, see what has ended."""
        self._run()
        if self._work or self._error is not None:
            return
        for port in sorted(self._closed_inputs):
            self._end(self._drain.input_closed(self._inputs[port]))
        rested, self._rested = sorted(self._rested), set()
        for node in rested:
            self._end(self._drain.rested(node))

    def _run(self) -> None:
        for _ in range(STEPS_PER_EVENT_MAX):
            if not self._work:
                return
            source, message = self._work.popleft()
            self._travel(source, message)
            self._consume(message)

    def _end(self, endings: list[Ending]) -> None:
        for ending in endings:
            for barrier in ending.barriers:
                self._report_unpaired(barrier)
            for name in ending.workers:
                worker = self._workers[name]
                worker.input_ended = True
                if worker.state is State.RUNNING:
                    self._end_input(worker)
            for output in ending.outputs:
                self._do(CloseOutput(self._outputs[output]))

    def _end_input(self, worker: _Worker) -> None:
        worker.advance(Step.EOF_IN)
        self._do(Send(worker.plan.name, "input", encode(Eof("fabric"))))
        self._do(*worker.shutdown.asked(self._now_s))

    def _report_unpaired(self, barrier: str) -> None:
        for port, slot in self._slots[barrier].items():
            if slot:
                self._unpaired += len(slot)
                self._note("warning", "barrier.unpaired", barrier=barrier, port=port, messages=len(slot))
                while slot:
                    self._consume(slot.popleft())

    def _exited(self, worker: _Worker, event: Exited) -> None:
        name, state = worker.plan.name, worker.state
        self._gone.add(name)
        worker.advance(Step.EXIT)
        self._do(Release(name))
        self._rested.add(name)
        clean = lifecycle.exited_cleanly(state, event.status)
        self._note("info" if clean else "warning", "worker.exited", worker=name, status=event.status, state=state.name)
        if state is State.DRAINED:
            for port in ("output", "ctrl_out", "telemetry"):
                self._end(self._drain.port_ended(End(name, port)))
            return
        if self._error is not None:
            return
        started = worker.answered or (worker.plan.transport == "zmq" and state not in (State.LAUNCHED, State.READY))
        waiting = worker.delivery.waiting
        doing = f" with {waiting} message{'s' if waiting > 1 else ''} unanswered" if waiting else ""
        if worker.shutdown.forced:
            silent = f"gave no sign of life for {self._settings.grace_s:g} s after it was asked to end"
            self._fail(5, "worker_killed", f"worker '{name}' {silent}, and was ended{doing}")
            return
        code = 1 if started else 2 if event.status == 2 else 4
        how = f"exited with status {event.status}" if event.status >= 0 else f"was killed by signal {-event.status}"
        before = "it was ready" if worker.plan.transport == "zmq" else "it answered anything"
        when = "" if started else f" before {before}"
        word, said = _last_words(event.stderr)
        if code == 2 and word:  # it knows best what is wrong with its configuration
            self._fail(code, word, said)
            return
        word = "child_died" if started else "worker_not_started"
        why = ": " + said.removeprefix(f"worker '{name}': ") if said else ""
        self._fail(code, word, f"worker '{name}' {how}{when}{doing}{why}")

    def _fail(self, exit_code: int, code: str, message: str) -> None:
        """End the session because something is broken. The first failure is the one that is told."""
        if self._error is None:
            self._exit_code = exit_code
            self._note("error", "session.failed", code=code, message=message)
            self._abandon((code, message), "terminate")

    def _abandon(self, error: tuple[str, str], how: str) -> None:
        """Give up what is left: count it, end the workers."""
        first = self._error is None
        self._error = self._error or error
        for worker in self._workers.values():
            if worker.plan.name not in self._gone:
                self._do(*(worker.shutdown.kill() if how == "kill" else worker.shutdown.terminate(self._now_s)))
        if not first:
            return
        left = list(self._work)
        self._work.clear()
        self._lost += len(left) + sum(worker.delivery.waiting for worker in self._workers.values())
        self._lost += sum(len(slot) for slots in self._slots.values() for slot in slots.values())

    def _finish_if_over(self) -> None:
        if len(self._gone) < len(self._workers) or self._finished:
            return
        if self._error is None and (self._work or not self._drain.over):
            return
        losses = LossReport(self._lost, self._dead_lettered, self._unpaired)
        forced = any(worker.shutdown.forced for worker in self._workers.values())
        if self._exit_code is None:
            self._exit_code = 5 if losses.lost or losses.dead_lettered or forced else 0
        self._finished = True
        self._do(Finish(self._exit_code, losses, self._error))


def _last_words(stderr: tuple[str, ...]) -> tuple[str, str]:
    """Return what a worker said of its end: code and text of its last error object, else no code and its last line."""
    for line in reversed(stderr):
        try:
            said = decode_json(line)
        except ValueRejected:
            if line.strip():
                return "", line.strip()
            continue
        if isinstance(said, dict) and isinstance(said.get("error"), str):
            return str(said.get("code", "")), said["error"]
    return "", ""
