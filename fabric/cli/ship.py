"""Commands that write a program as containers: compose files, and manifests for Kubernetes. Nothing is started."""

from __future__ import annotations

__all__ = ["register"]

import os
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from fabric.cli.flags import Include, Insecure, Model, Project, Provider
from fabric.cli.programs import PROGRAM, find_program, project_settings
from fabric.cli.report import count_of, print_diagnostics, print_line
from fabric.compiler import INSTALLED, Compiled, compile_file, search_path
from fabric.errors import ConfigError
from fabric.manifests.deployment import APP, HTTP_PORT, Deployment, Network, Wanted, deploy, writing_below_app
from fabric.manifests.files import Files
from fabric.manifests.making import Made, compose_made, kubernetes_made, program_root
from fabric.manifests.program import read_program
from fabric.manifests.writing import check_output, write_made
from fabric.plan.place import say_insecure, unsecured
from fabric.runtime.services import project_name
from fabric.runtime.starting import limits_of
from fabric.settings import project_file

Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="The folder to write to.", show_default=False)
]
InImage = Annotated[
    bool, typer.Option("--program-in-image", help=f"The images have the program's folder at {APP}: do not copy it.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing; name the files that would change.")]
Diff = Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(compose)
    app.command()(k8s)


def compose(
    program: Annotated[Path | None, PROGRAM] = None,
    output: Output = None,
    project: Project = None,
    provider: Provider = None,
    model: Model = None,
    include: Include = None,
    monitors: Annotated[
        bool, typer.Option("--monitors/--no-monitors", help="With Prometheus and Grafana beside the coordinator.")
    ] = True,
    in_image: InImage = False,
    insecure: Insecure = False,
    dry_run: DryRun = False,
    diff: Diff = False,
) -> None:
    """Write compose files: one for each of the project's hosts, with all that it mounts; without --output print the one
    of the only host.

    Examples: fabric compose -o deployed; fabric compose -o deployed --diff; fabric compose main.plumb | less

    Every worker becomes a service of its own, but for those on lines and those with MCP servers. What is there is
    replaced if it differs; keys, secrets, .env and files that are not ours are never touched.

    Exit codes: 0, 2 the program does not check or cannot be deployed, or a file cannot be read or written.
    """
    asked = _Asked(program, project, provider, model, include, output, in_image, insecure)
    network: Network = "hosts" if len(project_settings().hosts) > 1 else "services"
    deployment, files = _lay_out(asked, network)
    made = compose_made(deployment, files, monitors=monitors)
    if output is not None:
        _write(output, made, deployment, dry_run=dry_run, diff=diff)
        return
    if "compose.yaml" not in made.files:
        raise ConfigError("there is a file for each of several hosts: name a folder with -o DIR")
    typer.echo(made.files["compose.yaml"].content.decode(), nl=False)
    print_line("what it mounts is written as well with -o DIR")


def k8s(
    program: Annotated[Path | None, PROGRAM] = None,
    output: Output = None,
    project: Project = None,
    provider: Provider = None,
    model: Model = None,
    include: Include = None,
    in_image: InImage = False,
    insecure: Insecure = False,
    dry_run: DryRun = False,
    diff: Diff = False,
) -> None:
    """Write manifests for Kubernetes, for kubectl apply -k, with what its ConfigMaps and Secrets are made of.

    Examples: fabric k8s -o manifests; fabric k8s -o manifests --diff main.plumb

    Every worker becomes a StatefulSet with a headless Service. The hosts of the project say nothing here: Kubernetes
    finds the nodes. What is there is replaced if it differs; keys, secrets and files of others are never touched.

    Exit codes: 0, 2 the program does not check or cannot be deployed, or a file cannot be read or written.
    """
    if output is None:
        raise ConfigError("there are several files: name a folder with -o DIR")
    hosts = project_settings().hosts
    if hosts:
        print_line(f"left out, for Kubernetes finds the nodes: hosts {', '.join(hosts)}")
    asked = _Asked(program, project, provider, model, include, output, in_image, insecure)
    deployment, files = _lay_out(asked, "services")
    _write(output, kubernetes_made(deployment, files), deployment, dry_run=dry_run, diff=diff)


class _Asked(NamedTuple):
    """What flags say."""

    program: Path | None
    name: str | None
    provider: str | None
    model: str | None
    include: list[Path] | None
    output: Path | None
    in_image: bool
    insecure: bool


def _lay_out(asked: _Asked, network: Network) -> tuple[Deployment, Files]:
    """Return what is deployed, and the program's files; tell what of its folder is left out.

    Raises:
        CheckError: the program does not check.
        ConfigError: it cannot be deployed.
    """
    said = project_settings()
    provider, model = said.choose_model(asked.provider, asked.model)
    program = find_program(asked.program, said)
    plan, compiled = compile_file(
        program,
        run_directory="RUN",
        provider=provider,
        model=model,
        endpoint=os.environ.get("PLUMB_ENDPOINT"),
        resources=os.environ.get("PLUMB_RESOURCES", ""),
        folders=search_path(asked.include),
        metered=limits_of(said, None, None, None, None).metered,
    )
    if compiled.warnings:
        print_diagnostics(compiled.warnings)
    said.check_workers([worker.name for worker in plan.workers])
    settings = project_file(Path.cwd())
    root = program_root(program, said, settings)
    if asked.output is not None:
        check_output(asked.output, root, *([settings.parent] if settings else []))
    _check_sources(compiled, root)
    bound = "127.0.0.1" if network == "hosts" else "0.0.0.0"  # noqa: S104 - of the container
    wanted = Wanted(
        project=msgspec.structs.replace(said, provider=provider, model=model),
        plan=plan,
        name=asked.name or project_name(program),
        root=str(root),
        network=network,
        http=f"{bound}:{HTTP_PORT}",
        insecure=asked.insecure,
    )
    deployment = deploy(wanted)
    for name, docroot in writing_below_app(deployment):
        print_line(
            f"{name} writes files below {docroot}, which its container can only read: mount a volume there"
            " (compose.override.yaml, or an overlay for Kubernetes), and copy into it what it needs"
        )
    if said_insecure := say_insecure(unsecured(deployment.plan)):
        print_line(said_insecure)
    if asked.in_image:
        return deployment, {}
    files, left_out = read_program(root, asked.output)
    for path, why in left_out:
        print_line(f"left out: {path} ({why})")
    _check_complete(compiled, root, files)
    return deployment, files


def _check_complete(compiled: Compiled, root: Path, files: Files) -> None:
    """Check that nothing was left out that the program is made of.

    Raises:
        ConfigError: a file was.
    """
    for path in (Path(path).resolve() for path in compiled.module.sources.paths):
        if path.is_relative_to(root) and path.relative_to(root).as_posix() not in files:
            raise ConfigError(
                f"{path} is part of the program, but would be left out, as is said above. Is it readable by its owner"
                " only? Such files are taken for secrets: chmod go+r"
            )


def _check_sources(compiled: Compiled, root: Path) -> None:
    """Check that the coordinator will find in its container what the program is made of.

    Raises:
        ConfigError: a file lies somewhere else.
    """
    for path in map(Path, compiled.module.sources.paths):
        if not path.resolve().is_relative_to(root) and not path.resolve().is_relative_to(INSTALLED):
            raise ConfigError(
                f"{path} lies outside of the program's folder {root}, and would be missing; move it there"
            )
    for variable in ("PLUMB_PATH", "PLUMB_RESOURCES"):
        for folder in filter(None, os.environ.get(variable, "").split(os.pathsep)):
            if not Path(folder).resolve().is_relative_to(root):
                raise ConfigError(f"{variable}={folder!r} lies outside of the program's folder {root}; move it there")


def _write(output: Path, made: Made, deployment: Deployment, *, dry_run: bool, diff: bool) -> None:
    """Write all files, or tell what would change."""
    written = write_made(output, made, deployment, dry_run=dry_run or diff)
    for change in written.changes:
        if diff:
            typer.echo(change.diff(), nl=False)
        else:
            print_line(f"{'would write' if dry_run else 'wrote'} {output / change.path}")
    for path in written.unused:
        print_line(f"no longer used: {output / path}")
    if not written.changes:
        print_line(f"{output}: all is as it should be")
    elif not dry_run and not diff:
        fill_in = [path for path in written.fresh if path in made.placeholders]
        print_line(f"{count_of(len(written.changes), 'file')} in {output}; {output / 'README.md'} says what is next")
        for path in fill_in:
            print_line(f"to be filled in: {output / path}")
