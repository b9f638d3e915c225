"""Dead letters that are being tried again: which ticket is which letter's, and what has come of it.

    begin      the session has it once more
    buried     is this dead letter one of these again? Then it keeps its number
    refused    something that came of it went no further
    settled    what came of it: ``done``, ``dead`` (again), or ``refused``

A letter is done with when its worker is. What came of it may have become a dead letter of another worker, which has a
number of its own then. What was refused on its way is lost; the letter stays, for whoever mends that.
"""

from __future__ import annotations

__all__ = ["Retries", "Settlement"]

from typing import Literal, TypeAlias

import msgspec

from fabric.session.events import DeadLetter

Settlement: TypeAlias = Literal["done", "dead", "refused"]


class _Retry(msgspec.Struct):
    id: int
    worker: str
    payload: bytes
    came_of_it: Settlement = "done"


class Retries:
    """Those of one service."""

    def __init__(self) -> None:
        self._by_ticket: dict[int, _Retry] = {}
        self._taken: set[int] = set()

    def taken(self, id_: int) -> bool:
        """Whether a letter is being tried again, or is done with: two clients may have read the same list."""
        return id_ in self._taken

    def begin(self, ticket: int, id_: int, worker: str, payload: bytes) -> None:
        """The session gets a letter once more."""
        self._by_ticket[ticket] = _Retry(id_, worker, payload)
        self._taken.add(id_)

    def buried(self, letter: DeadLetter) -> int | None:
        """Return the number of the letter that this one was before, if it was."""
        for ticket in letter.tickets:
            retry = self._by_ticket.get(ticket)
            if retry is not None and (retry.worker, retry.payload) == (letter.worker, letter.payload):
                retry.came_of_it = "dead"
                return retry.id
        return None

    def refused(self, ticket: int) -> None:
        """Something went no further that descends from a letter, if this is the ticket of one."""
        retry = self._by_ticket.get(ticket)
        if retry is not None and retry.came_of_it == "done":
            retry.came_of_it = "refused"

    def settled(self, ticket: int) -> tuple[int, Settlement] | None:
        """Return the letter that has settled and what came of it; ``None``: this is not the ticket of one."""
        retry = self._by_ticket.pop(ticket, None)
        if retry is None:
            return None
        if retry.came_of_it != "done":
            self._taken.discard(retry.id)
        return retry.id, retry.came_of_it
