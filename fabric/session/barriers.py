"""The slots of one barrier: the k-th message of each side go on together."""

from __future__ import annotations

__all__ = ["Barrier"]

from collections import deque
from collections.abc import Iterable

from fabric.session.delivery import Message


class Barrier:
    """One barrier.

    Args:
        ports: its inputs, in the order of the pair.
    """

    def __init__(self, ports: Iterable[str]) -> None:
        self._slots: dict[str, deque[Message]] = {port: deque() for port in ports}
        self.closed = False

    @property
    def starved(self) -> frozenset[str]:
        """The inputs on which nothing waits."""
        return frozenset(port for port, slot in self._slots.items() if not slot)

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return sum(map(len, self._slots.values()))

    @property
    def slots(self) -> dict[str, int]:
        """How many messages wait on each input."""
        return {port: len(slot) for port, slot in self._slots.items()}

    @property
    def oldest_at_s(self) -> float | None:
        """When the oldest message that waits came into being."""
        return min((slot[0].at_s for slot in self._slots.values() if slot), default=None)

    def put(self, port: str, message: Message) -> list[Message]:
        """Let a message wait; return the messages that now go on together, in order, or none."""
        assert not self.closed
        self._slots[port].append(message)
        if self.starved:
            return []
        return [slot.popleft() for slot in self._slots.values()]

    def close(self) -> dict[str, list[Message]]:
        """It will never fire again: return what is left without a partner, by input."""
        self.closed = True
        left = {port: list(slot) for port, slot in self._slots.items() if slot}
        for slot in self._slots.values():
            slot.clear()
        return left
