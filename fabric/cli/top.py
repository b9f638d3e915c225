"""What `top` shows: two looks at a service, a moment apart, as one object, and the table made of it. Pure."""

from __future__ import annotations

__all__ = ["Look", "Top", "TopChannel", "TopWorker", "compare", "render_top"]

from collections.abc import Mapping

import msgspec

from fabric.cli.listing import align, duration, wait_of
from fabric.runtime.service_protocol import Status
from fabric.runtime.services import Phase
from fabric.session.snapshot import Activity


class Look(msgspec.Struct, frozen=True):
    """A service at one moment.

    Attributes:
        at_s: on any clock that does not jump.
        status: what it says.
        pids: of each worker that has a process.
        cpu_s: processor time that those have used.
        memory_bytes: that they have in use (resident).
    """

    at_s: float
    status: Status
    pids: Mapping[str, int] = {}
    cpu_s: Mapping[str, float] = {}
    memory_bytes: Mapping[str, int] = {}


class TopWorker(msgspec.Struct, frozen=True):
    """One worker.

    Attributes:
        in_per_s, out_per_s: messages that it was given, and answered.
        queue: messages that wait for it or are with it.
        still_s: how long it has neither taken a message nor given a sign of life.
        waits_on: where its next message has to come from.
        cpu_percent: of one processor; ``None`` if its process is another than before, or none of this host.
    """

    worker: str
    state: Activity
    pid: int | None
    in_per_s: float
    out_per_s: float
    queue: int
    unacknowledged: int
    still_s: float
    waits_on: tuple[str, ...]
    cpu_percent: float | None
    memory_bytes: int | None


class TopChannel(msgspec.Struct, frozen=True):
    """One channel: messages so far, and each second."""

    channel: str
    messages: int
    per_s: float


class Top(msgspec.Struct, frozen=True):
    """A service between two looks."""

    project: str
    state: Phase
    interval_s: float
    workers: tuple[TopWorker, ...]
    channels: tuple[TopChannel, ...]


def compare(project: str, before: Look, now: Look) -> Top:
    """Return what happened between two looks."""
    took_s = max(now.at_s - before.at_s, 1e-3)
    earlier = {worker.name: worker for worker in before.status.workers}
    workers = []
    for worker in now.status.workers:
        was, name = earlier[worker.name], worker.name
        same = name in now.cpu_s and name in before.cpu_s and now.pids.get(name) == before.pids.get(name)
        workers.append(
            TopWorker(
                name,
                worker.activity,
                now.pids.get(name),
                # A message that goes to another process once more was not given after all.
                round(max(0, worker.accepted - was.accepted) / took_s, 1),
                round((worker.answered - was.answered) / took_s, 1),
                worker.waiting + worker.unacknowledged,
                worker.unacknowledged,
                round(worker.still_s, 1),
                worker.waits_on,
                round(100 * (now.cpu_s[name] - before.cpu_s[name]) / took_s, 1) if same else None,
                now.memory_bytes.get(name),
            )
        )
    channels = tuple(
        TopChannel(name, count, round((count - before.status.channels.get(name, 0)) / took_s, 1))
        for name, count in now.status.channels.items()
    )
    return Top(project, now.status.phase, round(took_s, 3), tuple(workers), channels)


def render_top(top: Top) -> list[str]:
    """Return the lines of two tables: workers and channels."""
    workers = [_WORKER_COLUMNS, *map(_cells, top.workers)]
    channels = [(channel.channel, str(channel.messages), f"{channel.per_s:.1f}") for channel in top.channels]
    return [f"{top.project} · {top.state}", *align(workers), "", *align([("CHANNEL", "MESSAGES", "/s"), *channels])]


_WORKER_COLUMNS = ("WORKER", "STATE", "PID", "IN/s", "OUT/s", "QUEUE", "STILL", "WAITING ON", "CPU", "MEM")


def _cells(worker: TopWorker) -> tuple[str, ...]:
    return (
        worker.worker,
        worker.state,
        "-" if worker.pid is None else str(worker.pid),
        f"{worker.in_per_s:.1f}",
        f"{worker.out_per_s:.1f}",
        str(worker.queue),
        duration(worker.still_s),
        wait_of(worker.unacknowledged, worker.still_s, worker.waits_on),
        "-" if worker.cpu_percent is None else f"{worker.cpu_percent:.0f} %",
        "-" if worker.memory_bytes is None else f"{worker.memory_bytes / 2**20:.0f} MiB",
    )
