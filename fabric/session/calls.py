"""Calls of tools that are under way.

A worker asks on tool_req; its arguments enter the part of the graph that is the tool, as a message with a trace of its
own; what comes to the tool's end with that trace is the result, and goes back on tool_resp.

    request     bad, unknown, too many: answered at once        else: the arguments enter
    result      kept: there may be more
    refused     answered, with why
    settled     nothing of the call is left: answered with its one result, or with why there is none
    deaf        the caller hears nothing any more: its calls go on, their results are dropped

A call is done when nothing of it is left, not when the first result is there: a tool gives one result for each call,
and one that gives two is as wrong as one that gives none. Its trace has a ticket below zero, which no client uses; so
whatever refuses a message need not know of calls.

A barrier within a tool has slots for each call, so that one call whose half was refused does not shift those behind it.
"""

from __future__ import annotations

__all__ = ["CALLS_MAX", "Arguments", "Calls"]

import difflib
from collections import Counter, deque
from collections.abc import Iterable, Mapping

import msgspec

from fabric.errors import ValueRejected
from fabric.graph.ir import End
from fabric.plan.plan import Plan, ToolPlan
from fabric.session.barriers import Barrier
from fabric.session.events import Send
from fabric.session.outbox import Outbox
from fabric.wire.calls import Request, failed, parse_request, result
from fabric.wire.codec import PAYLOAD_BYTES_MAX, encode
from fabric.wire.frame import Data

CALLS_MAX = 64
"""Calls of one worker that may be under way. So much of them can wait in the tools at most."""


FAILED_NOTE_S = 1.0
"""Failed calls of one worker are noted once in so many seconds; each is counted."""


class Arguments(msgspec.Struct, frozen=True):
    """What enters a tool.

    Attributes:
        call: the port where it comes in.
        ticket: of its trace.
        caller: the worker.
        payload: JSON text, not validated.
    """

    call: End
    ticket: int
    caller: str
    payload: bytes


class _Call:
    """A call that is under way.

    Attributes:
        answered: nothing is to be told any more: it was, or nobody hears it.
        results: how many have come; ``first`` is the first.
        barriers: of the tool, by node; they pair what belongs to this call.
    """

    __slots__ = ("answered", "barriers", "caller", "first", "id", "results", "tool")

    def __init__(self, caller: str, tool: ToolPlan, id_: bytes) -> None:
        self.caller = caller
        self.tool = tool
        self.id = id_
        self.answered = False
        self.first = b""
        self.results = 0
        self.barriers: dict[str, Barrier] = {}


class Calls:
    """The calls of one session.

    Args:
        plan: what runs.
        out: takes what is sent and noted.

    Attributes:
        possible: whether there is a worker that may make any.
        made: how many there were; ``failed``: how many of them were answered with an error.
        now_s: by the session's clock.
    """

    def __init__(self, plan: Plan, out: Outbox) -> None:
        self.possible = any(worker.calls for worker in plan.workers)
        self.made = 0
        self.failed = 0
        self.now_s = 0.0
        self._noted_s: dict[str, float] = {}
        self._out = out
        self._tools = plan.tools
        self._names: dict[str, Mapping[str, str]] = {worker.name: worker.tools for worker in plan.workers}
        self._busy: Counter[str] = Counter()
        self._callers = {name: set(tool.callers) for name, tool in plan.tools.items()}
        self._calls: dict[int, _Call] = {}
        self._entering: dict[str, deque[Arguments]] = {name: deque() for name in plan.tools}
        self._next_ticket = -1
        self._told: set[str] = set()

    # --- how it stands ---

    @property
    def under_way(self) -> tuple[tuple[str, str], ...]:
        """Who waits for which tool."""
        return tuple((call.caller, call.tool.name) for call in self._calls.values() if not call.answered)

    def waits(self, worker: str) -> bool:
        """Whether a worker waits for a tool."""
        return any(call.caller == worker and not call.answered for call in self._calls.values())

    # --- from callers ---

    def request(self, caller: str, payload: bytes) -> None:
        """A worker calls a tool."""
        self.made += 1
        try:
            request = parse_request(payload)
        except ValueRejected as error:
            wrong = f"this is no call: {error}"
            self._answer(caller, "", failed(b"null", wrong), wrong)
            return
        refusal = self._wrong(caller, request)
        if refusal is not None:
            self._answer(caller, request.name, failed(request.id, refusal), refusal)
            return
        tool = self._tools[self._names[caller][request.name]]
        ticket, self._next_ticket = self._next_ticket, self._next_ticket - 1
        self._calls[ticket] = _Call(caller, tool, request.id)
        self._busy[tool.name] += 1
        self._entering[tool.name].append(Arguments(tool.call, ticket, caller, request.arguments))
        self._out.note("debug", "tool.called", worker=caller, tool=tool.name)

    def _wrong(self, caller: str, request: Request) -> str | None:
        """Say why a call cannot be made, if it cannot."""
        names, own = self._names[caller], [call for call in self._calls.values() if call.caller == caller]
        if request.name not in names:
            near = difflib.get_close_matches(request.name, names, 1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            return (
                f"there is no tool {request.name!r} for you; there are: {', '.join(sorted(set(names.values())))}{hint}"
            )
        if len(own) >= CALLS_MAX:
            return f"{CALLS_MAX} of your calls are under way: wait for one of them"
        if any(call.id == request.id and not call.answered for call in own):
            return f"a call with the id {request.id.decode()} is under way: give each one of its own"
        return None

    def deaf(self, worker: str) -> None:
        """A worker hears no results any more: its process is gone, or it has ended its output."""
        for call in self._calls.values():
            if call.caller == worker and not call.answered:
                call.answered = True
                self._out.note("debug", "tool.result_dropped", worker=worker, tool=call.tool.name)

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
        call = self._calls.pop(ticket)
        self._busy[call.tool.name] -= 1
        return call

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
        call = self._calls[ticket]
        if not call.answered:
            call.answered = True
            self._answer(call.caller, call.tool.name, failed(call.id, error), error)

    def settled(self, ticket: int) -> None:
        """Nothing of a call is left."""
        call = self._remove(ticket)
        if call.answered:
            return
        content = call.first if call.tool.gives else b"null"
        if call.results != call.tool.gives:
            gave = f"gave {call.results} results, not one" if call.results else "gave no result"
            error = f"{call.tool.name} {gave}: what it is made of has to answer each message exactly once"
        elif len(content) + len(call.id) > PAYLOAD_BYTES_MAX - 64:
            error = (
                f"the result of {call.tool.name} has {len(content)} bytes; a message has {PAYLOAD_BYTES_MAX} at most"
            )
        else:
            self._send(call.caller, result(call.id, content))
            return
        self._answer(call.caller, call.tool.name, failed(call.id, error), error)

    def _answer(self, caller: str, tool: str, response: bytes, error: str) -> None:
        self.failed += 1
        if self.now_s >= self._noted_s.get(caller, float("-inf")) + FAILED_NOTE_S:
            self._noted_s[caller] = self.now_s
            self._out.note("warning", "tool.failed", worker=caller, tool=tool, error=error, count=self.failed)
        self._send(caller, response)

    def _send(self, caller: str, response: bytes) -> None:
        self._told.add(caller)
        self._out.do(Send(caller, "tool_resp", encode(Data("fabric", response))))
