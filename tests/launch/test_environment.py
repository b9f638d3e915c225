"""What a worker gets to see of the coordinator's environment."""

from __future__ import annotations

from fabric.launch.environment import worker_environment
from fabric.plan.plan import Address, WorkerPlan
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec

OURS = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LANG": "C.UTF-8",
    "LC_ALL": "C",
    "LC_TIME": "de_DE",
    "TZ": "UTC",
    "TMPDIR": "/tmp",
    "PIPELINE_DEBUG": "1",
    "PLUMB_PROVIDER": "anthropic",
    "PLUMB_MODEL": "m",
    "PLUMB_RESOURCES": "/r",
    "PLUMB_PATH": "/p",
    "CANARY_SECRET": "s3cret",
    "ANTHROPIC_API_KEY": "key-a",
    "OPENAI_API_KEY": "key-o",
    "AWS_SECRET_ACCESS_KEY": "aws",
    "PYTHONPATH": "/evil",
    "LD_PRELOAD": "/evil.so",
    "PLUMB_ENDPOINT_INPUT": "ipc:///of/somebody/else",
    "FABRIC_PARENT_FD": "99",
    "FABRIC_SPEC_FD": "98",
    "LCX": "1",
    "PATHS": "1",
}

ALWAYS = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LANG": "C.UTF-8",
    "LC_ALL": "C",
    "LC_TIME": "de_DE",
    "TZ": "UTC",
    "TMPDIR": "/tmp",
    "PIPELINE_DEBUG": "1",
    "PLUMB_PROVIDER": "anthropic",
    "PLUMB_MODEL": "m",
    "PLUMB_RESOURCES": "/r",
    "PLUMB_PATH": "/p",
    "FABRIC_WORKER": "judge",
    "PYTHONUNBUFFERED": "1",
}


def plan(endpoints: dict[str, Address] | None = None, pass_on: tuple[str, ...] = ()) -> WorkerPlan:
    spec = WorkerSpec("judge", "worker", STRING, STRING)
    return WorkerPlan("judge", spec, ("true",), endpoints=endpoints or {}, pass_on=pass_on)


def test_nothing_but_the_usual_variables_gets_through():
    """No secret, no key that was not asked for, no endpoint of an outer fabric, nothing that loads code."""
    assert worker_environment(plan(), OURS) == ALWAYS


def test_what_the_coordinator_does_not_have_is_not_made_up():
    """Only the two that every worker gets."""
    assert worker_environment(plan(), {}) == {"FABRIC_WORKER": "judge", "PYTHONUNBUFFERED": "1"}


def test_a_listed_variable_is_passed_on():
    """The provider's key, and what the binding names; one that is not set is left out."""
    worker = plan(pass_on=("ANTHROPIC_API_KEY", "NOT_SET"))
    assert worker_environment(worker, OURS) == ALWAYS | {"ANTHROPIC_API_KEY": "key-a"}


def test_a_worker_gets_its_side_of_each_endpoint():
    """It connects what it reads and binds what it writes, whatever the coordinator's own variables say."""
    ports = {port: Address(f"bind-{port}", f"connect-{port}") for port in ("input", "output", "ctrl_in", "ctrl_out")}
    worker = plan(ports | {"telemetry": Address("b", "c")}, pass_on=("PLUMB_ENDPOINT_INPUT",))
    assert worker_environment(worker, OURS) == ALWAYS | {
        "PLUMB_ENDPOINT_INPUT": "connect-input",
        "PLUMB_ENDPOINT_OUTPUT": "bind-output",
        "PLUMB_ENDPOINT_CTRL_IN": "connect-ctrl_in",
        "PLUMB_ENDPOINT_CTRL_OUT": "bind-ctrl_out",
        "PLUMB_ENDPOINT_TELEMETRY": "b",
    }


def test_where_spans_go_is_told_where_tracing_is_on():
    """With the headers of the collector; nothing of it where it is off."""
    worker = WorkerPlan("w", ("run",), {}, WorkerSpec("w", "worker", STRING, STRING))
    said = {"OTEL_EXPORTER_OTLP_HEADERS": "key=secret", "OTEL_SERVICE_NAME": "s"}
    on = said | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}
    assert worker_environment(worker, OURS | on).items() >= on.items()
    for off in (said, on | {"OTEL_SDK_DISABLED": "true"}):
        assert not [name for name in worker_environment(worker, OURS | off) if name.startswith("OTEL_")]
