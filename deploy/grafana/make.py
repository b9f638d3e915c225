"""Writes the dashboard: python deploy/grafana/make.py

The panels are a table here, since a dashboard's JSON repeats itself forty times. What is written is checked by the
tests: every expression parses, and every metric in it is one of ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).parent / "dashboards" / "fabric.json"

HERE = 'job=~"$job", instance=~"$instance"'
"""What the variables at the top of the dashboard choose."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
HEIGHT = 7


class Panel(NamedTuple):
    """One panel.

    Attributes:
        expressions: PromQL, each with its legend.
        unit: as Grafana calls it.
        kind: ``timeseries`` or ``stat``.
        columns: of 24.
    """

    title: str
    expressions: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    columns: int = 8


ROWS: dict[str, tuple[Panel, ...]] = {
    "Service": (
        Panel("Ready", ((f"fabric_ready{{{HERE}}}", "{{spec}}"),), kind="stat", columns=4),
        Panel("Up for", ((f"time() - fabric_start_time_seconds{{{HERE}}}", "{{spec}}"),), "s", "stat", 4),
        Panel(
            "Dead letters",
            ((f"sum(fabric_dead_letters_total{{{HERE}}})", "all"),),
            kind="stat",
            columns=4,
        ),
        Panel(
            "Approvals that wait",
            ((f"sum(fabric_approvals_pending{{{HERE}}}) or vector(0)", "all"),),
            kind="stat",
            columns=4,
        ),
        Panel("Version", ((f"fabric_build_info{{{HERE}}}", "{{version}}"),), kind="stat", columns=4),
        Panel(
            "Loop lag, p99",
            ((f"job:fabric_loop_lag_seconds:p99_5m{{{HERE}}}", "{{instance}}"),),
            "s",
            "stat",
            4,
        ),
    ),
    "Channels": (
        Panel("Messages", ((f"channel:fabric_messages:rate1m{{{HERE}}}", "{{channel}}"),), "cps"),
        Panel("Bytes", ((f"channel:fabric_message_bytes:rate1m{{{HERE}}}", "{{channel}}"),), "Bps"),
        Panel("Depth", ((f"fabric_channel_depth{{{HERE}}}", "{{channel}}"),)),
        Panel("Oldest message", ((f"fabric_channel_oldest_age_seconds{{{HERE}}}", "{{channel}}"),), "s"),
        Panel(
            "Held back",
            ((f"channel:fabric_channel_blocked:ratio_rate1m{{{HERE}}}", "{{channel}}"),),
            "percentunit",
        ),
        Panel(
            "Refused",
            (
                (
                    f"sum by (channel, reason) (rate(fabric_messages_invalid_total{{{HERE}}}[5m])) or vector(0)",
                    "{{channel}} {{reason}}",
                ),
                (f"sum by (barrier) (rate(fabric_barrier_unpaired_total{{{HERE}}}[5m]))", "unpaired {{barrier}}"),
            ),
            "cps",
        ),
    ),
    "Workers": (
        Panel("States", ((f"sum by (state) (fabric_workers{{{HERE}}})", "{{state}}"),)),
        Panel(
            "Latency",
            (
                (f"worker:fabric_message_latency_seconds:p95_5m{{{HERE}}}", "{{worker}} p95"),
                (
                    f"sum by (worker) (rate(fabric_message_latency_seconds_sum{{{HERE}}}[5m]))"
                    f" / sum by (worker) (rate(fabric_message_latency_seconds_count{{{HERE}}}[5m]))",
                    "{{worker}} mean",
                ),
            ),
            "s",
        ),
        Panel(
            "Silent for",
            ((f"time() - fabric_worker_last_progress_timestamp_seconds{{{HERE}}}", "{{worker}}"),),
            "s",
        ),
        Panel("Memory", ((f"fabric_worker_memory_bytes{{{HERE}}}", "{{worker}}"),), "bytes"),
        Panel("Processor", ((f"worker:fabric_worker_cpu_seconds:rate1m{{{HERE}}}", "{{worker}}"),), "percentunit"),
        Panel(
            "Starts and exits",
            (
                (f"worker:fabric_worker_starts:increase5m{{{HERE}}}", "{{worker}} starts"),
                (
                    f"sum by (worker, outcome) (increase(fabric_worker_exits_total{{{HERE}}}[5m]))",
                    "{{worker}} {{outcome}}",
                ),
                (
                    f"sum by (worker) (increase(fabric_shutdown_forced_total{{{HERE}}}[5m]))",
                    "{{worker}} ended by force",
                ),
            ),
        ),
        Panel(
            "Start takes, p95",
            (
                (
                    f"histogram_quantile(0.95, sum by (worker, le) (fabric_worker_ready_seconds_bucket{{{HERE}}}))",
                    "{{worker}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Dead letters",
            (
                (
                    f"sum by (worker, reason) (increase(fabric_dead_letters_total{{{HERE}}}[5m]))",
                    "{{worker}} {{reason}}",
                ),
            ),
        ),
        Panel(
            "Log lines",
            ((f"sum by (worker, level) (rate(fabric_log_lines_total{{{HERE}}}[5m]))", "{{worker}} {{level}}"),),
            "cps",
        ),
    ),
    "Models and tools": (
        Panel(
            "Calls of models",
            (
                (
                    f"sum by (worker, model, outcome) (rate(fabric_llm_requests_total{{{HERE}}}[5m]))",
                    "{{worker}} {{model}} {{outcome}}",
                ),
            ),
            "cps",
        ),
        Panel(
            "Tokens",
            (
                (f"sum by (model) (rate(fabric_llm_input_tokens_total{{{HERE}}}[5m]))", "{{model}} in"),
                (f"sum by (model) (rate(fabric_llm_output_tokens_total{{{HERE}}}[5m]))", "{{model}} out"),
                (
                    f"sum by (model) (rate(fabric_llm_cache_read_input_tokens_total{{{HERE}}}[5m]))",
                    "{{model}} in, from a cache",
                ),
                (
                    f"sum by (model) (rate(fabric_llm_cache_write_input_tokens_total{{{HERE}}}[5m]))",
                    "{{model}} in, to a cache",
                ),
            ),
            "cps",
        ),
        Panel(
            "Dollars",
            (
                (f"sum by (worker, model) (fabric_llm_cost_usd_total{{{HERE}}})", "{{worker}} {{model}}"),
                (f"sum by (model) (fabric_llm_unpriced_requests_total{{{HERE}}})", "{{model}} calls without a price"),
            ),
            "currencyUSD",
        ),
        Panel(
            "Budget",
            (
                (f"job:fabric_budget_used:ratio{{{HERE}}}", "{{kind}} with what is reserved"),
                (
                    f"sum by (spec, kind) (fabric_budget_used{{{HERE}}})"
                    f" / sum by (spec, kind) (fabric_budget_limit{{{HERE}}})",
                    "{{kind}}",
                ),
            ),
            "percentunit",
        ),
        Panel("Context", ((f"fabric_llm_context_tokens{{{HERE}}}", "{{worker}}"),)),
        Panel(
            "Calls of tools",
            (
                (
                    f"sum by (tool, outcome) (rate(fabric_tool_calls_total{{{HERE}}}[5m]))",
                    "{{tool}} {{outcome}}",
                ),
                (f"sum by (decision) (rate(fabric_approvals_total{{{HERE}}}[5m]))", "{{decision}}"),
            ),
            "cps",
        ),
        Panel(
            "Tools take, p95",
            (
                (
                    "histogram_quantile(0.95, sum by (tool, le)"
                    f" (rate(fabric_tool_duration_seconds_bucket{{{HERE}}}[5m])))",
                    "{{tool}}",
                ),
            ),
            "s",
        ),
        Panel("Memory of the coordinator", ((f"process_resident_memory_bytes{{{HERE}}}", "{{instance}}"),), "bytes"),
        Panel(
            "Processor of the coordinator",
            ((f"rate(process_cpu_seconds_total{{{HERE}}}[1m])", "{{instance}}"),),
            "percentunit",
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    return {
        "uid": "plumb-fabric",
        "title": "Fabric",
        "tags": ["fabric"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": _panels(),
    }


def _variables() -> list[dict[str, Any]]:
    chosen = {"type": "query", "datasource": DATASOURCE, "includeAll": True, "multi": True, "refresh": 2, "sort": 1}
    everything = {"current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {"name": "job", "label": "Job", **chosen, **everything, "query": "label_values(fabric_up, job)"},
        {
            "name": "instance",
            "label": "Service",
            **chosen,
            **everything,
            "query": 'label_values(fabric_up{job=~"$job"}, instance)',
        },
    ]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        y, x = y + 1, 0
        for panel in row:
            if x + panel.columns > WIDTH:
                x, y = 0, y + HEIGHT
            panels.append(_panel(len(panels) + 1, panel, x, y))
            x += panel.columns
        y += HEIGHT
    return panels


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.columns, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"textMode": "auto"} if panel.kind == "stat" else {"legend": {"displayMode": "list"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend}
            for index, (expr, legend) in enumerate(panel.expressions)
        ],
    }


def written() -> str:
    """Return the dashboard as it stands in its file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written())
