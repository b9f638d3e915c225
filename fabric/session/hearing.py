"""What workers say: frame after frame, what each one means.

    take         frames of one port, in order
    attached     something has passed that an attachment waited for
    stop         the session has failed: nothing is heard any more

A worker that was there before is heard when nothing of the past can come from it any more (:class:`Attachment`). A
frame that cannot be right is refused, and counted; one that shows that others are missing is a fault of the process.
"""

from __future__ import annotations

__all__ = ["Hearing"]

from collections.abc import Callable
from contextlib import suppress

from fabric.errors import ChannelBroken, RemoteProtocolError, ValueRejected
from fabric.session.calls import Calls
from fabric.session.events import Answered, Level, Send
from fabric.session.failure import Failure, name_of, quoted
from fabric.session.outbox import Outbox
from fabric.session.spans import Spans
from fabric.session.spending import Spending
from fabric.session.traffic import Traffic
from fabric.session.usage import USAGE
from fabric.session.worker_state import WorkerState
from fabric.wire.calls import BUDGET_EXHAUSTED, SETTLE, code_of, failed, parse_request, reason_of
from fabric.wire.codec import BATCH_START, decode, encode, is_batch, split
from fabric.wire.control import Ready, kind_of, parse_ready, paused_by
from fabric.wire.frame import Data, Decline, Eof, Frame, Marker
from fabric.wire.lifecycle import State, Step


class Hearing:
    """Hears all workers of one session.

    Args:
        out: where commands go.
        traffic: takes the messages.
        calls: takes calls of tools.
        spending: takes what is said of the budget.
        spans: tell of messages, if anybody wants that.
        paid: takes telemetry that tells of a call of a model, with the worker's name.
        trusted: called when a worker may be given messages, once it is as it was.
        restored: called when a worker has taken back what it was.
        ended: takes the end of a port.
        fault: called when a process cannot be trusted any more.

    Attributes:
        now_s: by the session's clock; who owns this sets it.
    """

    def __init__(
        self,
        out: Outbox,
        traffic: Traffic,
        calls: Calls,
        spending: Spending,
        spans: Spans,
        *,
        paid: Callable[[str, Data], None],
        trusted: Callable[[WorkerState], None],
        restored: Callable[[WorkerState], None],
        ended: Callable[[WorkerState, str], None],
        fault: Callable[[WorkerState, Failure], None],
    ) -> None:
        self.now_s = 0.0
        self._out = out
        self._traffic = traffic
        self._calls = calls
        self._spending = spending
        self._spans = spans
        self._paid = paid
        self._trusted = trusted
        self._restored = restored
        self._ended = ended
        self._at_fault = fault
        self._stopped = False

    def stop(self) -> None:
        """The session has failed: what is said counts no more, but for what was paid."""
        self._stopped = True

    def take(self, worker: WorkerState, port: str, raws: list[bytes]) -> None:
        """A worker has said something on a port."""
        for raw in raws:
            if self._stopped or worker.fault is not None:
                return
            start, batch = BATCH_START, is_batch(raw)
            if batch and port == "output" and worker.takes_short_way:
                committed, start = worker.delivery.collect(raw)
                if start > BATCH_START:
                    worker.answered = True
                    worker.latency.answered(worker.delivery.take_done(), self.now_s)
                    self._moved(worker)
                    self._traffic.pass_on_all(worker, committed)
            try:
                parts = split(raw, start)
            except RemoteProtocolError as error:
                self._reject(worker, port, error, lost=True)
                continue
            for part in parts:
                if worker.state is State.EXITED or self._stopped or worker.fault is not None:
                    return
                self._frame(worker, port, part, in_batch=batch)

    def take_last(self, worker: str, raws: list[bytes]) -> None:
        """Count what was paid for in telemetry that comes when the session has failed."""
        for raw in raws:
            try:
                frames = [decode(part) for part in split(raw)]
            except RemoteProtocolError:
                continue
            for frame in frames:
                if isinstance(frame, Data):
                    self._paid(worker, frame)

    def _frame(self, worker: WorkerState, port: str, raw: bytes, *, in_batch: bool) -> None:
        """Take a frame. One that cannot be right is refused; one that shows that others are missing is a fault.

        Only what is taken is a sign of life: rubbish does not put off a worker's end.
        """
        try:
            frame = decode(raw)
        except RemoteProtocolError as error:
            self._reject(worker, port, error, lost=True)
            return
        if worker.attachment is not None:
            if not worker.attachment.done:
                self._attach(worker, port, frame)
                return
            if self._known_already(worker, port, frame):
                return
        if isinstance(frame, Marker) and port == "ctrl_out" and worker.pulse.returned(frame.id):
            return  # it moves, which is no sign that it does what it should
        try:
            if port in worker.ended_ports:
                raise RemoteProtocolError("after_eof", f"{name_of(worker.name)} sent a frame behind its end of {port}")
            match frame:
                case Data():
                    self._data(worker, port, frame)
                case Marker(_, marker):
                    self._marker(worker, port, marker)
                case Decline(_, payload):
                    self._declined(worker, port, payload)
                case Eof():
                    if in_batch:
                        text = f"{name_of(worker.name)} sent an end of {port} inside of a batch"
                        raise RemoteProtocolError("batch", text)
                    self._ended(worker, port)
        except ChannelBroken as error:
            self._at_fault(worker, Failure(1, "protocol_violation", str(error)))
        except RemoteProtocolError as error:
            self._reject(worker, port, error, lost=isinstance(frame, Data | Decline) and error.reason != "announced")
        else:
            self._moved(worker)

    # --- who was there before ---

    def _attach(self, worker: WorkerState, port: str, frame: Frame) -> None:
        """Take a frame of a worker that is not trusted yet: who it is, or a probe; all else is of the past."""
        attachment = worker.attachment
        assert attachment is not None
        ready = parse_ready(frame.payload) if isinstance(frame, Data) and port == "ctrl_out" else None
        if isinstance(frame, Marker) and attachment.owns(frame.id):
            self._out.do(*attachment.returned(port, frame.id, self.now_s))
        elif ready is not None and _is_another(worker, ready) and attachment.announced:
            self._replaced(worker)
        elif ready is not None:
            worker.greeting = ready
            self._out.do(*attachment.greeted(worker.marking_ports, self.now_s))
        elif not (isinstance(frame, Data) and port == "ctrl_out" and kind_of(frame.payload) == "resume_ack"):
            self._past(worker, port, frame)
        self.attached(worker)

    def attached(self, worker: WorkerState) -> None:
        """Trust a worker as soon as nothing of the past can come from it any more."""
        attachment = worker.attaching
        if attachment is None or not attachment.complete or worker.steering.stopping or worker.fault is not None:
            return
        worker.life.advance(Step.ANNOUNCE)
        worker.life.advance(Step.PROBE)
        worker.attached()
        self._moved(worker)
        if attachment.refused:
            level: Level = "info" if worker.incarnation == 1 else "warning"  # what one said who was just started, too
            self._out.note(level, "worker.past_refused", worker=worker.name, frames=attachment.refused)
        self._trusted(worker)

    def _past(self, worker: WorkerState, port: str, frame: Frame) -> None:
        """Refuse a frame that was meant for who listened before. What was paid for counts; who asks is answered."""
        assert worker.attachment is not None
        worker.attachment.refused += 1
        self._traffic.losses.count_past(worker.name)
        if isinstance(frame, Eof) and port == "output":  # who had asked for its end is gone
            worker.attachment.left_over = True
            self._out.note("warning", "worker.left_over", worker=worker.name)
            for raw in worker.attachment.dismissal:
                self._out.do(Send(worker.name, "ctrl_in", raw))
        if not isinstance(frame, Data):
            return
        if port == "telemetry" and USAGE in frame.payload:
            self._paid(worker.name, frame)
        if port == "tool_req" and worker.plan.calls:
            with suppress(ValueRejected):
                request = parse_request(frame.payload)
                if request.name != SETTLE:
                    answer = failed(
                        request.id, "this was asked before the connection was renewed; ask again if need be"
                    )
                    self._out.do(Send(worker.name, "tool_resp", encode(Data("fabric", answer))))

    def _known_already(self, worker: WorkerState, port: str, frame: Frame) -> bool:
        """Whether a frame of a worker that is attached says nothing new: a probe that is late, or who it is."""
        assert worker.attachment is not None
        if isinstance(frame, Marker):
            return worker.attachment.owns(frame.id)
        ready = parse_ready(frame.payload) if isinstance(frame, Data) and port == "ctrl_out" else None
        if ready is not None and _is_another(worker, ready):
            self._replaced(worker)
        return ready is not None

    def _replaced(self, worker: WorkerState) -> None:
        """Another process is there: what the one before had goes to it, once this connection is renewed."""
        text = f"{name_of(worker.name)} was started again: another process has announced itself"
        self._at_fault(worker, Failure(1, "replaced", text))

    # --- messages ---

    def _data(self, worker: WorkerState, port: str, frame: Data) -> None:
        name, delivery = worker.name, worker.delivery
        span = None
        if frame.provenance is not None:
            span = frame.provenance.span_id
            delivery.numbering.take(port, frame.provenance.seq)
        match port:
            case "output":
                cause = delivery.cause(port)
                worker.life.advance(Step.OUTPUT)
                worker.answered = True
                if worker.plan.release_early and delivery.leads(cause):
                    self._traffic.pass_on(worker, cause.message, port, frame.payload, span)
                else:
                    delivery.hold(port, frame.payload, span)
                if worker.plan.compat:
                    self._commit(worker, port, delivery.marker(cause.seq))
            case "ctrl_out":
                self._said(worker, frame.payload, span)
            case "telemetry":
                self._out.note("debug", "worker.telemetry", worker=name, telemetry=frame.payload)
                if port in worker.wired and delivery.has_cause(port):
                    delivery.hold(port, frame.payload, span)
                elif port in worker.ways:
                    self._traffic.spontaneous(worker, port, frame.payload, span)
                if USAGE in frame.payload:
                    self._paid(name, frame)
                    if self._spans.wanted and frame.provenance is not None:
                        self._spans.used(worker.plan, frame.provenance.parents[:8], frame.payload)
            case "tool_req" if worker.plan.calls:
                self._call(worker, frame)
            case _:
                text = f"{name_of(name)} sent a message on {quoted(port)}, which is not open"
                raise RemoteProtocolError("port", text)

    def _declined(self, worker: WorkerState, port: str, payload: bytes) -> None:
        spec = worker.plan.spec
        unpaid = spec.metered and code_of(payload) == BUDGET_EXHAUSTED
        if port != "output" or not (spec.part_of or unpaid):
            text = f"{name_of(worker.name)} declined on {quoted(port)}, and is part of no tool"
            raise RemoteProtocolError("decline", text)
        cause = worker.delivery.cause(port)
        worker.life.advance(Step.OUTPUT)
        worker.answered = True
        if spec.part_of:
            self._traffic.declined(worker, cause.message, reason_of(payload))
        else:  # it is a dead letter when it is committed: if the worker dies before that, another gets it
            cause.declined = reason_of(payload) or BUDGET_EXHAUSTED
        if worker.plan.compat:
            self._commit(worker, port, worker.delivery.marker(cause.seq))

    def _said(self, worker: WorkerState, payload: bytes, span: bytes | None) -> None:
        """A message came on ctrl_out: the announcement, later a reply to control."""
        ready = parse_ready(payload)
        if worker.state is State.LAUNCHED:
            self._announced(worker, ready)
            return
        if ready is not None:
            raise RemoteProtocolError("announced", f"{name_of(worker.name)} announced itself again")
        self._replied(worker, payload, span)

    def _announced(self, worker: WorkerState, ready: Ready | None) -> None:
        if ready is None:
            text = f"{name_of(worker.name)} sent a message on ctrl_out before it said that it is ready"
            raise RemoteProtocolError("unannounced", text)
        if worker.steering.stopping:  # it was told to end before it was ready, and will
            return
        worker.announced(ready)
        self._out.do(*worker.startup.announced())
        if worker.state is State.RUNNING:
            self._trusted(worker)

    def _replied(self, worker: WorkerState, payload: bytes, span: bytes | None) -> None:
        """The worker says something on ctrl_out: to the graph, to an operator, or to the session itself."""
        before, worker.paused = worker.paused, paused_by(payload, before=worker.paused)
        if worker.paused != before:
            self._traffic.reconsider(worker)
        restoring = worker.restoring
        reply = worker.control.heard(payload)
        kind = kind_of(payload)
        if worker.recollection is not None and kind == "memory_set" and reply.asker != "session":
            worker.recollection.replaced(reply.replaces)
        if reply.complete and reply.place and not (reply.asker == "graph" and "ctrl_out" in worker.wired):
            self._traffic.steered(worker, reply.place)
        match reply.asker:
            case "graph":
                if "ctrl_out" in worker.ways:  # at once: a reply may be what the worker waits for
                    self._traffic.spontaneous(worker, "ctrl_out", payload, span, answers=reply.place)
            case "session":
                if kind == "memory":
                    self._traffic.remembered(worker, payload)
                if restoring and not worker.restoring:
                    self._restored(worker)
                self._traffic.feed(worker)
            case int(ticket) if reply.complete:
                self._out.do(Answered(ticket, reply=reply.payload))

    def _call(self, worker: WorkerState, frame: Data) -> None:
        """A worker calls a tool. Calls are served until it has ended its output."""
        if self._spending.heard(worker.name, frame.payload):  # also behind the end of the output: it may settle then
            return
        if worker.state is State.DRAINED:
            self._out.note("warning", "tool.result_dropped", worker=worker.name, reason="it has ended its output")
        else:
            self._calls.request(worker.name, frame.payload, self._traffic.origin_of(worker, frame.provenance))

    # --- markers ---

    def _marker(self, worker: WorkerState, port: str, marker: str) -> None:
        if worker.plan.compat:
            raise RemoteProtocolError("marker", f"{name_of(worker.name)} sent a marker, and says that it does not")
        if worker.startup.awaits(marker) and port not in worker.probed_ports:
            worker.probed_ports.add(port)
            if port == "output" and not worker.steering.stopping:  # as in _announced
                worker.startup.probed()
                self._trusted(worker)
        elif port == "ctrl_out" and worker.control.owns(marker):
            awaited = worker.control.awaited
            unanswered = worker.control.returned(marker, busy=worker.delivery.owes("ctrl_out"))
            self._traffic.steered(worker)
            self._unanswered(worker, unanswered, awaited=awaited)
            self._traffic.look_at(worker)
            self._traffic.feed(worker)  # it may have waited for what this was about
        else:
            if port == "ctrl_out" and worker.delivery.owns(marker):
                awaited = worker.control.awaited
                unanswered = worker.control.message_ended()
                self._traffic.steered(worker)
                self._unanswered(worker, unanswered, awaited=awaited)
            self._commit(worker, port, marker)

    def _unanswered(self, worker: WorkerState, tickets: list[int], *, awaited: bool) -> None:
        """The worker has passed over what it was asked; ``awaited``: whether the session waited for a reply itself."""
        for ticket in tickets:
            self._out.do(Answered(ticket, f"{name_of(worker.name)} gave no reply to that"))
        if awaited and not worker.control.awaited:  # to ask again would go on for ever
            text = f"{name_of(worker.name)} gave no reply about its memory or a pause, but the marker behind it"
            raise ChannelBroken("unanswered", text)

    def _commit(self, worker: WorkerState, port: str, marker: str) -> None:
        """Pass on what the worker made of the messages whose markers are back."""
        committed = worker.delivery.returned(port, marker)
        if self._spans.wanted and port == "telemetry":
            self._spans.told(worker.name, worker.delivery.returned_until(port))
        worker.answered = True
        worker.latency.answered(worker.delivery.take_done(), self.now_s)
        self._traffic.pass_on_all(worker, committed)

    # --- signs of life ---

    def _moved(self, worker: WorkerState) -> None:
        """The worker gave a sign of life."""
        worker.shutdown.moved(self.now_s)
        worker.silence.told = False

    def _reject(self, worker: WorkerState, port: str, error: RemoteProtocolError, *, lost: bool) -> None:
        """Go on without a frame; it is counted by its reason, and as lost if it may have been a message."""
        self._out.do(*self._traffic.losses.reject(worker.name, port, error, self.now_s, lost=lost))


def _is_another(worker: WorkerState, ready: Ready) -> bool:
    """Whether the process that says this is not the one that was heard last. One without a number is another."""
    return worker.greeting is None or ready.incarnation is None or ready.incarnation != worker.greeting.incarnation
