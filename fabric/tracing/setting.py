"""What the environment says of tracing, by OpenTelemetry's own names."""

from __future__ import annotations

__all__ = ["HEADERS", "VARIABLES", "TracingSettings", "headers_of", "read_tracing", "variables_of"]

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

import msgspec

from fabric.errors import ConfigError
from fabric.wire.tracing import read_traceparent

VARIABLES = (
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS_FILE",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS_FILE",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "OTEL_SEMCONV_STABILITY_OPT_IN",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
)
"""What is passed on to workers, where tracing is on. Headers may be secret, as any key in an environment."""

HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
"""What may also be in a file, which a variable ``…_FILE`` names: ours, OpenTelemetry has none."""

_ON = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")

_ENDPOINT = "http://localhost:4318"
_PATH = "/v1/traces"

_RATIOS = {"traceidratio", "parentbased_traceidratio"}
_ALL = {"", "always_on", "parentbased_always_on"}
_NONE = {"always_off", "parentbased_always_off"}


class TracingSettings(msgspec.Struct, frozen=True):
    """Where spans go, and which.

    Attributes:
        endpoint: whole URL.
        headers: of each request.
        timeout_s: of each request, with all its attempts.
        compression: ``gzip``, ``deflate`` or nothing.
        certificate, client_certificate, client_key: names of files; empty: as the system does.
        service: of all processes; empty: each has its own.
        resource: attributes of every span's process.
        ratio: share of the traces that are sampled.
        content: whether what is said to models and tools is told.
        caller: trace id and span id of who started this, if there is one.
    """

    endpoint: str = _ENDPOINT + _PATH
    headers: dict[str, str] = {}
    timeout_s: float = 10.0
    compression: str = ""
    certificate: str = ""
    client_certificate: str = ""
    client_key: str = ""
    service: str = ""
    resource: dict[str, str] = {}
    ratio: float = 1.0
    content: bool = False
    caller: tuple[bytes, bytes] | None = None

    def samples(self, trace_id: bytes) -> bool:
        """Whether spans of a trace are told. Every process says the same of a trace, for it goes by the id alone."""
        return self.ratio >= 1.0 or int.from_bytes(trace_id[8:]) < self.ratio * (1 << 64)


def variables_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker has to know of tracing: nothing, unless it is on."""
    return {name: environment[name] for name in VARIABLES if name in environment} if _is_on(environment) else {}


def headers_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what is said of headers, by variable, from it or from the file that one names; nothing, unless it is on.

    Raises:
        ConfigError: a file cannot be read.
    """
    return {name: said for name in HEADERS if (said := _said(environment, name))} if _is_on(environment) else {}


def _said(environment: Mapping[str, str], name: str) -> str:
    said, file = environment.get(name, "").strip(), environment.get(f"{name}_FILE", "")
    if said or not file:
        return said
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{name}_FILE={file!r}: {why}; OTEL_SDK_DISABLED=true turns tracing off") from None


def read_tracing(environment: Mapping[str, str]) -> TracingSettings | None:
    """Return what is said of tracing; ``None``: it is off.

    Raises:
        ConfigError: it asks for what we cannot do.
    """
    if not _is_on(environment):
        return None

    def of(name: str) -> str:
        specific = environment.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}", "").strip()
        return specific or environment.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()

    given = headers_of(environment)
    protocol = of("PROTOCOL")
    if protocol not in ("", "http/protobuf"):
        _refuse("OTEL_EXPORTER_OTLP_PROTOCOL", protocol, "http/protobuf, which collectors take on port 4318")
    compression = of("COMPRESSION").replace("none", "")
    if compression not in ("", "gzip", "deflate"):
        _refuse("OTEL_EXPORTER_OTLP_COMPRESSION", compression, "gzip, deflate or none")
    return TracingSettings(
        endpoint=_endpoint(environment),
        headers=_pairs(HEADERS[0], given.get(HEADERS[1]) or given.get(HEADERS[0], "")),
        timeout_s=_number("OTEL_EXPORTER_OTLP_TIMEOUT", of("TIMEOUT"), 10.0),
        compression=compression,
        certificate=of("CERTIFICATE"),
        client_certificate=of("CLIENT_CERTIFICATE"),
        client_key=of("CLIENT_KEY"),
        service=environment.get("OTEL_SERVICE_NAME", "").strip(),
        resource=_pairs("OTEL_RESOURCE_ATTRIBUTES", environment.get("OTEL_RESOURCE_ATTRIBUTES", "")),
        ratio=_ratio(environment),
        content=_is_true(environment.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "")),
        caller=read_traceparent(environment.get("TRACEPARENT", "")),
    )


def _is_on(environment: Mapping[str, str]) -> bool:
    if _is_true(environment.get("OTEL_SDK_DISABLED", "")) or not any(environment.get(name) for name in _ON):
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter not in ("otlp", "none"):
        _refuse("OTEL_TRACES_EXPORTER", exporter, "otlp or none")
    return exporter == "otlp"


def _is_true(text: str) -> bool:
    return text.strip().lower() == "true"


def _endpoint(environment: Mapping[str, str]) -> str:
    name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    endpoint = environment.get(name, "").strip()
    if not endpoint:
        name = "OTEL_EXPORTER_OTLP_ENDPOINT"
        endpoint = (environment.get(name, "").strip() or _ENDPOINT).rstrip("/") + _PATH
    if not endpoint.startswith(("http://", "https://")):
        _refuse(name, endpoint, "a URL, such as http://localhost:4318")
    return endpoint


def _ratio(environment: Mapping[str, str]) -> float:
    name = environment.get("OTEL_TRACES_SAMPLER", "").strip()
    if name in _ALL:
        return 1.0
    if name in _NONE:
        return 0.0
    if name not in _RATIOS:
        _refuse("OTEL_TRACES_SAMPLER", name, ", ".join(sorted((_ALL | _NONE | _RATIOS) - {""})))
    ratio = _number("OTEL_TRACES_SAMPLER_ARG", environment.get("OTEL_TRACES_SAMPLER_ARG", ""), 1.0)
    if not 0.0 <= ratio <= 1.0:
        _refuse("OTEL_TRACES_SAMPLER_ARG", str(ratio), "0 to 1")
    return ratio


def _number(name: str, text: str, otherwise: float) -> float:
    try:
        return float(text) if text.strip() else otherwise
    except ValueError:
        return _refuse(name, text, "a number")


def _pairs(name: str, text: str) -> dict[str, str]:
    """Read ``key=value,key=value``, as W3C writes baggage. The values may be secret: errors do not show them."""
    pairs: dict[str, str] = {}
    for number, part in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{name}: expected key=value,key=value; part {number} is none")
        pairs[unquote(key.strip())] = unquote(value.strip())
    return pairs


def _refuse(name: str, got: str, expected: str) -> float:
    raise ConfigError(f"{name}={got!r}: expected {expected}; OTEL_SDK_DISABLED=true turns tracing off")
