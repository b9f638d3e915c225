"""The loop around a conversation: sources feed it events, an outlet takes what it writes, the provider is called.

Both shells use it, :mod:`~plumb_agent.worker` with sockets and :mod:`~plumb_agent.stdio` with stdin and stdout. An
outlet writes at once, so what an event causes is written before the next event is looked at.
"""

from __future__ import annotations

__all__ = ["Driver", "Outlet", "Source", "drive"]

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeAlias

import trio

from fabric.errors import FabricError
from fabric.wire.frame import Provenance
from plumb_agent.conversation import (
    CallFailed,
    CallProvider,
    Command,
    Conversation,
    Decline,
    Emit,
    EmitTelemetry,
    EndOutput,
    Event,
    Fail,
    Finish,
    ForwardMarker,
    Log,
    ReplyArrived,
    Respond,
    Started,
)
from plumb_agent.logs import Logger
from plumb_agent.messages import Request
from plumb_agent.providers import Provider, ProviderFailed


class Outlet(Protocol):
    """Where a conversation writes to. A port that is not open swallows what is written to it."""

    def emit(self, payload: bytes, origin: Provenance | None) -> None:
        """Write an output."""
        ...

    def decline(self, code: str, text: str) -> None:
        """Write that the message cannot be done."""
        ...

    def forward_marker(self, marker: str) -> None:
        """Write a marker behind everything that was written."""
        ...

    def emit_telemetry(self, event: dict[str, Any], origin: Provenance | None) -> None:
        """Write a telemetry event."""
        ...

    def respond(self, message: dict[str, Any]) -> None:
        """Write on ctrl_out."""
        ...

    def end_output(self) -> None:
        """Write the end of the output."""
        ...

    def end_rest(self) -> None:
        """Write the end of every other port."""
        ...


class Driver:
    """Feeds events to a conversation and performs its commands, until it finishes or fails."""

    def __init__(
        self,
        conversation: Conversation,
        provider: Provider,
        outlet: Outlet,
        logger: Logger,
        clock: Callable[[], float],
        nursery: trio.Nursery,
    ) -> None:
        self._conversation = conversation
        self._provider = provider
        self._outlet = outlet
        self._logger = logger
        self._clock = clock
        self._nursery = nursery
        self._wanted = trio.Event()
        self.exit_code: int | None = None

    def feed(self, event: Event) -> None:
        """Handle an event and perform what it asks for; nothing any more after the end."""
        if self.exit_code is not None:
            return
        try:
            for command in self._conversation.handle(event, self._clock()):
                self._perform(command)
        except FabricError as error:  # an output that is larger than a frame may be, a reader that is gone
            self.fail(error)
        if self._conversation.wants_input:
            self._wanted.set()
        elif self._wanted.is_set():
            self._wanted = trio.Event()

    def fail(self, error: FabricError) -> None:
        """End the worker with an error that a source met, or a provider."""
        if self.exit_code is None:
            self._perform(Fail(error.code, str(error), error.exit_code))

    async def wait_wanted(self) -> None:
        """Wait until the conversation has room for an input."""
        while not self._wanted.is_set():
            await self._wanted.wait()

    def _perform(self, command: Command) -> None:
        match command:
            case CallProvider(request):
                self._nursery.start_soon(self._call, request)
            case Emit(payload, origin):
                self._outlet.emit(payload, origin)
            case Decline(code, text):
                self._logger.log("warning", "input_declined", {"code": code, "reason": text})
                self._outlet.decline(code, text)
            case ForwardMarker(marker):
                self._outlet.forward_marker(marker)
            case EmitTelemetry(event, origin):
                self._outlet.emit_telemetry(event, origin)
            case Respond(message):
                self._outlet.respond(message)
            case Log(level, event_name, fields):
                self._logger.log(level, event_name, fields)
            case EndOutput():
                self._outlet.end_output()
            case Finish():
                self._outlet.end_rest()
                self._end(0)
            case Fail(code, text, exit_code, details):
                self._logger.error(code, text, details)
                self._end(exit_code)

    def _end(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self._nursery.cancel_scope.cancel()

    async def _call(self, request: Request) -> None:
        try:
            reply = await self._provider.complete(request)
        except ProviderFailed as error:
            self.feed(CallFailed(error.code, str(error), error.details))
        else:
            self.feed(ReplyArrived(reply))


Source: TypeAlias = Callable[[Driver], Awaitable[None]]


async def drive(
    conversation: Conversation,
    provider: Provider,
    sources: Iterable[Source],
    outlet: Outlet,
    logger: Logger,
    clock: Callable[[], float],
) -> int:
    """Run a conversation to its end and return the exit status.

    Args:
        sources: each feeds events until there are no more.
        clock: seconds since 1970, UTC.
    """
    async with trio.open_nursery() as nursery:
        driver = Driver(conversation, provider, outlet, logger, clock, nursery)
        driver.feed(Started())
        for source in sources:
            nursery.start_soon(source, driver)
    assert driver.exit_code is not None, "the sources ended, and the conversation did not"
    return driver.exit_code
