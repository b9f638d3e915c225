"""What `ps` shows of a service: one object, and the table made of it. Pure: what is known comes in."""

from __future__ import annotations

__all__ = [
    "QueueRow",
    "ServiceRow",
    "WorkerRow",
    "align",
    "clip",
    "describe",
    "duration",
    "render_insecure",
    "render_queues",
    "render_table",
    "render_wires",
    "wait_of",
    "words",
]

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from fabric.plan.place import say_insecure
from fabric.runtime.log_files import timestamp
from fabric.runtime.service_protocol import QueueStatus, Status, WorkerStatus
from fabric.runtime.services import Phase, Record, WorkerRecord

ServiceState: TypeAlias = Literal[Phase, "ended", "killed"]

WorkerState: TypeAlias = Literal[
    "starting", "ready", "busy", "draining", "exited", "stopping", "stopped", "restarting", "failed", "orphaned",
    "gone", "unknown",
]  # fmt: skip
"""``orphaned``: its coordinator was killed, and it lives on; ``gone``: likewise, and it does not; ``unknown``:
likewise, and it is no process of this host."""


class WorkerRow(msgspec.Struct, frozen=True):
    """One worker. ``None`` is what nobody knows: the service does not run, or does not answer.

    Attributes:
        accepted, answered, waiting, unacknowledged: messages, as in :class:`fabric.session.snapshot.Counts`.
        still_s: how long it has neither taken a message nor given a sign of life.
        oldest_s: how old the oldest message is that it has or that waits for it.
        waits_on: where its next message has to come from.
        room_at: whose full queues its messages wait for.
        stalled: it has a message, and has been silent for longer than most workers are.
        starts_in_s: until it is started again, if it has crashed.
        dead_letters: that are kept, of all sessions.
        memory_bytes: resident.
        rejected: frames from it that were refused, by reason.
        place: who starts it and where, in words; empty for a process beside the coordinator.
        awaited: somebody else starts it, and it has not shown that it is there.
    """

    worker: str
    kind: str
    what: str
    state: WorkerState
    pid: int | None = None
    uptime_s: float | None = None
    restarts: int = 0
    exit_status: int | None = None
    accepted: int | None = None
    answered: int | None = None
    waiting: int | None = None
    unacknowledged: int | None = None
    still_s: float | None = None
    oldest_s: float | None = None
    waits_on: tuple[str, ...] = ()
    room_at: tuple[str, ...] = ()
    paused: bool = False
    stalled: bool = False
    starts_in_s: float | None = None
    dead_letters: int = 0
    memory_bytes: int | None = None
    rejected: dict[str, int] | None = None
    place: str = ""
    awaited: bool = False


class QueueRow(msgspec.Struct, frozen=True):
    """What waits for several replicas of a worker, which share one input.

    Attributes:
        worker: the name of them all.
        waiting: messages that wait to be dealt to one of them.
        ahead: messages that are answered and wait for those before them.
        waits_for: the replica that has the message which these wait for.
        full: so many are ahead that nothing new is dealt.
        oldest_s: how old the oldest message is that waits to be dealt.
        dead_letters: that are kept, of all sessions.
        room_at: whose full queues they wait for.
    """

    worker: str
    replicas: tuple[str, ...]
    waiting: int
    ahead: int
    waits_for: str
    full: bool
    oldest_s: float | None
    dead_letters: int
    room_at: tuple[str, ...]


class ServiceRow(msgspec.Struct, frozen=True):
    """One service.

    Attributes:
        answers: whether it answered; ``None`` if it does not run.
        inputs, outputs: messages that came in and went out, by boundary port.
        dead_letters: that are kept, of all sessions.
        monitors: what is to be said next on each session wire on which a conversation is under way.
        queues: of workers with several replicas.
        insecure: workers that it speaks to over TCP without keys.
        http: where it can be watched; ``token_file``: of what has to be said there.
    """

    project: str
    spec: str
    state: ServiceState
    pid: int
    started_at: str
    answers: bool | None = None
    ended_at: str | None = None
    exit_code: int | None = None
    error: str | None = None
    inputs: dict[str, int] = {}
    outputs: dict[str, int] = {}
    dead_letters: int = 0
    monitors: dict[str, str] = {}
    insecure: tuple[str, ...] = ()
    workers: tuple[WorkerRow, ...] = ()
    queues: tuple[QueueRow, ...] = ()
    http: str = ""
    token_file: str = ""


def describe(
    record: Record,
    status: Status | None,
    *,
    alive: bool,
    memory: Mapping[str, int | None],
    dead: Mapping[str, int],
    now: float,
) -> ServiceRow:
    """Return what is known of a service.

    Args:
        record: what it wrote down.
        status: what it says, if it runs and answers.
        alive: whether it runs.
        memory: of each worker that lives; a name that is missing is one that does not.
        dead: how many dead letters are kept that were for each worker.
        now: unix time.
    """
    outcome = record.outcome
    state: ServiceState = (status.phase if status else record.phase) if alive else "ended" if outcome else "killed"
    live = {worker.name: worker for worker in status.workers} if status else {}
    rejected = status.rejected if status else {}
    workers = tuple(
        msgspec.structs.replace(
            _worker(worker, live.get(worker.name), state, memory, now, rejected.get(worker.name, {})),
            dead_letters=dead.get(worker.name, 0),
        )
        for worker in record.workers
    )
    return ServiceRow(
        project=record.project,
        spec=record.spec,
        state=state,
        pid=record.process.pid,
        started_at=timestamp(record.started_at),
        answers=(status is not None) if alive else None,
        ended_at=timestamp(outcome.at) if outcome else None,
        exit_code=outcome.exit_code if outcome else None,
        error=outcome.error[1] if outcome and outcome.error else None,
        inputs=status.inputs if status else {},
        outputs=status.outputs if status else {},
        dead_letters=sum(dead.values()),
        monitors=status.monitors if status else {},
        insecure=record.insecure,
        workers=workers,
        queues=tuple(_queue(queue, dead) for queue in status.queues) if status else (),
        http=record.http if alive else "",
        token_file=record.token_file if alive else "",
    )


def _queue(queue: QueueStatus, dead: Mapping[str, int]) -> QueueRow:
    return QueueRow(
        queue.node,
        queue.replicas,
        queue.waiting,
        queue.ahead,
        queue.waits_for,
        queue.full,
        None if queue.oldest_age_s is None else round(queue.oldest_age_s, 3),
        dead.get(queue.node, 0),
        tuple(dict.fromkeys(end.node for end in queue.held_by)),
    )


def _worker(
    record: WorkerRecord,
    live: WorkerStatus | None,
    of: ServiceState,
    memory: Mapping[str, int | None],
    now: float,
    rejected: dict[str, int],
) -> WorkerRow:
    lives = record.name in memory
    state: WorkerState = record.state
    if of == "killed" and state not in ("exited", "failed"):
        state = "orphaned" if lives else "unknown" if record.place and state != "stopped" else "gone"
    elif live is not None and (state != "failed" or live.activity == "restarting"):
        state = live.activity
    row = WorkerRow(record.name, record.kind, record.what, state, restarts=record.restarts, place=record.place)
    if lives and record.process is not None and record.started_at is not None:
        pid, uptime_s = record.process.pid, round(now - record.started_at, 3)
        row = msgspec.structs.replace(row, pid=pid, uptime_s=uptime_s, memory_bytes=memory[record.name])
    if live is not None:
        row = msgspec.structs.replace(
            row,
            accepted=live.accepted,
            answered=live.answered,
            waiting=live.waiting,
            unacknowledged=live.unacknowledged,
            still_s=round(live.still_s, 3),
            oldest_s=None if live.oldest_age_s is None else round(live.oldest_age_s, 3),
            waits_on=live.waits_on,
            rejected=rejected,
            room_at=tuple(dict.fromkeys(end.node for end in live.held_by)),
            paused=live.paused,
            stalled=live.stalled,
            awaited=live.awaited,
            starts_in_s=None if live.starts_in_s is None else round(live.starts_in_s, 3),
        )
    return msgspec.structs.replace(row, exit_status=record.exit_status)


def words(row: ServiceRow) -> str | None:
    """Return what has to be said of a service beside the table; ``None`` if it is well."""
    name = f"'{row.project}'"
    if row.state == "ended":
        why = f": {row.error}" if row.error else ""
        return f"{name} ended with exit code {row.exit_code} at {row.ended_at}{why}"
    if row.state == "killed":
        orphans = [f"{worker.worker} (pid {worker.pid})" for worker in row.workers if worker.state == "orphaned"]
        placed = [worker for worker in row.workers if worker.state == "unknown"]
        none = "none of its workers on this host is left" if placed else "none of its workers is left"
        left = f"still alive: {', '.join(orphans)}" if orphans else none
        if placed:
            left += f"; {_perhaps_there(placed)}"
        return f"{name}: its coordinator (pid {row.pid}) was killed; {left}; fabric down -p {row.project} clears away"
    if row.answers is False:
        return f"{name}: its coordinator (pid {row.pid}) runs, and does not answer: what is shown may be old"
    return None


def _perhaps_there(workers: Iterable[WorkerRow]) -> str:
    """Say what is known of workers that are no processes of this host, when their coordinator is gone: little."""
    names = ", ".join(f"{worker.worker} ({worker.place})" for worker in workers)
    containers = any(worker.place.startswith("container ") for worker in workers)
    ends = ", and fabric down ends the containers" if containers else ""
    return f"what {names} is at is not known from here: the next fabric up takes over who still runs{ends}"


# --- The table ------------------------------------------------------------------------------------------------------

_COLUMNS = (
    "WORKER", "KIND", "STATE", "PID", "UPTIME", "RESTARTS", "IN", "OUT", "UNACK", "QUEUE", "OLDEST", "DEAD", "MEM",
    "WAITING ON",
)  # fmt: skip

_GIVE_WAY = ("KIND", "MEM", "UPTIME", "PID")
"""What is left out of a table that is wider than the terminal, in this order: what is asked for least when something is
wrong. It is all in the JSON, and most of it in `top`."""

_WHAT_MAX = 40


def render_table(rows: Iterable[ServiceRow], columns: int | None = None) -> str:
    """Return one line a worker, below a line of headings. With several services, each has its name in front.

    Args:
        rows: the services.
        columns: of the terminal. Wider tables leave columns out, and are cut; ``None``: all is shown.
    """
    services = list(rows)
    several = len(services) > 1
    table = [(*(("PROJECT",) if several else ()), *_COLUMNS)]
    for service in services:
        front = (service.project,) if several else ()
        table += [(*front, *_cells(worker)) for worker in service.workers]
        if several and not service.workers:
            table.append((*front, *["-"] * len(_COLUMNS)))
    lines = align(table)
    for heading in _GIVE_WAY:
        if columns is None or max(map(len, lines)) <= columns:
            break
        at = table[0].index(heading)
        table = [(*line[:at], *line[at + 1 :]) for line in table]
        lines = align(table)
    return "\n".join(clip(line, columns) for line in lines)


def render_wires(rows: Iterable[ServiceRow]) -> list[str]:
    """Return a line for each session wire on which a conversation is under way: what comes next."""
    return [f"wire '{node}': {text}" for row in rows for node, text in row.monitors.items()]


def render_queues(rows: Iterable[ServiceRow]) -> list[str]:
    """Return a line for each worker with replicas for which something waits, or that has dead letters."""
    return [said for row in rows for queue in row.queues if (said := _of_queue(queue))]


def _of_queue(queue: QueueRow) -> str:
    parts = []
    if queue.waiting:
        room = f", until there is room at {', '.join(map(repr, queue.room_at))}" if queue.room_at else ""
        parts.append(f"{queue.waiting} waiting, the oldest for {duration(queue.oldest_s)}{room}")
    if queue.ahead:
        after = f", which wait for {queue.waits_for}" if queue.waits_for else ""
        parts.append(f"{queue.ahead} answered ahead of their turn{after}" + ", and nothing new is dealt" * queue.full)
    if queue.dead_letters:
        parts.append(f"{queue.dead_letters} dead letter{'s' * (queue.dead_letters != 1)}")
    return f"queue of '{queue.worker}' ({len(queue.replicas)} replicas): {'; '.join(parts)}" if parts else ""


def render_insecure(rows: Iterable[ServiceRow]) -> list[str]:
    """Return a line for each service that anybody may listen to who reaches its ports."""
    return [f"{row.project}: {said}" for row in rows if (said := say_insecure(row.insecure))]


def clip(line: str, columns: int | None) -> str:
    """Return a line as far as it fits."""
    return line if columns is None or len(line) <= columns else line[: max(0, columns - 1)] + "…"


def align(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in table)
    return ["  ".join(cells).rstrip() for cells in lines]


def _cells(worker: WorkerRow) -> tuple[str, ...]:
    state = worker.state if worker.exit_status is None else f"{worker.state} ({worker.exit_status})"
    what = worker.what if len(worker.what) <= _WHAT_MAX else worker.what[: _WHAT_MAX - 1] + "…"
    return (
        worker.worker,
        " ".join(filter(None, (worker.kind, what, f"({worker.place})" if worker.place else ""))),
        state,
        _count(worker.pid),
        duration(worker.uptime_s),
        str(worker.restarts),
        _count(worker.accepted),
        _count(worker.answered),
        _count(worker.unacknowledged),
        _count(worker.waiting),
        duration(worker.oldest_s),
        str(worker.dead_letters),
        f"{worker.memory_bytes / 2**20:.0f} MiB" if worker.memory_bytes is not None else "-",
        _waiting(worker),
    )


def _waiting(worker: WorkerRow) -> str:
    """Say what a worker waits for, if it is not only its next message."""
    if worker.awaited:
        return "its handshake"
    if worker.starts_in_s is not None:
        return f"restarting in {max(1, round(worker.starts_in_s))} s"
    if worker.room_at:
        return "room at " + ", ".join(f"'{name}'" for name in worker.room_at)
    if worker.paused and worker.unacknowledged:
        return "resume: it is paused"
    if worker.stalled and worker.still_s is not None:
        perhaps = " (model may be thinking)" if worker.kind == "agent" else ""
        return f"stalled {worker.still_s:.0f} s{perhaps}"
    if worker.state == "stopped" and worker.waiting:
        return f"fabric start {worker.worker}"
    return wait_of(worker.unacknowledged, worker.still_s, worker.waits_on)


def wait_of(unacknowledged: int | None, still_s: float | None, waits_on: Sequence[str]) -> str:
    """Say what a worker waits for: the next message, a tool, or, if it has a message, itself, and for how long."""
    if unacknowledged and not waits_on and still_s is not None:
        return f"itself, {duration(still_s)}"
    return ", ".join(waits_on) or "-"


def _count(count: int | None) -> str:
    return "-" if count is None else str(count)


def duration(seconds: float | None) -> str:
    """Say how long, in the two largest units."""
    if seconds is None:
        return "-"
    minutes, whole_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{whole_s:02}s" if minutes else f"{whole_s}s"
