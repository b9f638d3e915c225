"""The sessions of a run's handlers, when the run is a fork: each begins where that of its ancestor's handler was then.

A handler remembers what is in its session. So the one of a fork inherits what was decided on the messages that the fork
has inherited as done, and nothing of what its ancestor's was given after that.
"""

from __future__ import annotations

__all__ = ["fork_handlers"]

from collections.abc import Iterator, Sequence, Set

from fabric.errors import ConfigError, SessionNotFound
from fabric.plan.plan import Plan
from fabric.session.history import Buried, History, Turn
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.record import Commit

MESSAGE_KEY = "message/"
"""Of the pushes that are a worker's messages begins so, and ends with the id of the message."""


def fork_handlers(plan: Plan, bucket: Bucket, run: Log, inherited: Sequence[History]) -> None:
    """Make the sessions of a fork's handlers, unless they are there. Blocks.

    Args:
        plan: of the run, whose handlers know their sessions.
        bucket: of all of them.
        run: the log of the fork; of any other run nothing is done.
        inherited: what has happened in its ancestors before.

    Raises:
        ConfigError: a handler has answered messages that the fork inherits, and its session is not there.
    """
    if run.manifest.parent is None:
        return
    for worker in plan.workers:
        if worker.spec.kind != "handler":
            continue
        session = str(worker.spec.config["session"])
        done = {entry.message for entry in inherited if isinstance(entry, Turn | Buried) and entry.node == worker.node}
        if _found(bucket, session) is not None:
            continue
        name = session.removeprefix(f"{run.id}/")
        logs = (_found(bucket, f"{ancestor}/{name}") for ancestor in _ancestors(bucket, run))
        log = next((log for log in logs if log is not None), None)
        if log is not None:
            log.fork(_place(log.read(), done), session=session)
        elif done:
            raise ConfigError(
                f"session {run.id} is a fork in which handler '{name}' was done with {len(done)} messages already, and"
                f" the session in which it remembers them is not in the bucket: expected"
                f" {run.manifest.parent.session}/{name}; without it the handler would begin with nothing"
            )


def _place(commits: Sequence[Commit], done: Set[str]) -> int:
    """Return how many commits come before the first message that is not done."""
    for number, commit in enumerate(commits):
        if commit.key.startswith(MESSAGE_KEY) and commit.key.rpartition("/")[2] not in done:
            return number
    return len(commits)


def _ancestors(bucket: Bucket, run: Log) -> Iterator[str]:
    """Yield the ids of what a run was forked from, the nearest first."""
    log = run
    while (parent := log.manifest.parent) is not None:
        yield parent.session
        log = bucket.open(parent.session)


def _found(bucket: Bucket, session: str) -> Log | None:
    try:
        return bucket.open(session)
    except SessionNotFound:
        return None
