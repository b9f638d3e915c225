"""The history of a durable session as it is made: entry after entry, each enacted to its end before the next.

    happen      Record the entry, enact it; what happens by that is enacted behind it, in order
    broken      the entry that is being enacted has not happened: it is not recorded, and nothing of it is commanded
    stop        the session has failed: nothing happens any more

A session that fails at an entry would fail at it again, whenever it is brought back. So such an entry is none: the
message that it was about stays where it was, and may come to a better end the next time.

While the n-th entry is enacted, ids come from a source that n gives and the id of the session in whose log it is. So
what a fork has inherited has the ids that it had, and what happens in two branches after that has different ones.
"""

from __future__ import annotations

__all__ = ["Broken", "Enacting"]

import hashlib
from collections import deque
from collections.abc import Callable

from fabric.errors import HistoryUnfit
from fabric.session.failure import Failure
from fabric.session.history import Emitted, History, Paid
from fabric.session.outbox import Outbox
from fabric.session.traces import IdSource, Traces


class Broken(Exception):
    """The session has to fail at the entry that is being enacted.

    Attributes:
        failure: of the session.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Enacting:
    """What happens in one session, in order.

    Args:
        session: its id.
        out: records the entries.
        traces: make the messages.
        enact: does what follows from an entry, to the end. It may raise :class:`Broken`.
        fail: called when the session cannot go on; :meth:`stop` is expected to follow.

    Attributes:
        session: in whose log the entry is that is being enacted: of what a fork inherits, the ancestor's.
        count: of the entries so far, without those that somebody else writes.
        reliving: whether these are the entries of an earlier run, which are not recorded.
        under_way: whether an entry is being enacted.
    """

    def __init__(
        self,
        session: str,
        out: Outbox,
        traces: Traces,
        enact: Callable[[History], None],
        fail: Callable[[Failure], None],
    ) -> None:
        self.count = 0
        self.reliving = False
        self.session = session
        self._out = out
        self._traces = traces
        self._enact = enact
        self._fail = fail
        self._due: deque[History] = deque()
        self._stopped = False
        self.under_way = False

    def happen(self, entry: History) -> None:
        """Something happens. Nothing does in a session that has failed, but that something was paid for."""
        if self._stopped and not isinstance(entry, Paid):
            return
        self._due.append(entry)
        if not self.under_way:
            while self._due:
                self._happen(self._due.popleft())

    def _happen(self, entry: History) -> None:
        if self.reliving:
            self.relive(entry)
            return
        mark, settled = self._out.mark, len(self._traces.settled)
        self._out.record(entry)
        try:
            self._enact_by(entry)
        except Broken as broken:
            self._out.withdraw(mark)
            del self._traces.settled[settled:]
            self._fail(broken.failure)

    def relive(self, entry: History) -> None:
        """Something has happened.

        Raises:
            HistoryUnfit: it cannot have.
        """
        try:
            self._enact_by(entry)
        except Broken as broken:
            raise HistoryUnfit(f"the session would fail by it: {broken.failure.message}") from None

    @property
    def source(self) -> IdSource:
        """Where the ids come from of the next entry."""
        return source_of(self.session, self.count)

    def _enact_by(self, entry: History) -> None:
        """Enact an entry, with ids of its own."""
        before = self._traces.draw_from(self.source)
        self.under_way = True
        try:
            self._enact(entry)
        finally:
            self._traces.draw_from(before)
            self.under_way = False
            self.count += not isinstance(entry, Emitted)

    def stop(self) -> None:
        """The session has failed."""
        self._stopped = True
        self._due.clear()


def source_of(session: str, number: int) -> IdSource:
    """Return where the ids come from of what comes into being by an entry."""
    digest = hashlib.blake2b(f"{session}/{number}".encode(), digest_size=24).digest()
    return IdSource(int.from_bytes(digest[:8]), int.from_bytes(digest[8:]), drawn=False)
