"""How long one worker took for its messages: from the moment when it was given one to when its outputs went on.

A worker answers in the order in which it was given messages (:mod:`~fabric.session.delivery`), and both ends happen to
many messages at once. So what is kept is how many were given when, and a message costs nothing by itself.
"""

from __future__ import annotations

__all__ = ["Latency"]

from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from fabric.session.delivery import Unacked
from fabric.session.durations import Durations, Histogram


class Latency:
    """One worker's."""

    def __init__(self) -> None:
        self._histogram = Histogram()
        self._given: deque[tuple[int, float]] = deque()

    @property
    def durations(self) -> Durations:
        """Of all messages that had an output."""
        return self._histogram.durations

    def begin(self) -> None:
        """A process begins: what the one before had is given anew."""
        self._given.clear()

    def given(self, count: int, now_s: float) -> None:
        """It was given so many messages."""
        self._given.append((count, now_s))

    def answered(self, committed: Sequence[Unacked], now_s: float) -> None:
        """It is done with its oldest messages. One of which nothing came does not count."""
        at = 0
        while at < len(committed) and self._given:
            count, given_s = self._given.popleft()
            here = committed[at : at + count]
            if len(here) < count:
                self._given.appendleft((count - len(here), given_s))
            at += len(here)
            said = len(here) if all(map(_outputs, here)) else sum(map(_said, here))
            if said:
                self._histogram.add(now_s - given_s, said)


_outputs = attrgetter("outputs")


def _said(one: Unacked) -> bool:
    return bool(one.outputs) or one.answered
