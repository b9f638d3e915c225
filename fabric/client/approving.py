"""Ask whoever has called a program to approve calls of tools: by his function, plain or async.

A plain function is called in a thread of its own, so it may ask somebody and wait. An async one runs in the event loop
of the caller; where there is none, under trio. Only ``True`` approves.
"""

from __future__ import annotations

__all__ = ["Approve", "Approver"]

import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import anyio
import trio

from fabric.client.bell import wake_up
from fabric.session.events import Approval

Approve: TypeAlias = Callable[[Approval], bool | Awaitable[bool]]
"""Says whether a call may be run."""

_log = logging.getLogger("fabric.session")


class Approver:
    """Asks one function. Made where the caller is.

    Args:
        function: his.
        in_loop: whether he runs in an event loop.
    """

    def __init__(self, function: Approve, *, in_loop: bool) -> None:
        self._function = function
        self._soon = wake_up() if in_loop else None
        # Who is asked may think for minutes, or call a program himself: he must not take the engine's usual threads
        # from those that start programs. The session bounds how many calls wait.
        self._limiter = trio.CapacityLimiter(math.inf)

    async def ask(self, approval: Approval) -> tuple[bool, str]:
        """Return whether the call may be run, and if not, why, in the engine's loop. Cancelled, it asks no more."""
        try:
            answer = await self._ask(approval)
        except Exception as error:  # noqa: BLE001 - the user's function may raise anything, and that approves nothing
            _log.exception("approve: the function that was asked for %s failed", approval.tool)
            return False, f"nobody could be asked: {type(error).__name__}: {error}"
        return answer is True, "" if answer is True else "it was denied"

    async def _ask(self, approval: Approval) -> object:
        function: Callable[[Approval], Any] = self._function
        if not inspect.iscoroutinefunction(function):
            answer = await trio.to_thread.run_sync(function, approval, abandon_on_cancel=True, limiter=self._limiter)
            if not inspect.isawaitable(answer):
                return answer
            function = partial(_given, answer)
        if self._soon is None:
            return await trio.to_thread.run_sync(
                trio.run, function, approval, abandon_on_cancel=True, limiter=self._limiter
            )
        return await self._in_loop(self._soon, function, approval)

    async def _in_loop(
        self,
        soon: Callable[[Callable[[], object]], None],
        function: Callable[[Approval], Awaitable[object]],
        approval: Approval,
    ) -> object:
        """Run an async function in the caller's loop."""
        token, done = trio.lowlevel.current_trio_token(), trio.Event()
        answers: list[object] = []
        errors: list[Exception] = []
        scopes: list[anyio.CancelScope] = []
        tasks: list[object] = []  # asyncio forgets a task that nobody holds

        async def run() -> None:
            try:
                with anyio.CancelScope() as scope:
                    scopes.append(scope)
                    answers.append(await function(approval))
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
            finally:
                token.run_sync_soon(done.set)

        def begin() -> None:
            if trio.lowlevel.in_trio_run():
                tasks.append(trio.lowlevel.spawn_system_task(run))
            else:
                import asyncio

                tasks.append(asyncio.get_running_loop().create_task(run()))

        def give_up() -> None:
            for scope in scopes:
                scope.cancel()

        soon(begin)
        try:
            await done.wait()
        except trio.Cancelled:
            soon(give_up)
            raise
        if errors:
            raise errors[0]
        return answers[0] if answers else False


async def _given(answer: Awaitable[object], approval: Approval) -> object:
    return await answer
