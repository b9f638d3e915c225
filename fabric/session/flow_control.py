"""Who waits because something is full: workers, what wants to enter a loop, the input of the boundary.

The rules are those of :mod:`~fabric.session.rooms` and :mod:`~fabric.session.loop_entry`; here they are put together
for one plan.
"""

from __future__ import annotations

__all__ = ["FlowControl"]

from collections.abc import Callable, Mapping

from fabric.graph.ir import End
from fabric.plan.plan import Plan, Sink
from fabric.session.barriers import Barrier
from fabric.session.loop_entry import LoopEntry
from fabric.session.nodes import NodeState
from fabric.session.rooms import Room, rooms_behind


class FlowControl:
    """The waiting places of one session.

    Args:
        plan: what runs.
        nodes, barriers: by name; the nodes, which workers run, are told which places lie behind them.
        queue: messages that may wait in one place before others are held back.
        feed: called with a node that is held back no longer.

    Attributes:
        entries: what waits before each loop of workers, by all nodes of the loop.
        admitting: those of them of which something may go on.
        now_s: by the session's clock.
    """

    def __init__(
        self,
        plan: Plan,
        nodes: Mapping[str, NodeState],
        barriers: Mapping[str, Barrier],
        queue: int,
        feed: Callable[[NodeState], None],
    ) -> None:
        self.entries = _loop_entries(plan, nodes)
        self.admitting: dict[LoopEntry, None] = {}
        self.now_s = 0.0
        self._nodes = nodes
        self._barriers = barriers
        self._queue = queue
        self._feed = feed
        self._held: dict[str, NodeState] = {}
        self._of_node: dict[str, Room] = {}
        self._of_slot: dict[End, Room] = {}
        self._of_entry: dict[LoopEntry, Room] = {}
        self._rooms = rooms = [self._room_of(sink) for sink in plan.sinks]
        for node in nodes.values():
            node.rooms = rooms_behind(plan, rooms, [End(node.name, port) for port in node.workers[0].ways])
        self._first = rooms_behind(plan, rooms, [End(node, port) for port, node in plan.inputs.items()])

    def _room_of(self, sink: Sink) -> Room | None:
        """Return the place where messages wait that come to a sink."""
        end = sink.end
        if sink.entry:
            entry = self.entries[end.node]
            return self._of_entry.setdefault(entry, Room(end, entry, self._queue))
        if sink.kind == "worker" and end.port == "input":
            return self._of_node.setdefault(end.node, Room(end, self._nodes[end.node].delivery, self._queue))
        if sink.kind == "barrier":
            line = self._barriers[end.node].lines[end.port]
            return self._of_slot.setdefault(end, Room(end, line, self._queue, slot=True))
        return None

    # --- how it stands ---

    @property
    def full(self) -> bool:
        """Whether a place is full that new input may come to."""
        return any(room.full for room in self._first)

    @property
    def blocked_s(self) -> tuple[float, ...]:
        """How long each sink's place was full while somebody was held back by it."""
        return tuple(0.0 if room is None else room.blocked_s(self.now_s) for room in self._rooms)

    def holds_back_input(self) -> None:
        """Note where new input of the boundary has to wait, if it has to."""
        for room in self._first:
            if room.full:
                room.blocks(self.now_s)

    @property
    def waits_for_partners(self) -> bool:
        """Whether nothing moves because slots of barriers are full."""
        if any(node.delivery.oldest is not None for node in self._nodes.values()):
            return False
        full = [room for room in self._first if room.full]
        return (bool(full) and all(room.slot for room in full)) or self._held_by_slots() is not None

    @property
    def entering(self) -> dict[str, int]:
        """How many messages wait before each loop, by the first of its nodes."""
        return {entry.nodes[0].name: entry.queued for entry in self._of_entry}

    def is_full(self, node: str) -> bool:
        """Whether the queue of a node is full."""
        room = self._of_node.get(node)
        return room is not None and room.full

    def is_full_before(self, entry: LoopEntry) -> bool:
        """Whether so many wait before a loop that no more should."""
        return self._of_entry[entry].full

    def _held_by_slots(self) -> NodeState | None:
        """Return a node that is held back by nothing but slots of barriers."""
        for node in self._held.values():
            if all(room.slot for room in node.rooms if room.full):
                return node
        return None

    # --- who waits ---

    def holds_back(self, node: NodeState) -> bool:
        """Whether a node is to get nothing now, because a place that its answers may come to is full."""
        full = [room for room in node.rooms if room.full]
        for room in full:
            room.held.add(node.name)
        node.held = bool(full) and node.delivery.queued > 0
        if node.held:
            self._held[node.name] = node
            for room in full:
                room.blocks(self.now_s)
        else:
            self._held.pop(node.name, None)
        return bool(full)

    def relieved(self) -> NodeState | None:
        """Return a node that has to get something all the same: nothing else can come, or move, again."""
        return self._held_by_slots() if self._held and self.waits_for_partners else None

    # --- what makes room ---

    def took(self, node: NodeState) -> None:
        """Something has left the queue of a node."""
        self._let_go(self._of_node.get(node.name))

    def paired(self, barrier: str) -> None:
        """Something has left each slot of a barrier."""
        for port in self._barriers[barrier].lines:
            self._let_go(self._of_slot.get(End(barrier, port)))

    def admitted(self, entry: LoopEntry) -> None:
        """Something has entered a loop."""
        self._let_go(self._of_entry[entry])

    def done(self, node: NodeState) -> None:
        """A node is done with something: there may be room on its whole loop, and for what waits before it."""
        for other in node.loop or (node,):
            self._feed(other)
        entry = self.entries.get(node.name)
        if entry is not None:
            self.admitting[entry] = None

    def _let_go(self, room: Room | None) -> None:
        """Who was held back by a place may go on, when there is room enough."""
        if room is None:
            return
        room.emptied(self.now_s)
        if room.held and room.roomy:
            for name in sorted(room.held):
                self._feed(self._nodes[name])
            room.held.clear()


def _loop_entries(plan: Plan, nodes: Mapping[str, NodeState]) -> dict[str, LoopEntry]:
    """Return what waits before each loop of workers, by all nodes of the loop."""
    entered = {sink.end.node for sink in plan.sinks if sink.entry}
    found: dict[str, LoopEntry] = {}
    for component in plan.components:
        if not entered.isdisjoint(component.nodes):
            inside = tuple(nodes[node] for node in component.nodes if node in nodes)
            entry = LoopEntry(inside)
            found |= dict.fromkeys(component.nodes, entry)
            for node in inside:
                node.before_loop = entry
    return found
