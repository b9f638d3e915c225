"""Traces, for handlers whose environment has OpenTelemetry. Without it, nothing here does anything."""

from __future__ import annotations

__all__ = ["join_trace", "joined", "span"]

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_TRACER = "fabric.handler"


def join_trace() -> None:
    """Make the trace that the environment names the current one. OpenTelemetry is loaded only if one is named."""
    if not os.environ.get("TRACEPARENT"):
        return
    try:
        from opentelemetry import context, propagate
    except ImportError:
        return
    carrier = {"traceparent": os.environ["TRACEPARENT"], "tracestate": os.environ.get("TRACESTATE", "")}
    context.attach(propagate.extract(carrier))


@contextmanager
def joined(headers: Mapping[str, str]) -> Iterator[None]:
    """Hold the trace that a request names (lower-case headers) over the block."""
    try:
        from opentelemetry import context, propagate
    except ImportError:
        yield
        return
    token = context.attach(propagate.extract(headers))
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def span(name: str, attributes: Mapping[str, str | int]) -> Iterator[None]:
    """Hold a span over the block, of the kind of one who takes messages."""
    try:
        from opentelemetry import trace
    except ImportError:
        yield
        return
    tracer = trace.get_tracer(_TRACER)
    with tracer.start_as_current_span(name, kind=trace.SpanKind.CONSUMER, attributes=attributes):
        yield
