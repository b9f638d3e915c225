"""Messages that their clients gave a key: what came of each, so that who gives one again gets the same answers, and it
is done once. The keys are in the session's log, so this holds also when its service was killed in between."""

from __future__ import annotations

__all__ = ["CAME_BYTES_MAX", "Came", "Keyed"]

import hashlib
from collections import deque
from collections.abc import Sequence

from fabric.session.events import Output

CAME_BYTES_MAX = 64 * 1024 * 1024
"""Of what is kept for clients that ask again. Beyond, outputs of the oldest messages that are done are not. The keys
are, always, and count: without them a message could be done twice."""

CAME_BYTES = 700
"""What remembering one message takes, without its key and its outputs."""


class Came:
    """What came of one message so far.

    Attributes:
        ticket: of the message.
        port, digest: where it came in, and a digest of its JSON text.
        outputs: in order; ``None``: they are not kept any more.
        settled: nothing more will come.
    """

    def __init__(self, ticket: int, port: str, payload: bytes) -> None:
        self.ticket, self.port, self.digest = ticket, port, _digest(payload)
        self.outputs: list[Output] | None = []
        self.settled = False

    def is_of(self, port: str, payload: bytes) -> bool:
        """Whether this is the message that came of it."""
        return (self.port, self.digest) == (port, _digest(payload))


class Keyed:
    """The messages with keys of one session."""

    def __init__(self, size_bytes_max: int = CAME_BYTES_MAX) -> None:
        self._size_bytes_max = size_bytes_max
        self._size_bytes = 0
        self._by_key: dict[str, Came] = {}
        self._by_ticket: dict[int, Came] = {}
        self._done: deque[Came] = deque()

    def find(self, key: str) -> Came | None:
        """Return what came of the message with a key; ``None``: there was none."""
        return self._by_key.get(key)

    def add(self, key: str, ticket: int, port: str, payload: bytes) -> None:
        """Remember a message."""
        self._by_key[key] = self._by_ticket[ticket] = Came(ticket, port, payload)
        self._size_bytes += len(key) + CAME_BYTES

    def delivered(self, outputs: Sequence[Output]) -> None:
        """Remember outputs for the messages that they descend from."""
        for output in outputs:
            for ticket in output.tickets:
                came = self._by_ticket.get(ticket)
                if came is not None and came.outputs is not None:
                    came.outputs.append(output)
                    self._size_bytes += len(output.payload)
        while self._size_bytes > self._size_bytes_max and self._done:
            came = self._done.popleft()
            self._size_bytes -= sum(len(output.payload) for output in came.outputs or ())
            came.outputs = None

    def settled(self, tickets: Sequence[int]) -> None:
        """Nothing more comes of these."""
        for ticket in tickets:
            came = self._by_ticket.pop(ticket, None)
            if came is not None:
                came.settled = True
                self._done.append(came)


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload.strip(), digest_size=16).digest()
