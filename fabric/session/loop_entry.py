"""What comes from outside into one loop waits here, in one row, until there is room inside.

Inside it goes behind all that is there, on every way alike. What came of one message on several ways goes in together.
So a barrier inside pairs what belongs together, whatever goes round meanwhile and however slow one of the ways is.
"""

from __future__ import annotations

__all__ = ["LOOP_ADMITTED_MAX", "LoopEntry"]

from collections import deque
from collections.abc import Iterator
from typing import TypeAlias

from fabric.session.delivery import Message
from fabric.session.nodes import NodeState
from fabric.session.rooms import Line
from fabric.session.routes import Put

LOOP_ADMITTED_MAX = 16
"""Messages inside a loop beyond which none is let in from outside. Those inside would starve, or fill the memory."""

Group: TypeAlias = tuple[object, int]
"""The same for what came of one message on several ways: the route that it took, and its number there."""


class LoopEntry:
    """What waits before one loop.

    Args:
        nodes: those on the loop that workers run.

    Attributes: as the arguments.
    """

    def __init__(self, nodes: tuple[NodeState, ...]) -> None:
        self.nodes = nodes
        self._line = Line()
        self._groups: deque[tuple[Group, Put]] = deque()

    @property
    def queued(self) -> int:
        """How many messages wait."""
        return self._line.queued

    @property
    def size_bytes(self) -> int:
        """Of their payloads."""
        return self._line.size_bytes

    def messages(self) -> Iterator[Message]:
        """Give what waits."""
        return iter(self._line)

    @property
    def admits(self) -> bool:
        """Whether something waits and may go on."""
        return self._line.queued > 0 and self.nodes[0].inside < LOOP_ADMITTED_MAX

    def put(self, group: Group, put: Put, message: Message) -> None:
        """Let a message wait that is then to be put into its place inside."""
        self._groups.append((group, put))
        self._line.put(message)

    def take(self) -> list[tuple[Put, Message]]:
        """Return the first, and what came of the same message."""
        first = self._groups[0][0]
        taken = []
        while self._groups and self._groups[0][0] == first:
            taken.append((self._groups.popleft()[1], self._line.take()))
        return taken
