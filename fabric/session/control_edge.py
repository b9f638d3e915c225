"""What goes to one worker's ctrl_in, and whether it was answered.

A worker that forwards markers on all its ports gets one behind each control message, and returns it on ctrl_out behind
the replies. Until then the worker is not idle, so a loop through ctrl_out ends only when nothing is under way on it. A
reply that has to wait for the end of a message belongs to that message and comes before *its* marker.
"""

from __future__ import annotations

__all__ = ["WAITING_MAX", "ControlEdge"]

from fabric.errors import RemoteProtocolError
from fabric.session.delivery import Message, number_in
from fabric.session.failure import name_of, quoted
from fabric.wire.codec import encode
from fabric.wire.frame import Data, Marker, Provenance

WAITING_MAX = 1_000
"""Control messages that wait for a worker that is not there yet, or not now."""


class ControlEdge:
    """The edge to one worker's ctrl_in.

    Attributes:
        marks: whether the worker returns markers, on a ctrl_out that the graph reads.
        waiting: messages for a worker that is not there, as frames.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._messages = 0
        self.waiting: list[bytes] = []
        self.begin(0)

    def begin(self, incarnation: int) -> None:
        """The worker is a new process: what an earlier one was told it never answers."""
        self._prefix = f"ctl/{self._worker}/{incarnation}/"
        self._sent = self._returned = 0
        self.marks = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits and everything was answered."""
        return not self.waiting and self._returned == self._sent

    def frame(self, message: Message) -> bytes:
        """Return a message as a frame, numbered."""
        self._messages += 1
        origin = Provenance(message.trace_id, message.span_id, self._messages, message.parents)
        return encode(Data(message.topic, message.payload, origin))

    def send(self, frame: bytes) -> list[bytes]:
        """Return what to send for a frame: it, and its marker."""
        if not self.marks:
            return [frame]
        self._sent += 1
        return [frame, encode(Marker("fabric", f"{self._prefix}{self._sent}"))]

    def take_waiting(self) -> list[bytes]:
        """Return the frames that wait; they are the caller's now."""
        waiting, self.waiting = self.waiting, []
        return waiting

    def owns(self, marker: str) -> bool:
        """Say whether a marker is of this edge and of the worker's present process."""
        return marker.startswith(self._prefix)

    def returned(self, marker: str) -> None:
        """A marker of this edge is back; those before it are, too, for a channel keeps its order.

        Raises:
            RemoteProtocolError: it was never sent, or is back already.
        """
        number = number_in(marker, self._prefix)
        if not self._returned < number <= self._sent:
            text = f"{name_of(self._worker)} returned the control marker {quoted(marker)}, which is not on its way"
            raise RemoteProtocolError("marker", text)
        self._returned = number
