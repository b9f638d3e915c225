"""What has to be so on a host for programs to run: each check says what it found, and what to do if it will not do."""

from __future__ import annotations

__all__ = [
    "Check",
    "check_containers",
    "check_engine",
    "check_host",
    "check_keys",
    "check_libraries",
    "check_libzmq",
    "check_open_files",
    "check_package",
    "check_program",
    "check_run_directory",
    "check_services",
    "check_state",
    "is_version",
]

import os
import platform
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import msgspec
import trio

from fabric.errors import ConfigError, FabricError
from fabric.launch.trial import try_to_fork
from fabric.plan.endpoints import ipc_addresses
from fabric.runtime.descriptors import DESCRIPTORS_BESIDES_WORKERS, DESCRIPTORS_PER_WORKER
from fabric.runtime.directory import open_run_directory
from fabric.runtime.ending import containers_left
from fabric.runtime.services import Record
from fabric.transport.sockets import libzmq_can, libzmq_version, open_sockets

DISTRIBUTION = "plumb-fabric"

PYTHON_MIN = "3.11"
LIBZMQ_MIN = "4.3.5"
"""Earlier ones have bugs in what a session rests on: the handling of a peer that leaves."""

KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")

MESSAGE_S = 5.0
"""How long one frame may take through a socket of the run directory."""


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at.

    Attributes:
        name: of it.
        ok: ``None``: it is not needed.
        says: what was found.
        help: what to do.
    """

    name: str
    ok: bool | None
    says: str
    help: str = ""


def is_version(found: str, least: str) -> bool:
    """Whether a version is at least another one, by the numbers that they begin with."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text.split("+")[0])][:3]

    return numbers(found) >= numbers(least)


def check_host(
    environment: Mapping[str, str], state: Path, services: Sequence[Record], workers: int | None
) -> Iterator[Check]:
    """Yield every check, the quick ones first.

    Args:
        environment: ours.
        state: where services are recorded.
        services: those that are.
        workers: of the program that is to run, if one is meant.
    """
    python = platform.python_version()
    yield Check("python", is_version(python, PYTHON_MIN), python, f"fabric needs {PYTHON_MIN} or later")
    yield check_libraries(metadata.requires(DISTRIBUTION) or (), _installed)
    libzmq = libzmq_version()
    yield check_libzmq(libzmq, libzmq_can())
    yield check_package(metadata.distributions())
    yield check_run_directory(environment)
    yield check_state(state)
    yield check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1], workers)
    trouble = try_to_fork()
    hint = 'launch = "spawn" in fabric.toml starts each worker by itself'
    yield Check("forking", trouble is None, trouble or "workers can be forked", hint if trouble else "")
    yield check_services(services)
    yield trio.run(check_containers, services, environment)
    yield trio.run(check_engine, environment)
    yield check_program("node", "only MCP servers that are written for it need one", shutil.which)
    yield check_program("npm", "only MCP servers that it fetches need one", shutil.which)
    yield check_keys(environment)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_libraries(requirements: Iterable[str], installed: Callable[[str], str | None]) -> Check:
    """Hold what is installed against what we ask for.

    Args:
        requirements: as in a distribution's metadata, such as ``trio>=0.31``; those of extras do not matter.
        installed: returns the version of a distribution, or ``None``.
    """
    found, bad = [], []
    for requirement in requirements:
        named = re.match(r"([\w.-]+)\s*>=\s*([\w.]+)\s*$", requirement)
        if named is None:
            continue
        version = installed(named[1])
        found.append(f"{named[1]} {version or 'missing'}")
        if version is None or not is_version(version, named[2]):
            bad.append(f"'{named[1]}>={named[2]}'")
    return Check("libraries", not bad, ", ".join(found), f"pip install -U {' '.join(bad)}" if bad else "")


def check_libzmq(version: str, can: Mapping[str, bool]) -> Check:
    """Look whether the library of sockets is new enough, and has what we use.

    Args:
        version: of it.
        can: what it has been built with.
    """
    has = ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in can.items())
    ok = is_version(version, LIBZMQ_MIN) and can["ipc"]
    hint = "" if ok else f"pip install -U pyzmq: it brings {LIBZMQ_MIN} with ipc along"
    return Check("libzmq", ok, f"{version}, {has}", hint)


def check_program(name: str, why: str, find: Callable[[str], str | None]) -> Check:
    """Look for a program that is of use to some.

    Args:
        name: of it.
        why: what of it, if it is not there.
        find: returns its path, or ``None``.
    """
    path = find(name)
    return Check(name, True if path else None, path or f"not found; {why}")


def check_package(distributions: Iterable[metadata.Distribution]) -> Check:
    """Look for another distribution with a package of our name, such as the SSH library."""
    others = set()
    for distribution in distributions:
        name = distribution.metadata["Name"]
        files = distribution.read_text("RECORD") or ""
        if name != DISTRIBUTION and re.search(r"^fabric/__init__\.py,", files, re.MULTILINE):
            others.add(name)
    if not others:
        return Check("package", True, f"no other package named fabric in {sys.prefix}")
    names = ", ".join(sorted(others))
    hint = f"pip uninstall {names} {DISTRIBUTION}, then install {DISTRIBUTION} again, in an environment of its own"
    return Check("package", False, f"{names} has a package named fabric too: the files of both are mixed", hint)


def check_run_directory(environment: Mapping[str, str]) -> Check:
    """Make a run directory, and send one frame through a socket in it."""
    try:
        with open_run_directory(environment) as directory:
            ipc_addresses(directory, 99_999, ["telemetry"])  # raises if the path is too long
            trio.run(_send_one, f"ipc://{directory}/trial")
            return Check("sockets", True, f"{Path(directory).parent} takes them, for our eyes only")
    except FabricError as error:
        return Check("sockets", False, str(error), "XDG_RUNTIME_DIR names another place, short and on a local disk")


async def _send_one(address: str) -> None:
    async with open_sockets(sockets_max=2) as transport:
        receiver = transport.receiver(address, bind=True)
        transport.sender(address, bind=False).send_nowait(b"trial")
        with trio.move_on_after(MESSAGE_S):
            await receiver.receive()
            return
    raise ConfigError(f"a frame did not come through {address} within {MESSAGE_S:g} s")


def check_state(state: Path) -> Check:
    """Look whether services can be recorded."""
    place = state.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    writable = os.access(place, os.W_OK | os.X_OK) and place.is_dir()
    says = f"{state.absolute()} can be written" if writable else f"{place} cannot be written"
    return Check("state", writable, says, "" if writable else "FABRIC_STATE_DIR names another place for .fabric")


def check_open_files(hard_max: int, workers: int | None) -> Check:
    """Hold the limit of open files against what workers need."""
    if hard_max == resource.RLIM_INFINITY:
        return Check("open files", True, "no limit")
    room = max(0, hard_max - DESCRIPTORS_BESIDES_WORKERS) // DESCRIPTORS_PER_WORKER
    needed = workers if workers is not None else 1
    wanted = f"; the program has {workers}" if workers is not None else ""
    ok = room >= needed
    hint = f"ulimit -Hn {DESCRIPTORS_BESIDES_WORKERS + DESCRIPTORS_PER_WORKER * needed}"
    return Check("open files", ok, f"{hard_max} at most, enough for {room} workers{wanted}", "" if ok else hint)


def check_services(services: Sequence[Record]) -> Check:
    """Look for services that were killed, and not cleared away."""
    killed = [service.project for service in services if service.outcome is None and not service.alive]
    running = [service.project for service in services if service.alive]
    if killed:
        hint = "; ".join(f"fabric down -p {project}" for project in killed)
        return Check("services", False, f"killed, and not cleared away: {', '.join(killed)}", hint)
    says = f"running: {', '.join(running)}" if running else "none is running, none is left over"
    return Check("services", True, says)


async def check_containers(services: Sequence[Record], environment: Mapping[str, str]) -> Check:
    """Look for containers of services that were killed."""
    left, unknown = [], []
    killed = [service for service in services if service.outcome is None and not service.alive]
    for service in killed:
        try:
            left += await containers_left(service, environment)
        except FabricError as error:
            unknown.append(str(error))
    hint = "; ".join(f"fabric down -p {service.project}" for service in killed if service.engines)
    if left:
        return Check("containers", False, f"left by a killed service: {', '.join(left)}", hint)
    if unknown:
        return Check("containers", False, f"a killed service may have left some: {unknown[0]}", hint)
    return Check("containers", True, "none is left over")


async def check_engine(environment: Mapping[str, str]) -> Check:
    """Look for a Docker Engine. There need not be one."""
    from fabric.launch.engine import open_engine

    try:
        async with open_engine("", environment) as engine:
            return Check("engine", True, f"Docker Engine at {engine.where}, API {engine.api}")
    except FabricError as error:
        return Check("engine", None, f"{error}; only containers need one")


def check_keys(environment: Mapping[str, str]) -> Check:
    """Say which keys of providers are there: their names."""
    there = [name for key in KEYS for name in (key, f"{key}_FILE") if environment.get(name)]
    if not there:
        return Check("keys", None, f"none of {', '.join(KEYS)} is set; only these providers need one")
    return Check("keys", True, f"set: {', '.join(there)}")
