"""The thread that sends spans."""

from __future__ import annotations

import socket
import threading

from collector import Collector

from fabric.tracing.exporter import QUEUE_SPANS_MAX, Exporter, open_exporter
from fabric.tracing.setting import read_tracing
from fabric.tracing.span import Span

SPAN = Span(
    "chat m",
    b"t" * 16,
    b"s" * 8,
    b"p" * 8,
    1.0,
    2.5,
    "client",
    {"text": "é", "number": 3, "share": 0.5, "yes": True, "several": ("a", "b")},
    ((b"u" * 16, b"l" * 8),),
)


class Notes:
    """What an exporter says."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, event: str, fields: dict[str, object]) -> None:
        self.events.append(event)


def opened(environment: dict[str, str], notes: Notes) -> Exporter:
    exporter = open_exporter(environment, "judge", notes, **{"fabric.worker": "judge"})
    assert exporter is not None
    return exporter


def test_a_span_arrives_as_it_is():
    """With its ids, its times, what is told of it, and whose it is."""
    notes = Notes()
    with Collector().running() as collector:
        exporter = opened(collector.environment | {"OTEL_RESOURCE_ATTRIBUTES": "zone=a"}, notes)
        exporter.tell(SPAN)
        exporter.emit([Span("run x", b"t" * 16, b"q" * 8, b"", 1.0, 2.0, error="no", service="x")], offset_s=10.0)
        exporter.close()
        first, second = collector.spans
    assert (first.name, first.trace_id, first.span_id, first.parent) == ("chat m", b"t" * 16, b"s" * 8, b"p" * 8)
    assert (first.start_s, first.end_s, first.kind, first.error) == (10**9, 2_500_000_000, 3, None)
    assert first.attributes == {"text": "é", "number": 3, "share": 0.5, "yes": True, "several": ["a", "b"]}
    assert first.links == ((b"u" * 16, b"l" * 8),)
    assert first.resource.items() >= {"service.name": "judge", "fabric.worker": "judge", "zone": "a"}.items()
    assert (second.parent, second.start_s, second.error) == (b"", 11 * 10**9, "no")
    assert second.resource == {"service.name": "x", "fabric.worker": "x", "zone": "a"}
    assert (exporter.sent, exporter.lost, notes.events) == (2, 0, [])


def test_headers_and_compression():
    """As the environment says."""
    with Collector().running() as collector:
        said = {"OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
        exporter = opened(collector.environment | said, Notes())
        exporter.tell(SPAN)
        exporter.close()
    (headers,) = collector.headers
    assert (headers["x-key"], headers["content-encoding"]) == ("a b", "gzip")
    assert exporter.sent == 1


def test_a_collector_that_refuses_is_told_of_once():
    """Spans are counted, nothing is raised."""
    notes = Notes()
    with Collector(status=400).running() as collector:
        exporter = opened(collector.environment, notes)
        exporter.tell(SPAN)
        exporter.tell(SPAN)
        exporter.close()
    assert (exporter.sent, exporter.lost, notes.events) == (0, 2, ["tracing.lost"])


def test_a_collector_that_hangs_is_not_waited_for():
    """It takes the connection, and never answers: what it did not take in time is lost."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        exporter = opened({"OTEL_EXPORTER_OTLP_ENDPOINT": url}, Notes())
        exporter.tell(SPAN)
        exporter.close(0.05)
        assert (exporter.sent, exporter.lost) == (0, 1)
        assert "did not take them in time" in exporter.reason


def test_a_name_that_is_not_resolved_is_not_waited_for():
    """Whoever looks for the collector may take for ever; the end does not, and what is left is lost and counted."""
    answered = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        said = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{listening.getsockname()[1]}"}
        settings = read_tracing(said)
        assert settings is not None
        exporter = Exporter(settings, "judge", {}, Notes(), lambda endpoint: answered.wait(30.0))
        exporter.tell(SPAN)
        exporter.close(0.05)
        assert not answered.is_set()
        assert "tracing-look" in {thread.name for thread in threading.enumerate()}
        assert (exporter.sent, exporter.lost) == (0, 1)
        answered.set()


def test_nobody_who_is_not_there_is_waited_for():
    """What waits for him is lost at once, though his end might come much later."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        said = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{listening.getsockname()[1]}"}
        settings = read_tracing(said)
        assert settings is not None
        exporter = Exporter(settings, "judge", {}, Notes(), lambda endpoint: False)
        exporter.tell(SPAN)
        exporter.close(threading.TIMEOUT_MAX / 2)
        assert (exporter.sent, exporter.lost) == (0, 1)


def test_no_more_wait_than_may():
    """Further ones are dropped, and counted."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        exporter = opened({"OTEL_EXPORTER_OTLP_ENDPOINT": url}, Notes())
        exporter.emit([SPAN] * (QUEUE_SPANS_MAX + 5))
        assert exporter.lost == 5
        exporter.close(0.0)
        assert exporter.lost == QUEUE_SPANS_MAX + 5


def test_what_is_not_sampled_is_let_go():
    """It is not lost."""
    with Collector().running() as collector:
        exporter = opened(collector.environment | {"OTEL_TRACES_SAMPLER": "always_off"}, Notes())
        exporter.tell(SPAN)
        exporter.close()
        assert (collector.spans, exporter.sent, exporter.lost) == ([], 0, 0)


def test_a_worker_goes_without_what_cannot_be_done():
    """It says so, and works."""
    notes = Notes()
    said = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert open_exporter(said, "judge", notes) is None
    assert notes.events == ["tracing.off"]
    assert open_exporter({}, "judge", notes) is None
    assert notes.events == ["tracing.off"]


def test_nothing_is_left_of_it():
    """Its thread ends with it."""
    before = threading.active_count()
    with Collector().running() as collector:
        exporter = opened(collector.environment, Notes())
        exporter.close()
    assert threading.active_count() == before
    assert read_tracing({}) is None
