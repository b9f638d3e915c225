"""Ask whoever has called a program to approve calls of tools: by his function, plain or async.

A plain function is called in a thread of its own, so it may ask somebody and wait. An async one runs in the event loop
of the caller; where there is none, under trio. Only ``True`` approves.
"""

from __future__ import annotations

__all__ = ["Approve", "Approver", "Asking"]

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

    Attributes:
        error: what it raised first. That denies the call, and is his bug: he is to hear of it.
    """

    def __init__(self, function: Approve, *, in_loop: bool) -> None:
        self.error: BaseException | None = None
        self._function = function
        self._soon = wake_up() if in_loop else None
        # Who is asked may think for minutes, or call a program himself: he must not take the engine's usual threads
        # from those that start programs. The session bounds how many calls wait.
        self._limiter = trio.CapacityLimiter(math.inf)

    async def ask(self, approval: Approval) -> tuple[bool, str]:
        """Return whether the call may be run, and if not, why, in the engine's loop. Cancelled, it asks no more."""
        try:
            answer = await self._ask(approval)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it approves nothing
            self.error = self.error or error
            _log.exception("approve: the function that was asked for %s failed", approval.tool)
            return False, f"nobody could be asked: {type(error).__name__}: {error}"
        return answer is True, ""

    async def _ask(self, approval: Approval) -> object:
        function: Callable[[Approval], Any] = self._function
        if not inspect.iscoroutinefunction(function):

            def calling() -> list[Any]:
                return [self._function(approval)]  # trio takes a coroutine that comes out of a thread for a mistake

            (answer,) = await trio.to_thread.run_sync(calling, abandon_on_cancel=True, limiter=self._limiter)
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
        errors: list[BaseException] = []
        scopes: list[anyio.CancelScope] = []
        tasks: list[object] = []  # asyncio forgets a task that nobody holds

        async def run() -> None:
            try:
                with anyio.CancelScope() as scope:
                    scopes.append(scope)
                    answers.append(await function(approval))
            except anyio.get_cancelled_exc_class():  # the loop ends
                raise
            except BaseException as error:  # noqa: BLE001 - raised below, not in a loop of others
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


class Asking:
    """The calls of one session that somebody is asked for, in the engine's loop.

    Args:
        approver: who.
        nursery: where he is asked.
        decide: takes the id of an approval, whether it is granted, and if not, why.
    """

    def __init__(self, approver: Approver, nursery: trio.Nursery, decide: Callable[[str, bool, str], None]) -> None:
        self._approver = approver
        self._nursery = nursery
        self._decide = decide
        self._scopes: dict[str, trio.CancelScope] = {}

    def begin(self, approval: Approval) -> None:
        """Ask for a call."""
        self._scopes[approval.id] = trio.CancelScope()
        self._nursery.start_soon(self._ask, approval)

    def end(self, approval: str) -> None:
        """Ask for it no more, whether or not he has begun to think; nothing, if it is decided."""
        if approval in self._scopes:
            self._scopes[approval].cancel()

    async def _ask(self, approval: Approval) -> None:
        try:
            with self._scopes[approval.id]:
                granted, why = await self._approver.ask(approval)
                self._decide(approval.id, granted, why)
        finally:
            del self._scopes[approval.id]


async def _given(answer: Awaitable[object], approval: Approval) -> object:
    return await answer
