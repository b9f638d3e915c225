"""A program that runs, as an object to talk to."""

from __future__ import annotations

__all__ = ["Event", "Output", "Pipeline", "Telemetry", "values"]

import logging
import os
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeAlias

import anyio
import anyio.lowlevel
import msgspec

from fabric.client.exchange import Exchange, Side, Ticket
from fabric.client.picture import as_html
from fabric.client.waiting import wait_gone
from fabric.errors import PipelineError
from fabric.graph.ir import Graph
from fabric.graph.svg import draw_svg
from fabric.session import events
from fabric.session.events import Heard
from fabric.wire.payload import decode_json

GRACE_S = 10.0
"""How long the end of an ``async with`` waits for a program to finish what it has."""

_log = logging.getLogger("fabric.session")


class Output(msgspec.Struct, frozen=True):
    """A message that left the program.

    Attributes:
        data: plain JSON values.
        port: the boundary output that it left by.
    """

    data: Any
    port: str = "output"


class Telemetry(msgspec.Struct, frozen=True):
    """What a worker tells of its work: thinking, usage, calls of tools.

    Attributes:
        agent: the worker.
        payload: plain JSON values; ``kind`` says what it is.
    """

    agent: str
    payload: Any


Event: TypeAlias = Output | Telemetry


class Link(Protocol):
    """What a pipeline has behind it. Called from any thread."""

    @property
    def name(self) -> str:
        """What it is called, for messages."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs; none: nobody knows."""
        ...

    @property
    def graph(self) -> Graph | None:
        """The wiring; none: nobody knows."""
        ...

    def read(self, message: Any, port: str | None) -> tuple[str, bytes]:
        """Return the input that a message is for, and its JSON text.

        Raises:
            PipelineError: it is not of the input's type, or there is no such input.
        """
        ...

    def force(self) -> None:
        """End it by force, and tell what was lost."""
        ...

    def stop(self) -> None:
        """End it by force at once."""
        ...


class Pipeline:
    """Made by :func:`fabric.run` or :func:`fabric.connect`; ``async with`` it. Under asyncio and trio alike.

    Several tasks may use it at once. Who is cancelled while he sends has not sent, and who is cancelled while he
    receives has taken nothing; of a :meth:`call` whose message is on its way, what comes of it goes to nobody. At the
    end of the ``async with`` the program finishes what it has, or is ended by force if an exception is on its way.

    A program that fails is told of by a :class:`fabric.PipelineError` to each reader, behind what came before, and to
    each sender. A message that goes no further while the program goes on, a dead letter or one that a joined service
    refused, is told of once, with ``returncode`` 0: to its :meth:`call`, else to the next reader of outputs, in the
    order of the outputs. The end of the ``async with`` raises what nobody was told of.
    """

    def __init__(self, exchange: Exchange, link: Link) -> None:
        self._exchange = exchange
        self._link = link
        self._pid = os.getpid()
        self._shut_down = False

    # --- in ---

    async def send(self, message: Any, port: str | None = None) -> None:
        """Give it a message; waits while it has more than it can take, or outputs that nobody reads.

        Args:
            message: of the input's type: plain values, a dataclass, a pydantic model.
            port: the input, where there are several; or ``{"__port": NAME, "msg": VALUE}`` as the message.

        Raises:
            PipelineError: it is not of the input's type (the program goes on), or no more is taken.
        """
        self._check()
        name, payload = self._link.read(message, port)
        await self._exchange.bell.wait(lambda: self._exchange.send(name, payload))

    async def call(self, message: Any, port: str | None = None) -> list[Any]:
        """Give it a message, and return all that comes of it; :meth:`recv` does not give that.

        Returns:
            values; :class:`Output` where the program has several outputs.

        Raises:
            PipelineError: it was refused, or something that came of it was, or the program failed.
        """
        self._check()
        name, payload = self._link.read(message, port)
        ticket = Ticket()
        await self._exchange.bell.wait(lambda: self._exchange.send(name, payload, ticket))
        try:
            await self._exchange.bell.wait(lambda: self._settled(ticket))
        except BaseException as error:
            if isinstance(error, PipelineError):
                error.outputs = self._values(ticket)
            with self._exchange.bell.lock:
                self._exchange.forget(ticket)
            raise
        if ticket.failure is not None:
            ticket.failure.outputs = self._values(ticket)
            self._exchange.fail(ticket)
        return self._values(ticket)

    def _values(self, ticket: Ticket) -> list[Any]:
        return values(ticket.outputs, self._link.outputs)

    def _settled(self, ticket: Ticket) -> bool | None:
        if ticket.settled:
            return True
        if self._exchange.ending is not None:
            if ticket.failure is not None:
                return True
            self._exchange.raise_failure()
            raise PipelineError("the program ended before all that comes of the message had come", 0, code="ended")
        return None

    async def close_input(self) -> None:
        """Send no more; the program finishes what it has. Does nothing the second time."""
        self._check()
        await anyio.lowlevel.checkpoint()
        with self._exchange.bell.lock:
            self._exchange.close_input()

    # --- out ---

    async def recv(self) -> Any | None:
        """Return the next output, or ``None`` behind the last one. Telemetry stays for :meth:`recv_telemetry`.

        Raises:
            PipelineError: the program failed, what came before was given; or, with ``returncode`` 0, a message went no
                further, and the program goes on.
        """
        found = await self._next(self._exchange.take_output)
        return None if found is None else decode_json(found.payload)

    async def recv_event(self) -> Event | None:
        """Return the next output or telemetry, in the order in which they came; ``None`` behind the last."""
        found = await self._next(self._exchange.take_event)
        return None if found is None else _event(found)

    async def recv_telemetry(self) -> Telemetry | None:
        """Return the next telemetry, ``None`` behind the last. Outputs stay for :meth:`recv`.

        The newest are kept if nobody reads it: see :attr:`dropped`.
        """
        if self._exchange.telemetry is None:
            raise PipelineError(NO_TELEMETRY, 0, code="no_telemetry")
        found = await self._next(self._exchange.take_telemetry)
        return None if found is None else Telemetry(found.topic, decode_json(found.payload))

    def extra(self, name: str) -> AsyncIterator[tuple[str, Any]]:
        """Give what workers say on an observed port: worker and message. Ask for it with ``run(…, extra=(name,))``."""
        side = self._exchange.extras.get(name)
        if side is None:
            observed = ", ".join(map(repr, self._exchange.extras)) or "none"
            raise PipelineError(f"port {name!r} is not observed; {observed} is: run(…, extra=({name!r},))", 0)
        return _Extra(self, side)

    @property
    def dropped(self) -> Mapping[str, int]:
        """How much telemetry, and of each observed port, was dropped because nobody read it."""
        sides = {} if self._exchange.telemetry is None else {"telemetry": self._exchange.telemetry}
        return {name: side.dropped for name, side in (sides | self._exchange.extras).items()}

    async def _next(self, take: Callable[[], Any | None]) -> Any | None:
        """Wait for something, or for the end; raise if that was a failure."""
        self._check()
        ended = object()

        def look() -> Any | None:
            found = take()
            if found is not None or self._exchange.ending is None:
                return found
            self._exchange.raise_failure()
            return ended

        found = await self._exchange.bell.wait(look)
        return None if found is ended else found

    # --- its end ---

    async def shutdown(self, timeout: float = GRACE_S) -> int:
        """Close the input, let it finish for so many seconds, then end it; return its exit code.

        Nothing of it is left then: no process, no socket. Whoever has the code knows of a failure: nothing is raised.
        It is 5 if there were dead letters, 6 if a call of a tool was denied, and 1 also where a joined service has
        refused a message and nobody has read of that.
        """
        self._check()
        exchange = self._exchange
        with exchange.bell.lock:
            exchange.close_input()
            exchange.ignore_unread()
        try:
            with anyio.move_on_after(timeout):
                await exchange.bell.wait(exchange.look_for_end)
            if exchange.ending is None:
                self._link.force()
            ending = await exchange.bell.wait(exchange.look_for_end)
        except BaseException:
            await self._end_by_force()
            raise
        self._shut_down = True
        self._log_refusals()
        return ending.exit_code or int(bool(exchange.unread_refusals))

    def _log_refusals(self) -> None:
        refusals = self._exchange.unread_refusals
        if refusals:
            _log.warning("pipeline.refused: %d, and nobody has read of it; the first: %s", len(refusals), refusals[0])

    async def _end_by_force(self) -> None:
        self._link.stop()
        await wait_gone(self._exchange)

    async def __aenter__(self) -> Pipeline:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            await self._end_by_force()
            self._log_refusals()
            return
        told = self._shut_down
        await self.shutdown()
        if self._exchange.unread:
            _log.info("pipeline.unread: nobody has read %d outputs", self._exchange.unread)
        if not told:
            self._exchange.raise_untold()

    def __del__(self) -> None:
        if self._exchange.ending is None and self._pid == os.getpid():
            text = f"nobody holds the pipeline of {self._link.name} any more, and it was not ended: use `async with`"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    def __aiter__(self) -> AsyncIterator[Event]:
        return _Events(self)

    def _repr_svg_(self) -> str | None:
        graph = self._link.graph
        return None if graph is None else draw_svg(graph)

    def _repr_html_(self) -> str | None:
        graph = self._link.graph
        return None if graph is None else as_html(graph)

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise PipelineError(
                "the program belongs to the process that this one was forked of", 0, code="other_process"
            )


class _Events(AsyncIterator[Event]):
    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def __anext__(self) -> Event:
        event = await self._pipeline.recv_event()
        if event is None:
            raise StopAsyncIteration
        return event


class _Extra(AsyncIterator[tuple[str, Any]]):
    def __init__(self, pipeline: Pipeline, side: Side) -> None:
        self._pipeline = pipeline
        self._side = side

    async def __anext__(self) -> tuple[str, Any]:
        found = await self._pipeline._next(self._take)
        if found is None:
            raise StopAsyncIteration
        return found.topic, decode_json(found.payload)

    def _take(self) -> Heard | None:
        return self._side.heard.popleft()[1] if self._side.heard else None


NO_TELEMETRY = "there is no telemetry: the program was started with verbose=False, or is a service, which gives none"


def values(outputs: Iterable[events.Output], ports: Sequence[str]) -> list[Any]:
    """Return outputs as callers get them: with the port where there are several."""
    if len(ports) > 1:
        return [Output(decode_json(output.payload), output.port) for output in outputs]
    return [decode_json(output.payload) for output in outputs]


def _event(found: events.Output | Heard) -> Event:
    if isinstance(found, Heard):
        return Telemetry(found.topic, decode_json(found.payload))
    return Output(decode_json(found.payload), found.port)
