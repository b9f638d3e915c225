"""Places where messages wait, how full they are, and who is held back by them.

A worker gets no message while a place that its answers may come to is full: they would have to wait there. What it has
already it may answer, so a place holds its bound and what comes of what those before it were given. Places on its own
loop do not hold a worker back: with those bounded, a loop could stop for ever. So few messages are let into a loop that
they are bounded as well.

Slots of barriers are the one place that does not empty by itself. Where everything waits for a full one, and nothing
that could come is on its way, whoever is held back is let go: the bound is there for the memory, not for the result.

Source: bounded scheduling of process networks (Parks 1995), where a full channel grows only if all else would stop.
"""

from __future__ import annotations

__all__ = ["BYTES_MAX", "Line", "Room", "rooms_behind"]

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from fabric.graph.ir import End
from fabric.plan.plan import Plan, sinks_of
from fabric.session.delivery import Message

BYTES_MAX = 64 * 1024 * 1024
"""Of the messages that wait in one place, whatever their number."""


class Place(Protocol):
    """Where messages wait."""

    @property
    def queued(self) -> int:
        """How many."""
        ...

    @property
    def size_bytes(self) -> int:
        """Of their payloads."""
        ...


class Line:
    """Messages that wait in a row."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._messages: deque[Message] = deque()

    @property
    def queued(self) -> int:
        """How many."""
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)

    @property
    def head(self) -> Message | None:
        """The first of them."""
        return self._messages[0] if self._messages else None

    @property
    def oldest_at_s(self) -> float | None:
        """When the first of them came into being."""
        return self._messages[0].at_s if self._messages else None

    def put(self, message: Message) -> None:
        """Let a message wait behind the others."""
        self._messages.append(message)
        self.size_bytes += len(message.payload)

    def take(self) -> Message:
        """Return the first; there has to be one."""
        message = self._messages.popleft()
        self.size_bytes -= len(message.payload)
        return message

    def take_all(self) -> list[Message]:
        """Return all of them."""
        return [self.take() for _ in range(self.queued)]


class Room:
    """How full a place is.

    Args:
        end: where it is.
        place: it.
        limit: messages that may wait here before others are held back.
        slot: whether it is one of a barrier.

    Attributes:
        held: names of the workers that are held back.
    """

    __slots__ = ("_blocked_s", "_limit", "_place", "_since_s", "end", "held", "slot")

    def __init__(self, end: End, place: Place, limit: int, *, slot: bool = False) -> None:
        self.end = end
        self.slot = slot
        self.held: set[str] = set()
        self._limit = limit
        self._place = place
        self._blocked_s = 0.0
        self._since_s: float | None = None

    def blocks(self, now_s: float) -> None:
        """Somebody is held back, since it is full."""
        if self._since_s is None:
            self._since_s = now_s

    def emptied(self, now_s: float) -> None:
        """Something has left it."""
        if self._since_s is not None and not self.full:
            self._blocked_s += now_s - self._since_s
            self._since_s = None

    def blocked_s(self, now_s: float) -> float:
        """Return how long it was full while somebody was held back."""
        return self._blocked_s + (0.0 if self._since_s is None else now_s - self._since_s)

    @property
    def full(self) -> bool:
        """Whether nothing more should come."""
        return self._place.queued >= self._limit or self._place.size_bytes >= BYTES_MAX

    @property
    def roomy(self) -> bool:
        """Whether who was held back may go on: for more than a message at a time."""
        return self._place.queued <= self._limit // 2 and self._place.size_bytes <= BYTES_MAX // 2


def rooms_behind(plan: Plan, rooms: Sequence[Room | None], sources: Iterable[End]) -> tuple[Room, ...]:
    """Return the places that messages from these ports may come to next, other than those on a loop with them.

    Args:
        plan: what runs.
        rooms: where messages wait, by sink; ``None`` for sinks where none does.
        sources: ports of one node, or of the boundary.
    """
    routes = {route.source: route for route in plan.routes}
    component_of = {node: number for number, part in enumerate(plan.components) if part.loop for node in part.nodes}
    found: dict[int, Room] = {}
    seen: set[End] = set()
    waiting = list(sources)
    own = {component_of.get(source.node) for source in waiting} - {None}
    while waiting:
        source = waiting.pop()
        if source in seen or source not in routes:
            continue
        seen.add(source)
        for index in sinks_of(routes[source].steps):
            sink, room = plan.sinks[index], rooms[index]
            if sink.kind in ("merge", "monitor", "barrier"):  # what comes there may go on at once
                waiting += [end for end in routes if end.node == sink.end.node]
            if room is not None and component_of.get(sink.end.node) not in own:
                found[id(room)] = room
    return tuple(found.values())
