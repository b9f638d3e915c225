"""Descriptors that a process forked of ours must not hold: ends of pipes, and locks.

Workers, the zygote and the guard live as long as we hold one end of a pipe or socket. Somebody who calls us may fork
(``os.fork``, ``multiprocessing``): that process would keep them alive behind our back. Programs that are executed are
no matter: no descriptor of ours is inherited by those.
"""

from __future__ import annotations

__all__ = ["kept_from_forks"]

import os
from collections.abc import Iterator
from contextlib import contextmanager

_kept: set[int] = set()


@contextmanager
def kept_from_forks(descriptor: int) -> Iterator[int]:
    """Let whoever forks meanwhile have ``/dev/null`` instead. To be left before the descriptor is closed."""
    _kept.add(descriptor)
    try:
        yield descriptor
    finally:
        _kept.discard(descriptor)


def _give_up() -> None:
    """Not closed: objects that were copied with the process still own these numbers, and would close them again."""
    if not _kept:
        return
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in _kept:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    _kept.clear()


os.register_at_fork(after_in_child=_give_up)
