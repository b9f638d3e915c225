"""What a session tells of calls of tools: ``execute_tool``, and ``await_approval`` within it. See ``spans``."""

from __future__ import annotations

__all__ = ["NO_CALL_SPANS", "CallSpans"]

from fabric.tracing.span import CONTENT_CHARS_MAX, Attributes, Span
from fabric.wire.calls import Request
from fabric.wire.frame import Provenance
from fabric.wire.tracing import MADE_BY_NOBODY, derived, traceparent


class _Call:
    __slots__ = ("asked_s", "attributes", "caller", "origin", "start_s", "tool")

    def __init__(self, caller: str, tool: str, origin: Provenance, attributes: Attributes, start_s: float) -> None:
        self.caller = caller
        self.tool = tool
        self.origin = origin
        self.attributes = attributes
        self.start_s = start_s
        self.asked_s: float | None = None

    @property
    def span_id(self) -> bytes:
        """Of its span, which is also that from which its arguments come."""
        return derived(self.origin.span_id, self.caller)


class CallSpans:
    """The spans of a session's calls.

    Args:
        spans: takes them.
        wanted: whether somebody wants them; otherwise nothing is recorded.
        content: whether arguments and results are told.
    """

    def __init__(self, spans: list[Span], *, wanted: bool, content: bool) -> None:
        self._spans = spans
        self._wanted = wanted
        self._content = content
        self._calls: dict[int, _Call] = {}

    def called(
        self,
        ticket: int,
        caller: str,
        tool: str,
        request: Request,
        origin: Provenance,
        now_s: float,
        *,
        server: str = "",
    ) -> None:
        """A worker calls a tool.

        Args:
            ticket: of the call.
            caller, tool: who calls what.
            request: what it asked for.
            origin: of the request: its parent is the message for which the worker calls.
            now_s: by the session's clock, as everywhere here.
            server: the MCP server whose tool it is, if it is one's.
        """
        if not self._wanted:
            return
        attributes: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.call.id": request.id.decode(errors="replace").strip('"'),
            "gen_ai.tool.type": "function",
            "fabric.worker": caller,
        }
        if server:
            attributes |= {"mcp.method.name": "tools/call", "fabric.mcp.server": server}
        if self._content:
            attributes["gen_ai.tool.call.arguments"] = _shown(request.arguments)
        self._calls[ticket] = _Call(caller, tool, origin, attributes, now_s)

    def traceparent(self, ticket: int) -> str:
        """Return the span of a call as W3C writes it; nothing if nobody wants any."""
        call = self._calls.get(ticket)
        return "" if call is None else traceparent(call.origin.trace_id, call.span_id)

    def asked(self, ticket: int, now_s: float) -> None:
        """A call waits for somebody who approves it."""
        if ticket in self._calls:
            self._calls[ticket].asked_s = now_s

    def decided(self, ticket: int, decision: str, now_s: float) -> None:
        """It does not wait any more."""
        call = self._calls.get(ticket)
        if call is None or call.asked_s is None:
            return
        self._spans.append(
            Span(
                f"await_approval {call.tool}",
                call.origin.trace_id,
                derived(call.span_id, "approval"),
                call.span_id,
                call.asked_s,
                now_s,
                attributes={"fabric.approval.decision": decision, "gen_ai.tool.name": call.tool},
            )
        )
        call.asked_s = None

    def answered(self, ticket: int, now_s: float, *, content: bytes = b"", error: str | None = None) -> None:
        """A call was answered: with a result, or with why there is none. Only the first time counts."""
        call = self._calls.pop(ticket, None)
        if call is None:
            return
        if error is not None:
            call.attributes["error.type"] = "tool_error"
        elif self._content:
            call.attributes["gen_ai.tool.call.result"] = _shown(content)
        origin = call.origin
        self._spans.append(
            Span(
                f"execute_tool {call.tool}",
                origin.trace_id,
                call.span_id,
                derived(origin.parents[:8], call.caller) if origin.parents else MADE_BY_NOBODY,
                call.start_s,
                now_s,
                attributes=call.attributes,
                error=error,
            )
        )

    def finish(self, error: str, now_s: float) -> None:
        """Nothing comes any more."""
        for ticket in tuple(self._calls):
            self.decided(ticket, "withdrawn", now_s)
            self.answered(ticket, now_s, error=error)


NO_CALL_SPANS = CallSpans([], wanted=False, content=False)
"""Of a session of which nobody wants to know."""


def _shown(text: bytes) -> str:
    return text[: 4 * CONTENT_CHARS_MAX].decode(errors="replace")[:CONTENT_CHARS_MAX]
