"""Sends spans over OTLP, in a thread of its own: whoever has a span hands it over and goes on.

Spans are built as they are, with their ids, and given to OpenTelemetry's exporter. Its tracers are not used, so that
nothing global is set up in a process that may be somebody else's. What cannot be sent is counted. It is told once, and
never raised: a collector that is down must not cost anybody a message.
"""

from __future__ import annotations

__all__ = ["FLUSH_S", "MISSING", "QUEUE_SPANS_MAX", "Exporter", "Note", "is_installed", "open_exporter"]

import logging
import os
import socket
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fabric.errors import ConfigError
from fabric.tracing.setting import TracingSettings, read_tracing
from fabric.tracing.span import Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

FLUSH_S = 2.0
"""How long the end of a process may wait for its last spans."""

QUEUE_SPANS_MAX = 8_192
"""Spans that may wait; further ones are dropped, and counted. Four times what the SDK has: a relay is faster than a
collector, and a burst of inputs ends at once."""

BATCH_SPANS_MAX = 512
"""Of one request, as in the SDK."""

DELAY_S = 1.0
"""How long a span waits for others. The SDK waits 5 s; a process of ours that is killed loses less."""

PROBE_S = 0.25
"""How long it may take to see whether a collector is there at all, before the end of a process waits for it."""

MISSING = "tracing is asked for (OTEL_…), and OpenTelemetry is not installed: pip install 'plumb-fabric[otel]'"

Note = Callable[[str, dict[str, object]], None]
"""Takes a word for what went wrong, and its fields; called from the exporter's thread."""


def is_installed() -> bool:
    """Whether spans could be exported. Loads next to nothing."""
    try:
        found = find_spec("opentelemetry.exporter.otlp.proto.http"), find_spec("opentelemetry.sdk.trace")
    except ModuleNotFoundError:  # of a package that they would be in
        return False
    return all(found)


def open_exporter(environment: Mapping[str, str], service: str, note: Note, **attributes: str) -> Exporter | None:
    """Return what sends the spans of a worker; ``None``: nobody wants any, or they cannot be sent, which is noted.

    A worker does not end for want of spans. It is called in the process whose spans they are, behind every fork.
    """
    try:
        settings = read_tracing(environment)
    except ConfigError as error:
        note("tracing.off", {"reason": str(error)})
        return None
    if settings is None:
        return None
    if not is_installed():
        note("tracing.off", {"reason": MISSING})
        return None
    return Exporter(settings, service, attributes, note)


class Exporter:
    """Sends spans of one process.

    Args:
        settings: where to.
        service: name of the process.
        attributes: more of it.
        note: told what goes wrong, once.
        is_there: whether somebody listens at an endpoint; it may take as long as it likes.

    Attributes:
        sent: spans that were taken by the collector.
        lost: spans that were not, or that did not fit in.
        reason: why the first of those was lost.
    """

    def __init__(
        self,
        settings: TracingSettings,
        service: str,
        attributes: dict[str, str],
        note: Note,
        is_there: Callable[[str], bool] | None = None,
    ) -> None:
        self.settings = settings
        self._is_there = is_there or _is_there
        self.sent = self.lost = 0
        self.reason = ""
        self._service = service
        self._attributes = attributes
        self._note = note
        self._queue: deque[tuple[Span, float]] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._sending = 0
        self._absent = False
        self._decided = threading.Event()  # all is sent, or nobody is there to take it
        self._stop: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="tracing", daemon=True)
        self._thread.start()

    def tell(self, span: Span) -> None:
        """Hand over a span whose times are seconds since 1970. Does not wait."""
        self.emit([span])

    def emit(self, spans: Iterable[Span], offset_s: float = 0.0) -> None:
        """Hand over spans. Does not wait.

        Args:
            spans: those of traces that are not sampled are let go.
            offset_s: what is to be added to their times to get seconds since 1970.
        """
        taken = [(span, offset_s) for span in spans if self.settings.samples(span.trace_id)]
        room = max(0, QUEUE_SPANS_MAX - len(self._queue))
        if taken[room:]:
            self._lose(len(taken) - room, "they came faster than they were sent")
        with self._ready:
            self._queue.extend(taken[:room])
            if len(self._queue) >= BATCH_SPANS_MAX:
                self._ready.notify()

    def close(self, timeout_s: float = FLUSH_S) -> None:
        """Send what waits, as far as that can be done in this time; from then on nothing is sent. Blocks.

        A collector that cannot be connected to is not waited for.
        """
        end_s = time.monotonic() + timeout_s
        with self._ready:
            self._closing = True
            waits = bool(self._queue or self._sending)
            self._ready.notify()
        if timeout_s and waits:
            # In a thread of its own: nobody can say how long the name of a collector takes to be resolved.
            threading.Thread(target=self._look, name="tracing-look", daemon=True).start()
        self._decided.wait(max(0.0, end_s - time.monotonic()))
        self._thread.join(0.0 if self._absent else max(0.0, end_s - time.monotonic()))
        if self._thread.is_alive():
            self._stop()
            with self._ready:
                left = len(self._queue) + self._sending
                self._queue.clear()
                self._sending = 0
            if left:
                self._lose(left, f"{_without_user(self.settings.endpoint)} did not take them in time")

    def _look(self) -> None:
        if not self._is_there(self.settings.endpoint):
            self._absent = True
            self._decided.set()

    # --- its thread ---

    def _run(self) -> None:
        try:
            self._send_all()
        except Exception as error:  # noqa: BLE001 - of a library in a thread of ours: nobody else would hear of it
            self._lose(len(self._queue), f"{type(error).__name__}: {error}")
            self._queue.clear()
        finally:
            self._decided.set()

    def _send_all(self) -> None:
        sender: _Sender | None = None
        while True:
            with self._ready:
                if not self._closing:
                    self._ready.wait_for(self._is_due, DELAY_S)
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_SPANS_MAX))]
                closing, self._sending = self._closing, len(batch)
            if batch:
                if sender is None:
                    sender = _Sender(self.settings, self._service, self._attributes)
                    self._stop = sender.stop
                taken = sender.send(batch)
                with self._ready:
                    counts, self._sending = self._sending, 0
                if taken:
                    self.sent += counts
                elif counts:
                    self._lose(counts, f"{_without_user(self.settings.endpoint)} did not take them")
            elif closing:
                return

    def _is_due(self) -> bool:
        return self._closing or len(self._queue) >= BATCH_SPANS_MAX

    def _lose(self, spans: int, reason: str) -> None:
        self.lost += spans
        if not self.reason:
            self.reason = reason
            self._note("tracing.lost", {"spans": spans, "reason": reason})


class _Sender:
    """OpenTelemetry's exporter, and what it needs of us."""

    def __init__(self, settings: TracingSettings, service: str, attributes: dict[str, str]) -> None:
        from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        # Python prints what nobody listens to: whoever wants to read what the exporter says has a handler.
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # of this thread: what it sends is nobody's request
        compressions = {"gzip": Compression.Gzip, "deflate": Compression.Deflate}
        self._exporter = OTLPSpanExporter(
            endpoint=settings.endpoint,
            certificate_file=settings.certificate or None,
            client_key_file=settings.client_key or None,
            client_certificate_file=settings.client_certificate or None,
            headers=settings.headers,
            timeout=settings.timeout_s,
            compression=compressions.get(settings.compression, Compression.NoCompression),
        )
        self._settings = settings
        self._service = service
        self._attributes = attributes
        self._resources: dict[str, Any] = {}
        self._scope = InstrumentationScope("plumb-fabric")

    def send(self, batch: Sequence[tuple[Span, float]]) -> bool:
        """Return whether the collector took it."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        return self._exporter.export([self._span(*one) for one in batch]) is SpanExportResult.SUCCESS

    def stop(self) -> None:
        """Try no more. From another thread."""
        shutdown: Callable[[], None] = self._exporter.shutdown
        shutdown()

    def _span(self, span: Span, offset_s: float) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanKind
        from opentelemetry.trace.status import Status, StatusCode

        status = Status() if span.error is None else Status(StatusCode.ERROR, span.error or None)
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id, remote=False),
            parent=_context(span.trace_id, span.parent, remote=True) if span.parent else None,
            resource=self._resource(span.service),
            attributes=dict(span.attributes),
            links=[Link(_context(*link, remote=True)) for link in span.links],
            kind=SpanKind.CLIENT if span.kind == "client" else SpanKind.INTERNAL,
            status=status,
            start_time=int((span.start_s + offset_s) * 1e9),
            end_time=int((max(span.start_s, span.end_s) + offset_s) * 1e9),
            instrumentation_scope=self._scope,
        )

    def _resource(self, service: str) -> Any:
        from opentelemetry.sdk.resources import Resource

        found = self._resources.get(service)
        if found is None:
            name = self._settings.service or service or self._service
            own: dict[str, str | int] = {"fabric.worker": service}
            if not service:
                own = {"host.name": socket.gethostname(), "process.pid": os.getpid(), **self._attributes}
            found = self._resources[service] = Resource({**self._settings.resource, "service.name": name, **own})
        return found


def _context(trace_id: bytes, span_id: bytes, *, remote: bool) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int.from_bytes(trace_id), int.from_bytes(span_id), is_remote=remote, trace_flags=flags)


def _is_there(endpoint: str) -> bool:
    """Say whether somebody listens; whoever has a proxy in between is taken for being there."""
    if urllib.request.getproxies():
        return True
    parts = urlsplit(endpoint)
    try:
        address = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection(address, PROBE_S):
            return True
    except (OSError, ValueError):
        return False


def _without_user(url: str) -> str:
    """Return a URL without what may be a password in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
