"""Talk to a service: requests out, answers back as they come. Also: one request, one answer."""

from __future__ import annotations

__all__ = ["ANSWER_S", "Listener", "ask", "listen", "talk"]

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
import trio

from fabric.errors import FabricError, NoAnswer, NotRunning, ValueRejected
from fabric.runtime.service_protocol import Answer, Request, read_answer, write
from fabric.runtime.services import Record
from fabric.wire.lines import DATA, LineSplitter, read_line
from fabric.wire.payload import decode_json

ANSWER_S = 2.0
"""How long a service may take to answer what it answers at once. A step of its session takes milliseconds."""

RETRY_S = 0.05
"""Between attempts to reach a service that is about to open its socket, or about to end."""

ANSWER_BYTES_MAX = 1024 * 1024 * 1024
"""Of one answer. An output of a graph may be as large as its parts together."""


async def ask(service: Record, request: Request) -> Answer:
    """Return the answer to a request that has one.

    Raises:
        NotRunning: the service has ended.
        NoAnswer: it has not, and it does not answer.
    """
    why = "it may be stopped, or its machine overloaded"
    with trio.move_on_after(ANSWER_S):
        while service.alive:
            try:
                async with await trio.open_unix_socket(service.socket) as stream:
                    await stream.send_all(write(request))
                    splitter = LineSplitter(ANSWER_BYTES_MAX)
                    while chunk := await stream.receive_some():
                        for line in splitter.feed(bytes(chunk)):
                            return read_answer(line)
            except FileNotFoundError:  # not open yet, or not any more, unless it stays so
                why = f"its socket {service.socket} is gone: kill -TERM {service.process.pid} drains it"
            except (OSError, trio.BrokenResourceError):
                pass  # it ends: the next look at its process tells
            await trio.sleep(RETRY_S)
    if not service.alive:
        raise NotRunning(f"'{service.project}' has ended")
    raise NoAnswer(
        f"'{service.project}' (pid {service.process.pid}) runs, and did not answer within {ANSWER_S:g} s; {why}"
    )


async def listen(service: Record, requests: Iterable[Request], hear: Callable[[Answer], bool]) -> None:
    """Make requests and hear the answers, until enough is heard or the service hangs up.

    Args:
        service: whom to ask.
        requests: what.
        hear: takes each answer; returns whether to go on.

    Raises:
        NotRunning: the service cannot be reached, or has ended.
        NoAnswer: it is there, and does not even say that it has heard.
    """
    try:
        stream = await trio.open_unix_socket(service.socket)
    except OSError as error:
        raise NotRunning(f"cannot reach '{service.project}' (pid {service.process.pid}): {error.strerror}") from None
    splitter = LineSplitter(ANSWER_BYTES_MAX)
    heard = False
    async with stream:
        try:
            await stream.send_all(b"".join(map(write, requests)))
            while True:
                with trio.move_on_after(float("inf") if heard else ANSWER_S) as waiting:
                    chunk = await stream.receive_some()
                if waiting.cancelled_caught:
                    raise NoAnswer(
                        f"'{service.project}' (pid {service.process.pid}) runs, and did not answer within"
                        f" {ANSWER_S:g} s; it may be stopped, or its machine overloaded. What was asked for"
                        " will be done when it goes on"
                    )
                if not chunk:
                    return
                heard = True
                for line in splitter.feed(bytes(chunk)):
                    if not hear(read_answer(line)):
                        return
        except trio.BrokenResourceError:
            return


class Listener(Protocol):
    """Who hears the answers."""

    def output(self, payload: bytes) -> None:
        """Something came of a message."""
        ...

    def failed(self, message: str, code: str, line: int, node: str) -> None:
        """A message (by its number, 0: none in particular) was refused, or the talk broke off."""
        ...


async def talk(
    running: Record,
    port: str | None,
    lines: Iterable[bytes],
    listener: Listener,
    *,
    wait: bool,
    wait_timeout_s: float | None,
    key: str = "",
) -> None:
    """Send messages to a service and tell the listener what comes of them.

    Args:
        running: the service.
        port: the input that lines are for which do not say one.
        lines: each a JSON value, or an envelope that says its port.
        listener: hears outputs and failures.
        wait: for all that comes of the messages; otherwise only until they have been accepted.
        wait_timeout_s: the longest wait; None: for ever.
        key: of the first message, by which it is known when it is sent again; of the second with ``/2``, and so on.

    Raises:
        NotRunning: the service cannot be reached.
    """
    try:
        stream = await trio.open_unix_socket(running.socket)
    except OSError as error:
        raise NotRunning(f"cannot reach '{running.project}' (pid {running.process.pid}): {error.strerror}") from None
    conversation = _Talk(stream, listener, wait=wait, key=key)
    with trio.move_on_after(wait_timeout_s if wait_timeout_s is not None else float("inf")) as waiting:
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(conversation.write, port, lines)
            await conversation.read()
            nursery.cancel_scope.cancel()
    if waiting.cancelled_caught:
        listener.failed(f"not done after {wait_timeout_s:g} s", "timeout", 0, "")
    elif conversation.missing:
        missing = f"{conversation.missing} message{'s' * (conversation.missing != 1)}"
        listener.failed(f"the service ended before it had answered {missing}", "service_ended", 0, "")


class _Talk:
    def __init__(self, stream: trio.SocketStream, listener: Listener, *, wait: bool, key: str) -> None:
        self._key = key
        self._stream = stream
        self._listener = listener
        self._wait = wait
        self._all_sent = False
        self._reading = trio.CancelScope()
        self.missing = 0

    async def write(self, port: str | None, lines: Iterable[bytes]) -> None:
        """Send each message; stop at the first line that is none."""
        each = enumerate(lines, 1)
        # In a thread: the lines may come from a terminal.
        while (numbered := await trio.to_thread.run_sync(next, each, None, abandon_on_cancel=True)) is not None:
            number, line = numbered
            named, payload = read_line(line)
            try:
                decode_json(payload)
            except FabricError as error:
                self._listener.failed(str(error), "input_type_mismatch", number, "")
                break
            self.missing += 1
            key = f"{self._key}/{number}" if self._key and number > 1 else self._key
            request = Request(number, msgspec.Raw(payload), port if named == DATA else named, key=key)
            try:
                await self._stream.send_all(write(request))
            except trio.BrokenResourceError:
                return  # the reader sees why
        self._all_sent = True
        self._stop_if_done()
        try:
            await self._stream.send_eof()
        except trio.BrokenResourceError:
            return

    async def read(self) -> None:
        """Hear answers until all that is waited for has come, or the service hangs up."""
        splitter = LineSplitter(ANSWER_BYTES_MAX)
        with self._reading:
            while True:
                try:
                    chunk = await self._stream.receive_some()
                except trio.BrokenResourceError:
                    return
                if not chunk:
                    return  # a line that was cut is no answer
                try:
                    for line in splitter.feed(bytes(chunk)):
                        self._hear(read_answer(line))
                except ValueRejected as error:
                    self._listener.failed(f"cannot read the answer: {error}", "bad_answer", 0, "")
                    return
                self._stop_if_done()

    def _stop_if_done(self) -> None:
        if self._all_sent and not self.missing:
            self._reading.cancel()

    def _hear(self, answer: Answer) -> None:
        if answer.error:
            self._listener.failed(answer.error, answer.code, answer.id, answer.node)
        elif answer.output is not msgspec.UNSET and self._wait:
            self._listener.output(bytes(answer.output))
        elif answer.settled if self._wait else answer.accepted:
            self.missing -= 1
