"""Work performed in this process: functions in the caller's thread or beside it, requests and questions in the loop."""

from __future__ import annotations

__all__ = ["Local"]

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import trio

from fabric.pipelines.work import Done, FunctionWork, HttpWork, LlmWork, Work


class Caller(Protocol):
    """Whoever called ``run``."""

    async def call(self, function: Callable[[], Any]) -> Any:
        """Call a function in the thread of the caller, who waits meanwhile."""
        ...


class Local:
    """Performs work in this process.

    Args:
        ask: asks a model.
        request: makes a request.
        caller: calls functions that have the run for themselves; ``None``: threads of ours call all of them, for the
            caller's own thread has other things to do.
    """

    def __init__(
        self,
        ask: Callable[[LlmWork], Awaitable[Done]],
        request: Callable[[HttpWork], Awaitable[Done]],
        caller: Caller | None,
    ) -> None:
        self._ask = ask
        self._request = request
        self._caller = caller

    async def perform(self, work: Work) -> Done:
        """Perform it. See :class:`fabric.pipelines.work.Performer`."""
        match work:
            case LlmWork():
                return await self._ask(work)
            case HttpWork():
                return await self._request(work)
            case FunctionWork():
                return await self._call(work)

    async def _call(self, work: FunctionWork) -> Done:
        assert work.step.function is not None, "a step without a function is no work"
        function = partial(_call_of_user, work.step.function.function, work.inputs)
        if work.alone and self._caller is not None:
            done: Done = await self._caller.call(function)
            return done
        # A function that is cancelled, because its step is not due after all or the run was ended, cannot be stopped:
        # it runs to its end in its thread, and what it gives goes nowhere.
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


def _call_of_user(function: Callable[..., Any], inputs: dict[str, Any]) -> Done:
    try:
        return Done(function(**inputs))
    except Exception as error:
        return Done(error=error)
