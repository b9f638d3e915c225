"""The metrics: which there are, how they are written, and that what is shipped uses no other."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import promql_parser
import pytest
import yaml
from prometheus import ALERTS, DASHBOARD, DEPLOY, RULES, expressions_of_dashboard, expressions_of_rules
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from fabric.metrics import METRICS, OPENMETRICS, TEXT, Buckets, Metric, Page, Sample

LEFT_OUT = {
    "fabric_llm_request_duration_seconds": "agents tell what a call took in tokens, not in seconds",
    "fabric_llm_time_to_first_chunk_seconds": "agents do not tell it",
    "fabric_validation_retries_total": "agents tell it in debug lines only",
    "fabric_protocol_violations_total": "a violation ends the session, whose outcome tells it",
    "fabric_drain_seconds": "nobody scrapes a service that has drained: its outcome tells it",
    "fabric_dead_letters": "letters are on disk, where commands drop them without the service",
}
"""Metrics that users of other versions, or of the conventions, may look for, and why they are not there."""

NAMES = [
    "fabric_approvals_pending",
    "fabric_approvals_total",
    "fabric_barrier_unpaired_total",
    "fabric_budget_limit",
    "fabric_budget_reserved",
    "fabric_budget_used",
    "fabric_build_info",
    "fabric_channel_blocked_seconds_total",
    "fabric_channel_depth",
    "fabric_channel_oldest_age_seconds",
    "fabric_dead_letters_total",
    "fabric_llm_cache_read_input_tokens_total",
    "fabric_llm_cache_write_input_tokens_total",
    "fabric_llm_context_tokens",
    "fabric_llm_cost_usd_total",
    "fabric_llm_input_tokens_total",
    "fabric_llm_output_tokens_total",
    "fabric_llm_requests_total",
    "fabric_llm_unpriced_requests_total",
    "fabric_log_lines_total",
    "fabric_loop_lag_seconds",
    "fabric_message_bytes_total",
    "fabric_message_latency_seconds",
    "fabric_messages_invalid_total",
    "fabric_messages_total",
    "fabric_pipeline_run_seconds",
    "fabric_pipeline_runs_total",
    "fabric_pipeline_steps_total",
    "fabric_ready",
    "fabric_session_bytes",
    "fabric_session_events_total",
    "fabric_shutdown_forced_total",
    "fabric_start_time_seconds",
    "fabric_store_operation_seconds",
    "fabric_tool_calls_total",
    "fabric_tool_duration_seconds",
    "fabric_up",
    "fabric_worker_cpu_seconds_total",
    "fabric_worker_exits_total",
    "fabric_worker_last_progress_timestamp_seconds",
    "fabric_worker_memory_bytes",
    "fabric_worker_ready_seconds",
    "fabric_worker_starts_total",
    "fabric_workers",
]

LABELS = {
    *("spec", "worker", "channel", "provider", "model", "tool", "outcome", "state", "reason", "kind", "decision"),
    *("barrier", "level", "op", "step", "version", "python", "zmq"),
}
"""What a label may be: its values are the program's, or words of ours."""

OF_THE_PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
OF_PROMETHEUS = {"up"}


def every_metric() -> list[Sample]:
    buckets = Buckets((0.1, 1.0), (2, 1, 1), 3.5)
    return [
        Sample(one.name, buckets if one.kind == "histogram" else 7, tuple(f"some-{label}" for label in one.labels))
        for one in METRICS.values()
    ]


def test_these_metrics_there_are():
    """And none of those that are left out."""
    assert sorted(METRICS) == sorted(NAMES)
    assert not set(LEFT_OUT) & set(NAMES)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_name_says_kind_and_unit(metric: Metric):
    """As Prometheus's conventions have it, so that promtool has nothing to say."""
    assert metric.name.startswith("fabric_")
    assert metric.name.endswith("_total") is (metric.kind == "counter")
    bare = metric.name.removesuffix("_total")
    known = [unit for unit in ("seconds", "bytes", "usd") if bare.endswith(f"_{unit}")]
    assert ([metric.unit] if metric.unit else []) == known
    assert metric.help.endswith(".")
    assert set(metric.labels) <= LABELS


def test_both_formats_say_the_same():
    """Read back by the parsers of prometheus-client."""
    page = Page(every_metric)
    media_type, text = page.write("text/plain")
    assert media_type == TEXT
    open_type, open_text = page.write("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert open_type == OPENMETRICS
    families = {family.name: family for family in read_text(text.decode())}
    open_families = {family.name: family for family in read_openmetrics(open_text.decode())}
    for metric in METRICS.values():
        name = metric.name.removesuffix("_total")
        assert open_families[name].type == metric.kind
        ours = [(one.name, one.labels, one.value) for one in families[name].samples]
        assert ours == [(one.name, one.labels, one.value) for one in open_families[name].samples]
    (latency,) = [family for name, family in families.items() if name == "fabric_loop_lag_seconds"]
    assert [(one.labels.get("le"), one.value) for one in latency.samples] == [
        ("0.1", 2),
        ("1.0", 3),
        ("+Inf", 4),
        (None, 4),
        (None, 3.5),
    ]


def test_there_are_no_created_series():
    """They would double the page."""
    assert b"_created" not in Page(every_metric).write("application/openmetrics-text")[1]


# --- what is shipped -----------------------------------------------------------------------------------------------


def selected(expression: str) -> set[str]:
    """Return the names of the series that an expression selects."""
    promql_parser.parse(expression)
    bare = re.sub(r'"(\\.|[^"\\])*"', '""', expression)  # no words in strings
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    words = set(re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare))
    return {word for word in words if word.startswith(("fabric_", "process_")) or ":" in word or word == "up"}


RECORDED = {name for name, _ in expressions_of_rules(RULES)}
EXPRESSIONS = [*expressions_of_rules(RULES), *expressions_of_rules(ALERTS), *expressions_of_dashboard()]


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS, ids=[name for name, _ in EXPRESSIONS])
def test_an_expression_parses_and_selects_what_there_is(name: str, expression: str):
    """A metric of ours, of the process, or one that a rule records."""
    found = selected(expression)
    assert found
    bare = {re.sub(r"_(bucket|sum|count)$", "", one) if one not in METRICS else one for one in found}
    assert bare <= METRICS.keys() | RECORDED | OF_THE_PROCESS | OF_PROMETHEUS, name


def test_each_alert_has_both_tests():
    """One where it fires, and one where it does not."""
    cases = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]
    fires = {
        (rule["alertname"], bool(rule["exp_alerts"])) for case in cases for rule in case.get("alert_rule_test", ())
    }
    alerts = {name for name, _ in expressions_of_rules(ALERTS)}
    assert fires == {(name, either) for name in alerts for either in (True, False)}


def test_the_dashboard_is_as_its_script_writes_it():
    """And names no server: whose data it shows is chosen at its top."""
    script = "import sys; sys.path.insert(0, sys.argv[1]); import make; sys.stdout.write(make.written())"
    done = subprocess.run(
        [sys.executable, "-c", script, DEPLOY / "grafana"], stdout=subprocess.PIPE, check=True, encoding="utf-8"
    )
    assert done.stdout == DASHBOARD.read_text()
    board = json.loads(DASHBOARD.read_text())
    targets = [target for panel in board["panels"] for target in panel.get("targets", ())]
    assert {target["datasource"]["uid"] for target in targets} == {"${datasource}"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
