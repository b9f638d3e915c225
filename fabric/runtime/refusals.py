"""Tells of those who were not let in at endpoints with keys: all of them, but not one line for each."""

from __future__ import annotations

__all__ = ["LINES_MAX", "TELL_S", "Refusals"]

from collections import Counter
from collections.abc import Callable

import trio

from fabric.session.events import Note
from fabric.transport.gate import Refusal

TELL_S = 1.0
"""Between two tellings."""

LINES_MAX = 8
"""Of one telling; what is beyond that is told as a number."""


class Refusals:
    """Counts, and tells now and then.

    Args:
        noted: takes what is told.
    """

    def __init__(self, noted: Callable[[Note], None]) -> None:
        self._noted = noted
        self._untold: Counter[Refusal] = Counter()
        self._any = trio.Event()
        self.total = 0

    def __call__(self, refusal: Refusal) -> None:
        """Take one in."""
        self.total += 1
        self._untold[refusal] += 1
        self._any.set()

    async def tell(self) -> None:
        """Tell of them for ever, and once more when this is cancelled."""
        try:
            while True:
                await self._any.wait()
                self._tell()
                await trio.sleep(TELL_S)
        finally:
            self._tell()

    def _tell(self) -> None:
        told = self._untold.most_common()
        for refusal, count in told[:LINES_MAX]:
            where = {"address": refusal.address} if refusal.address else {}
            fields = {"worker": refusal.domain, **where, "reason": refusal.reason, "count": count}
            self._noted(Note("warning", "peer.refused", fields))
        rest = sum(count for _, count in told[LINES_MAX:])
        if rest:
            self._noted(Note("warning", "peer.refused", {"reason": "others, elsewhere or otherwise", "count": rest}))
        self._untold.clear()
        self._any = trio.Event()
