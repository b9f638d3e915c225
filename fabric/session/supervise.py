"""Whether and when a worker that has crashed is started again.

    crashed   due, so many seconds from now; or never: too often
    lost      due, soon: somebody else supervises the worker; what is opened again is our side of it
    settle    not due any more

It is never started at once: what crashes at its start would use up a processor. The wait doubles from crash to crash,
as long as the worker answers nothing in between, and no message is found to blame. A worker that crashes more often
than it may within the period will not be better the next time, so the session fails, and says why.

Source: the restart intensity of Erlang/OTP supervisors, with the growing delay of service managers, whose fixed one of
100 ms is known to burn five starts in a second. Not taken: to restart neighbours too. They have lost nothing.
"""

from __future__ import annotations

__all__ = ["Supervisor"]

from collections import deque

from fabric.session.settings import Settings

REOPEN_S = 0.1
"""From the end of a connection to a worker that somebody else starts until it is waited for again; doubled for each
that ends without an answer, up to ``REOPEN_MAX_S``."""

REOPEN_MAX_S = 2.0


class Supervisor:
    """One worker's restarts.

    Args:
        settings: how many, and how soon.

    Attributes:
        due: its process is gone, and another will be started.
        due_s: when, by the session's clock.
    """

    def __init__(self, settings: Settings) -> None:
        self.due = False
        self.due_s = 0.0
        self._settings = settings
        self._crashes: deque[float] = deque()
        self._in_a_row = 0

    @property
    def crashes(self) -> int:
        """How many the period had at the last crash."""
        return len(self._crashes)

    def crashed(self, now_s: float, *, answered: bool, explained: int = 0) -> float | None:
        """Return in how many seconds it is to be started again; ``None``: it crashes too often.

        Args:
            now_s: by the session's clock.
            answered: whether this process had answered anything.
            explained: how many of its crashes, this one included, were the fault of a message that it will not get
                again. They do not count any longer, for there will be no more of them.
        """
        settings = self._settings
        self._crashes.append(now_s)
        while self._crashes[0] <= now_s - settings.restart_period_s:
            self._crashes.popleft()
        if len(self._crashes) > settings.restarts_max:
            return None
        self.forgive(explained)
        self._in_a_row = 1 if answered or explained else self._in_a_row + 1
        in_s = min(settings.backoff_s * 2.0 ** (self._in_a_row - 1), settings.backoff_max_s)
        self.due, self.due_s = True, now_s + in_s
        return in_s

    def forgive(self, crashes: int) -> None:
        """So many of its crashes were the fault of a message that nobody gets any more: they do not count."""
        for _ in range(min(crashes, len(self._crashes))):
            self._crashes.pop()

    def lost(self, now_s: float, *, answered: bool) -> float:
        """Return in how many seconds it is to be waited for again; what it does is counted by who starts it."""
        self._in_a_row = 1 if answered else self._in_a_row + 1
        in_s = min(REOPEN_S * 2.0 ** (self._in_a_row - 1), REOPEN_MAX_S)
        self.due, self.due_s = True, now_s + in_s
        return in_s

    def settle(self) -> None:
        """It is started, or is not to be."""
        self.due = False
