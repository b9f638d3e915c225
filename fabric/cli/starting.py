"""What commands that run a program do before they run it. How it is run is settled in ``fabric.runtime.starting``."""

from __future__ import annotations

__all__ = ["Asked", "compile_program", "zygote_of"]

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from fabric.cli.report import print_diagnostics
from fabric.compiler import compile_file, search_path
from fabric.launch.preload import ZygoteProcess, open_zygote
from fabric.plan.place import place
from fabric.plan.plan import Plan, Runner
from fabric.runtime.starting import placement_of, read_variables, whose_ports
from fabric.settings import ProjectSettings


class Asked(NamedTuple):
    """What flags and variables say about how a program is compiled."""

    provider: str | None
    model: str | None
    include: list[Path] | None
    docroot: Path | None = None
    extra_files: Mapping[str, str] = {}
    runner: Runner | None = None
    insecure: bool = False
    service: str = ""


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
        detour=os.environ.get("FABRIC_TEST_ENDPOINT"),
        resources=os.environ.get("PLUMB_RESOURCES", ""),
        folders=search_path(asked.include),
        observed=tuple(asked.extra_files),
        docroot=asked.docroot,
        metered=metered,
    )
    if compiled.warnings:
        print_diagnostics(compiled.warnings)
    project.check_workers([worker.name for worker in plan.workers])
    insecure = asked.insecure or read_variables(os.environ).insecure
    whose = whose_ports(program, asked.service) if asked.service else run_directory
    return place(plan, placement_of(project, whose=whose, runner=asked.runner, insecure=insecure))


def zygote_of(plan: Plan, project: ProjectSettings) -> AbstractContextManager[ZygoteProcess | None]:
    """Start the zygote of a program, unless the project wants none."""
    return open_zygote(() if project.launch == "spawn" else plan.workers)
