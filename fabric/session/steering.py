"""One worker that is stopped and started by hand: what is wished, what is so, who has asked.

    asked stop, restart    it runs or starts: stop it in order          stopping
    asked anything         it is being stopped: the last wish counts
    gone                                                                stopped, or started again
    asked start, restart   it is stopped: start it                      begin

All who asked are told when it is as they wished, or why it is not. A worker that somebody else starts is as they wished
when it has ended and is waited for: nobody knows how long its coming takes.
"""

from __future__ import annotations

__all__ = ["Steering"]

from typing import Literal

from fabric.session.events import Answered, Wish


class Steering:
    """One worker's being away and coming back.

    Attributes:
        stopping: it was asked to finish what it has, and to end.
        stopped: its process is gone, and it may come back.
        starts_again: whether it is to be started when it has stopped.
        error: why it is being stopped, if nobody asked for it.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.error: str | None = None
        self._asked_by: list[int] = []
        self.begin()

    @property
    def away(self) -> bool:
        """Whether it was asked to stop, and may come back: messages wait for it."""
        return self.stopping or self.stopped

    def asked(self, wish: Wish, ticket: int, *, starting: bool) -> Literal["stop", "start", "answer"] | None:
        """Somebody wishes something. Return what has to be done for it now.

        Args:
            wish: what.
            ticket: repeated in the answer.
            starting: whether it is on its way up.
        """
        self._asked_by.append(ticket)
        if self.stopping:
            self.starts_again = wish != "stop"
        elif self.stopped and wish != "stop":
            return "start"
        elif not self.stopped and wish != "start":
            self.starts_again, self.error = wish == "restart", None
            return "stop"
        elif not starting:
            return "answer"  # it is so already
        return None

    def give_up(self, error: str | None) -> None:
        """It does not come up: it is to be stopped, and to stay so."""
        self.starts_again, self.error = False, error

    def gone(self) -> None:
        """Its process is gone."""
        self.stopping, self.stopped = False, True

    def begin(self) -> None:
        """A process of it is started."""
        self.stopped = self.starts_again = False

    def answers(self, error: str | None = None) -> list[Answered]:
        """Tell all who have asked, once."""
        answers = [Answered(ticket, error) for ticket in self._asked_by]
        self._asked_by.clear()
        return answers
