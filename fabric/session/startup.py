"""Start one worker: launch it, wait for its announcement, probe it, trust it.

    begin       Launch, timer
    announced   Send probe marker               the worker's sockets are open
    probed      -                               it forwards markers, in order, behind what it had sent before
    timer       failure                         whichever of the two is missing by then is named

The reaper runs before this wait begins, so a worker that dies at once is noticed at once. "Ready" does not prove that
its data_in has connected: sending waits in the transport until it has.
"""

from __future__ import annotations

__all__ = ["Startup", "start_it", "where_awaited"]

from fabric.plan.plan import WorkerPlan
from fabric.session.events import Command, Launch, Send, SetTimer
from fabric.wire.codec import encode
from fabric.wire.frame import PROBE_PREFIX, Marker
from fabric.wire.lifecycle import Life, State, Step


class Startup:
    """One worker's start.

    Args:
        life: its state.
        incarnation: counts its processes.
        ready_timeout_s: how long launch, announcement and probe may take together; ``None``: any time.
        probe: whether to probe; a worker that does not forward markers, and says so, is not.
    """

    def __init__(self, life: Life, incarnation: int, ready_timeout_s: float | None, *, probe: bool = True) -> None:
        self.marker = f"{PROBE_PREFIX}{life.worker}/{incarnation}"
        self._life = life
        self._worker = life.worker
        self._timeout_s = ready_timeout_s
        self._incarnation = incarnation
        self._probe = probe

    def begin(self, now_s: float, *, limited: bool = True) -> list[Command]:
        """Launch; ``limited``: its time begins now."""
        return [Launch(self._worker, self._incarnation), *(self.limit(now_s) if limited else [])]

    def limit(self, now_s: float) -> list[Command]:
        """Its time begins.

        That of a worker which somebody else starts begins when our sockets are open. Before that it could not come, and
        why they do not open (an address is in use) is what has to be told.
        """
        return [] if self._timeout_s is None else [SetTimer(("ready", self._worker), now_s + self._timeout_s)]

    def announced(self) -> list[Command]:
        """The worker says that it is ready. Raises RemoteProtocolError if it said so before."""
        self._life.advance(Step.ANNOUNCE)
        if not self._probe:
            self._life.advance(Step.PROBE)
            return []
        return [Send(self._worker, "input", encode(Marker("fabric", self.marker)))]

    def awaits(self, marker: str) -> bool:
        """Whether a marker is the probe, and was sent."""
        return marker == self.marker and self._probe and self._life.state is not State.LAUNCHED

    def probed(self) -> None:
        """The probe came back on ``output``. Raises RemoteProtocolError if it was not on its way."""
        self._life.advance(Step.PROBE)

    def missing(self) -> str | None:
        """Return what is still waited for, in words, or ``None`` if nothing is: the meaning of the timer."""
        match self._life.state:
            case State.LAUNCHED:
                return f"did not say that it is ready within {self._timeout_s:g} s"
            case State.READY:
                return (
                    f"did not return a marker within {self._timeout_s:g} s: it has to forward markers (PROTOCOL.md §3),"
                    " or its binding has to say compat: true"
                )
        return None


def start_it(worker: str) -> str:
    """Say how a worker is started that somebody else starts."""
    return f"start it where it runs: fabric worker {worker}"


def where_awaited(worker: WorkerPlan) -> str:
    """Say where somebody is waited for, and how he comes there; it goes behind what is missing."""
    output = worker.endpoints.get("output")
    tried = f" (tried {output.connect})" if output is not None else ""
    return f"{tried}; {start_it(worker.name)}"
