"""What is on its way to one worker, and what it has answered so far: delivery by commit markers.

    to data_in:     [message s]  [marker "ack/<edge>/<incarnation>/<s>"]
    from data_out:  [0..n outputs of s]  [marker "ack/<edge>/<incarnation>/<s>"]

The marker's return proves that message s is done and that all its outputs have arrived, for a channel keeps its
order; and it makes room for another. Outputs of s are held back until then and passed on together: whatever happens
to the worker, the graph sees each message's effect once or not at all. A worker that marks several ports commits when
the marker is back on all of them.

Source: Kafka's consume-process-produce transactions, with the coordinator as the log. Not taken: to recognise
completion by the parents of an output. A message with no output would never complete, one with two would too early.
"""

from __future__ import annotations

__all__ = ["Delivery", "Held", "Message", "Trace", "Unacked", "number_in"]

from collections import deque
from collections.abc import Iterator
from typing import TypeAlias

from fabric.errors import ChannelBroken, RemoteProtocolError
from fabric.session.failure import name_of, quoted
from fabric.session.numbering import Numbering
from fabric.session.snapshot import Counts
from fabric.wire.codec import BATCH_START, encode, payload_of, read_answers
from fabric.wire.frame import Eof, Marker

OUTPUTS_PER_INPUT_MAX = 10_000
"""Outputs held back for one message; a worker that gives more fails. ``release: "early"`` avoids holding."""

OUTPUT_BYTES_PER_INPUT_MAX = 64 * 1024 * 1024
"""Bytes held back for one message."""


SHORT_WAY_BYTES_MAX = 1024 * 1024
"""A larger batch is taken the long way, where its frames are counted first: that many bytes hold 20,000 outputs."""

BATCH_WINDOW_FACTOR = 4
"""How much wider the window of a worker is that reads batches. With 64 small messages on the way, half of the time goes
into waking each other up."""

SMALL_BYTES = 4 * 1024
"""What a message may have that goes beyond the window proper: all together have a megabyte then."""


class Trace:
    """One message that entered at the boundary, with all that descends from it.

    Attributes:
        id: 16 bytes.
        ticket: how the client recognises it; ``tickets``: the same for a message that counts for this trace alone.
        live: messages of it that exist now. Invariant: >= 0; at 0, outside a step of the session, the trace is settled.
    """

    __slots__ = ("id", "live", "ticket", "tickets")

    def __init__(self, id_: bytes, ticket: int) -> None:
        self.id = id_
        self.ticket = ticket
        self.tickets = (ticket,)
        self.live = 0


class Message:
    """A message inside the coordinator.

    Attributes:
        payload: JSON text, validated.
        traces: that it counts for; several behind a barrier, none for control replies. The first one's id travels.
        trace_id, span_id, parents: its provenance.
        topic: the worker, barrier or boundary port that it comes from.
        at_s: when it came into being, by the session's clock.
    """

    __slots__ = ("at_s", "parents", "payload", "span_id", "topic", "trace_id", "traces")

    def __init__(
        self,
        payload: bytes,
        traces: tuple[Trace, ...],
        trace_id: bytes,
        span_id: bytes,
        parents: bytes,
        topic: str,
        at_s: float = 0.0,
    ) -> None:
        self.payload = payload
        self.traces = traces
        self.trace_id = trace_id
        self.span_id = span_id
        self.parents = parents
        self.topic = topic
        self.at_s = at_s

    @property
    def tickets(self) -> tuple[int, ...]:
        """Of the inputs that it counts for."""
        traces = self.traces
        return traces[0].tickets if len(traces) == 1 else tuple([trace.ticket for trace in traces])


Held: TypeAlias = tuple[str, bytes, bytes | None]
"""An output that waits for its input's marker: the port it came from, its JSON text and, if traced, its span id."""


def number_in(marker: str, prefix: str) -> int:
    """Return the number behind the prefix of a marker that has it; 0 if what is there is none as we write them."""
    text = marker[len(prefix) :]
    written = text.isascii() and text.isdecimal() and text[0] != "0" and len(text) < len(str(1 << 64))
    return int(text) if written else 0


class Unacked:
    """A message that the worker has.

    Attributes:
        seq: its number on this edge.
        answered: whether an output came of it.
        marker: payload of the frame that goes behind it and comes back.
        outputs: what is held back until its marker returns.
        size_bytes: of the payloads held back.
        declined: why the worker does not do it, in words; empty if it does.
        worker: that has it. Of several replicas another one may be heard when it is passed on.
    """

    __slots__ = ("answered", "declined", "marker", "message", "outputs", "seq", "size_bytes", "worker")

    def __init__(self, seq: int, message: Message, marker: bytes, worker: str = "") -> None:
        self.seq = seq
        self.marker = marker
        self.message = message
        self.answered = False
        self.outputs: list[Held] = []
        self.size_bytes = 0
        self.declined = ""
        self.worker = worker


class Delivery:
    """The edge to one worker's data_in.

    Args:
        worker: its name.
        incarnation: counts the worker's processes, so that a marker of an earlier one is recognised.
        window: how many messages it may have unacknowledged.

    Attributes:
        queue: messages that wait. Who appends one counts its bytes.
        size_bytes: of the messages that wait.
        numbering: of what the worker sends.
    """

    def __init__(self, worker: str, incarnation: int, window: int) -> None:
        self.worker = worker
        self._marker_topic = encode(Eof("fabric"))
        self._window = window
        self.queue: deque[Message] = deque()
        self._unacked: deque[Unacked] = deque()
        self.size_bytes = 0
        self._committed = self._answered_before = 0
        self._suspects = 0
        self._suspect: Message | None = None
        self._deaths = 0
        self._done: list[Unacked] = []
        self.begin(incarnation)

    def begin(self, incarnation: int) -> int:
        """A process begins at this end. What the one before had and did not acknowledge goes to it first, once more.

        Return how many messages that are.
        """
        self._prefix = f"ack/{self.worker}/{incarnation}/"
        self._marker_prefix = payload_of(encode(Marker("fabric", self._prefix)))
        again = len(self._unacked)
        self._suspects = max(0, self._suspects - self._committed)
        self.size_bytes += sum(len(unacked.message.payload) for unacked in self._unacked)
        self.queue.extendleft(unacked.message for unacked in reversed(self._unacked))
        self._unacked.clear()
        self._answered_before += self._committed
        self._wide_window = self._window
        self._seq = 0
        self._committed = 0
        self._marked: dict[str, int] = {"output": 0}
        self._seen: dict[str, int] = {}
        self.numbering = Numbering(self.worker)
        self.may_send = False
        return again

    @property
    def idle(self) -> bool:
        """Whether no message waits for the worker or is with it."""
        return not (self._unacked or self.queue)

    @property
    def waiting(self) -> int:
        """Messages that wait or are with the worker."""
        return len(self._unacked) + len(self.queue)

    @property
    def counts(self) -> Counts:
        """How many messages have come how far."""
        answered = self._answered_before + self._committed
        return Counts(answered + len(self._unacked), answered, self.queued, len(self._unacked))

    @property
    def oldest_at_s(self) -> float | None:
        """When the oldest message that waits or is with the worker came into being."""
        heads = [self._unacked[0].message.at_s] if self._unacked else []
        heads += [self.queue[0].at_s] if self.queue else []
        return min(heads, default=None)

    def messages(self) -> Iterator[Message]:
        """Give what is with the worker, then what waits."""
        yield from (unacked.message for unacked in self._unacked)
        yield from self.queue

    @property
    def queued(self) -> int:
        """Messages that wait."""
        return len(self.queue)

    @property
    def oldest(self) -> Unacked | None:
        """The message that the worker is working on, as far as can be told."""
        return self._unacked[0] if self._unacked else None

    def given(self, span_id: bytes) -> Message | None:
        """Return the message with this span id, if the worker has it."""
        return next((one.message for one in self._unacked if one.message.span_id == span_id), None)

    def returned_until(self, port: str) -> int:
        """Return up to which message markers are back on a port, as far as what came on it tells."""
        return self._marked.get(port, self._seen.get(port, 0))

    def has_told_of(self, unacked: Unacked, port: str) -> bool:
        """Whether all is there that comes on a port for a message of this worker.

        Of a process that is gone nothing comes any more; what it answered may still wait for other replicas.
        """
        of_this_process = unacked.seq <= self._seq and unacked.marker.startswith(self._marker_prefix)
        return not of_this_process or unacked.seq <= self.returned_until(port)

    def widen(self) -> None:
        """The worker reads batches: what it waits for are those, so there have to be several of them on the way."""
        if self._window > 1:
            self._wide_window = self._window * BATCH_WINDOW_FACTOR

    def mark(self, ports: frozenset[str]) -> None:
        """Say which ports besides ``output`` return markers. Before the first message."""
        assert self._seq == 0
        self._marked = {"output": 0} | dict.fromkeys(sorted(ports), 0)

    def marks(self, port: str) -> bool:
        """Whether markers return on this port."""
        return port in self._marked

    def owes(self, port: str) -> bool:
        """Whether the worker has a message whose marker is not back on this port, as far as what came on it tells."""
        return self._seq > self._marked.get(port, self._seen.get(port, 0))

    def offer(self, message: Message) -> None:
        """Queue a message."""
        self.queue.append(message)
        self.size_bytes += len(message.payload)

    def take(self) -> list[Unacked]:
        """Return the messages to send: as many as the window allows, and more small ones for who reads batches."""
        taken: list[Unacked] = []
        if not self.may_send:
            return taken
        sent, window, wide_window, queue = len(self._unacked), self._window, self._wide_window, self.queue
        if self._committed < self._suspects:
            window = wide_window = 1
        while queue and sent < wide_window:
            if sent >= window and len(queue[0].payload) > SMALL_BYTES:
                break
            sent += 1
            self._seq += 1
            message = queue.popleft()
            self.size_bytes -= len(message.payload)
            taken.append(Unacked(self._seq, message, self._marker_prefix + b"%d" % self._seq, self.worker))
        self._unacked += taken
        return taken

    def marker(self, seq: int) -> str:
        """Return the id of the marker that goes behind message ``seq``."""
        return f"{self._prefix}{seq}"

    def marker_frame(self, unacked: Unacked) -> bytes:
        """Return the marker that goes behind a message, as a frame."""
        return self._marker_topic + unacked.marker

    def owns(self, marker: str) -> bool:
        """Whether a marker is one of this edge."""
        return marker.startswith(self._prefix)

    def cause(self, port: str) -> Unacked:
        """Return the message of which something that came on a marking port is an outcome.

        Raises:
            RemoteProtocolError: no message is with the worker.
        """
        if not self.has_cause(port):
            text = f"{name_of(self.worker)} sent an output on {port} with no input in flight"
            raise RemoteProtocolError("unasked", text)
        unacked = self._unacked[self._marked[port] - self._committed]
        unacked.answered |= port == "output"
        return unacked

    def has_cause(self, port: str) -> bool:
        """Whether the port marks, and something that comes on it now is an outcome of a message."""
        return port in self._marked and self._marked[port] - self._committed < len(self._unacked)

    def leads(self, _unacked: Unacked) -> bool:
        """Whether outputs of a message need not wait for others, but for its own marker at most."""
        return True

    def hold(self, port: str, payload: bytes, span_id: bytes | None) -> None:
        """Keep an output until its message is committed.

        Raises:
            RemoteProtocolError: no message is with the worker.
            ChannelBroken: it answered with more than may be held.
        """
        unacked = self.cause(port)
        unacked.outputs.append((port, payload, span_id))
        unacked.size_bytes += len(payload)
        if len(unacked.outputs) > OUTPUTS_PER_INPUT_MAX or unacked.size_bytes > OUTPUT_BYTES_PER_INPUT_MAX:
            raise ChannelBroken(
                "outputs",
                f"{name_of(self.worker)} answered one message with {len(unacked.outputs)} outputs,"
                f" {unacked.size_bytes} bytes; at most {OUTPUTS_PER_INPUT_MAX} and {OUTPUT_BYTES_PER_INPUT_MAX}",
            )

    def take_done(self) -> list[Unacked]:
        """Return the messages that this worker was found to be done with last, whenever they are passed on; once."""
        done, self._done = self._done, []
        return done

    def collect(self, batch: bytes) -> tuple[list[Unacked], int]:
        """Take outputs and markers as they come from data_out; return the messages that are committed, in order.

        The second is an offset in the batch, behind the last marker that was as expected. From there the caller takes
        the long way: :func:`~fabric.wire.codec.decode`, :meth:`hold` and :meth:`returned`, of which this is the short
        way, at a fraction of the price, for a worker that marks one port.
        """
        unacked = self._unacked
        if len(self._marked) > 1 or not unacked or len(batch) > SHORT_WAY_BYTES_MAX:
            return [], BATCH_START
        if unacked[0].size_bytes + len(batch) > OUTPUT_BYTES_PER_INPUT_MAX:
            return [], BATCH_START
        groups, behind, first, last = read_answers(batch, "output", [one.marker for one in unacked])
        if len(unacked[0].outputs) + max(map(len, groups), default=0) > OUTPUTS_PER_INPUT_MAX:
            return [], BATCH_START
        if not self.numbering.take_all("output", first, last, sum(map(len, groups))):
            return [], BATCH_START
        committed = []
        for group in groups:
            one = unacked.popleft()
            one.outputs += group
            committed.append(one)
        self._committed += len(committed)
        self._marked["output"] = self._committed
        self._done = committed
        return committed, behind

    def returned(self, port: str, marker: str) -> list[Unacked]:
        """Take note of a marker's return; return the messages that are thereby committed, in order.

        Raises:
            RemoteProtocolError: it is not on its way: it was never sent, or has been returned.
            ChannelBroken: one that was sent before it is not back on this port.
        """
        if port not in self._marked:  # it says nothing there; yet who makes markers up is to be known
            self._seen[port] = self._on_its_way(port, marker, self._seen.get(port, 0))
            return []
        before = self._marked[port]
        number = self._on_its_way(port, marker, before)
        if number > before + 1:
            text = (
                f"{name_of(self.worker)} returned marker {quoted(marker)} on {port} before {self.marker(before + 1)!r}"
            )
            raise ChannelBroken("order", text)
        self._marked[port] = number
        committed = []
        # Markers of the other ports may come behind the end of the output, which has settled everything.
        while self._unacked and self._committed < min(self._marked.values()):
            self._committed += 1
            committed.append(self._unacked.popleft())
        self._done = committed
        return committed

    def _on_its_way(self, port: str, marker: str, before: int) -> int:
        """Return the number of a marker that was sent and is not back, with all up to ``before`` being so."""
        if before < self._seq and marker == self.marker(before + 1):
            return before + 1
        number = number_in(marker, self._prefix) if self.owns(marker) else 0
        if not before < number <= self._seq:
            text = f"{name_of(self.worker)} returned marker {quoted(marker)} on {port}, which is not on its way"
            raise RemoteProtocolError("marker", text)
        return number

    def crashed(self, span_id: bytes = b"") -> tuple[Message | None, int]:
        """The process is gone. Return the message that it died of, as far as can be told, and how many died with it.

        A process that is killed takes answers along, so it is not seen which of its messages it was at work on. All of
        them are suspects, and the next processes get these one at a time: an innocent one is answered, the other
        one is alone when it kills again.

        Args:
            span_id: of the message, if the process has said which it was. Else it is the oldest that it had: workers
                answer in order.
        """
        had = [unacked.message for unacked in self._unacked]
        named = [message for message in had if message.span_id == span_id]
        if not had:  # it died of nothing that it was given
            return None, 0
        suspect = (named or had)[0]
        if suspect is self._suspect:
            self._deaths += 1
        else:  # if others died of it or of what was before it, one had it as well
            self._deaths = 2 if self._committed < self._suspects else 1
        self._suspect = suspect
        if not named:
            self._suspects = max(self._suspects, self._committed + len(had))
        return suspect, self._deaths

    def remove(self, message: Message) -> list[Unacked]:
        """Take a message back that the worker had; no other process of it gets it. Return what that lets go on."""
        self._unacked = deque(unacked for unacked in self._unacked if unacked.message is not message)
        self._suspects = max(0, self._suspects - 1)
        return []

    def give_up(self) -> list[Message]:
        """Take back what the worker has and did not acknowledge; it does not go to another process."""
        given_up = [unacked.message for unacked in self._unacked]
        self._unacked.clear()
        return given_up

    def end(self) -> tuple[list[Unacked], list[Message]]:
        """The worker has ended its output: return the message that its last outputs commit, and those left behind."""
        committed = [self._unacked.popleft()] if self._unacked and self._unacked[0].answered else []
        left = [*(unacked.message for unacked in self._unacked), *self.queue]
        self._unacked.clear()
        self.queue.clear()
        self.size_bytes = 0
        self.may_send = False
        return committed, left
