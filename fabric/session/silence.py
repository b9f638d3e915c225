"""A worker that has a message and says nothing: since when, and what follows from it.

    fed       timer, unless one runs
    timer     it has nothing, or spoke meanwhile: nothing, or a later timer
              silent for ``stall_s``: told once
              silent for its idle timeout: to be ended

A model may think for minutes, so silence alone ends nobody who was not said to have a limit. What is counted as a word
is any frame: an output, a control reply, telemetry.
"""

from __future__ import annotations

__all__ = ["Silence"]

from fabric.session.events import Command, Note, SetTimer


class Silence:
    """One worker's silence.

    Args:
        worker: its name.
        stall_s: after which it is told.
        idle_timeout_s: after which it is ended; ``None``: never.

    Attributes:
        told: whether it is silent for so long that it was told; false again as soon as it says something.
    """

    def __init__(self, worker: str, stall_s: float, idle_timeout_s: float | None) -> None:
        self.told = False
        self._worker = worker
        self._stall_s = stall_s
        self._idle_timeout_s = idle_timeout_s
        self._armed = False

    def fed(self, now_s: float) -> list[Command]:
        """It was given a message."""
        return [] if self._armed else [self._timer(now_s)]

    def timer(self, now_s: float, since_s: float | None) -> tuple[list[Command], bool]:
        """The time asked for is over. Return what to do, and whether the worker is to be ended.

        Args:
            now_s: by the session's clock.
            since_s: since when it is silent with a message; ``None``: it has none, or was told to pause.
        """
        self._armed = False
        if since_s is None:
            self.told = False
            return [], False
        limit_s = self._idle_timeout_s
        if limit_s is not None and now_s >= since_s + limit_s:
            return [], True
        commands: list[Command] = []
        if now_s >= since_s + self._stall_s and not self.told:
            self.told = True
            commands = [Note("warning", "worker.stalled", {"worker": self._worker, "silent_s": now_s - since_s})]
        if not self.told or limit_s is not None:
            commands.append(self._timer(since_s))
        else:
            commands.append(self._timer(now_s))
        return commands, False

    def _timer(self, since_s: float) -> SetTimer:
        """Return a timer for what comes next of a silence that began then."""
        self._armed = True
        after_s = self._stall_s
        if self._idle_timeout_s is not None:
            after_s = self._idle_timeout_s if self.told else min(after_s, self._idle_timeout_s)
        return SetTimer(("stall", self._worker), since_s + after_s)
