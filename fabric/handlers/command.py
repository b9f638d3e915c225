"""Command mode: a process for each invocation. Records go to its stdin, and come from its stdout."""

from __future__ import annotations

__all__ = ["CommandHandler"]

from collections.abc import Callable, Mapping, Sequence

import trio

from fabric.errors import HandlerFailed
from fabric.handlers.invocation import Call, Ended, call_environment
from fabric.handlers.processes import HandlerProcess, Said, start_process
from fabric.handlers.records import OUTPUT_BYTES_MAX
from fabric.launch.guarding import Guard

NOT_STARTED = 127
"""What a shell says of a command that it cannot find."""

NOT_ENDED = 124
"""What timeout(1) says of a command that did not end in time."""


class CommandHandler:
    """Starts a command.

    Args:
        environment: what it has beside what a call says.
        timeout_s: that one invocation may take.
        show: takes what the handler says on stderr, as it comes.
        directory: where it works; ``None``: where we do.
        output_bytes_max: that one invocation may write.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        timeout_s: float,
        guard: Guard | None,
        show: Callable[[bytes], None],
        *,
        directory: str | None = None,
        output_bytes_max: int = OUTPUT_BYTES_MAX,
    ) -> None:
        self._command = tuple(command)
        self._environment = environment
        self._timeout_s = timeout_s
        self._guard = guard
        self._show = show
        self._directory = directory
        self._output_bytes_max = output_bytes_max

    async def invoke(self, call: Call) -> Ended:
        """Run it once; see :class:`~fabric.handlers.invocation.Handler`."""
        said = Said(self._show)
        try:
            environment = call_environment(self._environment, call)
            process = await start_process(self._command, environment, self._guard, directory=self._directory)
        except HandlerFailed as error:
            return Ended(exit=NOT_STARTED, reason=str(error))
        written = _Written(trio.CancelScope(), self._output_bytes_max)
        status = await self._run(process, call.input, written, said)
        if written.too_large:
            reason = (
                f"it wrote more than {self._output_bytes_max} bytes: keep large bodies elsewhere, and write their uri"
            )
            return Ended(exit=1, reason=reason, stderr=said.text)
        if written.patience.cancelled_caught:
            return Ended(exit=NOT_ENDED, reason=f"it did not end within {self._timeout_s:g} s", stderr=said.text)
        if status:
            return Ended(exit=shell_status(status), reason=ending(status), stderr=said.text)
        return Ended(exit=0, output=bytes(written.data), stderr=said.text)

    async def _run(self, process: HandlerProcess, given: bytes, written: _Written, said: Said) -> int:
        """Return its status, once it has ended or was ended."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(process.feed, given)
                nursery.start_soon(process.read_output, written.write)
                nursery.start_soon(process.read_said, said.write)
                written.patience.deadline = trio.current_time() + self._timeout_s
                with written.patience:
                    return await process.wait()
                return await process.end()
        finally:  # of a run that was broken off
            with trio.CancelScope(shield=True):
                await process.end()


class _Written:
    """What a process writes, up to what can be held; beyond that, patience with it ends."""

    def __init__(self, patience: trio.CancelScope, bytes_max: int) -> None:
        self.patience = patience
        self._bytes_max = bytes_max
        self.data = bytearray()
        self.too_large = False

    def write(self, data: bytes) -> None:
        """Add a piece."""
        if len(self.data) + len(data) > self._bytes_max:
            self.too_large = True
            self.patience.cancel()
        else:
            self.data += data


def shell_status(status: int) -> int:
    """Return a status as a shell says it."""
    return status if status >= 0 else 128 - status


def ending(status: int) -> str:
    """Say how a process ended that did not end well."""
    return f"it ended with status {status}" if status > 0 else f"it was ended by signal {-status}"
