"""What goes to one worker's ctrl_in, who asked for it, and whether it was answered.

Three speak to a worker here: the graph, an operator, and the session itself, which asks for an agent's memory and gives
it back. Replies carry no address. But each kind of request has its kind of reply, and a channel keeps its order, so the
n-th reply of a kind answers the n-th request for it. What the graph did not ask for does not go into the graph.

A worker that returns markers gets one behind each message, and returns it on ctrl_out behind the replies. Until then
the worker is not idle, so a loop through ctrl_out ends only when nothing is under way on it. A reply that has to wait
for the end of a message belongs to that message and comes before *its* marker.

A process that takes the place of a crashed one gets first what it was set to, then what was not answered.
"""

from __future__ import annotations

__all__ = ["WAITING_MAX", "Asker", "ControlEdge"]

from collections import deque
from typing import Any, Literal, NamedTuple, TypeAlias

from fabric.errors import RemoteProtocolError
from fabric.session.delivery import Message, number_in
from fabric.session.failure import name_of, quoted
from fabric.wire.codec import encode
from fabric.wire.control import REPLIES_LATE, kind_of, read_object, replies_to
from fabric.wire.frame import Data, Marker, Provenance
from fabric.wire.payload import encode_json

WAITING_MAX = 1_000
"""Control messages that wait for a worker that is not there yet, or not now."""

Asker: TypeAlias = int | Literal["graph", "session", "past"]
"""Who sent something: an operator, by the ticket of the request, or one of the two; or an operator who is gone."""


class Reply(NamedTuple):
    """What a worker said, and to whom.

    Attributes:
        asker: who asked for it; the graph for what nobody did.
        payload: JSON text; all replies as an array, if several were asked for.
        complete: whether that is all that was asked for.
        place: the number of the message to which it is a reply; 0: of none that has one.
        replaces: what the memory was replaced by, if that is what this says.
    """

    asker: Asker
    payload: bytes
    complete: bool = True
    place: int = 0
    replaces: list[Any] | None = None


class _Request:
    """Something that was sent, or waits.

    Attributes:
        expected: kinds of replies that are to come.
        got: those that came.
        late: whether its marker is back and its reply has to wait for the end of a message.
        told: whether who asked for no reply was told that it was sent.
        number: of its marker, among those that were sent to this process.
        place: counts what the graph and operators send to this worker, from 1; 0: it is the session's own.
        fields: what it asks for.
        known: kinds of replies that an earlier process gave to it, and that come again.
    """

    __slots__ = ("asker", "expected", "fields", "frame", "got", "known", "late", "number", "place", "told")

    def __init__(
        self, frame: bytes, asker: Asker, expected: tuple[str, ...], fields: dict[str, Any], place: int = 0
    ) -> None:
        self.fields = fields
        self.place = place
        self.frame = frame
        self.asker: Asker = asker
        self.expected = list(expected)
        self.got: list[bytes] = []
        self.known: list[str] = []
        self.late = False
        self.told = False
        self.number = 0

    @property
    def answered(self) -> bool:
        """Whether who sent it has all that is to be had."""
        return not self.expected and (self.told or bool(self.got))

    @property
    def heard(self) -> bool:
        """Whether all replies have come that it asks for, and it asks for some."""
        return not self.expected and bool(self.got)


class ControlEdge:
    """The edge to one worker's ctrl_in.

    Attributes:
        marks: whether the worker returns markers on ctrl_out.
        may_send: whether it is there.
        settings: what the worker was set to, by field.
        count: of what the graph and operators have sent, or wanted to send.
        over: the numbers of these of which nothing more will come, and that were not the end of a reply.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._messages = 0
        self.count = 0
        self.over: list[int] = []
        self._waiting: deque[_Request] = deque()
        self._asked: deque[_Request] = deque()
        self.settings: dict[str, Any] = {}
        self.begin(0)

    def begin(self, incarnation: int) -> None:
        """The worker is a new process. It is told again what the one before did not answer."""
        self._prefix = f"ctl/{self._worker}/{incarnation}/"
        self._sent = self._returned = 0
        waits = [request for request in self._asked if request.expected or not request.got]  # the others were heard
        again = [request for request in waits if request.asker != "session"]
        for request in again:
            kinds = [kind_of(reply) for reply in request.got]
            request.got.clear()
            request.expected += kinds
            if request.asker == "graph":  # it has these
                request.known += kinds
        self._waiting.extendleft(reversed(again))
        self._asked.clear()
        self.marks = self.may_send = False

    @property
    def waiting(self) -> int:
        """How many messages wait for the worker."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and every marker is back."""
        return not self._waiting and self._returned == self._sent

    @property
    def awaited(self) -> bool:
        """Whether the session waits for a reply itself."""
        return any(request.asker == "session" and request.expected for request in self._asked)

    @property
    def remembering(self) -> bool:
        """Whether a reply about its memory is to come."""
        return any(kind in REPLIES_LATE for request in self._asked for kind in request.expected)

    # --- to the worker ---

    def tell(self, message: Message, *, bounded: bool = True) -> bool:
        """Queue a message of the graph; return whether there was room, if it is ``bounded``."""
        if bounded and len(self._waiting) >= WAITING_MAX:
            self.drop()
            return False
        self._messages += 1
        origin = Provenance(message.trace_id, message.span_id, self._messages, message.parents)
        self._queue(encode(Data(message.topic, message.payload, origin)), "graph", message.payload)
        return True

    def drop(self) -> None:
        """A message of the graph goes no further."""
        self.count += 1
        self.over.append(self.count)

    def ask(self, payload: bytes, asker: Asker) -> None:
        """Queue a message of an operator."""
        self._queue(encode(Data("fabric", payload)), asker, payload)

    def command(self, fields: dict[str, Any]) -> list[bytes]:
        """Return the frames of a message of the session's own, which does not wait. Its replies stay here."""
        payload = encode_json(fields)
        return self._send(_Request(encode(Data("fabric", payload)), "session", replies_to(fields), fields))

    def _queue(self, frame: bytes, asker: Asker, payload: bytes) -> None:
        fields = read_object(payload)
        self.settings |= {name: fields[name] for name in ("set_temp", "set_model") if name in fields}
        self.count += 1
        self._waiting.append(_Request(frame, asker, replies_to(fields), fields, self.count))

    def settle(self, place: int) -> dict[str, Any]:
        """What waits with this number was done by a process of the past: return what it asked for, if there is such."""
        request = self._waiting_at(place)
        if request is None:
            return {}
        self._waiting.remove(request)
        return request.fields

    def settle_part(self, place: int, reply: bytes) -> list[Any] | None:
        """A process of the past gave a reply to what waits with this number, which is done if it was the last.

        Return what the memory was replaced by, if that is what the reply says.
        """
        request, kind = self._waiting_at(place), kind_of(reply)
        if request is None or kind not in request.expected or kind in request.known:
            return None
        request.known.append(kind)
        if len(request.known) == len(request.expected):
            self._waiting.remove(request)
        return request.fields.get("set_memory") if kind == "memory_set" else None

    def _waiting_at(self, place: int) -> _Request | None:
        return next((request for request in self._waiting if request.place == place), None)

    def take(self) -> tuple[list[bytes], list[int]]:
        """Return the frames to send now, and the tickets of those who asked for no reply."""
        frames: list[bytes] = []
        done: list[int] = []
        while self.may_send and self._waiting:
            request = self._waiting.popleft()
            frames += self._send(request)
            if not (request.expected or request.told) and isinstance(request.asker, int):
                request.told = True
                done.append(request.asker)
        return frames, done

    def _send(self, request: _Request) -> list[bytes]:
        if request.expected or self.marks:
            self._asked.append(request)
        elif request.place:
            self.over.append(request.place)
        if not self.marks:
            return [request.frame]
        self._sent += 1
        request.number = self._sent
        return [request.frame, encode(Marker("fabric", f"{self._prefix}{self._sent}"))]

    def give_up(self) -> tuple[int, list[int]]:
        """The worker gets nothing more: return how many messages of the graph wait, and who waits for an answer."""
        lost = sum(request.asker == "graph" for request in self._waiting)
        requests = [*self._asked, *self._waiting]
        self._asked.clear()
        self._waiting.clear()
        self.over += [request.place for request in requests if request.place and not request.heard]
        self._returned = self._sent  # markers that it owes do not come any more
        return lost, [request.asker for request in requests if isinstance(request.asker, int) and not request.answered]

    # --- from the worker ---

    def heard(self, payload: bytes) -> Reply:
        """Return to whom the worker says this."""
        kind = kind_of(payload)
        for request in self._asked:
            if kind in request.expected:
                request.expected.remove(kind)
                request.got.append(payload)
                complete = not request.expected
                asker: Asker = request.asker
                if kind in request.known:
                    request.known.remove(kind)
                    asker = "past"
                if complete and not self.marks:
                    self._asked.remove(request)
                if isinstance(request.asker, int) and complete and len(request.got) > 1:
                    payload = b"[" + b",".join(request.got) + b"]"
                replaces = request.fields.get("set_memory") if kind == "memory_set" else None
                return Reply(asker, payload, complete, request.place, replaces)
        return Reply("graph", payload)

    def owns(self, marker: str) -> bool:
        """Say whether a marker is of this edge and of the worker's present process."""
        return marker.startswith(self._prefix)

    def returned(self, marker: str, *, busy: bool) -> list[int]:
        """A marker of this edge is back; those before it are, too, for a channel keeps its order.

        Args:
            marker: its id.
            busy: whether the worker has a message, by what came on ctrl_out, since other ports may be ahead of it; what
                it says of its memory comes behind that.

        Return the tickets of those who will get no reply: the worker understood nothing of what it was asked.

        Raises:
            RemoteProtocolError: it was never sent, or is back already.
        """
        number = number_in(marker, self._prefix)
        if not self._returned < number <= self._sent:
            text = f"{name_of(self._worker)} returned the control marker {quoted(marker)}, which is not on its way"
            raise RemoteProtocolError("marker", text)
        self._returned = number
        kept: deque[_Request] = deque()
        unanswered = []
        for request in self._asked:
            back = request.number <= self._returned
            request.late = back and busy and any(kind in REPLIES_LATE for kind in request.expected)
            if request.late or not back:
                kept.append(request)
                continue
            if request.place and not request.heard:
                self.over.append(request.place)
            if request.expected and isinstance(request.asker, int):
                unanswered.append(request.asker)
        self._asked = kept
        return unanswered

    def message_ended(self) -> list[int]:
        """A message has ended, and what had to wait for its end was said before: return who will get no reply."""
        unanswered = [request for request in self._asked if request.late and request.expected]
        for request in unanswered:
            self._asked.remove(request)
            self.over += [request.place] if request.place else []
        return [request.asker for request in unanswered if isinstance(request.asker, int)]
