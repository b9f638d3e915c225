"""Whether one worker's process still moves, whatever it is at.

A worker that has a message and says nothing may think, or may hang: of both nothing comes on its ports. But our own
workers return a marker on ctrl_in at once, beside what they are at; so one that does not is stopped, or stuck where not
even its control side runs. Whoever wants to know has the session ask, again and again (``LookAfter``).

    asked      a marker goes out, unless one is on its way       since
    returned   it is back                                        not since
    begin      another process                                   not since

The marker's name is none of those that the edges know, so nothing waits for it; and it is no sign of life for
:mod:`~fabric.session.silence`: a function that never returns would seem to be at work.
"""

from __future__ import annotations

__all__ = ["Pulse", "is_answer"]

from fabric.errors import RemoteProtocolError
from fabric.wire.codec import decode, encode
from fabric.wire.frame import Marker

_PREFIX = "pulse/"


def is_answer(raw: bytes) -> bool:
    """Whether a frame of ctrl_out is nothing but an answer: it shows that a process moves, not that a message does."""
    try:
        frame = decode(raw)
    except RemoteProtocolError:
        return False
    return isinstance(frame, Marker) and frame.id.startswith(_PREFIX)


class Pulse:
    """One worker's.

    Attributes:
        asked_s: since when an answer is missing, by the session's clock; ``None``: none is.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._asked = 0
        self.begin(0)

    def begin(self, incarnation: int) -> None:
        """A process begins."""
        self._prefix = f"{_PREFIX}{self._worker}/{incarnation}/"
        self.asked_s: float | None = None

    def asked(self, now_s: float) -> list[bytes]:
        """Somebody wants to know. Return the frame to send, if none is on its way: who hangs must not be flooded."""
        if self.asked_s is not None:
            return []
        self._asked += 1
        self.asked_s = now_s
        return [encode(Marker("fabric", f"{self._prefix}{self._asked}"))]

    def returned(self, marker: str) -> bool:
        """Take an answer; return whether it is one."""
        if self.asked_s is None or marker != f"{self._prefix}{self._asked}":
            return False
        self.asked_s = None
        return True
