"""The nodes of the graph that are run by workers, as messages see them: one worker each, or several replicas."""

from __future__ import annotations

__all__ = ["NodeState", "nodes_of"]

from collections.abc import Iterable, Mapping

from fabric.graph.ir import End
from fabric.plan.plan import Plan, WorkerPlan
from fabric.session.dealing import Dealing, Share
from fabric.session.delivery import Delivery, Message, Unacked
from fabric.session.rooms import Place, Room
from fabric.session.routes import CompiledRoute, observed_sources
from fabric.session.settings import Settings
from fabric.session.snapshot import QueueSnapshot, WorkerSnapshot
from fabric.session.worker_state import WorkerState


class NodeState:
    """One node.

    Args:
        name: its id.
        workers: that run it.
        dealing: to these, if they are several.

    Attributes:
        delivery: where messages wait for it.
        loop: the nodes on the same loop, itself among them; empty if it lies on none.
        before_loop: messages that wait before that loop, if any have to.
        rooms: places that its answers may come to.
        held: whether it gets nothing, because one of those is full.
        left_messages: whether it was told that something for it is a dead letter.
        standing: in a durable session, what came and is not done by its history, by id: whether it waits, is with a
            worker, or was answered ahead of its turn. ``None`` where nothing is recorded.
    """

    def __init__(self, name: str, workers: tuple[WorkerState, ...], dealing: Dealing | None = None) -> None:
        self.name = name
        self.workers = workers
        self.delivery: Delivery | Dealing = dealing or workers[0].delivery
        self.loop: tuple[NodeState, ...] = ()
        self.before_loop: Place | None = None
        self.rooms: tuple[Room, ...] = ()
        self.held = False
        self.left_messages = False
        self.standing: dict[bytes, Message] | None = None
        self._dealing = dealing
        self._ended_ports: set[tuple[str, str]] = set()
        self._left_last: WorkerState | None = None

    # --- how it stands ---

    @property
    def plan(self) -> WorkerPlan:
        """Of the first of its workers: what all have in common."""
        return self.workers[0].plan

    @property
    def takes_messages(self) -> bool:
        """Whether something may come for it; perhaps it waits."""
        return any(worker.takes_messages for worker in self.workers)

    @property
    def abandoned(self) -> bool:
        """Whether the last of its workers to leave was stopped, and nobody will start it any more."""
        return self._left_last is not None and self._left_last.abandoned

    @property
    def idle(self) -> bool:
        """Whether nothing waits for it, before its loop, or is with it."""
        if self.before_loop is not None and self.before_loop.queued > 0:
            return False
        return self.delivery.idle and all(worker.control.idle for worker in self.workers)

    @property
    def waiting(self) -> int:
        """Messages and control messages that wait for it, or are with it."""
        return self.delivery.waiting + sum(worker.control.waiting for worker in self.workers)

    @property
    def inside(self) -> int:
        """How many messages wait for workers, or are with them, on the loop that it lies on."""
        return sum(other.present for other in self.loop)

    @property
    def present(self) -> int:
        """How many messages wait for it, or are with it; of a durable session, by its history alone."""
        return self.delivery.waiting if self.standing is None else len(self.standing)

    @property
    def leading(self) -> Unacked | None:
        """The message whose outputs go on as they come, if they do not wait for its end."""
        return self._dealing.leading if self._dealing is not None else None

    @property
    def queue(self) -> QueueSnapshot | None:
        """What waits for its replicas, as data; ``None`` if it has one worker."""
        dealing = self._dealing
        if dealing is None:
            return None
        return QueueSnapshot(
            self.name,
            tuple(worker.name for worker in self.workers),
            dealing.queued,
            dealing.ahead,
            dealing.waits_for,
            full=dealing.full,
            held_by=self._held_by,
            oldest_s=dealing.oldest_at_s,
        )

    @property
    def _held_by(self) -> tuple[End, ...]:
        return tuple(room.end for room in self.rooms if self.held and room.full)

    @property
    def snapshots(self) -> tuple[WorkerSnapshot, ...]:
        """How its workers stand, as data. What holds back the queue of several holds back none of them."""
        held_by = () if self._dealing is not None else self._held_by
        return tuple(worker.snapshot(held_by) for worker in self.workers)

    # --- messages ---

    def receivers(self) -> Iterable[WorkerState]:
        """Return the workers for which there may be something to send now."""
        if self._dealing is None:
            return self.workers
        ready = [worker for worker in self.workers if worker.delivery.may_send and not worker.control.awaited]
        ready = [worker for worker in ready if not worker.paused] or ready  # who is paused would keep it
        dealt = {share.worker for share in self._dealing.deal([_share(worker) for worker in ready])}
        return [worker for worker in ready if worker.name in dealt]

    def leave(self, worker: WorkerState) -> tuple[list[Unacked], list[Message]]:
        """One of its workers takes no more: return what is committed by that, and what nobody will take."""
        self._left_last = worker
        committed, left = worker.delivery.end()
        if self._dealing is not None and not self.takes_messages:
            turned, left = self._dealing.give_up()
            committed = [*committed, *turned]
        return committed, left

    def explained(self, worker: WorkerState, deaths: int) -> int:
        """A message was to blame for so many deaths: forgive the others theirs; return how many were this worker's."""
        if self._dealing is None:
            return deaths
        blamed_for = _share(worker).blamed_for
        for other in self.workers:
            if other is not worker:
                other.supervisor.forgive(blamed_for[other.name])
        return blamed_for[worker.name]

    def port_ended(self, worker: WorkerState, port: str) -> bool:
        """A worker has ended a port; return whether all have by that."""
        self._ended_ports.add((worker.name, port))
        return all((other.name, port) in self._ended_ports for other in self.workers)


def _share(worker: WorkerState) -> Share:
    assert isinstance(worker.delivery, Share)
    return worker.delivery


def nodes_of(plan: Plan, settings: Settings, routes: Mapping[End, CompiledRoute]) -> dict[str, NodeState]:
    """Return the nodes of a plan that workers run, by id, in starting order."""
    observed = observed_sources(plan)
    plans: dict[str, list[WorkerPlan]] = {}
    for worker in plan.workers:
        plans.setdefault(worker.node, []).append(worker)
    nodes: dict[str, NodeState] = {}
    for name, replicas in plans.items():
        ways = {end.port: route for end, route in routes.items() if end.node == name}
        seen = frozenset(end.port for end in observed if end.node == name)
        dealing = Dealing() if len(replicas) > 1 else None
        workers = tuple(WorkerState(worker, settings, ways, seen, _delivery(worker, dealing)) for worker in replicas)
        nodes[name] = NodeState(name, workers, dealing)
    for component in plan.components:
        loop = tuple(nodes[node] for node in component.nodes if component.loop and node in nodes)
        for node in loop:
            node.loop = loop
    return nodes


def _delivery(worker: WorkerPlan, dealing: Dealing | None) -> Delivery:
    if dealing is None:
        return Delivery(worker.name, 1, worker.window)
    return Share(dealing, worker.name, 1, worker.window)
