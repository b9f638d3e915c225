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
from plumb_agent.asking import call_text, read_response, settle_text
from plumb_agent.conversation import Conversation
from plumb_agent.events import (
    CallFailed,
    CallProvider,
    CallTool,
    Command,
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
    Settle,
    Started,
    Wait,
    Waited,
)
from plumb_agent.logs import Logger
from plumb_agent.messages import Request
from plumb_agent.model_calls import ModelCalls
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

    def ask(self, payload: bytes, origin: Provenance | None) -> None:
        """Write on tool_req; ``origin``: of the input for which it is asked, if it is for one."""
        ...

    def end_output(self) -> None:
        """Write the end of the output."""
        ...

    def end_rest(self) -> None:
        """Write the end of every other port."""
        ...


class Driver:
    """Feeds events to a conversation and performs its commands, until it finishes or fails.

    Args:
        one_stream: whether the answers of tools come behind the inputs, so that reading cannot stop for them.
        calls: tells of calls of the model, if anybody wants that.
    """

    def __init__(
        self,
        conversation: Conversation,
        provider: Provider,
        outlet: Outlet,
        logger: Logger,
        clock: Callable[[], float],
        nursery: trio.Nursery,
        *,
        one_stream: bool = False,
        calls: ModelCalls | None = None,
    ) -> None:
        self._calls = calls
        self._one_stream = one_stream
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
        talk = self._conversation
        if talk.wants_input or (self._one_stream and talk.awaits_tools):
            self._wanted.set()
        elif self._wanted.is_set():
            self._wanted = trio.Event()

    def respond(self, payload: bytes) -> None:
        """Handle what came on tool_resp."""
        event = read_response(payload)
        if event is not None:
            self.feed(event)
        else:
            reason = 'expected {"id": string, "content": ...} or {"id": string, "error": ...}'
            self._logger.log("warning", "tool_response_ignored", {"reason": reason})

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
            case CallProvider(request, origin):
                if self._calls is not None:
                    self._calls.asked(request, origin, self._clock())
                self._nursery.start_soon(self._call, request)
            case Emit(payload, origin):
                self._outlet.emit(payload, origin)
            case ForwardMarker(marker):
                self._outlet.forward_marker(marker)
            case EmitTelemetry(event, origin):
                self._outlet.emit_telemetry(event, origin)
            case Respond(message):
                self._outlet.respond(message)
            case Log(level, event_name, fields):
                self._logger.log(level, event_name, fields)
            case Wait(delay_s):
                self._nursery.start_soon(self._wait, delay_s)
            case CallTool():
                self._outlet.ask(call_text(command), command.origin)
            case Settle():
                self._outlet.ask(settle_text(command), None)
            case Decline(code, text):
                self._give_up(code, text)
                self._logger.log("warning", "input_declined", {"code": code, "reason": text})
                self._outlet.decline(code, text)
            case EndOutput():
                self._outlet.end_output()
            case Finish():
                self._outlet.end_rest()
                self._end(0)
            case Fail(code, text, exit_code, details):
                self._give_up(code, text)
                self._logger.error(code, text, details)
                self._end(exit_code)

    def _give_up(self, code: str, text: str) -> None:
        if self._calls is not None:
            self._calls.failed(code, text, self._clock())

    def _end(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self._nursery.cancel_scope.cancel()

    async def _call(self, request: Request) -> None:
        try:
            reply = await self._provider.complete(request)
        except ProviderFailed as error:
            transient, wait_s = error.transient, error.retry_after_s
            self.feed(CallFailed(error.code, str(error), error.details, transient, wait_s, error.usage))
        else:
            if self._calls is not None:
                self._calls.answered(reply, self._clock())
            self.feed(ReplyArrived(reply))

    async def _wait(self, delay_s: float) -> None:
        await trio.sleep(delay_s)
        self.feed(Waited())


Source: TypeAlias = Callable[[Driver], Awaitable[None]]


async def drive(
    conversation: Conversation,
    provider: Provider,
    sources: Iterable[Source],
    outlet: Outlet,
    logger: Logger,
    clock: Callable[[], float],
    *,
    one_stream: bool = False,
    calls: ModelCalls | None = None,
) -> int:
    """Run a conversation to its end and return the exit status.

    Args:
        sources: each feeds events until there are no more.
        clock: seconds since 1970, UTC.
        one_stream: whether the answers of tools come behind the inputs.
        calls: tells of calls of the model, if anybody wants that.
    """
    async with trio.open_nursery() as nursery:
        driver = Driver(conversation, provider, outlet, logger, clock, nursery, one_stream=one_stream, calls=calls)
        driver.feed(Started())
        for source in sources:
            nursery.start_soon(source, driver)
    assert driver.exit_code is not None, "the sources ended, and the conversation did not"
    return driver.exit_code
