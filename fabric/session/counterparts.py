"""A history in another program: which of its messages is the one that an entry names.

Ids of messages follow from all that they went through. So in a program that has changed the same message may have
another id. Which entry it came into being by is as it was, and ids are drawn from that entry: an old id tells it.
A message that is named by an entry by its own id is no other one. If none is left, the message that was meant is gone.
"""

from __future__ import annotations

__all__ = ["Counterparts"]

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping

from fabric.session.history import Buried, Given, History, Released, Turn

DRAWN_MAX = 1 << 24
"""Ids of one entry; the numbers from which they are drawn are much farther apart."""


class Counterparts:
    """Finds messages of one history that is relived in another program.

    Args:
        history: all of it.
    """

    def __init__(self, history: Iterable[History]) -> None:
        self._named: set[tuple[str, bytes]] = set()
        self._drawn: list[tuple[int, int]] = []
        self._said: dict[bytes, int] = {}
        for entry in history:
            if isinstance(entry, Turn | Released | Buried | Given):
                self._named.add((entry.node, bytes.fromhex(entry.message)))

    def begin(self, number: int, first: int, entry: History) -> None:
        """An entry is about to be enacted.

        Args:
            number: of it, as its ids are drawn.
            first: the number from which they are.
            entry: what happens.
        """
        insort(self._drawn, (first, number))
        answers = entry.outputs if isinstance(entry, Turn) else (entry.answer,) if isinstance(entry, Released) else ()
        for answer in answers:
            if answer.span:
                self._said[bytes.fromhex(answer.span)] = number

    def find(self, node: str, id_: bytes, standing: Mapping[bytes, object]) -> bytes | None:
        """Return the id of the message that an entry means.

        Args:
            node: at which it stands.
            id_: by which the entry names it.
            standing: all that stand there.
        """
        if id_ in standing:
            return id_
        born = self._born_by(id_)
        for other in standing:
            if (node, other) not in self._named and (born is None or self._born_by(other) == born):
                return other
        return None

    def _born_by(self, id_: bytes) -> int | None:
        """Return the number of the entry by which a message came into being; ``None``: nobody knows."""
        if id_ in self._said:  # a worker has given it
            return self._said[id_]
        value = int.from_bytes(id_)
        place = bisect_right(self._drawn, (value, -1))
        if place and value - self._drawn[place - 1][0] < DRAWN_MAX:
            return self._drawn[place - 1][1]
        return None
