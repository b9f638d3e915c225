"""Durable runs of random graphs that are killed as a whole, and brought back, held against what has to come out."""

from __future__ import annotations

__all__ = ["Outcome", "Undisturbed", "relived", "run_case", "undisturbed"]

import random
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import msgspec
import trio
from crash_runs import GRAPHS, RUNNERS, SETTINGS, VIRTUAL_S_MAX, prepared, settings_of, wrong_with

from fabric.errors import HistoryUnfit
from fabric.plan.plan import Plan
from fabric.session.events import Command, Deliver, Event, Finish, Output, Record, SetTimer, Settled, TimerFired
from fabric.session.history import Finished, History, Turn, decode_history, encode_history
from fabric.session.reliving import Relived
from fabric.session.session import Session
from fabric.session.settings import Settings
from fabric.testing import Faults, ProcessRecord, Simulated, draw_faults, run_seeded, simulate

ID = "run"
DISK = ("disk", "")


class Killed(Exception):
    """Everything is gone at once: the session, its workers, what was not written."""


class World:
    """What outlives a machine: its log, and what whoever takes the output has got."""

    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.outputs: list[Output] = []
        self.settled: set[int] = set()
        self.wrong: list[str] = []
        self.finish: Finish | None = None

    @property
    def entries(self) -> list[History]:
        return [decode_history(raw) for raw in self.log]

    def take(self, output: Output) -> None:
        """Somebody gets an output; what has come with this id before is not new."""
        before = [one for one in self.outputs if one.span_id == output.span_id]
        if not before:
            self.outputs.append(output)
        elif before != [output]:
            self.wrong.append(f"{output.span_id.hex()} is {output}, and was {before}")


class Machine(Session):
    """A session with a disk that takes its time, and that is gone after so many commands.

    Args:
        plan, settings: of the session.
        rng: of its chances.
        world: what outlives it.
        kill_at: the command at which it is killed; 0: it is not.
        lag_s: how long the disk takes at most.
    """

    def __init__(
        self, plan: Plan, settings: Settings, rng: random.Random, world: World, kill_at: int = 0, lag_s: float = 0.0
    ) -> None:
        super().__init__(plan, settings, rng, durable=ID)
        self._chance = random.Random(rng.random())
        self._world = world
        self._left = kill_at or -1
        self._lag_s = lag_s
        self._behind: list[Command] = []
        self._written_s: float | None = None

    @property
    def dead(self) -> bool:
        """Whether it does nothing any more."""
        return self._left == 0

    def handle(self, event: Event, now_s: float) -> list[Command]:
        if self.dead:
            raise Killed
        if event != TimerFired(DISK):
            self._behind += super().handle(event, now_s)
        performed: list[Command] = []
        while self._behind and self._left:
            command = self._behind[0]
            if isinstance(command, Record) and not self._write(command, now_s, performed):
                break
            self._left -= 1
            self._perform(self._behind.pop(0), performed)
        return performed

    def _write(self, record: Record, now_s: float, performed: list[Command]) -> bool:
        """Return whether the entries are written, as far as that is known."""
        if self._written_s is None and self._lag_s and self._chance.random() < 0.5:
            self._written_s = now_s + self._chance.uniform(0, self._lag_s)
            performed.append(SetTimer(DISK, self._written_s))
        if self._written_s is not None and now_s < self._written_s:
            return False
        self._written_s = None
        self._world.log += map(encode_history, record.entries)
        return True

    def _perform(self, command: Command, performed: list[Command]) -> None:
        match command:
            case Record():
                return
            case Deliver(outputs):
                for output in outputs:
                    self._world.take(output)
            case Settled(tickets):
                self._world.settled.update(tickets)
            case Finish():
                self._world.finish = command
        performed.append(command)


def begin(
    plan: Plan, settings: Settings, world: World, seed: str, kill_at: int = 0, lag_s: float = 0.0
) -> tuple[Machine, Relived]:
    """Make a machine, brought back from what there is of it, and give what was not delivered."""
    machine = Machine(plan, settings, random.Random(seed), world, kill_at, lag_s)
    if not world.log:
        return machine, Relived(next_ticket=1)
    relived = machine.relive(world.entries)
    known = [output.span_id for output in relived.outputs]
    if lost := [output for output in world.outputs if output.span_id not in known]:
        world.wrong.append(f"was given {lost[0]} and {len(lost) - 1} more, which did not come about")
    for output in relived.outputs:
        world.take(output)
    world.settled |= relived.settled
    return machine, relived


def run_on(
    graph_seed: int, world: World, settings: Settings, seed: str, faults: Faults, kill_at: int = 0, lag_s: float = 0.0
) -> Simulated | None:
    """Bring a session back and run it until it has done all or is killed: ``None``."""
    graph, plan = prepared(graph_seed)
    machine, relived = begin(plan, settings, world, seed, kill_at, lag_s)
    inputs = [(port, str(id_).encode()) for port, id_ in graph.inputs]
    known = [(entry.port, bytes(entry.payload)) for entry in relived.inputs]
    if known != inputs[: len(known)]:
        world.wrong.append(f"recorded inputs {known} of {inputs}")
    rest = inputs[len(known) :]

    async def run() -> Simulated | None:
        with trio.move_on_after(VIRTUAL_S_MAX):
            try:
                return await simulate(
                    plan,
                    rest,
                    runners=RUNNERS,
                    seed=0,
                    faults=faults,
                    session=machine,
                    first_ticket=max(1, relived.next_ticket),
                )
            except* Killed:
                pass
        if not machine.dead:  # else nothing happens any more by which that could show
            raise trio.TooSlowError
        return None

    return run_seeded(run, int(random.Random(seed).getrandbits(32)))


class Outcome(NamedTuple):
    """What came of one seed.

    Attributes:
        wrong: what should not be, in words.
        hit: how often what came true.
    """

    seed: int
    graph_seed: int
    wrong: list[str]
    hit: Counter[str]


class Undisturbed(NamedTuple):
    """A durable run that nobody kills."""

    log: tuple[bytes, ...]
    outputs: tuple[Output, ...]
    commands: int
    processes: tuple[ProcessRecord, ...]


@lru_cache(maxsize=64)
def undisturbed(graph_seed: int) -> Undisturbed:
    """Run a graph; what is wrong even then is an error."""
    world = World()
    kill_at = 10**9
    done = run_on(graph_seed, world, SETTINGS, f"undisturbed {graph_seed}", Faults(), kill_at)
    assert done is not None
    wrong = wrong_at_the_end(graph_seed, world, done)
    assert not wrong, wrong
    return Undisturbed(tuple(world.log), tuple(world.outputs), len(world.log), done.processes)


def turns_of(log: Iterable[bytes]) -> Counter[str]:
    """Count what each node has done."""
    return Counter(entry.node for entry in map(decode_history, log) if isinstance(entry, Turn))


def wrong_at_the_end(graph_seed: int, world: World, done: Simulated, turns: Counter[str] | None = None) -> list[str]:
    """Say what should not be when all is done."""
    wrong = list(world.wrong)
    last = world.entries[-1]
    if last != Finished(0):
        wrong.append(f"the last entry is {last}")
    if turns is not None and (done_now := turns_of(world.log)) != turns:
        wrong.append(f"messages done by each node: {done_now}; undisturbed: {turns}")
    outputs = tuple((output.port, output.payload) for output in world.outputs)
    all_of_it = msgspec.structs.replace(done, outputs=outputs, settled=tuple(sorted(world.settled)), processes=())
    return wrong + wrong_with(graph_seed, all_of_it)


def relived(graph_seed: int, log: tuple[bytes, ...]) -> Relived:
    """Bring a graph back from a log, and no more."""
    _, plan = prepared(graph_seed)
    return Session(plan, SETTINGS, random.Random(5), durable=ID).relive(map(decode_history, log))


def run_case(seed: int, kills: int = 3, graph_seed: int | None = None) -> Outcome:
    """Run a graph, kill it now and then, bring it back each time, and see what has come out in the end.

    Args:
        seed: of all chances.
        kills: at most.
        graph_seed: of the graph, if not the seed's own.
    """
    of = seed % GRAPHS if graph_seed is None else graph_seed
    rng = random.Random(f"durable {seed}")
    reference = undisturbed(of)
    settings = settings_of(seed, prepared(of)[1])
    world, hit = World(), Counter[str]()
    if rng.random() < 0.3:  # from some prefix
        cut = rng.randint(0, len(reference.log))
        world.log = list(reference.log[:cut])
        hit["begun with a part of a history"] += 1
    lag_s = rng.choice((0.0, 0.0, 1.0))
    try:
        for attempt in range(kills + 1):
            kill_at = 1 + int(rng.expovariate(1 / 200)) if attempt < kills else 0
            faults = Faults()
            if rng.random() < 0.3:
                faults = draw_faults(rng.getrandbits(30), reference.processes, 2)
                hit["workers died, too"] += 1
            before = len(world.log)
            done = run_on(of, world, settings, f"{seed}/{attempt}", faults, kill_at, lag_s)
            hit["killed" if done is None else "ended"] += 1
            hit["went on with a history"] += before > 0
            if done is not None:
                return Outcome(seed, of, wrong_at_the_end(of, world, done, turns_of(reference.log)), hit)
    except trio.TooSlowError:
        return Outcome(seed, of, [f"has not ended after {VIRTUAL_S_MAX:g} simulated seconds"], hit)
    except HistoryUnfit as error:
        return Outcome(seed, of, [*world.wrong, str(error)], hit)
    raise AssertionError("the last attempt is not killed")
