"""What the environment says of tracing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fabric.errors import ConfigError
from fabric.tracing.setting import TracingSettings, read_tracing, variables_of

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        ON | {"OTEL_SDK_DISABLED": "true"},
        ON | {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ],
)
def test_it_is_off_unless_somebody_asks_for_it(environment: dict[str, str]):
    """Then workers are told nothing of it, either."""
    assert read_tracing(environment) is None
    assert variables_of(environment) == {}


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        (ON, "http://collector:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/otlp/"}, "https://c/otlp/v1/traces"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces"),
        (ON | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other/as/it/is"}, "http://other/as/it/is"),
    ],
)
def test_spans_go_to_an_endpoint(environment: dict[str, str], endpoint: str):
    """A base gets the path of traces; one that is said for traces is taken as it is."""
    settings = read_tracing(environment)
    assert settings is not None
    assert settings.endpoint == endpoint


def test_all_that_can_be_said():
    """What is said for traces wins over what is said for all."""
    settings = read_tracing(
        ON
        | {
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x,a=b",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "ca.pem",
            "OTEL_SERVICE_NAME": "s",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
            "OTEL_TRACES_SAMPLER": "traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
            "TRACEPARENT": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        }
    )
    assert settings == TracingSettings(
        endpoint="http://collector:4318/v1/traces",
        headers={"authorization": "Bearer x", "a": "b"},
        timeout_s=3.0,
        compression="gzip",
        certificate="ca.pem",
        service="s",
        resource={"deployment.environment": "test"},
        ratio=0.25,
        content=True,
        caller=(bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736"), bytes.fromhex("00f067aa0ba902b7")),
    )


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER='zipkin': expected otlp or none"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL='grpc': expected http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "expected a URL"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "OTEL_EXPORTER_OTLP_TIMEOUT='soon': expected a number"),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "zip"}, "expected gzip, deflate or none"),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER='jaeger_remote': expected always_off, "),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "expected 0 to 1"),
    ],
)
def test_what_cannot_be_done_is_refused(said: dict[str, str], error: str):
    """With what can, and how to go without."""
    with pytest.raises(ConfigError, match="OTEL_SDK_DISABLED=true turns tracing off") as refused:
        read_tracing(ON | said)
    assert error in str(refused.value)


def test_a_header_that_is_none_is_not_shown():
    """It may be a secret."""
    with pytest.raises(ConfigError) as refused:
        read_tracing(ON | {"OTEL_EXPORTER_OTLP_HEADERS": "a=b,sk-secret"})
    assert str(refused.value) == "OTEL_EXPORTER_OTLP_HEADERS: expected key=value,key=value; part 2 is none"


def test_headers_may_be_in_a_file(tmp_path: Path):
    """A variable wins over its file, and what is said for traces over what is said for all."""
    (tmp_path / "all").write_text("a=all\n")
    (tmp_path / "traces").write_text("a=traces\n")
    said = ON | {"OTEL_EXPORTER_OTLP_HEADERS_FILE": str(tmp_path / "all")}
    for more, expected in (
        ({}, "all"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=said"}, "said"),
        ({"OTEL_EXPORTER_OTLP_TRACES_HEADERS_FILE": str(tmp_path / "traces")}, "traces"),
    ):
        settings = read_tracing(said | more)
        assert settings is not None
        assert settings.headers == {"a": expected}
    assert variables_of(said) == said
    with pytest.raises(ConfigError, match=r"OTEL_EXPORTER_OTLP_HEADERS_FILE='.*gone': No such file"):
        read_tracing(ON | {"OTEL_EXPORTER_OTLP_HEADERS_FILE": str(tmp_path / "gone")})


def test_workers_are_told_what_says_where_spans_go():
    """And nothing else of the environment."""
    said: dict[str, Any] = ON | {"OTEL_EXPORTER_OTLP_HEADERS": "a=b", "OTEL_SERVICE_NAME": "x", "OTHER": "1"}
    assert variables_of(said) == {name: value for name, value in said.items() if name != "OTHER"}


def test_a_share_of_the_traces_is_sampled():
    """By the trace id alone, so that every process does as the others do."""
    ids = [number.to_bytes(16) for number in range(0, 1 << 64, 1 << 56)]
    assert sum(TracingSettings(ratio=0.25).samples(id_) for id_ in ids) == len(ids) / 4
    assert all(TracingSettings().samples(id_) for id_ in ids)
    assert not any(TracingSettings(ratio=0.0).samples(id_) for id_ in ids)
