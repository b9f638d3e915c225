"""How a program is run that a project speaks of: what flags and variables say, else the project, else as by default.

Commands have flags for it, which variables stand in for; the Python client has the variables alone.
"""

from __future__ import annotations

__all__ = [
    "Variables",
    "limits_of",
    "placement_of",
    "prices_of",
    "read_variables",
    "settings_of",
    "unasked",
    "whose_ports",
    "with_session",
]

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fabric.errors import ConfigError
from fabric.plan.place import PORTS_USUAL, Host, Place, Placement, ports_of
from fabric.plan.plan import Plan, Resources, Runner, WorkerPlan
from fabric.runtime.prices import Prices, check_prices
from fabric.session.budget import Limits
from fabric.session.settings import Settings, WorkerSettings
from fabric.settings import (
    AMOUNT_MAX,
    ProjectHost,
    ProjectSettings,
    ProjectWorker,
    check_usd,
    read_duration,
    read_switch,
)


class Variables(msgspec.Struct, frozen=True):
    """What ``FABRIC_…`` variables say of how a program is run, where there is no flag; ``None``: nothing.

    The names are those of the variables, in small letters.
    """

    ready_timeout: Annotated[float, Meta(ge=0.1)] | None = None
    grace: Annotated[float, Meta(ge=0.0)] | None = None
    restarts: Annotated[int, Meta(ge=0)] | None = None
    docroot: str | None = None
    auto_approve: bool = False
    insecure: bool = False
    approval_timeout: Annotated[float, Meta(ge=0.1)] | None = None
    budget_usd: float | None = None
    budget_tokens: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)] | None = None
    budget_calls: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)] | None = None
    max_time: str | None = None


def read_variables(environment: Mapping[str, str]) -> Variables:
    """Return what the variables say. An empty one says nothing.

    Raises:
        ConfigError: one says what cannot be meant.
    """
    said: dict[str, str | bool] = {}
    for field in Variables.__struct_fields__:
        name = f"FABRIC_{field.upper()}"
        text = environment.get(name, "")
        if text:
            said[field] = _switch(name, text) if field in ("auto_approve", "insecure") else text
    try:
        return msgspec.convert(said, Variables, strict=False)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        name = f"FABRIC_{where.rstrip('`').upper()}"
        text = environment.get(name, "")
        expected = message.replace("Expected", "expected").replace(" | null", "").replace("`", "")
        raise ConfigError(f"{name}={text!r}: {expected.partition(', got')[0]}") from None


def _switch(name: str, text: str) -> bool:
    try:
        return read_switch(text)
    except ValueError:
        raise ConfigError(f"{name}={text!r}: expected 1 or 0") from None


def limits_of(
    project: ProjectSettings, usd: float | None, tokens: int | None, calls: int | None, max_time: str | None
) -> Limits:
    """Return what a session may use: what flags and variables say, else the project.

    Raises:
        ConfigError: one says what cannot be meant.
    """
    said = project.limits
    return Limits(
        said.usd if usd is None else _usd(usd),
        said.tokens if tokens is None else tokens,
        said.calls if calls is None else calls,
        said.wall_s if max_time is None else _seconds(max_time),
    )


def _usd(said: float) -> float:
    try:
        return check_usd(said)
    except ValueError as error:
        raise ConfigError(f"--budget-usd: {error}") from None


def _seconds(said: str) -> float:
    try:
        return read_duration(said)
    except ValueError as error:
        raise ConfigError(f"--max-time: {error}") from None


def settings_of(
    project: ProjectSettings,
    ready_timeout_s: float | None,
    grace_s: float | None,
    restarts_max: int | None,
    *,
    limits: Limits,
    refusal_ends: bool,
    auto_approve: bool = False,
    approval_timeout_s: float | None = None,
    approve_in_doubt: bool = False,
) -> Settings:
    """Return how a program is run: as a flag or a variable says, else the project, else as by default."""
    said = {
        "handshake_timeout_s": ready_timeout_s,  # who is waited for by somebody else's clock is waited for
        "ready_timeout_s": project.ready_timeout_s if ready_timeout_s is None else ready_timeout_s,
        "grace_s": project.grace_s if grace_s is None else grace_s,
        "restarts_max": project.restarts_max if restarts_max is None else restarts_max,
        "redeliveries_max": project.redeliveries_max,
        "stall_s": project.stall_s,
        "queue": project.queue,
        "policy": project.policy,
        "approval": "grant" if auto_approve else None,
        "in_doubt": "grant" if approve_in_doubt else None,
        "approval_timeout_s": project.approval_timeout_s if approval_timeout_s is None else approval_timeout_s,
        "tool_timeout_s": project.tool_timeout_s,
    }
    workers = {name: _worker_settings(worker) for name, worker in project.workers.items()}
    return Settings(refusal_ends=refusal_ends, workers=workers, limits=limits, **_given(said))


def unasked(settings: Settings) -> Settings:
    """Return settings where nobody can be asked: what would wait for somebody is refused."""
    approval = "refuse" if settings.approval == "ask" else settings.approval
    in_doubt = "refuse" if settings.in_doubt == "ask" else settings.in_doubt
    return msgspec.structs.replace(settings, approval=approval, in_doubt=in_doubt)


def _worker_settings(said: ProjectWorker) -> WorkerSettings:
    redeliveries_max = None if said.retries is None else said.retries + 1  # the first time is none
    settings = {
        "redeliveries_max": redeliveries_max,
        "idle_timeout_s": said.idle_timeout_s,
        "on_crash": said.on_crash,
    }
    return WorkerSettings(**_given(settings))


def _given(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None}


def prices_of(plan: Plan, project: ProjectSettings, limits: Limits) -> Prices:
    """Return what models cost. Raises ConfigError: the budget needs a price that nobody knows."""
    prices = Prices(project.prices)
    if limits.usd is not None:
        check_prices(plan, prices)
    return prices


def with_session(plan: Plan, bucket: str, session: str) -> Plan:
    """Return the plan of a kept run.

    Its handlers keep their own sessions in the same bucket, below its id. Its agents tell with their calls of tools
    what models have answered. (Not those within a tool: as a whole that is one call.)
    """

    def told(worker: WorkerPlan) -> WorkerPlan:
        if worker.spec.kind == "agent" and (worker.tools or worker.servers) and not worker.spec.part_of:
            return msgspec.structs.replace(worker, spec=msgspec.structs.replace(worker.spec, durable=True))
        if worker.spec.kind != "handler":
            return worker
        name = worker.name.replace("#", "-")  # ids of sessions have no such sign
        config = worker.spec.config | {"bucket": bucket, "session": f"{session}/{name}"}
        return msgspec.structs.replace(worker, spec=msgspec.structs.replace(worker.spec, config=config))

    return msgspec.structs.replace(plan, workers=tuple(map(told, plan.workers)))


IMAGE = "plumb-fabric"
"""Of containers for which no other is named; see ``fabric image``."""

HERE = "local"
"""The one host of a project that names none."""


def placement_of(
    project: ProjectSettings, *, whose: str = "", runner: Runner | None = None, insecure: bool = False
) -> Placement:
    """Return where a project's workers run.

    Args:
        project: what it says.
        whose: a word for the session, from which its ports on this host follow if the project names no host: the same
            for each of one service (:func:`whose_ports`), another for each that is not to be taken over; empty: they
            are the usual ones.
        runner: of workers of which the project says nothing; wins over its general word.
        insecure: whether they may be spoken to without keys.

    Raises:
        ConfigError: the coordinator is put on a host that is not there.
    """
    hosts = {name: _host(name, host) for name, host in project.hosts.items()} or {
        HERE: Host(HERE, "127.0.0.1", ports=ports_of(whose) if whose else PORTS_USUAL)
    }
    coordinator = project.host or next(iter(hosts))
    if coordinator not in hosts:
        known = ", ".join(hosts) if project.hosts else "none"
        raise ConfigError(f"run.host: there is no [hosts.{coordinator}]; the hosts are: {known}")
    return Placement(
        hosts=hosts,
        coordinator=coordinator,
        workers={name: _place(worker) for name, worker in project.workers.items()},
        runner=runner or project.runner,
        image=project.image or IMAGE,
        insecure=insecure,
    )


def whose_ports(program: Path, service: str) -> str:
    """Return the word for the sessions of a service."""
    return f"{program.resolve()}\0{service}"


def _host(name: str, said: ProjectHost) -> Host:
    ports = PORTS_USUAL if said.ports is None else (said.ports.first, said.ports.last)
    return Host(name, said.address, said.bind or "", ports, said.engine or "")


def _place(said: ProjectWorker) -> Place:
    limits = said.limits
    return Place(
        said.place,
        said.host or "",
        said.runner,
        said.image or "",
        said.replicas or 1,
        Resources(limits.memory_bytes, limits.cpus, limits.pids),
        said.env,
    )
