"""How long one worker took for its messages: from the moment when it was given one to when it was done.

Of several replicas each has its own: that what it answered waits for others is not its time.

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
        given = self._given
        if given and len(committed) <= given[0][0]:  # as it is nearly always; what follows would do as well
            count, given_s = given[0]
            left = count - len(committed)
            if left:
                given[0] = left, given_s
            else:
                given.popleft()
            self._add(committed, now_s - given_s)
            return
        at = 0
        while at < len(committed) and given:
            count, given_s = given.popleft()
            here = committed[at : at + count]
            if len(here) < count:
                given.appendleft((count - len(here), given_s))
            at += len(here)
            self._add(here, now_s - given_s)

    def _add(self, messages: Sequence[Unacked], took_s: float) -> None:
        said = len(messages) if all(map(_outputs, messages)) else sum(map(_said, messages))
        if said:
            self._histogram.add(took_s, said)


_outputs = attrgetter("outputs")


def _said(one: Unacked) -> bool:
    return bool(one.outputs) or one.answered
