"""The slots of one barrier: the k-th message of each side go on together."""

from __future__ import annotations

__all__ = ["Barrier"]

from collections.abc import Iterable

from fabric.session.delivery import Message
from fabric.session.rooms import Line


class Barrier:
    """One barrier.

    Args:
        ports: its inputs, in the order of the pair.

    Attributes:
        lines: messages that wait, by input.
    """

    def __init__(self, ports: Iterable[str]) -> None:
        self.lines = {port: Line() for port in ports}
        self.closed = False

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
        if self.starved:
            return []
        return [line.take() for line in self.lines.values()]

    def close(self) -> dict[str, list[Message]]:
        """It will never fire again: return what is left without a partner, by input."""
        self.closed = True
        return {port: line.take_all() for port, line in self.lines.items() if line.queued}
