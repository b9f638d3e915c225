"""A program of ours in the engine: prepared, started, fed, seen to its end. Decides nothing about messages."""

from __future__ import annotations

__all__ = ["ProgramSession"]

import logging
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import trio

from fabric.client.approving import Approver, Asking
from fabric.client.engine import Engine
from fabric.client.exchange import COLLECTED_BYTES_MAX, Ending, Exchange
from fabric.client.preparing import Asked, Program, prepare, run_error
from fabric.client.running import run_to_end
from fabric.errors import CheckError, FabricError, PipelineError, RunError
from fabric.lang.diagnostic import Diagnostic, render_text
from fabric.launch.process import Workplace
from fabric.runtime.directory import open_run_directory
from fabric.session.events import Approval

if TYPE_CHECKING:
    from fabric.runtime.coordinator import Coordinator

MESSAGES_AT_ONCE = 64
"""Submitted in one step: as many as ``fabric run`` does."""

FORCE_S = 5.0
"""How long a session that was told to end its workers may take: they are killed. Beyond that it is broken off."""

_log = logging.getLogger("fabric")


class ProgramSession:
    """One program that runs.

    Args:
        asked: which, and how.
        exchange: where its callers are.
        approver: asked for calls of tools.
        is_call: whether it ends by itself, and so may wait for its turn.
        begin: called in a thread when the program is known, before anything is started: what it raises is the end.

    Attributes:
        program: once it is known.
    """

    def __init__(
        self,
        asked: Asked,
        exchange: Exchange,
        approver: Approver | None,
        *,
        is_call: bool,
        begin: Callable[[Program], None] = lambda program: None,
    ) -> None:
        self.program: Program | None = None
        self.exchange = exchange
        self._asked = asked
        self._approver = approver
        self._is_call = is_call
        self._begin = begin
        self._scope = trio.CancelScope()
        self._stirred: trio.Event
        self._coordinator: Coordinator | None = None
        self._nursery: trio.Nursery
        self._asking: Asking
        self._forcing = False
        self._too_much = False

    # --- what callers ask for, in the engine's loop ---

    def cancel(self) -> None:
        """End it by force, without a word."""
        self._scope.cancel()

    def force(self) -> None:
        """End it by force, and say what was lost."""
        if self._coordinator is None:
            self._scope.cancel()
        elif not self._forcing:
            from fabric.runtime.coordinator import INSISTING

            self._forcing = True
            for _ in range(INSISTING):
                self._coordinator.interrupt(signal.SIGTERM)
            self._nursery.start_soon(self._break_off)

    async def _break_off(self) -> None:
        await trio.sleep(FORCE_S)  # its end cancels this
        self._scope.cancel()

    # --- see fabric.client.engine.Session ---

    def refuse(self, error: Exception) -> None:
        """It will never run."""
        self.exchange.end(Ending(2, None, "", error))

    async def run(self, engine: Engine) -> None:
        """Run to the end; nothing of it is left then, and the callers know."""
        await run_to_end(self.exchange, partial(self._work, engine), self._ending_of, CLOSED)

    async def _work(self, engine: Engine) -> Ending:
        ending = CLOSED
        with self._scope:
            ending = await self._run(engine)
        return TOO_MUCH if self._too_much else ending

    async def _run(self, engine: Engine) -> Ending:
        self._stirred = trio.Event()
        self.exchange.stir = partial(engine.soon, self._stir)
        program = self.program = await trio.to_thread.run_sync(self._prepare, abandon_on_cancel=True)
        async with self._place(engine, program.workers):
            return await self._run_program(engine, program)

    def _prepare(self) -> Program:
        program = prepare(self._asked, _warn)
        self._begin(program)
        return program

    def _place(self, engine: Engine, workers: int) -> AbstractAsyncContextManager[None]:
        return engine.admission.call(workers) if self._is_call else engine.admission.pipeline(workers)

    async def _run_program(self, engine: Engine, program: Program) -> Ending:
        asked = self._asked
        with ExitStack() as stack:
            opening = open_run_directory(program.environment)  # it may have much to remove that others left
            directory = await trio.to_thread.run_sync(stack.enter_context, opening)
            planning = partial(program.plan, asked, directory)
            plan, prices = await trio.to_thread.run_sync(planning, abandon_on_cancel=True)
            forker = stack.enter_context(engine.zygotes.use(plan.workers if program.forks else ()))
            # The first of them has yet to import what its workers need, and so have we.
            from fabric.client.hearing import Hearing
            from fabric.runtime.foreground import open_coordinator

            hearing = Hearing(self.exchange, self._ask, self._ask_no_more, self._overflow)
            async with (
                open_coordinator(
                    plan,
                    program.settings,
                    hearing,
                    hearing,
                    program.environment,
                    None,
                    prices,
                    workplace=Workplace(forker, asked.directory),
                ) as coordinator,
                trio.open_nursery() as self._nursery,
            ):
                self._coordinator = coordinator
                if self._approver is not None:
                    self._asking = Asking(self._approver, self._nursery, self._decide)
                self._nursery.start_soon(self._feed, coordinator)
                try:
                    finish = await coordinator.run()
                finally:
                    self._coordinator = None
                self._nursery.cancel_scope.cancel()
        return hearing.ending(finish, None if self._approver is None else self._approver.error)

    def _ending_of(self, error: BaseException) -> Ending:
        return _ending_of(error, started=self.exchange.opened)

    # --- messages ---

    def _overflow(self) -> None:
        self._too_much = True
        self._scope.cancel()

    def _stir(self) -> None:
        self._stirred.set()

    async def _feed(self, coordinator: Coordinator) -> None:
        """Submit what callers send as there is room for it, and close the input behind the last."""
        while True:
            while not self.exchange.has_sent():
                await self._stirred.wait()
                self._stirred = trio.Event()
            if not await coordinator.wait_for_room():
                break
            messages = self.exchange.take_sent(MESSAGES_AT_ONCE)
            if messages is None:
                break
            for port, batch in groupby(messages, attrgetter("port")):
                coordinator.submit(port, [(message.ticket, message.payload) for message in batch])
        coordinator.close_input()

    # --- approvals ---

    def _ask(self, approval: Approval) -> None:
        if self._approver is not None:
            self._asking.begin(approval)

    def _ask_no_more(self, approval: str) -> None:
        if self._approver is not None:
            self._asking.end(approval)

    def _decide(self, approval: str, granted: bool, why: str) -> None:
        if self._coordinator is not None:
            self._coordinator.decide(approval, granted=granted, reason=why)


CLOSED = Ending(143, ("the program was ended by force before everything was done", "stopped"))
TOO_MUCH = Ending(
    1,
    (f"the outputs of one call take more than {COLLECTED_BYTES_MAX} bytes; run() gives them as they come", "too_much"),
)


def _warn(diagnostic: Diagnostic) -> None:
    _log.warning("%s", render_text(diagnostic))


def _ending_of(error: BaseException, *, started: bool) -> Ending:
    """Return what an error means for those who wait."""
    match error:
        case CheckError() | RunError() | PipelineError():
            return Ending(error.exit_code, None, "", error)
        case FabricError() if started:
            return Ending(error.exit_code, (str(error), error.code))
        case FabricError():
            return Ending(error.exit_code, None, "", run_error(error))
        case OSError() if not started:
            return Ending(2, None, "", RunError(f"the program cannot be started: {error}"))
    return Ending(70, None, "", error)
