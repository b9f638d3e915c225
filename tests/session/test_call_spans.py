"""Spans of calls of tools, one by one."""

from __future__ import annotations

from fabric.session.call_spans import CallSpans
from fabric.tracing.span import Span
from fabric.wire.calls import Request
from fabric.wire.frame import Provenance
from fabric.wire.tracing import derived, read_traceparent

ORIGIN = Provenance(b"T" * 16, b"c" * 8, 0, b"m" * 8)
REQUEST = Request(b'"toolu_1"', "clock.now", b'{"zone":"UTC"}')


def test_a_server_is_told_under_which_span_it_works():
    """That of the call, which hangs from the work of its caller."""
    spans: list[Span] = []
    calls = CallSpans(spans, wanted=True, content=True)
    calls.called(-1, "clerk", "clock.now", REQUEST, ORIGIN, 1.0, server="clock")
    span_id = derived(b"c" * 8, "clerk")
    assert read_traceparent(calls.traceparent(-1)) == (b"T" * 16, span_id)
    calls.answered(-1, 2.0, content=b'"noon"')
    calls.answered(-1, 3.0, error="too late")
    (span,) = spans
    assert (span.span_id, span.parent, span.error) == (span_id, derived(b"m" * 8, "clerk"), None)
    assert span.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "clock.now",
        "gen_ai.tool.call.id": "toolu_1",
        "gen_ai.tool.type": "function",
        "fabric.worker": "clerk",
        "mcp.method.name": "tools/call",
        "fabric.mcp.server": "clock",
        "gen_ai.tool.call.arguments": '{"zone":"UTC"}',
        "gen_ai.tool.call.result": '"noon"',
    }


def test_a_call_for_no_message_is_a_trace_of_its_own():
    """Nobody knows what it is a part of."""
    spans: list[Span] = []
    calls = CallSpans(spans, wanted=True, content=False)
    calls.called(-1, "clerk", "t", REQUEST, Provenance(b"T" * 16, b"c" * 8, 0), 1.0)
    calls.answered(-1, 2.0)
    assert [(span.parent, "gen_ai.tool.call.arguments" in span.attributes) for span in spans] == [(b"", False)]


def test_what_is_under_way_at_the_end_has_failed():
    """Also the wait for its approval."""
    spans: list[Span] = []
    calls = CallSpans(spans, wanted=True, content=False)
    calls.called(-1, "clerk", "t", REQUEST, ORIGIN, 1.0)
    calls.asked(-1, 2.0)
    calls.finish("stopped", 5.0)
    waited, call = spans
    assert (waited.name, waited.parent, waited.start_s, waited.end_s) == ("await_approval t", call.span_id, 2.0, 5.0)
    assert (waited.attributes["fabric.approval.decision"], call.error) == ("withdrawn", "stopped")


def test_nothing_is_recorded_where_nobody_wants_it():
    """Nor is a server told anything."""
    spans: list[Span] = []
    calls = CallSpans(spans, wanted=False, content=True)
    calls.called(-1, "clerk", "t", REQUEST, ORIGIN, 1.0)
    assert calls.traceparent(-1) == ""
    calls.answered(-1, 2.0)
    assert spans == []
