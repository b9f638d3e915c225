"""The numbers of what one process of a worker sends: whether a message is missing, or came before.

A stranger on a socket that the worker binds takes every second frame, and may get outputs without their markers. Only
the numbers tell. A worker that writes them has the feature ``numbered``; of any other they mean nothing.
"""

from __future__ import annotations

__all__ = ["Numbering"]

from fabric.errors import ChannelBroken, RemoteProtocolError
from fabric.session.failure import name_of, quoted


class Numbering:
    """The last number on each port.

    Args:
        worker: its name.

    Attributes:
        matters: whether the worker writes numbers.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._last: dict[str, int] = {}
        self._anywhere = False
        self.matters = False

    def begin_anywhere(self) -> None:
        """What it sends from now on goes on from numbers that nobody here knows."""
        self._last.clear()
        self._anywhere = True

    def _before(self, port: str, seq: int) -> int:
        """Return the number behind which message ``seq`` comes, if it is the first here."""
        return self._last.get(port, seq - 1 if self._anywhere else 0)

    def take(self, port: str, seq: int) -> None:
        """A message came.

        Raises:
            RemoteProtocolError: its number was used.
            ChannelBroken: one before it is missing.
        """
        expected = self._before(port, seq) + 1
        if seq == expected or not self.matters:  # telemetry may be faster than the announcement that it matters
            self._last[port] = seq
            return
        text = f"{name_of(self._worker)} sent message {seq} on {quoted(port)}; expected {expected}"
        raise ChannelBroken("gap", text) if seq > expected else RemoteProtocolError("replayed", text)

    def take_all(self, port: str, first: int, last: int, count: int) -> bool:
        """Messages came, the first and the last of them with these numbers; return whether they may be right.

        If not, none was taken. Only a gap and a repetition that make up for each other are not seen.
        """
        if not self.matters or not count:
            return True
        before = self._before(port, first)
        if first != before + 1 or last != before + count:
            return False
        self._last[port] = last
        return True
