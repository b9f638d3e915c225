"""Open files: how many a session needs, and a limit that is high enough."""

from __future__ import annotations

__all__ = ["DESCRIPTORS_BESIDES_WORKERS", "DESCRIPTORS_PER_WORKER", "raise_limit"]

import resource

from fabric.errors import ConfigError

DESCRIPTORS_PER_WORKER = 24
"""Measured: 21 for its sockets, 4 of them to notice strangers, and its stderr, stdin and stdout."""

DESCRIPTORS_BESIDES_WORKERS = 128


def raise_limit(workers: int) -> None:
    """Raise the soft limit of open files to what the workers of a session need.

    Raises:
        ConfigError: the hard limit is too low.
    """
    needed = DESCRIPTORS_BESIDES_WORKERS + workers * DESCRIPTORS_PER_WORKER
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigError(f"{workers} workers need {needed} open files; the limit is {hard}. Raise it with ulimit -Hn")
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
