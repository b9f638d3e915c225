"""Whose containers they are: labels that tell, on an engine that serves many."""

from __future__ import annotations

__all__ = [
    "COORDINATOR_LABEL",
    "DIGEST_LABEL",
    "KEY_LABEL",
    "PROJECT_LABEL",
    "WORKER_LABEL",
    "Owner",
    "owner_key",
]

import hashlib
from collections.abc import Callable

import msgspec

KEY_LABEL = "plumb-fabric.key"
"""Whose it is; see :func:`owner_key`."""

PROJECT_LABEL = "plumb-fabric.project"
"""The same for people: the service's name."""

WORKER_LABEL = "plumb-fabric.worker"
DIGEST_LABEL = "plumb-fabric.digest"
"""Of all that it was started with: one that is wanted otherwise now is not taken over."""

COORDINATOR_LABEL = "plumb-fabric.coordinator"
"""The process that started it."""


class Owner(msgspec.Struct, frozen=True):
    """A session, as its containers know it.

    Attributes:
        project: its name, for people.
        key: the same for every session of the same service, also after its coordinator was killed.
        coordinator: this one, as a word of its own.
        adopts: takes over containers that an earlier coordinator with this key left.
        lives: whether the coordinator with this word is one of this host that still runs.
    """

    project: str
    key: str
    coordinator: str
    adopts: bool = False
    lives: Callable[[str], bool] = lambda _: False


def owner_key(host: str, program: str, service: str) -> str:
    """Return the key of a session.

    Args:
        host: the name of the coordinator's machine: engines of others serve several.
        program: the path of its file.
        service: the service's name; empty: it is none, but a run.
    """
    return hashlib.blake2b("\0".join((host, program, service)).encode(), digest_size=8).hexdigest()
