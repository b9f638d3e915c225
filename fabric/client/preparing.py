"""What a caller asks for, and the program that comes of it: checked and ready to be planned, as ``fabric run`` does it.

This reads files, and so is done in a thread.
"""

from __future__ import annotations

__all__ = ["Asked", "Program", "as_json", "asked", "choose_port", "prepare", "read_input", "run_error"]

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fabric.client.arguments import environment_of, folders_of, labels_of, refuse_text
from fabric.client.plain import plain
from fabric.compiler import Compiled, Library, check_program, plan_compiled, read_source, search_path
from fabric.errors import BinaryNotFoundError, ConfigError, FabricError, PipelineError, RunError, ValueRejected
from fabric.graph import passes
from fabric.graph.ir import WORKERS, Graph
from fabric.graph.observe import SIDE_PORTS
from fabric.lang.diagnostic import Diagnostic, check_error
from fabric.lang.source import Source
from fabric.plan.place import place
from fabric.plan.plan import Plan
from fabric.runtime.prices import Prices
from fabric.runtime.starting import Variables, limits_of, placement_of, prices_of, read_variables, settings_of
from fabric.session.settings import Settings
from fabric.settings import ProjectSettings, read_settings, user_file, with_dotenv
from fabric.wire.absent import encode_object
from fabric.wire.payload import JSON, Type, validator


class Asked(msgspec.Struct, frozen=True):
    """What a caller wants to be run, and where he stood when he asked.

    Attributes:
        spec: the program.
        directory: his working directory.
        environment: his, with what he wants to be different.
        folders: where modules are looked for, before those of ``PLUMB_PATH``.
        auto_approve: whether calls of tools are run at once.
        approves: whether there is somebody to ask for them.
        observed: side ports to listen to.
        needed: those of them that the program has to have.
    """

    spec: str | Path | Source
    directory: str
    environment: Mapping[str, str]
    folders: tuple[Path, ...]
    auto_approve: bool
    approves: bool
    observed: tuple[str, ...] = ()
    needed: frozenset[str] = frozenset()


def asked(
    spec: str | Path | Source,
    *,
    auto_approve: bool,
    search_path: Iterable[str | Path] | None,
    env: Mapping[str, str] | None,
    approves: bool,
    verbose: bool = False,
    extra: Iterable[str] = (),
) -> Asked:
    """Return what a caller asks for, in his thread.

    Raises:
        RunError: it cannot be meant.
    """
    refuse_text(spec)
    if auto_approve and approves:
        raise RunError("auto_approve=True and approve=… contradict each other: give one of the two")
    labels = labels_of(extra)
    for label in labels:
        if label not in SIDE_PORTS:
            raise RunError(f"extra: expected {' or '.join(map(repr, SIDE_PORTS))}, got {label!r}")
    try:
        directory = os.getcwd()
    except OSError as error:
        raise RunError(f"there is no working directory: {error.strerror}") from None
    return Asked(
        spec if isinstance(spec, Source) else Path(spec),
        directory,
        environment_of(env),
        folders_of(search_path),
        auto_approve,
        approves,
        tuple(dict.fromkeys([*(["telemetry"] if verbose else []), *labels])),
        frozenset(labels),
    )


class Program(msgspec.Struct, frozen=True):
    """A program that checks, and how it is run.

    Attributes:
        inputs: the types of its inputs, by name.
        outputs: names of its outputs.
        workers: how many there are.
        forks: whether they may be forked.
        environment: the caller's, and below it the variables of ``.env``.
    """

    compiled: Compiled
    graph: Graph
    settings: Settings
    project: ProjectSettings
    variables: Variables
    inputs: dict[str, Type]
    outputs: tuple[str, ...]
    workers: int
    forks: bool
    environment: Mapping[str, str]

    def plan(self, asked: Asked, run_directory: str) -> tuple[Plan, Prices]:
        """Plan it.

        Raises:
            ConfigError: it cannot be run.
        """
        environment = self.environment
        provider, model = self.project.choose_model(
            environment.get("PLUMB_PROVIDER") or None, environment.get("PLUMB_MODEL") or None
        )
        plan = plan_compiled(
            self.compiled,
            run_directory=run_directory,
            provider=provider,
            model=model,
            endpoint=environment.get("PLUMB_ENDPOINT"),
            detour=environment.get("FABRIC_TEST_ENDPOINT"),
            metered=self.settings.limits.metered,
            resources=environment.get("PLUMB_RESOURCES", ""),
            observed=asked.observed,
            docroot=None if self.variables.docroot is None else Path(self.variables.docroot),
            here=Path(asked.directory),
        )
        self.project.check_workers([worker.name for worker in plan.workers])
        for label in sorted(asked.needed - set(plan.extras.values())):
            raise ConfigError(f"extra {label!r}: no worker of the program has a port '{label}' that nobody reads")
        plan = place(plan, placement_of(self.project, whose=run_directory, insecure=self.variables.insecure))
        return plan, prices_of(plan, self.project, self.settings.limits)


def prepare(asked: Asked, warn: Callable[[Diagnostic], None]) -> Program:
    """Read and check what is asked for, and the project that it is asked in.

    Args:
        asked: what.
        warn: takes what the checker remarks.

    Raises:
        ConfigError: a file cannot be read, or a setting is wrong.
        CheckError: the program does not check.
        BinaryNotFoundError: there is nothing to start its workers with.
    """
    here = Path(asked.directory)
    environment = with_dotenv(here, asked.environment)
    project = read_settings(here, user_file(environment))
    variables = read_variables(environment)
    source = asked.spec if isinstance(asked.spec, Source) else read_source(asked.spec, here)
    compiled, diagnostics = check_program(source, Library(search_path(asked.folders, environment), here=here))
    if compiled is None:
        raise check_error(diagnostics)
    for diagnostic in compiled.warnings:
        warn(diagnostic)
    graph = passes.build(compiled.module, asked.observed) if asked.observed else compiled.graph
    nodes = graph.nodes.values()
    workers = sum(node.kind in WORKERS for node in nodes)
    if workers:  # those that are no Python need some, too: a guard watches them
        _expect_python()
    return Program(
        compiled,
        graph,
        _settings(asked, project, variables),
        project,
        variables,
        {node.outputs[0].name: node.outputs[0].type for node in nodes if node.kind == "input"},
        tuple(node.inputs[0].name for node in nodes if node.kind == "output" and not node.extra),
        workers,
        project.launch != "spawn",
        environment,
    )


def _expect_python() -> None:
    if not os.access(sys.executable, os.X_OK):
        raise BinaryNotFoundError(
            "there is no Python interpreter to start workers with: sys.executable is"
            f" {sys.executable or 'empty'}. Set it to one that has fabric"
        )


def _settings(asked: Asked, project: ProjectSettings, variables: Variables) -> Settings:
    limits = limits_of(
        project, variables.budget_usd, variables.budget_tokens, variables.budget_calls, variables.max_time
    )
    settings = settings_of(
        project,
        variables.ready_timeout,
        variables.grace,
        variables.restarts,
        limits=limits,
        refusal_ends=True,
        auto_approve=asked.auto_approve or (variables.auto_approve and not asked.approves),
        approval_timeout_s=variables.approval_timeout,
    )
    if settings.approval == "ask" and not asked.approves:  # nobody is here
        return msgspec.structs.replace(settings, approval="refuse")
    return settings


def read_input(inputs: Mapping[str, Type], value: Any, port: str | None) -> tuple[str, bytes]:
    """Return the input that a message is for, and its JSON text.

    Args:
        inputs: their types, by name.
        value: plain values, a dataclass, a ``msgspec.Struct`` or a pydantic model; where there are several inputs also
            ``{"__port": NAME, "msg": VALUE}``.
        port: the input; ``None``: as the message says, or the only one.

    Raises:
        PipelineError: there is no such input, or the message is not of its type. The program goes on.
    """
    name, value = choose_port(inputs, value, port)
    try:
        return name, encode_object(validator(inputs[name]), plain(value), value)
    except ValueRejected as error:
        raise _mismatch(f"{name}: {error}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise _mismatch(f"{name}: JSON cannot say that: {error}") from None


def choose_port(inputs: Collection[str], value: Any, port: str | None) -> tuple[str, Any]:
    """Return the input that a message is for, and the message; arguments as of :func:`read_input`.

    Raises:
        PipelineError: there is no such input.
    """
    if port is None and len(inputs) > 1 and isinstance(value, dict) and value.keys() == {"__port", "msg"}:
        port, value = value["__port"], value["msg"]
    if port is None and len(inputs) == 1:
        port = next(iter(inputs))
    if port is None or port not in inputs:
        known = ", ".join(inputs)
        if not inputs:
            raise _mismatch("the program has no input", "unknown_port")
        said = f"there is no input {port!r}; the inputs are: {known}" if port else f"say which input: {known}"
        raise _mismatch(said, "unknown_port")
    return port, value


def as_json(port: str, value: Any) -> bytes:
    """Return the JSON text of a message whose type is not known here. Raises PipelineError: JSON cannot say it."""
    try:
        return validator(JSON).encode(plain(value))
    except (ValueRejected, TypeError, ValueError, RecursionError) as error:
        raise _mismatch(f"{port}: JSON cannot say that: {error}") from None


def run_error(error: FabricError) -> RunError:
    """Return an error from before a program runs as what its caller is told."""
    failed = RunError(str(error), error.exit_code)
    failed.code = error.code
    return failed


def _mismatch(detail: str, code: str = "input_type_mismatch") -> PipelineError:
    return PipelineError(detail, returncode=0, code=code)
