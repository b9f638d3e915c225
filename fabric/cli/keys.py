"""The command that makes the keys of endpoints which others can reach."""

from __future__ import annotations

__all__ = ["register"]

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fabric.cli.programs import PROGRAM, find_program, project_settings
from fabric.cli.report import print_line
from fabric.compiler import compile_file, search_path
from fabric.errors import ConfigError
from fabric.lang.diagnostic import did_you_mean
from fabric.launch.keys import allowed_workers, make_keys, worker_file
from fabric.plan.place import place
from fabric.plan.plan import Plan
from fabric.runtime.keyring import keys_directory
from fabric.runtime.starting import placement_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(keys)


def keys(
    program: Annotated[Path | None, PROGRAM] = None,
    workers: Annotated[
        list[str] | None, typer.Argument(help="With --rotate: only these get new keys.", show_default=False)
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where the keys are; else .fabric/keys.", envvar="FABRIC_KEYS"),
    ] = None,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Replace keys: of the workers that are named; of none: all of them.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Also for workers that are not reached over TCP.")] = False,
) -> None:
    """Make the keys that workers on other hosts need: those that are missing; none is overwritten. No key is printed.

    workers/NAME.json is all that a worker needs, in the file that FABRIC_KEY_FILE names; no other worker should have
    it. coordinator.json and allowed.json are for `fabric up`. A service that runs takes new keys when it is started
    again.

    With --rotate the workers are those that allowed.json names: those of a deployment, if the keys are in its folder.

    Examples: fabric keys main.plumb; fabric keys main.plumb -o secrets; fabric keys --rotate main.plumb judge

    Exit codes: 0, 2 the program does not check, there is no such worker, there is nothing to rotate, or a file is
    damaged, does not fit the others, or may be read by others.
    """
    if workers and not rotate:
        raise ConfigError(f"{' '.join(workers)}: name workers with --rotate; without it nobody's key is replaced")
    if rotate and program is not None and program.suffix == "" and not program.exists():  # no program was named
        program, workers = None, [str(program), *(workers or ())]
    spec = find_program(program, project_settings())
    folder = directory or keys_directory(os.environ)
    wanted = allowed_workers(folder) if rotate else _wanted(spec, every=every)
    if rotate and not wanted:
        raise ConfigError(f"{folder}: there are no keys of workers, so none was rotated; -o names another folder")
    for name in workers or ():
        if name not in wanted:
            known = did_you_mean(name, wanted) or f"workers with keys are: {', '.join(wanted)}"
            raise ConfigError(f"{folder}: there is no key of a worker {name!r}; {known}")
    if not wanted:
        print_line(f"{spec}: no worker is reached over TCP, so nothing needs keys; --all makes them all the same")
        return
    done = make_keys(folder, wanted, (workers or None) if rotate else ())
    typer.echo("\n".join(f"{how:8}{file}" for file, how in sorted(done.items())))
    if any(how == "rotated" for how in done.values()):
        print_line("what runs still has the old keys: start it again")
    away = [name for name in wanted if done.get(worker_file(folder, name)) != "kept"]
    if away:
        print_line(f"next: give each worker its file, and set FABRIC_KEY_FILE to where it is: {', '.join(away)}")


def _wanted(spec: Path, *, every: bool) -> list[str]:
    """Return the names of a program's workers that need keys."""
    project = project_settings()
    with tempfile.TemporaryDirectory() as run_directory:
        made, _ = compile_file(
            spec,
            run_directory=run_directory,
            provider=project.provider,
            model=project.model,
            resources=os.environ.get("PLUMB_RESOURCES", ""),
            folders=search_path(None),
        )
    project.check_workers([worker.name for worker in made.workers])
    plan: Plan = place(made, placement_of(project, whose=str(spec)))
    return [worker.name for worker in plan.workers if worker.secured or (every and worker.transport == "zmq")]
