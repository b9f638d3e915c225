"""A program, laid out as containers: what compose files and Kubernetes manifests are both written from.

Every worker that speaks over sockets becomes a container that somebody else starts; for the coordinator it is external.
Workers on lines, those with MCP servers, and those that the project wants as processes stay processes in the container
of the coordinator. What the coordinator is told, a ``fabric.toml`` of its own, places the workers where the containers
are; so both sides have their addresses from one function, :func:`fabric.plan.place.place`.
"""

from __future__ import annotations

__all__ = [
    "APP",
    "COORDINATOR",
    "HTTP_PORT",
    "RESERVED",
    "Container",
    "Deployment",
    "Wanted",
    "deploy",
    "file_secrets",
    "needs_program",
    "plain_variables",
    "writing_below_app",
]

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, TypeAlias

import msgspec

from fabric.compiler import INSTALLED
from fabric.errors import ConfigError
from fabric.manifests.names import labels_of
from fabric.plan.place import is_builtin, place
from fabric.plan.plan import Plan, WorkerPlan
from fabric.plan.replicas import Replicas, replicated
from fabric.runtime.starting import IMAGE, placement_of
from fabric.session.settings import Settings
from fabric.settings import ProjectHost, ProjectSettings, ProjectWorker

APP = "/app"
"""Where the program's folder is in a container."""

COORDINATOR = "coordinator"
_WRITING = frozenset({"fs.write", "fs.edit", "fs.delete"})

RESERVED = (COORDINATOR, "prometheus", "grafana")
HTTP_PORT = 9464

Network: TypeAlias = Literal["services", "hosts"]
"""How containers find one another: by the names of their services, or by the addresses of their hosts."""


class Wanted(msgspec.Struct, frozen=True):
    """What is to be deployed.

    Attributes:
        project: what the project says; provider and model as they were chosen.
        plan: of the program, not placed.
        name: of the service.
        root: the program's folder, absolute: that which is copied or in the image.
        network: how containers find one another.
        http: what the coordinator's HTTP server binds.
        insecure: without keys.
    """

    project: ProjectSettings
    plan: Plan
    name: str
    root: str
    network: Network
    http: str
    insecure: bool = False


class Container(msgspec.Struct, frozen=True):
    """A worker in a container of its own.

    Attributes:
        label: its name as a service and in files.
        worker: its plan, with paths as they are in the container.
    """

    label: str
    worker: WorkerPlan


class Deployment(msgspec.Struct, frozen=True):
    """A program, laid out.

    Attributes:
        name: of the service, a label.
        project: its name, as it is.
        network: how containers find one another.
        settings: what the coordinator is told.
        coordinator: the name of its host.
        image: of its container.
        containers: by label.
        inside: workers that are processes in the coordinator's container.
        plan: of the program, placed.
        grace_s: of silence, before a worker that should end is ended.
        secured: whether there are keys.
    """

    name: str
    project: str
    network: Network
    settings: ProjectSettings
    coordinator: str
    image: str
    containers: tuple[Container, ...]
    inside: tuple[WorkerPlan, ...]
    plan: Plan
    grace_s: float
    secured: bool

    def on(self, host: str) -> tuple[Container, ...]:
        """Return the containers of one host."""
        if self.network == "services":
            return self.containers
        return tuple(container for container in self.containers if container.worker.host == host)


def deploy(wanted: Wanted) -> Deployment:
    """Lay a program out.

    Raises:
        ConfigError: a host is not known, a worker cannot run where it is put, something lies outside of the program's
            folder.
    """
    project, plan = wanted.project, wanted.plan
    replicas = {name: Replicas(said.replicas or 1, said.place) for name, said in project.workers.items()}
    away = [worker for worker in replicated(plan, replicas).workers if _goes_away(worker, project)]
    labels = labels_of([worker.name for worker in away], RESERVED)
    settings = _settings(wanted, away, labels)
    placed = place(plan, placement_of(settings, whose=wanted.name, insecure=wanted.insecure))
    workers = [_relocated(worker, wanted.root) for worker in placed.workers]
    containers = [Container(labels[worker.name], worker) for worker in workers if worker.name in labels]
    return Deployment(
        name=labels_of([wanted.name])[wanted.name],
        project=wanted.name,
        network=wanted.network,
        settings=settings,
        coordinator=settings.host or "",
        image=project.image or IMAGE,
        containers=tuple(sorted(containers, key=lambda container: container.label)),
        inside=tuple(worker for worker in workers if worker.name not in labels),
        plan=placed,
        grace_s=Settings().grace_s if project.grace_s is None else project.grace_s,
        secured=not wanted.insecure,
    )


def _goes_away(worker: WorkerPlan, project: ProjectSettings) -> bool:
    said = project.workers.get(worker.name) or project.workers.get(worker.node)
    wants_process = said is not None and said.runner == "process"
    stays = wants_process or is_builtin(worker) or worker.spec.kind == "handler"  # whose log is where the run's is
    return worker.transport == "zmq" and not worker.mcp_tools and not stays


def _settings(wanted: Wanted, away: Sequence[WorkerPlan], labels: Mapping[str, str]) -> ProjectSettings:
    """Return what the coordinator in its container is told."""
    project = wanted.project
    if wanted.network == "services":
        hosts = {name: ProjectHost("", name) for name in (COORDINATOR, *sorted(labels.values()))}
        coordinator = COORDINATOR
    else:
        hosts = {name: msgspec.structs.replace(host, engine=None) for name, host in project.hosts.items()}
        coordinator = project.host or next(iter(hosts))
    workers = dict(project.workers)
    for worker in away:
        for name in dict.fromkeys((worker.node, worker.name)):
            said = workers.get(name, ProjectWorker(""))
            host = labels.get(name) if wanted.network == "services" else said.host
            workers[name] = msgspec.structs.replace(said, host=host, runner="external")
    return msgspec.structs.replace(
        project,
        spec=Path(_inside(wanted.plan.path, wanted.root)),
        host=coordinator,
        runner=None,
        http=wanted.http,
        hosts=hosts,
        workers=dict(sorted(workers.items())),
    )


def _relocated(worker: WorkerPlan, root: str) -> WorkerPlan:
    """Return a worker whose paths are those in a container."""
    spec, command = worker.spec, worker.command
    config = spec.config
    if "docroot" in config:
        config = {**config, "docroot": _inside(config["docroot"], root)}
    if worker.ours:
        command = ("python", *command[1:])
    elif "/" in command[0]:
        command = (_inside(command[0], root), *command[1:])
    if PurePath(spec.directory).is_relative_to(INSTALLED):
        # Where packages are in the container only its Python knows, so it looks for the module by its full name.
        parts = ("fabric", "library", *PurePath(spec.directory).relative_to(INSTALLED).parts)
        if not config.get("builtin") and "call" in config:
            config = {**config, "call": ".".join((*parts, config["call"]))}
        spec = msgspec.structs.replace(spec, directory=root)
    spec = msgspec.structs.replace(spec, config=config, directory=_inside(spec.directory, root))
    return msgspec.structs.replace(worker, spec=spec, command=command)


def _inside(path: str, root: str) -> str:
    """Return a path below the program's folder as it is in a container."""
    if PurePath(path).is_relative_to(root):
        return str(PurePosixPath(APP, *PurePath(path).relative_to(root).parts))
    raise ConfigError(
        f"{path} lies outside of the program's folder {root}, which is all that a container has; move it in there"
    )


def file_secrets(worker: WorkerPlan) -> tuple[str, ...]:
    """Return the variables whose values a worker reads from files: the keys of its provider."""
    return tuple(name for name in dict.fromkeys(worker.pass_on) if f"{name}_FILE" in worker.pass_on)


def writing_below_app(deployment: Deployment) -> list[tuple[str, str]]:
    """Return workers that write files where there is the program's folder, which can only be read; and that place."""
    workers = [*(container.worker for container in deployment.containers), *deployment.inside]
    return [
        (worker.name, worker.spec.config["docroot"])
        for worker in workers
        if worker.spec.config.get("builtin") in _WRITING
    ]


def needs_program(worker: WorkerPlan) -> bool:
    """Return whether a worker reads files of the program's folder. Prompts of agents are in what they are told."""
    return worker.spec.kind != "agent" or "script" in worker.spec.config


def plain_variables(names: Iterable[str], secrets: Iterable[str]) -> tuple[str, ...]:
    """Return the other variables that somebody gets, sorted."""
    in_files = {name for secret in secrets for name in (secret, f"{secret}_FILE")}
    return tuple(sorted(set(names) - in_files))
