"""Addresses of the sockets."""

from __future__ import annotations

__all__ = ["IPC_PATH_BYTES_MAX", "endpoint_variables", "ipc_addresses", "renewed", "worker_addresses"]

from collections.abc import Iterable, Mapping

import msgspec

from fabric.errors import ConfigError
from fabric.plan.plan import Address, WorkerPlan
from fabric.wire.spec import ENDPOINT_VARIABLES, INPUT_PORTS

IPC_PATH_BYTES_MAX = 107
"""What ``sockaddr_un`` holds, less its final zero."""


INCARNATION_BYTES_MAX = 6
"""What the number of a later process adds to a path: it may be started again 99,998 times."""


def ipc_addresses(run_directory: str, number: int, ports: Iterable[str]) -> dict[str, Address]:
    """Return an ipc address for each port of the worker with this number.

    Numbers, not names: a path may have 107 bytes, and a name from a nested body may be long.

    Raises:
        ConfigError: the run directory's path is too long.
    """
    addresses = {}
    for port in ports:
        path = f"{run_directory}/{number}.{port}"
        needed = len(path.encode()) + INCARNATION_BYTES_MAX
        if needed > IPC_PATH_BYTES_MAX:
            raise ConfigError(
                f"socket path {path!r} needs {needed} bytes; there are {IPC_PATH_BYTES_MAX}."
                " Set XDG_RUNTIME_DIR to a shorter directory"
            )
        addresses[port] = Address(f"ipc://{path}", f"ipc://{path}")
    return addresses


def renewed(worker: WorkerPlan, incarnation: int) -> WorkerPlan:
    """Return the plan of a worker's process: the first has the planned addresses, each that follows has its own.

    So nothing that an earlier one left behind in a socket reaches a later one. Not of one that somebody else starts, or
    that is on another host: its addresses are known there, and stay. See ``fabric.session.attachment`` for those.
    """
    if incarnation == 1 or worker.runner != "process":
        return worker
    endpoints = {
        port: Address(f"{address.bind}.{incarnation}", f"{address.connect}.{incarnation}")
        for port, address in worker.endpoints.items()
    }
    return msgspec.structs.replace(worker, endpoints=endpoints)


def worker_addresses(endpoints: Mapping[str, Address]) -> dict[str, str]:
    """Return the address that the worker itself uses, by port: it connects its inputs and binds its outputs."""
    return {port: address.connect if port in INPUT_PORTS else address.bind for port, address in endpoints.items()}


def endpoint_variables(endpoints: Mapping[str, Address]) -> dict[str, str]:
    """Return the environment variables that tell a worker its addresses."""
    return {ENDPOINT_VARIABLES[port]: address for port, address in worker_addresses(endpoints).items()}
