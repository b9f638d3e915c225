"""Put workers on hosts: who starts each, and the TCP addresses of those that do not live beside the coordinator.

Ports are drawn from the range of the host that binds them, by the worker's name: a worker that is added or taken out
moves no other, unless two draw the same.
"""

from __future__ import annotations

__all__ = [
    "PORTS_USUAL",
    "SLOT_PORTS",
    "Host",
    "Place",
    "Placement",
    "is_builtin",
    "place",
    "ports_of",
    "say_insecure",
    "unsecured",
]

import difflib
import hashlib
import ipaddress
from collections.abc import Iterable

import msgspec

from fabric.errors import ConfigError
from fabric.plan.plan import Address, Plan, Resources, Runner, WorkerPlan
from fabric.plan.replicas import Replicas, replicated
from fabric.wire.spec import INPUT_PORTS, OUTPUT_PORTS

PORTS_USUAL = (5600, 6599)
"""Of a host that does not say which ports may be used there."""

SLOT_PORTS = 4
"""A worker's share of a range: the ports that it binds on its host, or that the coordinator binds for it."""


PORTS_OF_ONE = 1_024
"""Of a session that has this host for itself: enough for 128 workers."""

SHARED_PORTS = (10_240, 32_767)
"""Behind them are those that Linux gives to whoever asks for any."""


def ports_of(whose: str) -> tuple[int, int]:
    """Return the ports of a session where no host is named. Always the same, and seldom those of another.

    They begin anywhere, and not at the multiples of something: workers of the same name have the same place in their
    ranges, so that of two sessions with the same range all would meet.
    """
    first, last = SHARED_PORTS
    count = (last + 1 - first - PORTS_OF_ONE) // SLOT_PORTS + 1
    first += _digest(whose) % count * SLOT_PORTS
    return first, first + PORTS_OF_ONE - 1


class Host(msgspec.Struct, frozen=True):
    """A host.

    Attributes:
        name: of it.
        address: by which others reach it: a number or a name.
        bind: what is bound there; empty: the address, if it is a number, else every interface.
        ports: the first and the last that may be used.
        engine: its Docker Engine, ``unix://PATH`` or ``tcp://HOST:PORT``; empty: the one of this machine.
    """

    name: str
    address: str
    bind: str = ""
    ports: tuple[int, int] = PORTS_USUAL
    engine: str = ""

    @property
    def bound(self) -> str:
        """What is bound there, as it stands in an endpoint."""
        if self.bind:
            return _bracketed(self.bind)
        return _bracketed(self.address) if _is_number(self.address) else "0.0.0.0"  # noqa: S104 - it is the user's


class Place(msgspec.Struct, frozen=True):
    """What is said of where one worker runs. Empty is what is not said.

    Attributes:
        where: the place that says it, for complaints.
        host: its name.
        runner: who starts it.
        image: of its container.
        replicas: how many share its input.
        limits: of its container.
        env: names of variables that it gets.
    """

    where: str = ""
    host: str = ""
    runner: Runner | None = None
    image: str = ""
    replicas: int = 1
    limits: Resources = Resources()
    env: tuple[str, ...] = ()


class Placement(msgspec.Struct, frozen=True):
    """Where workers run.

    Attributes:
        hosts: by name.
        coordinator: the name of the coordinator's.
        workers: what is said of them, by name.
        runner, image: of those that do not say theirs.
        insecure: no keys: who reaches a port may use it.
    """

    hosts: dict[str, Host]
    coordinator: str
    workers: dict[str, Place] = {}
    runner: Runner | None = None
    image: str = ""
    insecure: bool = False


def place(plan: Plan, placement: Placement) -> Plan:
    """Return the plan with its workers where they belong, as many of each as there are to be.

    Raises:
        ConfigError: a host is not known or has too few ports, or a worker cannot run where it is put, or cannot have
            replicas.
    """
    replicas = {name: Replicas(said.replicas, said.where) for name, said in placement.workers.items()}
    plan = replicated(plan, replicas)
    placed = tuple(_placed(worker, placement) for worker in plan.workers)
    away = [worker for worker in placed if worker.runner != "process"]
    binding = [(placement.coordinator, f"in {worker.name}") for worker in away]
    binding += [(worker.host, f"out {worker.name}") for worker in away]
    slots: dict[tuple[str, str], int] = {}
    for name in {host for host, _ in binding}:
        owners = [owner for host, owner in binding if host == name]
        slots |= {(name, owner): port for owner, port in _draw(placement.hosts[name], owners).items()}
    return msgspec.structs.replace(plan, workers=tuple(_addressed(worker, placement, slots) for worker in placed))


def is_builtin(worker: WorkerPlan) -> bool:
    """Whether a worker is a builtin tool. Those work with the files and the programs of the coordinator's host."""
    return "builtin" in worker.spec.config


def unsecured(plan: Plan) -> tuple[str, ...]:
    """Return the names of workers that whoever reaches their endpoints may read and write: over TCP without keys."""
    return tuple(worker.name for worker in plan.workers if worker.runner != "process" and not worker.secured)


def say_insecure(workers: Iterable[str]) -> str:
    """Return what is to be said of such workers; nothing if there are none."""
    names = ", ".join(workers)
    said = "INSECURE: no keys; whoever reaches their ports may read and write the messages of"
    return f"{said} {names}" if names else ""


def _placed(worker: WorkerPlan, placement: Placement) -> WorkerPlan:
    """Return a worker with its runner and its host."""
    said = _said(worker, placement)
    host = said.host or placement.coordinator
    if host not in placement.hosts:
        near = difflib.get_close_matches(host, placement.hosts, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"the hosts are: {', '.join(placement.hosts)}"
        raise ConfigError(f"{said.where}: there is no host {host!r}; {hint}")
    runner = said.runner or placement.runner
    if said.runner is None and host != placement.coordinator and runner in (None, "process"):
        runner = "container" if placement.hosts[host].engine else "external"
    if (
        said.runner is None
        and not said.host
        and (worker.transport == "stdio" or worker.spec.kind == "handler" or is_builtin(worker))
    ):
        runner = "process"  # it speaks with nobody but who started it, or with files that are here
    runner = runner or "process"
    _check_place(worker, runner, host, said, placement)
    return msgspec.structs.replace(
        worker,
        runner=runner,
        host=host,
        engine=placement.hosts[host].engine,
        image=said.image or placement.image,
        limits=said.limits,
        pass_on=(*worker.pass_on, *said.env),
        secured=runner != "process" and not placement.insecure,
        spec=msgspec.structs.replace(worker.spec, fenced=runner != "process"),
    )


def _said(worker: WorkerPlan, placement: Placement) -> Place:
    """Return what is said of a worker; of a replica, NAME#1, what its own name says goes over what holds for all."""
    of_all = placement.workers.get(worker.node, Place())
    own = placement.workers.get(worker.name)
    if own is None or worker.name == worker.node:
        return of_all
    return Place(
        own.where,
        own.host or of_all.host,
        own.runner or of_all.runner,
        own.image or of_all.image,
        of_all.replicas,
        of_all.limits if own.limits == Resources() else own.limits,
        (*of_all.env, *own.env),
    )


def _check_place(worker: WorkerPlan, runner: Runner, host: str, said: Place, placement: Placement) -> None:
    where = said.where or f"worker '{worker.name}'"
    if runner == "process" and host != placement.coordinator:
        raise ConfigError(
            f"{where}: '{worker.name}' is put on host {host!r} as a process, and we start none there;"
            ' say runner = "container" or "external"'
        )
    if runner == "external" and worker.compat:
        raise ConfigError(
            f"{where}: '{worker.name}' says compat: true, so it returns no markers; without those nobody can tell what"
            " it answers now from what it answered before its connection broke off. It runs as a process or a container"
        )
    if runner != "process" and worker.transport == "stdio":
        raise ConfigError(
            f"{where}: '{worker.name}' speaks lines on its stdin and stdout, so it runs as a process beside the"
            ' coordinator; transport: "zmq" could run elsewhere'
        )
    if runner != "process" and worker.spec.kind == "handler":
        raise ConfigError(
            f"{where}: '{worker.name}' is a handler, whose session may be in a folder of this host; it has to be a"
            " process beside the coordinator"
        )
    if runner != "process" and is_builtin(worker):
        raise ConfigError(
            f"{where}: '{worker.name}' is a builtin, which works in the folder of the program or --docroot, and that is"
            " not there where it is put; it has to be a process beside the coordinator"
        )
    if runner != "process" and worker.mcp_tools:
        raise ConfigError(
            f"{where}: '{worker.name}' has MCP servers, whose tools are known when they run; it has to be a process"
            " beside the coordinator"
        )


def _draw(host: Host, owners: Iterable[str]) -> dict[str, int]:
    """Return the first port of each owner's slot."""
    first, last = host.ports
    owners = sorted(owners, key=_digest)
    count = (last - first + 1) // SLOT_PORTS
    if len(owners) > count:
        raise ConfigError(
            f"host {host.name!r} has {last - first + 1} ports, {first}-{last}; {len(owners) * SLOT_PORTS} are needed:"
            f' give it more with [hosts.{host.name}] ports = "FIRST-LAST"'
        )
    taken: dict[int, str] = {}
    for owner in owners:
        slot = _digest(owner) % count
        while slot in taken:
            slot = (slot + 1) % count
        taken[slot] = owner
    return {owner: first + slot * SLOT_PORTS for slot, owner in taken.items()}


def _digest(owner: str) -> int:
    return int.from_bytes(hashlib.blake2b(owner.encode(), digest_size=8).digest(), "big")


def _addressed(worker: WorkerPlan, placement: Placement, slots: dict[tuple[str, str], int]) -> WorkerPlan:
    if worker.runner == "process":
        return worker
    ours, its = placement.hosts[placement.coordinator], placement.hosts[worker.host]
    endpoints = {}
    for port in worker.endpoints:
        host, owner, side = (ours, "in", INPUT_PORTS) if port in INPUT_PORTS else (its, "out", OUTPUT_PORTS)
        number = slots[host.name, f"{owner} {worker.name}"] + side.index(port)
        endpoints[port] = Address(f"tcp://{host.bound}:{number}", f"tcp://{_bracketed(host.address)}:{number}")
    return msgspec.structs.replace(worker, endpoints=endpoints)


def _is_number(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address and not address.startswith("[") else address
