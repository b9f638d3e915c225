"""One message in, the first output back; then nothing is left of the session. For those who call a program."""

from __future__ import annotations

__all__ = ["Came", "call_once"]

import signal
from collections.abc import Mapping, Sequence

import msgspec
import trio

from fabric.launch.preload import open_zygote
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import INSISTING, Coordinator, Report
from fabric.runtime.foreground import open_coordinator
from fabric.runtime.prices import Prices
from fabric.session.events import Answered, Approval, DeadLetter, Heard, Outcome, Output, Refuse, Seen
from fabric.session.settings import Settings

DRAIN_S = 2.0
"""How long a session may take to end in order once its caller has what it wants. Most have nothing left to do."""


class Came(msgspec.Struct, frozen=True):
    """What came of a call: an output, or why there is none.

    Attributes:
        output: the first one.
        error: in words.
        code: of the error.
    """

    output: Output | None = None
    error: str = ""
    code: str = ""


async def call_once(
    plan: Plan, settings: Settings, prices: Prices, payload: bytes, report: Report, environment: Mapping[str, str]
) -> Came:
    """Run a program with one input on one message. Cancelled, it ends its workers by force.

    Args:
        plan: of the program.
        settings: how it is run; nobody is asked to approve anything.
        prices: of models.
        payload: JSON text.
        report: hears of what happens.
        environment: of the coordinator.
    """
    client = _Client()
    with open_zygote(plan.workers) as zygote:
        async with (
            open_coordinator(plan, settings, client, report, environment, zygote, prices) as coordinator,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_talk, coordinator, client, next(iter(plan.inputs)), payload)
            finish = await coordinator.run()
            nursery.cancel_scope.cancel()
    if client.came is not None:
        return client.came
    if finish.error is not None:
        return Came(error=finish.error[1], code=finish.error[0])
    return Came(error="the program ended without an output", code="no_output")


async def _talk(coordinator: Coordinator, client: _Client, port: str, payload: bytes) -> None:
    if await coordinator.wait_for_room():
        coordinator.submit(port, [(1, payload)])
        await client.has_it.wait()
    coordinator.close_input()
    await trio.sleep(DRAIN_S)  # its end cancels this
    for _ in range(INSISTING):
        coordinator.interrupt(signal.SIGTERM)


class _Client:
    """Waits for the first output, or for the certainty that none comes.

    Attributes:
        came: what came of the message.
        has_it: set when that is known.
    """

    def __init__(self) -> None:
        self.came: Came | None = None
        self.has_it = trio.Event()

    def opened(self) -> None:
        """The message is submitted when there is room for it."""

    def delivered(self, outputs: Sequence[Output]) -> None:
        if self.came is None or self.came.output is None:
            self.came = Came(outputs[0])
        self.has_it.set()

    def refused(self, refusal: Refuse) -> None:
        where = f" (at {refusal.node})" if refusal.node else ""
        self._failed(refusal.detail + where, refusal.code)

    def answered(self, answer: Answered) -> None:
        """Nobody asks for anything here."""

    def asked(self, approval: Approval) -> None:
        """Nobody is asked here."""

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        """Nobody is asked here."""

    def buried(self, letter: DeadLetter) -> None:
        self._failed(letter.detail, letter.cause)

    def tapped(self, messages: Sequence[Seen]) -> None:
        """Nobody looks at channels here."""

    def observed(self, heard: Sequence[Heard]) -> None:
        """No port is observed here."""

    def settled(self, tickets: Sequence[int]) -> None:
        self._failed("the program gave no output for this input", "no_output")
        self.has_it.set()

    def _failed(self, error: str, code: str) -> None:
        if self.came is None:
            self.came = Came(error=error, code=code)
