"""What a session tells of its traces: the spans that others hang from.

    invoke_workflow SPEC        an input, from its acceptance until nothing of it is left
      invoke_agent W, run W     one message at worker W, from its delivery until it is committed, or dead
        execute_tool T          one call that W makes, from its request until its answer
          await_approval T      as long as somebody has to approve it
          run W2                the message that enters the tool
      join B                    what barrier B makes of several messages, from the first of them until the last
      attempt W                 one process of W that did not survive the message

Their ids follow from frames (``fabric.wire.tracing``). All of them are told here, none by a worker: a worker that is
killed takes along what it has not exported yet, and whatever hangs from that would hang in the air. Only here it is
known what was committed, by whom and how often it was tried. What workers tell themselves has no children: calls of
models, functions.

Without anybody who wants spans nothing is recorded, and messages are made as always.
"""

from __future__ import annotations

__all__ = ["NO_SPANS", "About", "Spans", "TracedTraces", "maker_of"]

import random
from collections.abc import Iterable, Sequence

import msgspec

from fabric.plan.plan import WorkerPlan
from fabric.session.call_spans import CallSpans
from fabric.session.delivery import Message, Trace, Unacked
from fabric.session.events import Command, Finish, Refuse, Settled, Traced
from fabric.session.traces import Traces
from fabric.session.usage import read_usage
from fabric.tracing.span import Attributes, Span
from fabric.wire.tracing import MADE_BY_NOBODY, derived, maker

UNFINISHED = "the session ended before"


class About(msgspec.Struct, frozen=True):
    """What is told of a session with each of its inputs.

    Attributes:
        program: its name.
        digest: of its text.
        conversation: id of the session.
        caller: trace id and span id of who started it.
        content: whether arguments of tools are told.
    """

    program: str = ""
    digest: str = ""
    conversation: str = ""
    caller: tuple[bytes, bytes] | None = None
    content: bool = False


class _Changed(Message):
    """A message that a filter, a map or a monitor made of another one.

    Attributes:
        maker: id of the span from which the other one came.
    """

    __slots__ = ("maker",)

    maker: bytes


def maker_of(message: Message) -> bytes:
    """Return the id of the span from which a message comes: those that only change it are none."""
    if isinstance(message, _Changed):
        return message.maker
    return maker(message.span_id, message.parents, message.topic)


class _Input:
    __slots__ = ("error", "port", "span_id", "start_s", "trace_id")

    def __init__(self, message: Message, start_s: float) -> None:
        self.trace_id = message.trace_id
        self.span_id = message.span_id
        self.port = message.topic
        self.start_s = start_s
        self.error: str | None = None


class _Work:
    __slots__ = ("attempt", "error", "message", "start_s", "used", "worker")

    def __init__(self, worker: WorkerPlan, message: Message) -> None:
        self.worker = worker
        self.message = message
        self.start_s = 0.0
        self.attempt = 0
        self.error: str | None = None
        self.used: dict[str, int] = {}


class Spans:
    """The spans of one session.

    Args:
        about: the session; ``None``: nobody wants any.

    Attributes:
        wanted: whether somebody does.
        calls: those of calls of tools.
        now_s: by the session's clock.
    """

    def __init__(self, about: About | None) -> None:
        self.wanted = about is not None
        self.now_s = 0.0
        self._about = about or About()
        self._inputs: dict[int, _Input] = {}
        self._work: dict[tuple[str, bytes], _Work] = {}
        self._held: dict[str, list[tuple[int, float, _Work]]] = {}
        self._spans: list[Span] = []
        self.calls = CallSpans(self._spans, wanted=self.wanted, content=self._about.content)

    # --- messages ---

    def entered(self, message: Message, ticket: int) -> None:
        """An input was accepted."""
        self._inputs[ticket] = _Input(message, self.now_s)

    def joined(self, pair: Message, parts: Sequence[Message]) -> None:
        """A barrier made one message of several."""
        first, *others = parts
        links = dict.fromkeys((part.trace_id, maker_of(part)) for part in others)
        parent = maker_of(first)
        links.pop((first.trace_id, parent), None)
        self._spans.append(
            Span(
                f"join {pair.topic}",
                pair.trace_id,
                derived(first.span_id, pair.topic),
                parent,
                min(part.at_s for part in parts),
                self.now_s,
                attributes={"fabric.barrier": pair.topic},
                links=tuple(links),
            )
        )

    def reported(self, message: Message, port: str) -> None:
        """A worker said something that no input brought about, and that the graph goes on with."""
        about: Attributes = {"fabric.worker": message.topic, "fabric.port": port}
        name = f"report {message.topic}"
        start_s, service = self.now_s, message.topic
        self._spans.append(
            Span(
                name,
                message.trace_id,
                message.span_id,
                MADE_BY_NOBODY,
                start_s,
                start_s,
                attributes=about,
                service=service,
            )
        )

    # --- workers ---

    def fed(self, worker: WorkerPlan, taken: Iterable[Unacked]) -> None:
        """A worker is given messages."""
        for unacked in taken:
            key = (worker.spec.name, unacked.message.span_id)
            work = self._work.setdefault(key, _Work(worker, unacked.message))
            work.worker = worker
            work.start_s = self.now_s
            work.attempt += 1

    def used(self, worker: WorkerPlan, cause: bytes, telemetry: bytes) -> None:
        """A worker says what a call of a model took, for the message with this span id."""
        usage = read_usage(telemetry)
        if usage is None:
            return
        works = [self._work.get((worker.spec.name, cause)), *(work for _, _, work in self._held.get(worker.name, ()))]
        names = ("input_tokens", "output_tokens", "cache_read.input_tokens", "cache_creation.input_tokens")
        for work in works:
            if work is not None and work.message.span_id == cause:
                for name, tokens in zip(names, usage[1], strict=True):
                    work.used[f"gen_ai.usage.{name}"] = work.used.get(f"gen_ai.usage.{name}", 0) + tokens
                return

    def declined(self, worker: WorkerPlan, message: Message, error: str) -> None:
        """A worker cannot do a message. It will be committed, or be a dead letter."""
        work = self._work.get((worker.spec.name, message.span_id))
        if work is not None:
            work.error = error

    def committed(self, worker: WorkerPlan, unacked: Unacked, *, told: bool) -> None:
        """A worker has done a message.

        Args:
            worker: which.
            unacked: the message.
            told: whether all its telemetry is there. What calls of models took may come behind.
        """
        if unacked.declined:
            self.declined(worker, unacked.message, unacked.declined)
        work = self._work.pop((worker.spec.name, unacked.message.span_id), None)
        if work is None:
            return
        if worker.spec.kind == "agent" and "telemetry" in worker.endpoints and not told:
            self._held.setdefault(worker.name, []).append((unacked.seq, self.now_s, work))
        else:
            self._tell_of(work, self.now_s)

    def buried(self, worker: WorkerPlan, message: Message, error: str) -> None:
        """Nobody does a message any more. A span tells of it if somebody was given it."""
        work = self._work.pop((worker.spec.name, message.span_id), None)
        if work is not None:
            work.error = error
            self._tell_of(work, self.now_s)

    def died(self, worker: WorkerPlan, message: Message, error: str) -> None:
        """A process of a worker did not survive a message, which another one gets now."""
        work = self._work.get((worker.spec.name, message.span_id))
        if work is None:
            return
        name = worker.spec.name
        work_id = derived(message.span_id, name)
        self._spans.append(
            Span(
                f"attempt {name}",
                message.trace_id,
                derived(work_id, f"attempt {work.attempt}"),
                work_id,
                work.start_s,
                self.now_s,
                attributes={"fabric.worker": worker.name, "fabric.attempt": work.attempt},
                error=error,
                service=worker.name,
            )
        )

    def told(self, worker: str, until: int) -> None:
        """All telemetry of a worker is there up to this message."""
        held = self._held.get(worker, [])
        while held and held[0][0] <= until:
            _, end_s, work = held.pop(0)
            self._tell_of(work, end_s)

    def gone(self, worker: str) -> None:
        """A worker's process is gone: no telemetry of it will come."""
        for _, end_s, work in self._held.pop(worker, ()):
            self._tell_of(work, end_s)

    def _tell_of(self, work: _Work, end_s: float) -> None:
        message, worker, spec = work.message, work.worker, work.worker.spec
        attributes: Attributes = {"fabric.worker": worker.name, "fabric.message.id": message.span_id.hex()}
        if spec.kind == "agent":
            attributes["gen_ai.operation.name"] = "invoke_agent"
            attributes["gen_ai.agent.name"] = spec.name
            for key, name in (("provider", "gen_ai.provider.name"), ("model", "gen_ai.request.model")):
                if isinstance(said := spec.config.get(key), str):
                    attributes[name] = said
        if work.attempt > 1:
            attributes["fabric.attempt"] = work.attempt
        if work.error is not None:
            attributes["error.type"] = "_OTHER"
        self._spans.append(
            Span(
                f"invoke_agent {spec.name}" if spec.kind == "agent" else f"run {spec.name}",
                message.trace_id,
                derived(message.span_id, spec.name),
                maker_of(message),
                work.start_s,
                end_s,
                attributes={**attributes, **work.used},
                error=work.error,
                service=worker.name,
            )
        )

    # --- the session ---

    def told_by(self, commands: list[Command]) -> list[Command]:
        """Return commands, behind what is to be told of them and of all that came before."""
        for command in commands:
            match command:
                case Refuse(code, detail, _, tickets):
                    for ticket in tickets:
                        if (found := self._inputs.get(ticket)) is not None and found.error is None:
                            found.error = f"{code}: {detail}"
                case Settled(tickets):
                    for ticket in tickets:
                        self._over(ticket)
                case Finish():
                    self._finish(command)
        if not self._spans:
            return commands
        spans = tuple(self._spans)
        self._spans.clear()
        return [Traced(spans), *commands]

    def _finish(self, finish: Finish) -> None:
        """Nothing comes any more: what is under way stays undone."""
        error = finish.error[1] if finish.error is not None else UNFINISHED
        for worker in tuple(self._held):
            self.gone(worker)
        self.calls.finish(error, self.now_s)
        for work in self._work.values():
            work.error = work.error or error
            self._tell_of(work, self.now_s)
        self._work.clear()
        for ticket, found in tuple(self._inputs.items()):
            found.error = found.error or error
            self._over(ticket)

    def _over(self, ticket: int) -> None:
        found = self._inputs.pop(ticket, None)
        if found is None:
            return
        about = self._about
        attributes: Attributes = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": about.program,
            "gen_ai.conversation.id": about.conversation,
            "fabric.port": found.port,
        }
        if about.digest:
            attributes["fabric.spec.digest"] = about.digest
        if found.error is not None:
            attributes["error.type"] = found.error.partition(":")[0]
        self._spans.append(
            Span(
                f"invoke_workflow {about.program}",
                found.trace_id,
                found.span_id,
                MADE_BY_NOBODY,
                found.start_s,
                self.now_s,
                attributes=attributes,
                links=() if about.caller is None else (about.caller,),
                error=found.error,
            )
        )


NO_SPANS = Spans(None)
"""Of a session of which nobody wants to know."""


class TracedTraces(Traces):
    """Makes messages of which spans tell.

    Args:
        rng: source of ids. Trace ids are drawn one by one, as whoever samples by them expects.
        spans: are told.
    """

    def __init__(self, rng: random.Random, spans: Spans) -> None:
        super().__init__(rng)
        self._spans = spans

    def enter(self, port: str, ticket: int, payload: bytes) -> Message:
        """Make a message of what comes from outside. It has appeared."""
        trace = Trace(self.new_trace(), ticket)
        trace.live += 1
        message = Message(payload, (trace,), trace.id, self.new_span(), b"", port, self.now_s)
        self._spans.entered(message, ticket)
        return message

    def changed(self, message: Message, payload: bytes) -> Message:
        """Make a message of what became of one on its way. It comes from where that came from."""
        made = _Changed(
            payload,
            message.traces,
            message.trace_id,
            self.new_span(),
            message.span_id,
            message.topic,
            self.now_s,
        )
        made.maker = maker_of(message)
        return made

    def joined(self, parts: Sequence[Message], topic: str) -> Message:
        """Make one message of several: a JSON array of them, which counts for all their inputs."""
        pair = super().joined(parts, topic)
        self._spans.joined(pair, parts)
        return pair
