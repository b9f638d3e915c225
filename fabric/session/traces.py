"""What messages descend from: their ids, and the count of what is left of each input.

An input settles when none of its descendants exists any more. So a message that comes into being has to appear before
the one that it came of is consumed.
"""

from __future__ import annotations

__all__ = ["IdSource", "Traces"]

import random
from collections.abc import Sequence
from typing import NamedTuple

from fabric.session.delivery import Message, Trace
from fabric.wire.codec import PARENTS_MAX
from fabric.wire.frame import Provenance

_SPAN_MASK = 0xFFFF_FFFF_FFFF_FFFF
_TRACE_MASK = 0xFFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF


class IdSource(NamedTuple):
    """Where ids of messages come from.

    Attributes:
        span, trace: the last ones; the next is one more.
        drawn: whether ids of traces that need not follow each other are drawn by chance instead.
    """

    span: int
    trace: int
    drawn: bool


class Traces:
    """Makes messages, and knows when all that came of an input is gone.

    Args:
        rng: source of trace and span ids.

    Attributes:
        settled: tickets of inputs of which nothing is left, since :meth:`take_settled`.
        settled_calls: the same of calls of tools, whose tickets are below zero.
        now_s: by the session's clock: messages that come into being now are so old.
    """

    def __init__(self, rng: random.Random) -> None:
        self.settled: list[int] = []
        self.settled_calls: list[int] = []
        self.now_s = 0.0
        self._rng = rng
        self._span = rng.getrandbits(64)
        self._trace = rng.getrandbits(128)
        self._drawn = True

    def draw_from(self, source: IdSource) -> IdSource:
        """Take ids from here on; return where they were taken from."""
        before = IdSource(self._span, self._trace, drawn=self._drawn)
        self._span, self._trace, self._drawn = source
        return before

    def new_trace(self) -> bytes:
        """Return the id of a trace that nothing else belongs to yet."""
        if self._drawn:
            return self._rng.randbytes(16)
        self._trace = (self._trace + 1) & _TRACE_MASK
        return self._trace.to_bytes(16, "big")

    def new_span(self) -> bytes:
        """Return the id of a message that did not bring one."""
        self._span = (self._span + 1) & _SPAN_MASK
        return self._span.to_bytes(8, "big")

    def enter(self, port: str, ticket: int, payload: bytes) -> Message:
        """Make a message of what comes from outside. It has appeared."""
        self._trace = (self._trace + 1) & _TRACE_MASK
        trace = Trace(self._trace.to_bytes(16, "big"), ticket)
        trace.live += 1
        return Message(payload, (trace,), trace.id, self.new_span(), b"", port, self.now_s)

    def called(self, caller: str, ticket: int, payload: bytes, origin: Provenance, key: str = "") -> Message:
        """Make a message of a call's arguments: of the trace for which the worker calls. It counts for the call alone.

        Args:
            caller: the worker.
            ticket: of the call.
            payload: JSON text.
            origin: of the request.
            key: by which the tool may know the call again: its span id then follows from that.
        """
        trace = Trace(origin.trace_id, ticket)
        trace.live += 1
        span_id = bytes.fromhex(key)[:8] if key else self.new_span()
        return Message(payload, (trace,), trace.id, span_id, origin.span_id, caller, self.now_s)

    def request(self, cause: Message | None, span: bytes | None) -> Provenance:
        """Return where a call comes from.

        Args:
            cause: the message for which it is made, if that is known.
            span: of the request, if the worker says one.
        """
        span = span or self.new_span()
        if cause is None:
            return Provenance(self.new_trace(), span, 0)
        return Provenance(cause.trace_id, span, 0, cause.span_id)

    def spontaneous(self, topic: str, payload: bytes, span: bytes | None) -> Message:
        """Make a message of what no input brought about. It counts for none."""
        return Message(payload, (), self.new_trace(), span or self.new_span(), b"", topic, self.now_s)

    def outcome(self, cause: Message, topic: str, payload: bytes, span: bytes | None) -> Message:
        """Make a message of what a worker made of another one."""
        span = span or self.new_span()
        return Message(payload, cause.traces, cause.trace_id, span, cause.span_id, topic, self.now_s)

    def changed(self, message: Message, payload: bytes) -> Message:
        """Make a message of what became of one on its way."""
        self._span = (self._span + 1) & _SPAN_MASK  # as new_span
        span_id = self._span.to_bytes(8, "big")
        return Message(payload, message.traces, message.trace_id, span_id, message.span_id, message.topic, self.now_s)

    def joined(self, parts: Sequence[Message], topic: str) -> Message:
        """Make one message of several: a JSON array of them, which counts for all their inputs."""
        traces = tuple(dict.fromkeys(trace for part in parts for trace in part.traces))
        parents = b"".join(list(dict.fromkeys(part.span_id for part in parts))[:PARENTS_MAX])
        payload = b"[" + b",".join(part.payload for part in parts) + b"]"
        return Message(payload, traces, parts[0].trace_id, self.new_span(), parents, topic, self.now_s)

    def left(self, message: Message) -> bytes:
        """A message leaves a durable session: return an id that no other one has, whatever ids workers give."""
        return self.new_span()

    def appear(self, message: Message) -> None:
        """One more exists."""
        for trace in message.traces:
            trace.live += 1

    def consume(self, message: Message) -> None:
        """A message is no more; what came of it was counted before."""
        for trace in message.traces:
            trace.live -= 1
            if trace.live == 0:
                (self.settled if trace.ticket >= 0 else self.settled_calls).append(trace.ticket)

    def take_settled_calls(self) -> list[int]:
        """Return the tickets of calls of which nothing is left; they are the caller's now."""
        settled, self.settled_calls = self.settled_calls, []
        return settled

    def take_settled(self) -> list[int]:
        """Return the tickets of what has settled; they are the caller's now."""
        settled, self.settled = self.settled, []
        return settled
