"""What commands that run a program do before they run it: compile it, and settle how it is run."""

from __future__ import annotations

__all__ = ["Asked", "compile_program", "prices_of", "settings_of", "zygote_of"]

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from fabric.cli.report import print_diagnostics
from fabric.compiler import compile_file, search_path
from fabric.launch.preload import ZygoteProcess, open_zygote
from fabric.plan.plan import Plan
from fabric.runtime.prices import Prices, check_prices
from fabric.session.budget import Limits
from fabric.session.settings import Settings, WorkerSettings
from fabric.settings import ProjectSettings, ProjectWorker


class Asked(NamedTuple):
    """What flags and variables say about how a program is compiled."""

    provider: str | None
    model: str | None
    include: list[Path] | None
    docroot: Path | None = None
    extra_files: Mapping[str, str] = {}


def compile_program(
    program: Path, run_directory: str, asked: Asked, project: ProjectSettings, *, metered: bool
) -> Plan:
    """Check and plan a program, and print what it is warned of; ``metered``: whether a budget is set."""
    provider, model = project.choose_model(asked.provider, asked.model)
    plan, compiled = compile_file(
        program,
        run_directory=run_directory,
        provider=provider,
        model=model,
        endpoint=os.environ.get("PLUMB_ENDPOINT"),
        resources=os.environ.get("PLUMB_RESOURCES", ""),
        folders=search_path(asked.include),
        observed=tuple(asked.extra_files),
        docroot=asked.docroot,
        metered=metered,
    )
    if compiled.warnings:
        print_diagnostics(compiled.warnings)
    project.check_workers([worker.name for worker in plan.workers])
    return plan


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
) -> Settings:
    """Return how a program is run: as a flag or a variable says, else the project, else as by default."""
    said = {
        "ready_timeout_s": project.ready_timeout_s if ready_timeout_s is None else ready_timeout_s,
        "grace_s": project.grace_s if grace_s is None else grace_s,
        "restarts_max": project.restarts_max if restarts_max is None else restarts_max,
        "redeliveries_max": project.redeliveries_max,
        "stall_s": project.stall_s,
        "queue": project.queue,
        "policy": project.policy,
        "approval": "grant" if auto_approve else None,
        "approval_timeout_s": project.approval_timeout_s if approval_timeout_s is None else approval_timeout_s,
        "tool_timeout_s": project.tool_timeout_s,
    }
    workers = {name: _worker_settings(worker) for name, worker in project.workers.items()}
    return Settings(refusal_ends=refusal_ends, workers=workers, limits=limits, **_given(said))


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


def zygote_of(plan: Plan, project: ProjectSettings) -> AbstractContextManager[ZygoteProcess | None]:
    """Start the zygote of a program, unless the project wants none."""
    return open_zygote(() if project.launch == "spawn" else plan.workers)
