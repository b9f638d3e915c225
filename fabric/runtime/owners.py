"""Who owns the containers of a session: what makes them its own, and its coordinator one that lives or does not."""

from __future__ import annotations

__all__ = ["owner_of", "service_key"]

import os
import platform
import secrets
from pathlib import Path

from fabric.launch.owner import Owner, owner_key
from fabric.runtime.processes import Process, identify, is_alive


def service_key(program: str, service: str) -> str:
    """Return the key of the containers of a service; of a run: ``service`` is empty."""
    return owner_key(platform.node(), str(Path(program).resolve()), service)


def owner_of(program: str, service: str = "") -> Owner:
    """Return this session as an owner.

    Args:
        program: the path of its file.
        service: the service's name. The next service of that name takes over what this one leaves when it is killed; of
            a run that was killed everything is removed.
    """
    process = identify(os.getpid())
    assert process is not None
    name = service or Path(program).stem
    word = f"{process.pid}:{process.born}:{secrets.token_hex(4)}"
    return Owner(name, service_key(program, service), word, adopts=bool(service), lives=_lives)


def _lives(coordinator: str) -> bool:
    """Whether a coordinator with this word still runs. One of this process is another session of it."""
    pid, _, rest = coordinator.partition(":")
    return pid.isdecimal() and is_alive(Process(int(pid), rest.rpartition(":")[0]))
