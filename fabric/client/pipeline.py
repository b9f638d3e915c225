"""A program that runs, as an object to talk to."""

from __future__ import annotations

__all__ = ["Event", "Output", "Pipeline", "Telemetry"]

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, TypeAlias

import msgspec


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


class Pipeline:
    """Made by :func:`fabric.run` or :func:`fabric.connect`; ``async with`` it. Under asyncio and trio alike."""

    async def send(self, message: Any, port: str | None = None) -> None:
        """Give it a message; waits while it has more than it can take."""
        raise NotImplementedError

    async def call(self, message: Any, port: str | None = None) -> list[Any]:
        """Give it a message, and return all that comes of it."""
        raise NotImplementedError

    async def recv(self) -> Any | None:
        """Return the next output, or ``None`` behind the last one. Telemetry stays for :meth:`recv_telemetry`."""
        raise NotImplementedError

    async def recv_event(self) -> Event | None:
        """Return the next output or telemetry, in the order in which they came; ``None`` behind the last."""
        raise NotImplementedError

    async def recv_telemetry(self) -> Telemetry | None:
        """Return the next telemetry. Outputs stay for :meth:`recv`."""
        raise NotImplementedError

    def extra(self, name: str) -> AsyncIterator[tuple[str, Any]]:
        """Give what workers say on an observed port: worker and message."""
        raise NotImplementedError

    async def close_input(self) -> None:
        """Send no more; the program finishes what it has. Does nothing the second time."""
        raise NotImplementedError

    async def shutdown(self, timeout: float = 10.0) -> int:  # as the page has it
        """Close the input, let it finish for so many seconds, then end it; return its exit code."""
        raise NotImplementedError

    async def __aenter__(self) -> Pipeline:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[Event]:
        raise NotImplementedError
