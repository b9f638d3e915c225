"""Calls of tools that are under way.

A worker asks on tool_req; its arguments enter the part of the graph that is the tool, as a message with a trace of its
own; what comes to the tool's end with that trace is the result, and goes back on tool_resp.

    request     bad, unknown, too many: answered at once        else: it may be run, or waits for approval
    decided     granted: it may be run        denied: answered, with why
    may run     the arguments enter, or a server is called
    result      kept: there may be more
    refused     answered, with why
    settled     nothing of the call is left: answered with its one result, or with why there is none
    served      answered, with what the server says
    late        answered, with that; what still comes of it is dropped
    deaf        the caller hears nothing any more: approvals are withdrawn, servers told; what is in the graph goes on,
                and its results are dropped

In a durable run a call is an entry of the log before it is run, and so is its response before it goes back
(:mod:`fabric.session.recall`):

    request     recorded with a response: answered with that        still under way: its caller hears what comes of it
                recorded without: in doubt; it is run if that does no harm, else it waits for approval
    gone        the caller's process is gone: what may be run goes on, and its response is recorded for the next process

A call is done when nothing of it is left, not when the first result is there: a tool gives one result for each call,
and one that gives two is as wrong as one that gives none. Its trace has a ticket below zero, which no client uses; so
whatever refuses a message need not know of calls.

A barrier within a tool has slots for each call, so that one call whose half was refused does not shift those behind it.
"""

from __future__ import annotations

__all__ = ["CALLS_MAX", "TIMERS", "Arguments", "Calls"]

import difflib
import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping

import msgspec

from fabric.errors import ValueRejected
from fabric.graph.ir import End
from fabric.plan.plan import Plan, ToolPlan, WorkerPlan
from fabric.session.approvals import TIMER as APPROVAL_TIMER
from fabric.session.approvals import Approvals, Denied, Granted, Verdict, canonical
from fabric.session.barriers import Barrier
from fabric.session.call_spans import NO_CALL_SPANS, CallSpans
from fabric.session.deadlines import Deadlines
from fabric.session.durations import Histogram
from fabric.session.events import Answered, Approval, CallServer, CancelCall, Decided, Level, Send, Served
from fabric.session.figures import CallOutcome, ToolFigures
from fabric.session.outbox import Outbox
from fabric.session.recall import Recall, RecordedCall
from fabric.session.settings import Settings
from fabric.wire.calls import RECALL, Request, failed, parse_request, result, with_id
from fabric.wire.codec import PAYLOAD_BYTES_MAX, encode
from fabric.wire.frame import Data, Provenance
from fabric.wire.payload import encode_json

CALLS_MAX = 64
"""Calls of one worker that may be under way. So much of them can wait in the tools at most."""


FAILED_NOTE_S = 1.0
"""Failed calls of one worker are noted once in so many seconds; each is counted."""

TIMERS = "calls"
"""The first part of the keys of all timers here."""


class Arguments(msgspec.Struct, frozen=True):
    """What enters a tool.

    Attributes:
        call: the port where it comes in.
        ticket: of its trace.
        caller: the node of the worker, as which it signs.
        payload: JSON text, not validated.
        origin: of the request.
        key: by which the tool may know the call again; empty: it is made once.
    """

    call: End
    ticket: int
    caller: str
    payload: bytes
    origin: Provenance
    key: str = ""


class _ServedTool(msgspec.Struct, frozen=True):
    """A tool of a server, as one worker knows it. ``repeatable``: as the server says itself."""

    name: str
    server: str
    tool: str
    repeatable: bool = False

    @property
    def effects(self) -> bool:
        """Nobody here knows what it does."""
        return True


class _Call:
    """A call that is under way.

    Attributes:
        answered: nothing is to be told any more: it was, or nobody hears it.
        late: it took too long.
        deaf: its caller is gone, and the next process hears what comes of it.
        may_run: it needs no approval, or has got it.
        message: the id of that for which it is made; empty: nothing of it is recorded.
        recorded: its entry of the log, if it has one.
        results: how many have come; ``first`` is the first.
        barriers: of the tool, by node; they pair what belongs to this call.
        began_s: since when it may be run, by the session's clock.
    """

    __slots__ = (
        "answered",
        "arguments",
        "barriers",
        "began_s",
        "caller",
        "deaf",
        "first",
        "id",
        "late",
        "may_run",
        "message",
        "origin",
        "recorded",
        "results",
        "tool",
    )

    def __init__(self, caller: str, tool: ToolPlan | _ServedTool, request: Request, origin: Provenance) -> None:
        self.caller = caller
        self.tool = tool
        self.id = request.id
        self.arguments = request.arguments
        self.origin = origin
        self.message = ""
        self.recorded: RecordedCall | None = None
        self.answered = self.late = self.may_run = self.deaf = False
        self.first = b""
        self.results = 0
        self.began_s = 0.0
        self.barriers: dict[str, Barrier] = {}


class _Done:
    """Calls that came to an end in the same way, and how long those took that were run."""

    __slots__ = ("calls", "took")

    def __init__(self) -> None:
        self.calls = 0
        self.took = Histogram()


class Calls:
    """The calls of one session.

    Args:
        plan: what runs.
        out: takes what is sent and noted.
        settings: who approves, and how long calls may take.
        rng: source of a part of the ids of approvals.
        spans: tell of them.
        recall: what is recorded of calls, in a durable run.

    Attributes:
        possible: whether there is a worker that may make any.
        made: how many there were; ``failed``: how many of them were answered with an error.
        dropped: results that came when nobody waited for them any more.
        now_s: by the session's clock.
    """

    def __init__(
        self,
        plan: Plan,
        out: Outbox,
        settings: Settings,
        rng: random.Random,
        spans: CallSpans = NO_CALL_SPANS,
        recall: Recall | None = None,
    ) -> None:
        self._recall = recall
        self._parts = {worker.name for worker in plan.workers if worker.spec.part_of}
        self._spans = spans
        self.possible = any(worker.calls for worker in plan.workers)
        self.made = 0
        self.failed = 0
        self.dropped = 0
        self.now_s = 0.0
        self._noted_s: dict[str, float] = {}
        self._out = out
        self._timeout_s = settings.tool_timeout_s
        self._approvals = Approvals(settings, rng, out)
        self._deadlines = Deadlines((TIMERS, "tool"), settings.tool_timeout_s)
        self._tools = plan.tools
        self._callable = {worker.name: _callable(plan, worker) for worker in plan.workers}
        self._busy: Counter[str] = Counter()
        self._nodes = {worker.name: worker.node for worker in plan.workers}
        self._callers = {
            name: {worker.name for worker in plan.workers if worker.node in tool.callers}
            for name, tool in plan.tools.items()
        }
        self._calls: dict[int, _Call] = {}
        self._entering: dict[str, deque[Arguments]] = {name: deque() for name in plan.tools}
        self._next_ticket = -1
        self._told: set[str] = set()
        self._done: dict[tuple[str, str, CallOutcome], _Done] = {}

    # --- how it stands ---

    @property
    def figures(self) -> tuple[ToolFigures, ...]:
        """What is done, by caller, tool and how it ended."""
        done = self._done.items()
        return tuple(ToolFigures(*key, found.calls, found.took.durations) for key, found in done)

    @property
    def under_way(self) -> tuple[tuple[str, str], ...]:
        """Who waits for which tool; not for its approval."""
        return tuple(
            (call.caller, call.tool.name) for call in self._calls.values() if call.may_run and not call.answered
        )

    @property
    def approvals(self) -> tuple[Approval, ...]:
        """What waits for approval, the oldest first."""
        return self._approvals.pending

    @property
    def denied(self) -> int:
        """How many calls were refused for lack of approval."""
        return self._approvals.denied

    def waits(self, worker: str) -> bool:
        """Whether a worker waits for a tool, or for its approval."""
        return any(call.caller == worker and not (call.answered or call.deaf) for call in self._calls.values())

    # --- from callers ---

    def request(self, caller: str, payload: bytes, origin: Provenance) -> None:
        """A worker calls a tool; ``origin`` says for which message."""
        try:
            request = parse_request(payload)
        except ValueRejected as error:
            self.made += 1
            wrong = f"this is no call: {error}"
            self._answer(caller, "", failed(b"null", wrong), wrong)
            return
        if self._recall is not None and request.name == RECALL:
            known = self._recall.of(self._nodes[caller], origin.parents.hex())
            self._send(caller, result(request.id, encode_json(known)))
            return
        self.made += 1
        message = self._message_of(caller, origin)
        if self._recall is not None and message:
            self._recall.told(caller, message, request.answers)
        recorded = self._made_before(caller, message, request)
        if recorded is not None and (recorded.response is not None or self._adopt(recorded, caller, request)):
            self._out.note("info", "tool.recalled", worker=caller, tool=recorded.intent.tool)
            if recorded.response is not None:
                self._send(caller, with_id(recorded.response, request.id))
            return
        refusal = self._wrong(caller, request)
        if refusal is not None:
            response = failed(request.id, refusal)
            if self._recall is not None and message:
                self._recall.answered(self._recall.planned(caller, message, request), response)
            self._answer(caller, request.name, response, refusal)
            return
        tool = self._callable[caller][request.name]
        ticket, self._next_ticket = self._next_ticket, self._next_ticket - 1
        call = self._calls[ticket] = _Call(caller, tool, request, origin)
        call.message, call.recorded = message, recorded
        server = tool.server if isinstance(tool, _ServedTool) else ""
        self._spans.called(ticket, self._nodes[caller], tool.name, request, origin, self.now_s, server=server)
        self._out.note("debug", "tool.called", worker=caller, tool=tool.name)
        if recorded is not None and not recorded.intent.waits:
            self._doubt(ticket)
        elif self._approvals.asks and tool.effects:
            self._ask(ticket)
        else:
            self._run(ticket)

    # --- of a durable run ---

    def _message_of(self, caller: str, origin: Provenance) -> str:
        """Return the id of the message for which a call is made, if the call is to be recorded.

        What a tool does within is not: as a whole it is one call.
        """
        return "" if self._recall is None or caller in self._parts else origin.parents.hex()

    def _made_before(self, caller: str, message: str, request: Request) -> RecordedCall | None:
        """Return the call in the log that a request is, if it is one that another process has made before."""
        if self._recall is None or not message:
            return None
        tool = self._callable[caller].get(request.name)
        name = request.name if tool is None else tool.name
        return self._recall.made(caller, message, request.id, name, request.arguments)

    def _adopt(self, recorded: RecordedCall, caller: str, request: Request) -> bool:
        """Let the caller hear what comes of a call that the process before it has made, if it is still under way."""
        for call in self._calls.values():
            if call.recorded is recorded and not call.answered:
                call.caller, call.id, call.deaf = caller, request.id, False
                return True
        return False

    def _doubt(self, ticket: int) -> None:
        """A call may have been run already, and nobody knows what came of it."""
        call = self._calls[ticket]
        repeatable = call.tool.repeatable
        level: Level = "info" if repeatable else "warning"
        self._out.note(level, "tool.in_doubt", worker=call.caller, tool=call.tool.name, repeatable=repeatable)
        if not repeatable:
            self._ask(ticket, in_doubt=True)
        elif self._approvals.asks and call.tool.effects:
            self._ask(ticket)
        else:
            self._run(ticket)

    def _intend(self, call: _Call, *, waits: bool = False) -> None:
        """Have it written down that a call is about to be run, or waits for approval, unless that is known."""
        if self._recall is None or not call.message:
            return
        if call.recorded is None:
            call.recorded = self._recall.planned(call.caller, call.message, _asked(call))
        elif waits or not call.recorded.intent.waits:
            return
        self._recall.intended(call.recorded, waits=waits)

    def _respond(self, call: _Call, response: bytes) -> None:
        """Answer a call; if that is recorded, behind the entry."""
        if self._recall is not None and call.message:
            made = call.recorded or self._recall.planned(call.caller, call.message, _asked(call))
            self._recall.answered(made, response)
        if call.deaf:
            self._out.note("debug", "tool.result_kept", worker=call.caller, tool=call.tool.name)
        else:
            self._send(call.caller, response)

    def _ask(self, ticket: int, *, in_doubt: bool = False) -> None:
        """Have a call approved. What is approved is what is run: one text that stands for the arguments."""
        call = self._calls[ticket]
        try:
            call.arguments = canonical(call.arguments)
        except ValueRejected as error:
            self._fail(ticket, f"arguments: {error}")
            return
        who = call.caller, call.tool.name, call.arguments
        asked = self._approvals.asked(ticket, *who, self.now_s, in_doubt=in_doubt)
        if isinstance(asked, Granted | Denied):
            self._judged([asked])
        else:
            self._spans.asked(ticket, self.now_s)
            self._intend(call, waits=True)

    def _judged(self, verdicts: Iterable[Verdict], *, denied: str = "denied") -> None:
        for verdict in verdicts:
            match verdict:
                case Granted(ticket):
                    self._spans.decided(ticket, "granted", self.now_s)
                    self._run(ticket)
                case Denied(ticket, why):
                    self._spans.decided(ticket, denied, self.now_s)
                    self._fail(ticket, why)

    def _run(self, ticket: int) -> None:
        """A call may be run."""
        call = self._calls[ticket]
        call.may_run = True
        call.began_s = self.now_s
        self._intend(call)
        key = "" if call.recorded is None else call.recorded.key
        self._out.do(*self._deadlines.begin(ticket, self.now_s))
        match call.tool:
            case ToolPlan(name, entry):
                self._busy[name] += 1
                caller = self._nodes[call.caller]
                self._entering[name].append(Arguments(entry, ticket, caller, call.arguments, call.origin, key))
            case _ServedTool(_, server, tool):
                traceparent = self._spans.traceparent(ticket)
                self._out.do(CallServer(ticket, server, tool, call.arguments, traceparent, key))

    def _wrong(self, caller: str, request: Request) -> str | None:
        """Say why a call cannot be made, if it cannot."""
        known, own = self._callable[caller], [call for call in self._calls.values() if call.caller == caller]
        if request.name not in known:
            near = difflib.get_close_matches(request.name, known, 1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            there_are = ", ".join(sorted({tool.name for tool in known.values()})) or "none"
            return f"there is no tool {request.name!r} for you; there are: {there_are}{hint}"
        if len(own) >= CALLS_MAX:
            return f"{CALLS_MAX} of your calls are under way: wait for one of them"
        if any(call.id == request.id and not call.answered for call in own):
            return f"a call with the id {request.id.decode()} is under way: give each one of its own"
        return None

    def deaf(self, worker: str) -> None:
        """A worker hears no results any more: its process is gone, or it has ended its output."""
        self._give_up([ticket for ticket, call in self._calls.items() if call.caller == worker and not call.answered])

    def gone(self, worker: str) -> None:
        """The process of a worker is gone. What it has called and may be run goes on, if another one gets to know."""
        if self._recall is not None:
            for call in self._calls.values():
                call.deaf |= call.caller == worker and call.recorded is not None and call.may_run
            self._recall.gone(worker)
        own = [(ticket, call) for ticket, call in self._calls.items() if call.caller == worker and not call.answered]
        self._give_up([ticket for ticket, call in own if not call.deaf])

    def stop(self) -> None:
        """The session has failed: nobody waits for anything any more."""
        self._give_up([ticket for ticket, call in self._calls.items() if not call.answered])

    def _give_up(self, tickets: list[int]) -> None:
        """Nobody waits for these calls any more. What is in the graph stays there until it has settled."""
        self._approvals.withdrawn(tickets)
        for ticket in tickets:
            call = self._calls[ticket]
            call.answered = True
            self._spans.decided(ticket, "withdrawn", self.now_s)
            self._spans.answered(ticket, self.now_s, error="nobody waits for it any more")
            if call.may_run:
                self._out.note("debug", "tool.result_dropped", worker=call.caller, tool=call.tool.name)
            self._forget(ticket)

    def ended(self, worker: str) -> None:
        """A worker makes no calls any more."""
        for callers in self._callers.values():
            callers.discard(worker)

    def take_entering(self) -> list[Arguments]:
        """Return what enters tools now."""
        taken: list[Arguments] = []
        for name, entering in self._entering.items():
            while entering and not (self._tools[name].alone and self._busy[name] > len(entering)):
                arguments = entering.popleft()
                if self._calls[arguments.ticket].answered:  # nobody waits for it any more
                    self._remove(arguments.ticket)
                else:
                    taken.append(arguments)
        return taken

    def _remove(self, ticket: int) -> _Call:
        """Nothing of a call is left in the graph."""
        call = self._calls.pop(ticket)
        self._deadlines.done(ticket)
        self._busy[call.tool.name] -= 1
        return call

    def _forget(self, ticket: int) -> None:
        """A call was answered, or nobody hears it: forget it, unless there is something of it in the graph."""
        call = self._calls[ticket]
        self._deadlines.done(ticket)
        if isinstance(call.tool, ToolPlan) and call.may_run:
            return
        del self._calls[ticket]
        if call.may_run:
            self._out.do(CancelCall(ticket))

    def take_told(self) -> set[str]:
        """Return the workers that have got a response since the last time: what they do next is up to them."""
        told, self._told = self._told, set()
        return told

    def take_ended(self) -> list[str]:
        """Return the nodes where no call will come in any more: all callers have ended, and the last call is done."""
        ended = [name for name, callers in self._callers.items() if not (callers or self._busy[name])]
        for name in ended:
            del self._callers[name]
        return [self._tools[name].call.node for name in ended]

    # --- from people, and from the clock ---

    def decided(self, event: Decided) -> None:
        """Somebody has decided whether a call may be run."""
        found = self._approvals.decided(event.approval, granted=event.granted, always=event.always, reason=event.reason)
        if isinstance(found, tuple):
            error, code = found
            self._out.do(Answered(event.ticket, error, code=code))
            return
        self._judged(found)
        self._out.do(Answered(event.ticket))

    def hurry(self, timeout_s: float) -> None:
        """The session is to end: approvals are waited for so long at most."""
        self._approvals.hurry(timeout_s, self.now_s)

    def timer(self, key: tuple[str, str]) -> None:
        """A time is over that was asked for here."""
        if key == APPROVAL_TIMER:
            self._judged(self._approvals.timer(self.now_s), denied="expired")
            return
        late, commands = self._deadlines.timer(self.now_s)
        for ticket in late:
            self._calls[ticket].late = True
            name = self._calls[ticket].tool.name
            self._fail(ticket, f"{name} took longer than {self._timeout_s:g} s; what it still does is not waited for")
        self._out.do(*commands)

    # --- from tools ---

    def barrier(self, ticket: int, node: str, ports: Iterable[str]) -> Barrier:
        """Return what a node of a tool has of one call."""
        return self._calls[ticket].barriers.setdefault(node, Barrier(ports))

    def came(self, tickets: tuple[int, ...], payload: bytes) -> None:
        """A message has come to the end of a tool."""
        call = self._calls.get(tickets[0]) if tickets else None
        if call is None:  # telemetry, say, that is wired to the output
            self._out.note("warning", "tool.unasked", detail="a result that belongs to no call")
            return
        call.results += 1
        if call.results == 1:
            call.first = payload

    def refused(self, ticket: int, error: str) -> None:
        """A message of a call went no further."""
        if not self._calls[ticket].answered:
            self._fail(ticket, error)

    def settled(self, ticket: int) -> None:
        """Nothing of a call is left."""
        call = self._remove(ticket)
        if call.answered:
            if call.late and call.results:
                self._drop(call.caller, call.tool.name)
            return
        assert isinstance(call.tool, ToolPlan)
        name, content = call.tool.name, call.first if call.tool.gives else b"null"
        if call.results != call.tool.gives:
            gave = f"gave {call.results} results, not one" if call.results else "gave no result"
            error = f"{name} {gave}: what it is made of has to answer each message exactly once"
            self._spans.answered(ticket, self.now_s, error=error)
            self._refuse(call, error)
        else:
            self._spans.answered(ticket, self.now_s, content=content)
            self._give(call, content)

    def served(self, event: Served) -> None:
        """A server has done a call, or says why not."""
        call = self._calls.get(event.call)
        if call is None:  # it was late, or its caller is gone
            self._drop("", "")
            return
        del self._calls[event.call]
        self._deadlines.done(event.call)
        error = event.error if event.content is None else None
        self._spans.answered(event.call, self.now_s, content=event.content or b"", error=error)
        if event.content is None:
            self._refuse(call, event.error)
        else:
            self._give(call, event.content)

    def _drop(self, caller: str, tool: str) -> None:
        """A result has come too late."""
        self.dropped += 1
        fields = {"worker": caller, "tool": tool} if caller else {}
        self._out.note(
            "warning", "tool.result_dropped", **fields, reason="nobody waits for it any more", count=self.dropped
        )

    def _give(self, call: _Call, content: bytes) -> None:
        """Answer a call with its result."""
        if len(content) + len(call.id) > PAYLOAD_BYTES_MAX - 64:
            name = call.tool.name
            self._refuse(
                call, f"the result of {name} has {len(content)} bytes; a message has {PAYLOAD_BYTES_MAX} at most"
            )
        else:
            self._count(call.caller, "ok", call)
            self._respond(call, result(call.id, content))

    def _fail(self, ticket: int, error: str) -> None:
        """Answer a call with why there is no result, and forget it as far as that can be."""
        call = self._calls[ticket]
        call.answered = True
        self._spans.answered(ticket, self.now_s, error=error)
        self._refuse(call, error)
        self._forget(ticket)

    def _refuse(self, call: _Call, error: str) -> None:
        """Answer a call with why there is no result."""
        self._failed(call.caller, call.tool.name, error, call)
        self._respond(call, failed(call.id, error))

    def _answer(self, caller: str, tool: str, response: bytes, error: str) -> None:
        """Answer what is no call, or none that can be made."""
        self._failed(caller, tool, error, None)
        self._send(caller, response)

    def _failed(self, caller: str, tool: str, error: str, call: _Call | None) -> None:
        self.failed += 1
        self._count(caller, "error", call)
        if self.now_s >= self._noted_s.get(caller, float("-inf")) + FAILED_NOTE_S:
            self._noted_s[caller] = self.now_s
            self._out.note("warning", "tool.failed", worker=caller, tool=tool, error=error, count=self.failed)

    def _count(self, caller: str, outcome: CallOutcome, call: _Call | None) -> None:
        """Count a call that is answered; what was no call of a tool is ``None``."""
        key = caller, call.tool.name if call is not None else "", outcome
        done = self._done.setdefault(key, _Done())
        done.calls += 1
        if call is not None and call.may_run:
            done.took.add(self.now_s - call.began_s)

    def _send(self, caller: str, response: bytes) -> None:
        self._told.add(caller)
        self._out.do(Send(caller, "tool_resp", encode(Data("fabric", response))))


def _asked(call: _Call) -> Request:
    """Return what was asked for, by the name that the tool has here."""
    return Request(call.id, call.tool.name, call.arguments)


def _callable(plan: Plan, worker: WorkerPlan) -> Mapping[str, ToolPlan | _ServedTool]:
    """Return what a worker may call, by the names that it may use. A tool of the program wins over one of a server."""
    served = {
        f"{name}.{tool}": _ServedTool(f"{name}.{tool}", key, tool, tool in plan.servers[key].repeatable)
        for name, key in worker.servers.items()
        for tool in plan.servers[key].tools
    }
    return {**served, **{name: plan.tools[tool] for name, tool in worker.tools.items()}}
