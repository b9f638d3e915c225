"""End one worker in order: end of data_in, end of data_out, stop, exit; by force if nothing moves for the grace time.

    asked         timer
    output_ended  Send stop, Send end of ctrl_in, timer      never before: it would lose what is queued in front
    timer         if it moved meanwhile, or owes nothing: timer; else TERM, timer
    timer again   KILL

No timer ends a worker that still moves: any frame from it counts. The order follows the documented shutdown; control
comes after the end of the output, because a loop through control could not end otherwise.
"""

from __future__ import annotations

__all__ = ["Shutdown"]

from typing import Literal

from fabric.session.events import Command, Note, Send, SetTimer, Signal
from fabric.wire.codec import encode
from fabric.wire.control import STOP
from fabric.wire.frame import Data, Eof

_Stage = Literal["running", "asked", "terminated", "killed"]


class Shutdown:
    """One worker's end.

    Attributes:
        moved_s: when it last gave a sign of life, or was asked for something that it owes.

    Args:
        worker: its name.
        grace_s: seconds without any sign of life after which it is terminated, and after as many again killed. May be
            set later; a timer that runs already fires when it was to.
        control: whether it has a ctrl_in.
    """

    def __init__(self, worker: str, grace_s: float, *, control: bool) -> None:
        self.forced = False
        self._worker = worker
        self.grace_s = grace_s
        self._control = control
        self._stage: _Stage = "running"
        self.moved_s = 0.0

    def moved(self, now_s: float) -> None:
        """The worker gave a sign of life."""
        self.moved_s = now_s

    def asked(self, now_s: float) -> list[Command]:
        """The worker has been asked for an end (an end of data_in was sent, or a stop): from now on silence counts."""
        self.moved_s = now_s
        if self._stage != "running":
            return []
        self._stage = "asked"
        return [self._timer(now_s)]

    def output_ended(self, now_s: float) -> list[Command]:
        """The worker has ended its data_out: it may stop."""
        commands = self.asked(now_s)
        if self._control:
            stop = Send(self._worker, "ctrl_in", encode(Data("fabric", STOP)))
            commands = [stop, Send(self._worker, "ctrl_in", encode(Eof("fabric"))), *commands]
        return commands

    def terminate(self, now_s: float) -> list[Command]:
        """End it without waiting."""
        if self._stage in ("terminated", "killed"):
            return []
        self._stage = "terminated"
        self.moved_s = now_s
        return [Signal(self._worker, "TERM"), self._timer(now_s)]

    def kill(self) -> list[Command]:
        """End it without asking."""
        self._stage = "killed"
        return [Signal(self._worker, "KILL")]

    def timer(self, now_s: float, *, owes: bool) -> list[Command]:
        """The time asked for is over.

        Args:
            owes: whether the worker has a message to answer, or its end to tell. One that waits for others is idle.
        """
        if self._stage == "asked":
            if not owes:
                self.moved_s = now_s
            if now_s < self.moved_s + self.grace_s:
                return [self._timer(self.moved_s)]
            self.forced = True
            fields = {"worker": self._worker, "grace_s": self.grace_s}
            return [Note("warning", "worker.killed", fields), *self.terminate(now_s)]
        if self._stage == "terminated":
            return self.kill()
        return []

    def _timer(self, since_s: float) -> SetTimer:
        return SetTimer(("grace", self._worker), since_s + self.grace_s)
