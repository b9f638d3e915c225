"""A worker that is started by hand, from the folder of its program, where its coordinator does not start it."""

from __future__ import annotations

__all__ = ["register"]

import os
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fabric.cli.flags import Docroot, Include, Insecure, Model, Project, Provider, RunnerChoice, check_runner
from fabric.cli.programs import find_program, project_settings
from fabric.cli.report import print_line
from fabric.cli.service import sort_arguments
from fabric.cli.starting import Asked, compile_program
from fabric.errors import ConfigError, UnknownName
from fabric.launch.environment import worker_environment
from fabric.launch.keys import worker_file
from fabric.plan.plan import Plan, WorkerPlan
from fabric.runtime.keyring import keys_directory
from fabric.runtime.services import project_name
from fabric.runtime.starting import limits_of
from fabric.transport.given import INSECURE_VARIABLE
from fabric.wire.spec import KEY_FILE_VARIABLE, SPEC_FD_VARIABLE


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command()(worker)


def worker(
    arguments: Annotated[list[str], typer.Argument(metavar="[SPEC] NAME", help="The program (*.plumb); the worker.")],
    provider: Provider = None,
    model: Model = None,
    include: Include = None,
    docroot: Docroot = None,
    runner: RunnerChoice = None,
    insecure: Insecure = False,
    project: Project = None,
) -> None:
    """Start one worker of a program that `fabric up` waits for (runner external), here and now, in the foreground.

    Its addresses, its types and its key come from the same program and fabric.toml as those of the coordinator, and its
    ports, where fabric.toml names no hosts, from the name of the service, too (-p, as with `fabric up`); of the keys
    only .fabric/keys/workers/NAME.json is needed here. It stays when the coordinator ends without having drained.

    Examples: fabric worker judge; fabric worker --runner external main.plumb judge

    Exit codes: those of the worker: 0 it was drained, 1 it failed, 2 the program or the configuration is
    wrong.
    """
    spec, names = sort_arguments(arguments)
    if len(names) != 1:
        raise ConfigError(f"one worker at a time, not {', '.join(names) or 'none'}: fabric worker [SPEC] NAME")
    said = project_settings()
    limits = limits_of(said, None, None, None, None)
    program = find_program(spec, said)
    service = project or project_name(program)
    asked = Asked(provider, model, include, docroot, runner=check_runner(runner), insecure=insecure, service=service)
    plan = compile_program(program, "RUN", asked, said, metered=limits.metered)
    found = _find(plan, names[0])
    environment = worker_environment(found, os.environ)
    if found.secured:
        environment[KEY_FILE_VARIABLE] = str(_key_file(found))
    else:
        environment[INSECURE_VARIABLE] = "1"
    descriptor = _spec_descriptor(found)
    environment[SPEC_FD_VARIABLE] = str(descriptor)
    print_line(f"worker '{found.name}' of {Path(plan.path).name}: {' '.join(found.command)}")
    try:
        os.execvpe(found.command[0], found.command, environment)  # noqa: S606 - what the program says is started
    except OSError as error:
        raise ConfigError(f"worker '{found.name}': {found.command[0]!r}: {error.strerror}") from None


def _find(plan: Plan, name: str) -> WorkerPlan:
    """Return a worker that somebody else starts.

    Raises:
        UnknownName: there is none of that name.
        ConfigError: it is started by the coordinator.
    """
    workers = {worker.name: worker for worker in plan.workers}
    if name not in workers:
        raise UnknownName(f"there is no worker '{name}'; the workers are: {', '.join(workers)}")
    if workers[name].runner != "external":
        raise ConfigError(
            f"worker '{name}' is started by `fabric up`, as a {workers[name].runner}; to start it by hand, say"
            f' runner = "external" under [workers.{name}] in fabric.toml, or --runner external to both commands'
        )
    return workers[name]


def _key_file(worker: WorkerPlan) -> Path:
    """Return where the worker's key is: in the file that a variable names, or among those of the project.

    Raises:
        ConfigError: it is not there.
    """
    named = os.environ.get(KEY_FILE_VARIABLE)
    file = Path(named) if named else worker_file(keys_directory(os.environ), worker.name)
    if not file.exists():
        raise ConfigError(
            f"worker '{worker.name}' needs its key, and {file} is not there; `fabric keys` makes it where the"
            " coordinator runs: bring that one file here, or say --insecure to both commands"
        )
    return file.absolute()


def _spec_descriptor(worker: WorkerPlan) -> int:
    """Return the descriptor, which the program inherits, of a file with what the worker is told."""
    with tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode(worker.spec))
        file.seek(0)
        descriptor = os.dup(file.fileno())
    os.set_inheritable(descriptor, True)
    return descriptor
