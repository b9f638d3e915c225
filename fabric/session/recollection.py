"""What an agent has to remember when another process takes its place.

    what it said of its memory, when nothing was under way  +  what it has answered since

The first alone has a gap: what was answered between the last such moment and the crash. The second alone knows nothing
of a memory that was replaced, or of what the agent read by its tools. An exchange is committed when its marker is back,
so what is in here is what the graph has seen.

The agent is asked for its memory when that was replaced, and now and then, so that what is kept stays as short as what
it keeps itself. The more it has, the more rarely.
"""

from __future__ import annotations

__all__ = ["Recollection"]

from collections.abc import Iterable
from typing import Any

from fabric.wire.control import messages_of

EXCHANGES_MAX = 64
"""After so many it is asked for its memory, or after as many as that had, if those were more."""


class Recollection:
    """One agent's memory, as it can be given to another process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """It begins with nothing."""
        self._base: list[Any] = []
        self._since: list[Any] = []
        self._stale = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to give."""
        return not (self._base or self._since)

    @property
    def wants_dump(self) -> bool:
        """Whether the agent should be asked for its memory, as soon as nothing is under way."""
        return self._stale or len(self._since) >= max(2 * EXCHANGES_MAX, len(self._base))

    @property
    def messages(self) -> list[Any]:
        """All that is known, as ``set_memory`` takes it."""
        return self._base + self._since

    def committed(self, payload: bytes, outputs: Iterable[bytes]) -> None:
        """The agent has answered a message; both are remembered as their JSON text, as the agent does."""
        self._since.append({"role": "user", "content": payload.decode()})
        self._since += [{"role": "assistant", "content": output.decode()} for output in outputs]

    def replaced(self, messages: list[Any] | None = None) -> None:
        """The agent says that its memory was replaced: what is known here is not what it has.

        Args:
            messages: by which, if that is known.
        """
        self._stale = True
        if messages is not None:
            self._base, self._since = messages, []

    def dumped(self, payload: bytes) -> None:
        """The agent says what it remembers, with nothing under way."""
        self._base, self._since, self._stale = messages_of(payload), [], False
