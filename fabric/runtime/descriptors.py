"""Open files: how many a session needs, and a limit that is high enough."""

from __future__ import annotations

__all__ = ["DESCRIPTORS_BESIDES_WORKERS", "DESCRIPTORS_PER_WORKER", "raise_limit", "raise_soft_limit"]

import resource

from fabric.errors import ConfigError

DESCRIPTORS_PER_WORKER = 24
"""Measured: 21 for its sockets, 4 of them to notice strangers, and its stderr, stdin and stdout."""

DESCRIPTORS_BESIDES_WORKERS = 128


DESCRIPTORS_MORE_OVER_TCP = 12
"""Of a worker over TCP every socket is watched; and each may have a stranger who has not been turned away yet."""


def raise_limit(workers: int, over_tcp: int = 0) -> None:
    """Raise the soft limit of open files to what the workers of a session need.

    Args:
        workers: all of them.
        over_tcp: those of them that are reached over TCP.

    Raises:
        ConfigError: the hard limit is too low.
    """
    descriptors = workers * DESCRIPTORS_PER_WORKER + over_tcp * DESCRIPTORS_MORE_OVER_TCP
    needed = DESCRIPTORS_BESIDES_WORKERS + descriptors
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigError(f"{workers} workers need {needed} open files; the limit is {hard}. Raise it with ulimit -Hn")
    raise_soft_limit(descriptors)


def raise_soft_limit(descriptors: int) -> None:
    """Raise the soft limit of open files, as far as it goes, so that there is room for that many of sessions."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = DESCRIPTORS_BESIDES_WORKERS + descriptors
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
