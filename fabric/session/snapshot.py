"""How a session stands at one moment, as data: what `fabric ps` shows of the inside."""

from __future__ import annotations

__all__ = ["Activity", "Counts", "QueueSnapshot", "Snapshot", "WorkerSnapshot", "activity", "shared_queue", "waits_on"]

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from fabric.graph.ir import MONITORED, WORKERS, End
from fabric.plan.plan import Plan
from fabric.session.budget import BudgetStatus
from fabric.session.events import Approval
from fabric.session.usage import Usage
from fabric.wire.lifecycle import State

Activity: TypeAlias = Literal["starting", "ready", "busy", "draining", "exited", "stopping", "stopped", "restarting"]
"""What a worker is at: ``ready`` has nothing to do, ``busy`` has, ``draining`` will get nothing more.

``stopping`` and ``stopped``: it was asked to, and may be started again. ``restarting``: it has crashed, and will be.
"""


class Counts(NamedTuple):
    """Messages on the edge to one worker.

    Attributes:
        accepted: given to it so far.
        answered: of these, those that it is done with.
        waiting: in its queue.
        unacknowledged: given to it and not answered.
    """

    accepted: int
    answered: int
    waiting: int
    unacknowledged: int


class WorkerSnapshot(msgspec.Struct, frozen=True):
    """One worker. Counts as in :class:`Counts`.

    Attributes:
        moved_s: when it last took a message or gave a sign of life, by the session's clock.
        paused: it was told to take no messages for the time being, and said that it does not.
        output_ended: it has ended its output, and should exit.
        held_by: places that are full, because of which it gets no message.
        stalled: it has a message, and has said nothing for long.
        oldest_s: when the oldest message that it has, or that waits for it, came into being.
        starts_at_s: when it is started again, if it has crashed.
        awaited: somebody else starts it, and it has not shown that it is there.
    """

    name: str
    activity: Activity
    accepted: int
    answered: int
    waiting: int
    unacknowledged: int
    moved_s: float = 0.0
    paused: bool = False
    output_ended: bool = False
    held_by: tuple[End, ...] = ()
    stalled: bool = False
    oldest_s: float | None = None
    starts_at_s: float | None = None
    awaited: bool = False


class QueueSnapshot(msgspec.Struct, frozen=True):
    """What waits for several replicas that share one input.

    Attributes:
        node: they run it.
        replicas: their names.
        waiting: messages that wait to be dealt to one of them.
        ahead: messages that are answered and wait for those before them.
        waits_for: the replica that has the message which these wait for; empty if none has it.
        full: so many are ahead that nothing new is dealt.
        held_by: places that are full, because of which nothing is dealt.
        oldest_s: when the oldest message that waits came into being.
    """

    node: str
    replicas: tuple[str, ...]
    waiting: int
    ahead: int
    waits_for: str
    full: bool = False
    held_by: tuple[End, ...] = ()
    oldest_s: float | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """A session.

    Attributes:
        workers: in starting order.
        barriers: messages that wait in each slot, by barrier and port.
        lost, dead_lettered, unpaired: as in the loss report, so far.
        taken: messages that took each of ``Plan.routes``.
        entering: messages that wait before each loop, by the first of its workers.
        arrived: messages that came to each of ``Plan.sinks``.
        monitors: what is to be said next on each session wire on which a conversation is under way, in words.
        calls: workers that wait for a tool, and the tool.
        approvals: calls that wait for somebody to approve them, the oldest first.
        called, calls_failed: calls of tools so far, and those that were answered with an error.
        rejected: frames that were refused, by worker and reason.
        barriers_since_s: when the oldest message in each barrier that has any came into being.
        usage: what calls of models took, by worker and model.
        budget: how it stands, if there is one.
        queues: of nodes that have several replicas.
    """

    workers: tuple[WorkerSnapshot, ...]
    barriers: dict[str, dict[str, int]] = {}
    lost: int = 0
    dead_lettered: int = 0
    unpaired: int = 0
    entering: dict[str, int] = {}
    taken: tuple[int, ...] = ()
    arrived: tuple[int, ...] = ()
    monitors: dict[str, str] = {}
    calls: tuple[tuple[str, str], ...] = ()
    approvals: tuple[Approval, ...] = ()
    called: int = 0
    calls_failed: int = 0
    rejected: dict[str, dict[str, int]] = {}
    barriers_since_s: dict[str, float] = {}
    usage: tuple[Usage, ...] = ()
    budget: BudgetStatus | None = None
    queues: tuple[QueueSnapshot, ...] = ()


def shared_queue(queue: QueueSnapshot, replicas: Sequence[WorkerSnapshot]) -> WorkerSnapshot:
    """Return how replicas stand as if they were one worker, which has what waits to be dealt, and nothing else."""
    away = {worker.activity for worker in replicas} & {"stopped", "restarting", "exited"}
    common = next(iter(away)) if all(worker.activity in away for worker in replicas) and len(away) == 1 else "ready"
    return WorkerSnapshot(
        queue.node,
        common,
        sum(worker.accepted for worker in replicas),
        sum(worker.answered for worker in replicas),
        queue.waiting,
        0,
        moved_s=max(worker.moved_s for worker in replicas),
        held_by=queue.held_by,
        oldest_s=queue.oldest_s,
        starts_at_s=min((at_s for worker in replicas if (at_s := worker.starts_at_s) is not None), default=None),
    )


def activity(state: State, *, idle: bool) -> Activity:
    """Say what a worker is at.

    Args:
        state: of its life.
        idle: whether no message waits for it or is with it.
    """
    match state:
        case State.LAUNCHED | State.READY:
            return "starting"
        case State.RUNNING:
            return "ready" if idle else "busy"
        case State.DRAINING | State.DRAINED:
            return "draining"
        case State.EXITED:
            return "exited"


def waits_on(plan: Plan, snapshot: Snapshot, worker: str) -> tuple[str, ...]:
    """Return where the next message of an idle worker has to come from: workers and boundary inputs, by name.

    Steps that need no worker are looked through. Of a barrier only the sides count on which nothing waits: the other
    side has done its part. Of one that has called tools, whether it is idle or not: those, and their approvals. Of one
    that waits for a call of a model: the budget.
    """
    if snapshot.budget is not None and worker in snapshot.budget.waiting:
        return ("budget",)
    called = [f"approval {approval.id}" for approval in snapshot.approvals if approval.worker == worker]
    called += dict.fromkeys(f"tool {tool}" for caller, tool in snapshot.calls if caller == worker)
    if called:
        return tuple(called)
    sources = {channel.target: channel.source for channel in plan.graph.channels}
    found: dict[str, None] = {}
    seen: set[End] = set()
    ends = [End(node, "input") for node in (other.node for other in plan.workers if other.name == worker)]
    while ends:
        source = sources[ends.pop()]
        node = plan.graph.nodes[source.node]
        if source in seen:
            continue
        seen.add(source)
        if node.kind in WORKERS or node.kind in ("input", "call"):
            found[node.outputs[0].name if node.kind == "input" else node.id] = None
            continue
        if node.kind == "monitor":
            ends += [End(node.id, port) for port, to in MONITORED.items() if to.output == source.port]
            continue
        slots = snapshot.barriers.get(node.id, {})
        ends += [End(node.id, port.name) for port in reversed(node.inputs) if not slots.get(port.name)]
    return tuple(found)
