"""The command that looks for what is wrong: with this host, or with a service that does not go on."""

from __future__ import annotations

__all__ = ["register"]

import os
import tempfile
from itertools import chain
from pathlib import Path
from typing import Annotated

import trio
import typer

from fabric.cli.diagnosis import examine, render_chains, render_checks
from fabric.cli.flags import ColorChoice, Project, choose, state_directory
from fabric.cli.programs import project_settings
from fabric.cli.report import out, print_line, use_color
from fabric.compiler import compile_file, search_path
from fabric.errors import ConfigError
from fabric.runtime.bucket_checkup import check_bucket
from fabric.runtime.checkup import Check, check_host
from fabric.runtime.processes import process_state
from fabric.runtime.service_client import ask
from fabric.runtime.service_protocol import Request
from fabric.runtime.services import STATE_DIRECTORY, Record, WorkerRecord, find_records, find_service
from fabric.session.causes import Chain, is_stuck
from fabric.settings import choose_bucket
from fabric.wire.payload import encode_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    program: Annotated[
        Path | None, typer.Argument(help="A program: whether it can run here, or why its service is stuck.")
    ] = None,
    project: Project = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Explain why a running service does not go on.")] = False,
    output: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
    color: ColorChoice = "auto",
) -> None:
    """Look whether programs can run on this host. With --stuck: why messages of a running service do not move, from
    what is missed to the first cause.

    Examples: fabric doctor; fabric doctor main.plumb; fabric doctor --stuck -p demo --format json

    Exit codes: 0 all is well, or nothing is stuck; 1 something is wrong, or stuck, or the service does not answer; 2
    the program is wrong; 7 with --stuck: no such service is running.
    """
    if output not in ("text", "json"):
        raise ConfigError(f"--format {output}: expected text or json")
    choose(color)
    well = _explain(program, project, output) if stuck else _check(program, project, output)
    raise typer.Exit(0 if well else 1)


def _check(program: Path | None, project: str | None, output: str) -> bool:
    """Check the host, and tell; return whether all is well."""
    state, services = find_records(Path.cwd(), state_directory(), spec=None, project=project)
    workers = _count_workers(program) if program is not None else None
    there = state if services else state_directory() or Path(STATE_DIRECTORY)
    checks = []
    for check in chain(check_host(os.environ, there, services, workers), [_check_sessions()]):
        checks.append(check)
        if output == "text":
            out(line + "\n" for line in render_checks([check], color=use_color(1)))
    if output == "json":
        out([encode_json({"v": 1, "checks": checks}).decode(), "\n"])
    return all(check.ok is not False for check in checks)


def _check_sessions() -> Check:
    """Look where sessions are kept, if it can be told."""
    try:
        return check_bucket(choose_bucket(None, project_settings(), Path.cwd(), os.environ).url)
    except ConfigError as error:
        return Check("sessions", None, f"it is not said where they are kept: {error}")


def _count_workers(program: Path) -> int:
    with tempfile.TemporaryDirectory() as directory:
        plan, _ = compile_file(program, run_directory=directory, folders=search_path(None))
        return len(plan.workers)


def _explain(program: Path | None, project: str | None, output: str) -> bool:
    """Say why messages of a service do not move; return whether nothing is stuck."""
    service = find_service(Path.cwd(), state_directory(), spec=program, project=project)
    answer = trio.run(ask, service, Request(1, do="stuck"))
    assert isinstance(answer.stuck, tuple)
    # The record, once more: a worker may have another process by now.
    service = find_service(Path.cwd(), state_directory(), spec=None, project=service.project)
    chains = [examine(link, worker, _state(worker)) for link in answer.stuck for worker in [_of(service, link)]]
    stuck = [chain for chain in chains if is_stuck(chain)]
    if output == "json":
        shown = [{"stuck": chain in stuck, "links": chain.links} for chain in chains]
        out([encode_json({"v": 1, "project": service.project, "stuck": bool(stuck), "chains": shown}).decode(), "\n"])
    else:
        out(line + "\n" for line in render_chains(chains, color=use_color(1)))
        if not stuck:
            print_line(f"nothing is stuck in '{service.project}'")
    return not stuck


def _of(service: Record, chain: Chain) -> WorkerRecord | None:
    """Return the worker that is the cause, if one is."""
    return next((w for w in service.workers if chain.root.kind == "worker" and w.name == chain.root.name), None)


def _state(worker: WorkerRecord | None) -> str | None:
    """Return what the system says a worker's process is at, as a letter."""
    return process_state(worker.process) if worker is not None and worker.process is not None else None
