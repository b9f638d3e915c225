"""A worker as a program: what the environment says, sockets or lines, exit status."""

from __future__ import annotations

__all__ = ["main", "run_opened", "serve_function"]

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import trio

from fabric.errors import ConfigError, FabricError, sole
from fabric.tracing.exporter import open_exporter
from fabric.transport.gate import Refusal
from fabric.transport.given import forget_given, key_for, read_spec, say_once
from fabric.transport.liveness import die_with_parent
from fabric.transport.ports import Sender, fail_on_stranger
from fabric.transport.sockets import SOCKETS_OF_A_WORKER_MAX, open_sockets
from fabric.wire.codec import encode
from fabric.wire.frame import Eof
from fabric.wire.payload import JSON
from fabric.wire.spec import (
    ENDPOINT_VARIABLES,
    PARENT_FD_VARIABLE,
    SPEC_FD_VARIABLE,
    SPEC_FILE_VARIABLE,
    WorkerKey,
    WorkerSpec,
)
from fabric.worker.context import log
from fabric.worker.control import Control, start_control
from fabric.worker.data import run_data
from fabric.worker.failure import FunctionFailed, tell
from fabric.worker.function import Function, load_function, make_function
from fabric.worker.function_calls import FunctionCalls
from fabric.worker.lines import serve_lines


def main() -> int:
    """Run the worker that the environment describes; return its exit status."""

    def run() -> None:
        spec, endpoints = _given(os.environ)
        key, refused = _take_key(endpoints, spec)
        function = load_function(spec)
        _check_ports(endpoints)
        trio.run(_serve, spec, function, endpoints, key, refused)

    return _status(run)


def run_opened(opened: Callable[[WorkerSpec], AbstractAsyncContextManager[Function]]) -> int:
    """Run the worker that the environment describes, with a function that is there while something is open.

    Args:
        opened: gives the function; ``config["call"]`` of the spec is what messages call it.
    """

    async def serve(
        spec: WorkerSpec, endpoints: Mapping[str, str], key: WorkerKey | None, refused: Callable[[Refusal], None]
    ) -> None:
        async with opened(spec) as function:
            await _serve(spec, function, endpoints, key, refused)

    def run() -> None:
        spec, endpoints = _given(os.environ)
        _check_ports(endpoints)
        name = " ".join(map(str, spec.config["command"]))
        spec = msgspec.structs.replace(spec, config=spec.config | {"call": name})
        trio.run(serve, spec, endpoints, *_take_key(endpoints, spec))

    return _status(run)


def _given(environment: Mapping[str, str]) -> tuple[WorkerSpec, dict[str, str]]:
    """Return what a fabric has said of the worker and its sockets."""
    if PARENT_FD_VARIABLE in environment:
        die_with_parent(int(environment[PARENT_FD_VARIABLE]))
    spec, endpoints = read_spec(environment), _endpoints(environment)
    if spec is None:
        raise ConfigError(
            f"neither {SPEC_FD_VARIABLE} nor {SPEC_FILE_VARIABLE} is set: this program is started by a fabric,"
            " or by hand with: fabric worker [SPEC] NAME"
        )
    return spec, endpoints


def _check_ports(endpoints: Mapping[str, str]) -> None:
    for port in ("input", "output", "ctrl_in", "ctrl_out"):
        if port not in endpoints:
            raise ConfigError(f"a worker on sockets needs {ENDPOINT_VARIABLES[port]}")


def serve_function(found: Callable[[Any], Any]) -> int:
    """Run a worker that is this program; return its exit status. See :func:`fabric.worker.serve`."""
    environment = os.environ

    def run() -> None:
        if PARENT_FD_VARIABLE in environment:
            die_with_parent(int(environment[PARENT_FD_VARIABLE]))
        given = read_spec(environment)
        spec = given or WorkerSpec("worker", "worker", JSON, JSON)
        spec = msgspec.structs.replace(spec, config=spec.config | {"call": _name_of(found)})
        function = make_function(found, spec)
        endpoints = _endpoints(environment)
        if "input" in endpoints:
            trio.run(_serve, spec, function, endpoints, *_take_key(endpoints, spec))
        else:
            trio.run(serve_lines, spec, function, given is not None)

    try:
        return _status(run)
    except (KeyboardInterrupt, BaseExceptionGroup) as raised:  # by hand: Ctrl-C is how one leaves
        if not isinstance(sole(raised), KeyboardInterrupt):
            raise
        return 130


def _take_key(endpoints: Mapping[str, str], spec: WorkerSpec) -> tuple[WorkerKey | None, Callable[[Refusal], None]]:
    """Return the key of the endpoints, and what hears of those who have another.

    What the user's function starts is not to find where the key is from.
    """

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    refused = say_once(say, os.environ)
    key = key_for(endpoints, spec, os.environ, say)
    forget_given(os.environ)
    return key, refused


def _name_of(found: Callable[[Any], Any]) -> str:
    """Return how messages call a function: its file and its name."""
    file = Path(sys.argv[0]).name if sys.argv[0] else "python"
    return f"{file}:{getattr(found, '__qualname__', type(found).__name__)}"


def _endpoints(environment: Mapping[str, str]) -> dict[str, str]:
    return {port: environment[name] for port, name in ENDPOINT_VARIABLES.items() if environment.get(name)}


def _status(run: Callable[[], None]) -> int:
    try:
        run()
    except (FabricError, BaseExceptionGroup) as raised:
        found = sole(raised)
        if not isinstance(found, FabricError):
            raise
        return tell(found)
    return 0


def _note(event: str, fields: dict[str, object]) -> None:
    log(event, "warning", **fields)


async def _serve(
    spec: WorkerSpec,
    function: Function,
    endpoints: Mapping[str, str],
    key: WorkerKey | None,
    refused: Callable[[Refusal], None],
) -> None:
    """Serve on sockets."""
    exporter = open_exporter(os.environ, spec.name, _note, **{"fabric.worker": spec.name})
    calls = None if exporter is None else FunctionCalls(spec, exporter.tell)
    control = Control(marks_all="telemetry" in endpoints)
    failure: FunctionFailed | None = None
    async with open_sockets(linger_ms=-1, sockets_max=SOCKETS_OF_A_WORKER_MAX, refused=refused) as transport:
        source = transport.receiver(endpoints["input"], bind=False, security=key)
        sink = transport.sender(endpoints["output"], bind=True, watch=True, security=key)
        telemetry: Sender | None = None
        if "telemetry" in endpoints:
            telemetry = transport.sender(endpoints["telemetry"], bind=True, watch=True, security=key)
        guarded = not spec.fenced  # else the other may be the coordinator's connection of before: see ``run_data``
        # It announces us: the data sockets are open.
        thread = start_control(endpoints, spec.name, control, key, guarded=guarded, refused=refused)
        async with trio.open_nursery() as nursery:
            if guarded:
                nursery.start_soon(fail_on_stranger, sink, spec.name, "data_out")
            if telemetry is not None and guarded:
                nursery.start_soon(fail_on_stranger, telemetry, spec.name, "telemetry")
            try:
                await run_data(spec, function, source, sink, control, telemetry=telemetry, calls=calls)
            except FunctionFailed as error:
                failure = error
            else:
                # Its end proves that the end of our output has arrived.
                await trio.to_thread.run_sync(thread.join, abandon_on_cancel=True)
                if telemetry is not None:
                    telemetry.send_nowait(encode(Eof(spec.name)))
            nursery.cancel_scope.cancel()
    if exporter is not None:
        await trio.to_thread.run_sync(exporter.close)
    if failure is not None:  # only now: what was answered before has arrived
        raise failure
