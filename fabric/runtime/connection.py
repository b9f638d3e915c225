"""Who asks a service for something: a client on its socket, with what is queued for it and what it looks at; or one in
this process."""

from __future__ import annotations

__all__ = ["Asker", "Connection", "Inquiry"]

from collections.abc import Sequence

import msgspec
import trio

from fabric.runtime.service_protocol import Answer, write
from fabric.session.events import Seen

UNREAD_BYTES_MAX = 64 * 1024 * 1024
"""Answers that a client may leave unread before its connection is given up."""

TAIL_UNREAD_BYTES_MAX = 1024 * 1024
"""Beyond this, what a client only looks at is left out, and counted: thousands of lines, which nobody reads as fast."""


class Asker:
    """Who asks.

    Attributes:
        tickets: what it has asked for and has not settled; ``settled`` is set when there is none left.
    """

    def __init__(self) -> None:
        self.tickets: set[int] = set()
        self.settled = trio.Event()

    def answer(self, answer: Answer) -> None:
        """Take an answer."""
        raise NotImplementedError

    def done(self, ticket: int) -> None:
        """Nothing more will be answered to this."""
        self.tickets.discard(ticket)
        if not self.tickets:
            self.settled.set()


class Inquiry(Asker):
    """One request of somebody in this process.

    Attributes:
        answers: so far, but for outputs, of which only the number is kept.
        outputs: how many.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Answer] = []
        self.outputs = 0

    def answer(self, answer: Answer) -> None:
        """See :class:`Asker`."""
        if answer.output is msgspec.UNSET:
            self.answers.append(answer)
        else:
            self.outputs += 1


class Connection(Asker):
    """One client. Answers are queued, and written by a task of their own.

    Attributes:
        broken: cancelled when it is given up.
        unread_outputs: outputs that it has not read.
        tail: the sinks that it looks at, each with the name of its channel.
        waits_since_s: since when it has not read what lies before it; ``None``: nothing does.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__()
        self.stream = stream
        self.broken = trio.CancelScope()
        self.unread_outputs = 0
        self.tail: dict[int, str] = {}
        self.waits_since_s: float | None = None
        self._sending_bytes = 0
        self._tail_id = 0
        self._left_out = 0
        self._unwritten = bytearray()
        self._to_write = trio.Event()
        self._written = trio.Event()
        self._written.set()

    @property
    def unread_bytes(self) -> int:
        """What lies before it."""
        return self._sending_bytes + len(self._unwritten)

    def answer(self, answer: Answer) -> None:
        """Queue an answer; give the client up if too many lie there."""
        self._unwritten += write(answer)
        if answer.output is not msgspec.UNSET:
            self.unread_outputs += 1
        if self._written.is_set():
            self._written = trio.Event()
        self._to_write.set()
        if len(self._unwritten) > UNREAD_BYTES_MAX:
            self.broken.cancel()

    def look_at(self, request_id: int, sinks: dict[int, str]) -> None:
        """Show from now on what comes to these sinks; each with the name of its channel."""
        self._tail_id, self.tail = request_id, sinks

    def show(self, messages: Sequence[Seen]) -> None:
        """Queue what is looked at as long as the client keeps up; count what is left out."""
        for seen in messages:
            channel = self.tail.get(seen.sink)
            if channel is None:
                continue
            if self._left_out or len(self._unwritten) > TAIL_UNREAD_BYTES_MAX:
                self._left_out += 1
                continue
            payload = msgspec.Raw(seen.payload)
            self.answer(Answer(self._tail_id, channel=channel, msg=payload, trace=seen.trace_id.hex()))

    async def write(self) -> None:
        """Write what is queued, for ever."""
        while True:
            await self._to_write.wait()
            while self._unwritten:
                data, self._unwritten = bytes(self._unwritten), bytearray()
                if self._left_out:
                    self.answer(Answer(self._tail_id, left_out=self._left_out))
                    self._left_out = 0
                outputs = self.unread_outputs
                self._sending_bytes, self.waits_since_s = len(data), trio.current_time()
                await self.stream.send_all(data)
                self._sending_bytes, self.waits_since_s = 0, None
                self.unread_outputs -= outputs
            self._to_write = trio.Event()
            self._written.set()

    async def wait_written(self) -> None:
        """Return when nothing is queued."""
        await self._written.wait()
