"""The inputs of the boundary: which are open still, and what has come and is not in the graph yet."""

from __future__ import annotations

__all__ = ["Entrance"]

from collections import deque
from collections.abc import Iterable, Sequence


class Entrance:
    """The boundary's inputs.

    Args:
        ports: their names.

    Attributes:
        closed: inputs on which nothing more may come. What came before is let in all the same.
        waiting: what has come: port, ticket and JSON text.
    """

    def __init__(self, ports: Iterable[str]) -> None:
        self._ports = frozenset(ports)
        self.closed: set[str] = set()
        self.waiting: deque[tuple[str, int, bytes]] = deque()

    @property
    def all_closed(self) -> bool:
        """Whether no input will ever be welcome again; so it is from the start where there is none."""
        return len(self.closed) == len(self._ports)

    def close(self, port: str | None = None) -> None:
        """Nothing more will come on a port, or on any."""
        self.closed |= self._ports if port is None else {port}

    def queue(self, port: str, messages: Sequence[tuple[int, bytes]]) -> None:
        """Let messages wait until there is time for them."""
        self.waiting.extend((port, ticket, payload) for ticket, payload in messages)

    def take_waiting(self) -> list[tuple[str, int, bytes]]:
        """Return what waits; it is not let in any more."""
        waiting = list(self.waiting)
        self.waiting.clear()
        return waiting
