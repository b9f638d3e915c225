"""One worker's life, as one table that the coordinator and the worker both obey.

    LAUNCHED  the process exists
    READY     it has announced itself on ctrl_out; the probe marker is on its way
    RUNNING   the probe came back on data_out: it forwards markers, so it may be trusted with messages
    DRAINING  the end of data_in was sent to it, behind every acknowledgement
    DRAINED   it has sent the end of its data_out; its other ports are served until it exits
    EXITED    the process is gone

What is not in the table is an error of the side that caused it. Neither side looks at which of the two it is.
"""

from __future__ import annotations

__all__ = ["BROKE_OFF", "TABLE", "Life", "State", "Step"]

from enum import Enum, auto

from fabric.errors import RemoteProtocolError

BROKE_OFF = -256
"""The exit status of a worker of which only the connection is known, if that broke off. No signal has this number."""


class State(Enum):
    """Where a worker is in its life."""

    LAUNCHED = auto()
    READY = auto()
    RUNNING = auto()
    DRAINING = auto()
    DRAINED = auto()
    EXITED = auto()


class Step(Enum):
    """What moves a worker on."""

    ANNOUNCE = "ready on ctrl_out"
    PROBE = "probe marker on data_out"
    EOF_IN = "end of data_in"
    OUTPUT = "message on data_out"
    EOF_OUT = "end of data_out"
    EXIT = "exit of the process"


TABLE: dict[tuple[State, Step], State] = {
    (State.LAUNCHED, Step.ANNOUNCE): State.READY,
    (State.READY, Step.PROBE): State.RUNNING,
    (State.RUNNING, Step.OUTPUT): State.RUNNING,
    (State.RUNNING, Step.EOF_IN): State.DRAINING,
    (State.RUNNING, Step.EOF_OUT): State.DRAINED,  # max_messages was reached, or it was told to stop
    (State.DRAINING, Step.OUTPUT): State.DRAINING,  # frames that crossed the end of data_in
    (State.DRAINING, Step.EOF_OUT): State.DRAINED,
    (State.LAUNCHED, Step.EXIT): State.EXITED,
    (State.READY, Step.EXIT): State.EXITED,
    (State.RUNNING, Step.EXIT): State.EXITED,
    (State.DRAINING, Step.EXIT): State.EXITED,
    (State.DRAINED, Step.EXIT): State.EXITED,
}


class Life:
    """One worker's state.

    Args:
        worker: its name, for messages.
    """

    __slots__ = ("state", "worker")

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.state = State.LAUNCHED

    def advance(self, step: Step) -> None:
        """Go on.

        Raises:
            RemoteProtocolError: the table does not have this step in this state.
        """
        try:
            self.state = TABLE[self.state, step]
        except KeyError:
            text = f"worker '{self.worker}': {step.value} is not allowed in {self.state.name}"
            raise RemoteProtocolError("lifecycle", text) from None
