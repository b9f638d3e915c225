"""The slots of one barrier: the k-th message of each side go on together.

Where a message dies on its way to one side, the count would be off by one for ever, and every later pair would be of
what does not belong together. So the partner of one that has died is taken out. It is known by its trace: both came of
the same input.
"""

from __future__ import annotations

__all__ = ["Barrier"]

from collections.abc import Iterable

from fabric.session.delivery import Message, Trace
from fabric.session.rooms import Line


class Barrier:
    """One barrier.

    Args:
        ports: its inputs, in the order of the pair.

    Attributes:
        lines: messages that wait, by input.
        bereaved: whether something has died that something here may wait for.
    """

    def __init__(self, ports: Iterable[str]) -> None:
        self.lines = {port: Line() for port in ports}
        self.closed = False
        self._died: dict[str, set[Trace]] = {port: set() for port in self.lines}
        self.bereaved = False

    @property
    def starved(self) -> frozenset[str]:
        """The inputs on which nothing waits."""
        return frozenset(port for port, line in self.lines.items() if not line.queued)

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return sum(line.queued for line in self.lines.values())

    @property
    def slots(self) -> dict[str, int]:
        """How many messages wait on each input."""
        return {port: line.queued for port, line in self.lines.items()}

    @property
    def oldest_at_s(self) -> float | None:
        """When the oldest message that waits came into being."""
        heads = (line.oldest_at_s for line in self.lines.values())
        return min((at_s for at_s in heads if at_s is not None), default=None)

    def put(self, port: str, message: Message) -> list[Message]:
        """Let a message wait; return the messages that now go on together, in order, or none."""
        assert not self.closed
        self.lines[port].put(message)
        return self.take_pair()

    def take_pair(self) -> list[Message]:
        """Return the messages that go on together, in order, or none: a side is empty, or its first is an orphan."""
        if self.starved or (self.bereaved and any(self._orphaned(port, message) for port, message in self._heads())):
            return []
        return [line.take() for line in self.lines.values()]

    def _heads(self) -> list[tuple[str, Message]]:
        return [(port, line.head) for port, line in self.lines.items() if line.head is not None]

    def died(self, port: str, traces: Iterable[Trace]) -> None:
        """Something of these inputs will not come on this side."""
        self._died[port].update(traces)
        self.bereaved = True

    def take_orphans(self) -> list[tuple[str, Message]]:
        """Take out what waits for a partner that has died; return it, with its side."""
        orphans: list[tuple[str, Message]] = []
        if not self.bereaved:
            return orphans
        found = True
        while found:
            found = False
            for port, line in self.lines.items():
                while line.head is not None and self._orphaned(port, line.head):
                    orphans.append((port, line.take()))
                    found = True
        for port, traces in self._died.items():
            self._died[port] = {trace for trace in traces if trace.live}
        self.bereaved = any(self._died.values())
        return orphans

    def _orphaned(self, port: str, message: Message) -> bool:
        """Whether the partner of the first message of a side has died: another one stands there, or none can come."""
        for other, died in self._died.items():
            lost = died.intersection(message.traces)
            if other == port or not lost:
                continue
            partner = self.lines[other].head
            if partner is None:
                if all(trace.live == self._count(trace) for trace in lost):
                    return True
            elif set(partner.traces).isdisjoint(message.traces):
                return True
        return False

    def _count(self, trace: Trace) -> int:
        return sum(trace in message.traces for line in self.lines.values() for message in line)

    def close(self) -> dict[str, list[Message]]:
        """It will never fire again: return what is left without a partner, by input."""
        self.closed = True
        return {port: line.take_all() for port, line in self.lines.items() if line.queued}
