"""A collector of OpenTelemetry that keeps what it is sent, over HTTP and protobuf."""

from __future__ import annotations

__all__ = ["Collector", "Received"]

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fabric.testing.server import Exchange, LocalServer


class Received(msgspec.Struct, frozen=True):
    """A span, as it was sent. Times are nanoseconds."""

    name: str
    trace_id: bytes
    span_id: bytes
    parent: bytes
    start_s: int
    end_s: int
    kind: int
    attributes: dict[str, Any]
    links: tuple[tuple[bytes, bytes], ...]
    error: str | None
    resource: dict[str, Any]


class Collector:
    """Runs while it is entered.

    Args:
        status: with which it answers.

    Attributes:
        spans: that came.
        headers: of each request.
        url: for ``OTEL_EXPORTER_OTLP_ENDPOINT``.
    """

    def __init__(self, status: int = 200) -> None:
        self.spans: list[Received] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self._status = status
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[Collector]:
        """Serve on a free port."""
        server = LocalServer(self._take)
        server.start()
        try:
            self.url = server.url
            yield self
        finally:
            server.stop()

    @property
    def environment(self) -> dict[str, str]:
        """Return what sends spans here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url}

    async def _take(self, exchange: Exchange) -> None:
        assert (exchange.method, exchange.path) == ("POST", "/v1/traces")
        body = exchange.body
        if exchange.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.headers.append(exchange.headers)
            if self._status == 200:
                for resource_spans in request.resource_spans:
                    resource = _attributes(resource_spans.resource.attributes)
                    for scope in resource_spans.scope_spans:
                        self.spans += [_received(span, resource) for span in scope.spans]
        await exchange.respond(self._status, "application/x-protobuf", b"")


def _received(span: Any, resource: dict[str, Any]) -> Received:
    failed = span.status.code == 2
    return Received(
        span.name,
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.kind,
        _attributes(span.attributes),
        tuple((link.trace_id, link.span_id) for link in span.links),
        span.status.message if failed else None,
        resource,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
