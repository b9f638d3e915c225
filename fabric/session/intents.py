"""Calls of tools with effects that were announced, and what came of them."""

from __future__ import annotations

__all__ = ["Intent", "Intents"]

import msgspec

from fabric.plan.replicas import node_of
from fabric.session.history import Called, Intended


class Intent(msgspec.Struct, frozen=True):
    """One such call.

    Attributes:
        intended: as it was announced.
        called: what came of it; ``None``: nobody knows whether it has happened.
    """

    intended: Intended
    called: Called | None = None


class Intents:
    """Those of one session that belong to messages which are not done, by worker, message and call."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, bytes], Intent] = {}

    @property
    def known(self) -> tuple[Intent, ...]:
        """All of them, in order."""
        return tuple(self._known.values())

    def of(self, worker: str, message: str, call: bytes) -> Intent | None:
        """Return what is known of a call."""
        return self._known.get((worker, message, call))

    def note(self, entry: Intended | Called) -> None:
        """A call was announced, or something came of it."""
        key = entry.worker, entry.message, bytes(entry.call)
        if isinstance(entry, Intended):
            self._known[key] = Intent(entry)
        elif key in self._known:
            self._known[key] = Intent(self._known[key].intended, entry)

    def done(self, node: str, message: str) -> None:
        """A message is done: nobody asks for its calls again."""
        if self._known:
            over = [key for key in self._known if key[1] == message and node_of(key[0]) == node]
            for key in over:
                del self._known[key]
