"""Every metric, defined once, with its unit.

A metric has a name under ``fabric_``, in base units, and labels whose values are bounded by the program: workers,
channels, tools, and words of ours. Never a session, a message or a user. The models of one worker are bounded where
they are counted (``fabric.session.usage.MODELS_MAX``).

Values are not kept here. Who watches a session reads them when somebody scrapes, and gives them as :class:`Sample`;
:class:`Page` writes them down. Not taken: counters of prometheus-client that are raised as things happen. They would
be a second count of what the session counts anyway, and a lock for each message.
"""

from __future__ import annotations

__all__ = ["METRICS", "OPENMETRICS", "TEXT", "Buckets", "Metric", "Page", "Sample"]

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import Metric as Family
from prometheus_client.exposition import generate_latest as write_text
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Metric(msgspec.Struct, frozen=True):
    """One metric.

    Attributes:
        name: as it is scraped: that of a counter ends in ``_total``.
        kind: of Prometheus's types.
        help: what it says.
        labels: names, in the order of their values.
        unit: the last word of the name (before ``_total``), if that is one.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""


_METRICS = (
    # --- the service ---
    Metric("fabric_build_info", "gauge", "1, with the versions that run.", ("version", "python", "zmq")),
    Metric("fabric_up", "gauge", "1 while the coordinator runs.", ("spec",)),
    Metric("fabric_ready", "gauge", "1 while /readyz says so.", ("spec",)),
    Metric("fabric_start_time_seconds", "gauge", "When the coordinator started, unix time.", ("spec",), "seconds"),
    Metric("fabric_loop_lag_seconds", "histogram", "How much later than asked the coordinator woke up.", (), "seconds"),
    Metric("fabric_log_lines_total", "counter", "Lines that were logged.", ("worker", "level")),
    # --- workers ---
    Metric("fabric_workers", "gauge", "Workers in each state.", ("spec", "state")),
    Metric("fabric_worker_starts_total", "counter", "Processes that were started.", ("worker",)),
    Metric("fabric_worker_exits_total", "counter", "Processes that have ended, by how.", ("worker", "outcome")),
    Metric("fabric_worker_ready_seconds", "histogram", "From a worker's start until ready.", ("worker",), "seconds"),
    Metric(
        "fabric_worker_last_progress_timestamp_seconds",
        "gauge",
        "When a worker last took a message or gave a sign of life, unix time.",
        ("worker",),
        "seconds",
    ),
    Metric("fabric_worker_memory_bytes", "gauge", "Resident memory of a worker's process.", ("worker",), "bytes"),
    Metric(
        "fabric_worker_cpu_seconds_total",
        "counter",
        "Processor time of a worker's process, from 0 for each process.",
        ("worker",),
        "seconds",
    ),
    Metric("fabric_shutdown_forced_total", "counter", "Workers ended by force after the grace time.", ("worker",)),
    # --- messages ---
    Metric("fabric_messages_total", "counter", "Messages that came through a channel.", ("channel",)),
    Metric("fabric_message_bytes_total", "counter", "Payload of these.", ("channel",), "bytes"),
    Metric("fabric_channel_depth", "gauge", "Messages that the reader of a channel is not done with.", ("channel",)),
    Metric("fabric_channel_oldest_age_seconds", "gauge", "Age of the oldest of these.", ("channel",), "seconds"),
    Metric(
        "fabric_channel_blocked_seconds_total",
        "counter",
        "How long the place where a channel ends was full while somebody waited for room there.",
        ("channel",),
        "seconds",
    ),
    Metric(
        "fabric_message_latency_seconds",
        "histogram",
        "From a worker's being given a message until it was done with it, having caused outputs.",
        ("worker",),
        "seconds",
    ),
    Metric("fabric_messages_invalid_total", "counter", "Frames and messages refused.", ("channel", "reason")),
    Metric("fabric_dead_letters_total", "counter", "Messages that became dead letters.", ("worker", "reason")),
    Metric("fabric_barrier_unpaired_total", "counter", "Messages left without a partner.", ("barrier",)),
    # --- models ---
    Metric(
        "fabric_llm_requests_total",
        "counter",
        "Attempts to call a model: answered (ok), or to be made again for this reason.",
        ("worker", "provider", "model", "outcome"),
    ),
    Metric(
        "fabric_llm_input_tokens_total",
        "counter",
        "Tokens of prompts, cached ones included.",
        ("worker", "provider", "model"),
    ),
    Metric("fabric_llm_output_tokens_total", "counter", "Tokens of replies.", ("worker", "provider", "model")),
    Metric(
        "fabric_llm_cache_read_input_tokens_total",
        "counter",
        "Of the tokens of prompts, those that were read from a cache.",
        ("worker", "provider", "model"),
    ),
    Metric(
        "fabric_llm_cache_write_input_tokens_total",
        "counter",
        "Of the tokens of prompts, those that were written to a cache.",
        ("worker", "provider", "model"),
    ),
    Metric(
        "fabric_llm_cost_usd_total",
        "counter",
        "What calls cost; missing where nobody knows the price.",
        ("worker", "provider", "model"),
        "usd",
    ),
    Metric(
        "fabric_llm_unpriced_requests_total",
        "counter",
        "Calls of models of which nobody knows the price.",
        ("worker", "provider", "model"),
    ),
    Metric("fabric_llm_context_tokens", "gauge", "Tokens of the prompt of the last call.", ("worker",)),
    Metric("fabric_budget_limit", "gauge", "What the session may use.", ("spec", "kind")),
    Metric("fabric_budget_used", "gauge", "What it has used.", ("spec", "kind")),
    Metric("fabric_budget_reserved", "gauge", "What calls under way may use at most.", ("spec", "kind")),
    # --- sessions that are kept ---
    Metric("fabric_session_events_total", "counter", "Entries of the log, also those of earlier starts."),
    Metric("fabric_session_bytes", "gauge", "Size of these entries.", (), "bytes"),
    Metric(
        "fabric_store_operation_seconds",
        "histogram",
        "How long the bucket took: op is create, get, list or delete.",
        ("op", "outcome"),
        "seconds",
    ),
    # --- pipelines in YAML ---
    Metric("fabric_pipeline_runs_total", "counter", "Runs that are over.", ("spec", "outcome")),
    Metric("fabric_pipeline_run_seconds", "histogram", "How long runs took.", ("spec",), "seconds"),
    Metric("fabric_pipeline_steps_total", "counter", "Steps of these, by how they ended.", ("spec", "step", "outcome")),
    # --- tools ---
    Metric("fabric_tool_calls_total", "counter", "Calls of tools that are done.", ("worker", "tool", "outcome")),
    Metric(
        "fabric_tool_duration_seconds",
        "histogram",
        "How long calls took that were run.",
        ("worker", "tool", "outcome"),
        "seconds",
    ),
    Metric("fabric_approvals_pending", "gauge", "Calls that wait for somebody to approve them.", ("tool",)),
    Metric("fabric_approvals_total", "counter", "Approvals that were decided.", ("tool", "decision")),
)

METRICS = {metric.name: metric for metric in _METRICS}
"""By name."""


class Buckets(NamedTuple):
    """The value of a histogram.

    Attributes:
        bounds: upper bounds, rising; there is one more bucket above the last.
        counts: of each bucket alone.
        total: of all that was observed.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class Sample(NamedTuple):
    """One value of a metric.

    Attributes:
        name: of the metric.
        value: of a histogram its buckets.
        labels: their values, in the order of the metric.
    """

    name: str
    value: float | Buckets
    labels: tuple[str, ...] = ()


class _Reader(Collector):
    """Asks for samples when somebody scrapes."""

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Family]:
        """Nothing: to register must not read."""
        return ()

    def collect(self) -> Iterator[Family]:
        families: dict[str, Family] = {}
        for name, value, labels in self._read():
            family = families.get(name)
            if family is None:
                family = families[name] = _family(METRICS[name])
            if isinstance(value, Buckets):
                assert isinstance(family, HistogramMetricFamily)
                family.add_metric(labels, list(_cumulated(value)), value.total)
            else:
                assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
                family.add_metric(labels, value)
        yield from families.values()


def _family(metric: Metric) -> Family:
    name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
    match metric.kind:
        case "counter":
            return CounterMetricFamily(name, metric.help, labels=metric.labels, unit=metric.unit)
        case "gauge":
            return GaugeMetricFamily(name, metric.help, labels=metric.labels, unit=metric.unit)
        case "histogram":
            return HistogramMetricFamily(name, metric.help, labels=metric.labels, unit=metric.unit)


def _cumulated(value: Buckets) -> Iterator[tuple[str, float]]:
    count = 0
    for bound, more in zip((*value.bounds, None), value.counts, strict=True):
        count += more
        yield "+Inf" if bound is None else repr(float(bound)), count


_write_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest


class Page:
    """What is scraped: our metrics, and those of this process and of Python.

    It has a registry of its own: what else runs in this process may have metrics as well. There are no ``_created``
    series, which would double the page: nothing here makes any.

    Args:
        read: gives the samples of this moment.
    """

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Reader(read))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def write(self, accept: str = "") -> tuple[str, bytes]:
        """Return the page, and its media type.

        Args:
            accept: what the client takes: OpenMetrics if it names that, else the text format of Prometheus.
        """
        if "application/openmetrics-text" in accept:
            return OPENMETRICS, _write_openmetrics(self.registry)
        return TEXT, write_text(self.registry)
