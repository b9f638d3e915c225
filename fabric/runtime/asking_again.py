"""One worker of a kept run, really run once more: it gets what it took then, and is compared with what it said.

The worker runs alone, as the only one of a program: nobody else is started. Its messages come one at a time, in the
order in which it was done with them; so what it remembers is what it has just been told, and what it said to that.
"""

from __future__ import annotations

__all__ = ["Asked", "ask_again", "asked_of", "only", "steered_at"]

import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec
import trio

from fabric.compiler import Compiled
from fabric.errors import UnknownName
from fabric.graph import passes
from fabric.launch.preload import open_zygote
from fabric.plan.plan import Plan
from fabric.plan.replicas import node_of
from fabric.runtime.coordinator import INSISTING, Coordinator, Report
from fabric.runtime.foreground import open_coordinator
from fabric.runtime.one_shot import DRAIN_S
from fabric.runtime.prices import Prices
from fabric.session.divergence import Difference, Replayed, compare_answers
from fabric.session.events import Answered, Approval, DeadLetter, Finish, Heard, Outcome, Output, Refuse, Seen
from fabric.session.history import Answer, Forgotten, History, Ordered, Released, Steered, Turn
from fabric.session.settings import Settings

OUTPUT = "output"


class Asked(msgspec.Struct, frozen=True):
    """A message that the worker took, and what it said.

    Attributes:
        entry: the number of the entry by which it was done.
        payload: JSON text.
        turn: with all that it said on its output, also early.
    """

    entry: int
    payload: bytes
    turn: Turn


def only(compiled: Compiled, node: str) -> Compiled:
    """Return the program of one worker alone.

    Raises:
        UnknownName: a program has no such worker, or it is part of another process.
    """
    binding = node_of(node)
    if binding not in compiled.module.bindings:
        known = ", ".join(name for name in compiled.module.bindings if name != compiled.module.main)
        raise UnknownName(f"no binding of the program is the worker '{node}'; there are: {known or 'none'}")
    module = msgspec.structs.replace(compiled.module, main=binding)
    return Compiled(module, passes.build(module), ())


HARMLESS = frozenset({"pause", "resume", "get_memory"})
"""What of a control message does not change how a worker answers."""


def steered_at(name: str, history: Sequence[History]) -> int | None:
    """Return the number of the first entry by which a worker was made another than its program says.

    Somebody has set its memory or its model, or it has forgotten everything. What it took behind that was answered by
    another one than a worker that is started now.
    """
    orders = 0
    for number, entry in enumerate(history):
        if not isinstance(entry, Ordered | Steered | Forgotten) or name not in (entry.worker, node_of(entry.worker)):
            continue
        match entry:
            case Ordered(payload=payload):
                orders += 1
                if not msgspec.json.decode(payload, type=dict[str, msgspec.Raw]).keys() <= HARMLESS:
                    return number
            case Steered() if entry.number <= orders:  # of an operator: it was looked at when it was given
                continue
            case _:
                return number
    return None


def asked_of(name: str, history: Sequence[History], replayed: Replayed) -> list[Asked]:
    """Return what a worker took and said, in order. What it declined, or died of, is no answer.

    Args:
        name: of a node, or of one of its replicas.
        history: of the run.
        replayed: the same, relived.
    """
    node = node_of(name)
    payloads = {took.entry: took.payload for took in replayed.took}
    early: dict[str, list[Answer]] = defaultdict(list)
    asked = []
    for number, entry in enumerate(history):
        if not isinstance(entry, Released | Turn) or entry.node != node or name not in (node, entry.worker):
            continue
        if isinstance(entry, Released):
            early[entry.message].append(entry.answer)
        else:
            said = [*early.pop(entry.message, ()), *entry.outputs]
            if number in payloads and not entry.declined:
                answers = tuple(answer for answer in said if answer.port == OUTPUT)
                asked.append(Asked(number, payloads[number], msgspec.structs.replace(entry, outputs=answers)))
    return asked


async def ask_again(
    plan: Plan,
    settings: Settings,
    prices: Prices,
    asked: Sequence[Asked],
    report: Report,
    environment: Mapping[str, str],
    *,
    all_of_them: bool = False,
) -> tuple[list[Difference], int, Finish]:
    """Run a program of one worker on messages, one after the other.

    Returns what is not as it was, how many messages the worker was given, and how it ended.

    Args:
        plan: of the program.
        settings, prices, report, environment: as of any run; nobody is asked to approve anything.
        asked: what it took then.
        all_of_them: go on behind the first difference.
    """
    client = _Client()
    found: list[Difference] = []

    async def talk(coordinator: Coordinator) -> None:
        port = next(iter(plan.inputs))
        for ticket, one in enumerate(asked, 1):
            client.begin()
            if not await coordinator.wait_for_room():
                return
            coordinator.submit(port, [(ticket, one.payload)])
            client.asked_count = ticket
            await client.is_done.wait()
            found.extend(client.compare(one))
            if found and not all_of_them:
                break
        coordinator.close_input()
        await trio.sleep(DRAIN_S)  # its end cancels this
        for _ in range(INSISTING):
            coordinator.interrupt(signal.SIGTERM)

    with open_zygote(plan.workers) as zygote:
        async with (
            open_coordinator(plan, settings, client, report, environment, zygote, prices) as coordinator,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(talk, coordinator)
            finish = await coordinator.run()
            nursery.cancel_scope.cancel()
    return found, client.asked_count, finish


class _Client:
    """Gathers what comes of one message.

    Attributes:
        is_done: set when nothing more will come of it.
        asked_count: messages so far.
    """

    def __init__(self) -> None:
        self.asked_count = 0
        self.begin()

    def begin(self) -> None:
        """The next message is given."""
        self.is_done = trio.Event()
        self._said: list[tuple[str, bytes]] = []
        self._why = ""

    def compare(self, asked: Asked) -> list[Difference]:
        """Return what is not as it was."""
        if self._why:
            return [Difference(asked.entry, "answer", asked.turn.node, asked.turn.message, why=self._why)]
        return compare_answers(asked.entry, asked.turn, self._said)

    def opened(self) -> None:
        """Messages are submitted when there is room for them."""

    def delivered(self, outputs: Sequence[Output]) -> None:
        self._said += [(OUTPUT, output.payload) for output in outputs]

    def refused(self, refusal: Refuse) -> None:
        self._why = self._why or refusal.detail

    def answered(self, answer: Answered) -> None:
        """Nobody asks for anything here."""

    def asked(self, approval: Approval) -> None:
        """Nobody is asked here."""

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        """Nobody is asked here."""

    def buried(self, letter: DeadLetter) -> None:
        self._why = self._why or letter.detail

    def tapped(self, messages: Sequence[Seen]) -> None:
        """Nobody looks at channels here."""

    def observed(self, heard: Sequence[Heard]) -> None:
        """No port is observed here."""

    def settled(self, tickets: Sequence[int]) -> None:
        self.is_done.set()
