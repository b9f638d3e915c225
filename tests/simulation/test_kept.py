"""Whole sessions in virtual time that are kept in a bucket in memory, killed at each of its operations."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

from fabric.compiler import Library, check_program, plan_compiled
from fabric.errors import StoreFailed
from fabric.lang.source import Source
from fabric.plan.plan import Plan
from fabric.runtime.keeping import read_history
from fabric.runtime.recorder import InThread
from fabric.session.history import Emitted, Entered, Finished, History
from fabric.session.settings import Settings, WorkerSettings
from fabric.store.bucket import Bucket
from fabric.store.memory import MemoryStore
from fabric.store.objects import ObjectStore
from fabric.testing.faults import Faults
from fabric.testing.seeded import run_seeded
from fabric.testing.simulator import SimulatedLog, at_once, function_runner, simulate
from fabric.testing.stores import FaultyStore, draw_store_faults, fault_at

PROGRAMS = {
    "chain": """
        let a : !int -> !int = python { call: "x:a" }
        let b : !int -> !int = python { call: "x:b" }
        let main : !int -> !int = plumb(i, o) { i ; a ; b ; o }
        """,
    "barrier": """
        let a : !int -> !int = python { call: "x:a" }
        let b : !int -> !int = python { call: "x:b" }
        let main : !int -> !(int, int) = plumb(i, o) { i ; (a * b) ; barrier ; o }
        """,
    "merge": """
        let a : !int -> !int = python { call: "x:a" }
        let b : !int -> !int = python { call: "x:b" }
        let main : !int -> !int = plumb(i, o) { i ; (a * b) ; o }
        """,
    "loop": """
        let a : !int -> !int = python { call: "x:a" }
        let halve : !int -> !int = python { call: "x:halve" }
        let main : !int -> !int = plumb(i, o) {
          i ; a ; halve
          halve ; filter(value > 1) ; halve
          halve ; filter(value <= 1) ; o
        }
        """,
}

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "x:a": lambda number: number + 1,
    "x:b": lambda number: 10 * number,
    "x:halve": lambda number: number // 2,
}

INPUTS = [("i", b"%d" % number) for number in range(1, 5)]


class Killed(BaseException):
    """Nobody outlives it."""


def deadly(inner: ObjectStore, number: int) -> FaultyStore:
    """Return a store before whose n-th operation everything is killed, and so behind the one before that."""

    def die() -> None:
        raise Killed

    return FaultyStore(inner, fault_at(number, die))


class Late:
    """A store behind whose n-th create everything is killed."""

    def __init__(self, inner: ObjectStore, number: int) -> None:
        self.url = inner.url
        self._inner = inner
        self._left = number

    def create(self, key: str, body: bytes) -> bool:
        created = self._inner.create(key, body)
        self._left -= 1
        if not self._left:
            raise Killed
        return created

    def get(self, key: str) -> bytes | None:
        return self._inner.get(key)

    def list(self, prefix: str, after: str = "") -> list[str]:
        return self._inner.list(prefix, after)

    def delete(self, key: str) -> None:
        self._inner.delete(key)

    def link(self, key: str) -> str:
        return self._inner.link(key)

    def sweep(self, older_than_s: float, now: float) -> int:
        return self._inner.sweep(older_than_s, now)


def live(plan: Plan, store: ObjectStore, written: list[tuple[str, bytes]], seed: int) -> Any:
    """Run the session, or go on with it, until it ends or is killed."""
    ids = random.Random(f"{seed} {len(getattr(store, 'operations', ()))}")
    bucket = Bucket(store, now=lambda: 1.0, new_id=lambda: ids.randbytes(8).hex())
    log = bucket.start(session="kept", program="a program")
    kept = SimulatedLog(log, read_history(log), written)
    runners = {"python": function_runner(FUNCTIONS)}
    return run_seeded(partial(simulate, plan, INPUTS, runners=runners, seed=seed, kept=kept), seed)


def plan_of(name: str) -> Plan:
    compiled, _ = check_program(Source("main.plumb", PROGRAMS[name]), Library())
    assert compiled is not None
    return plan_compiled(compiled, run_directory="memory")


def history_of(store: ObjectStore) -> list[History]:
    return read_history(Bucket(store).open("kept"))


def is_killed(raised: BaseException) -> bool:
    """Whether this is what was thrown, with all that its nurseries put around it."""
    if isinstance(raised, BaseExceptionGroup):
        return all(is_killed(inner) for inner in raised.exceptions)
    return isinstance(raised, Killed)


def undisturbed(plan: Plan, seed: int) -> list[tuple[str, bytes]]:
    written: list[tuple[str, bytes]] = []
    assert live(plan, MemoryStore(), written, seed).finish.exit_code == 0
    return written


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_session_may_be_killed_at_every_operation_of_its_bucket(name: str):
    """What comes out in the end is what comes out of one that nobody disturbs, each once."""
    plan, seed = plan_of(name), 1
    wanted = undisturbed(plan, seed)
    number = 0
    while True:
        number += 1
        store = MemoryStore()
        written: list[tuple[str, bytes]] = []
        try:
            live(plan, deadly(store, number), written, seed)
        except BaseException as raised:
            if not is_killed(raised):
                raise
        else:
            break
        assert live(plan, store, written, seed + number).finish.exit_code == 0
        assert sorted(written) == sorted(wanted)
        entries = history_of(store)
        assert sum(isinstance(entry, Entered) for entry in entries) == len(INPUTS)
        assert [type(entry) for entry in entries[-2:]] == [Finished, Emitted]
    assert number > 10


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_session_may_be_killed_behind_every_operation_of_its_bucket(name: str):
    """When what it wrote is there and it has not heard of it."""
    plan, seed = plan_of(name), 1
    wanted = undisturbed(plan, seed)
    number = 0
    while True:
        number += 1
        store = MemoryStore()
        written: list[tuple[str, bytes]] = []
        try:
            live(plan, Late(store, number), written, seed)
        except BaseException as raised:
            if not is_killed(raised):
                raise
        else:
            break
        assert live(plan, store, written, seed + number).finish.exit_code == 0
        assert sorted(written) == sorted(wanted)
        assert sum(isinstance(entry, Entered) for entry in history_of(store)) == len(INPUTS)
    assert number > 3


@pytest.mark.parametrize("seed", range(20))
def test_of_two_coordinators_one_goes_on_and_the_other_does_nothing_more(seed: int):
    """Whenever the second comes, and also if the first was faster than it while it was brought back."""
    plan = plan_of("chain")
    store = MemoryStore()
    chance = random.Random(seed)
    written: list[tuple[str, bytes]] = []
    runners = {"python": function_runner(FUNCTIONS)}
    done: list[Any] = []

    async def one(kept: SimulatedLog, number: int) -> None:
        done.append(await simulate(plan, INPUTS, runners=runners, seed=number, kept=kept, faults=Faults(input_s=0.5)))

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, opened(store, written), 1)
            await trio.sleep(chance.uniform(0.01, 1.0))
            second = opened(store, written)
            await trio.sleep(chance.choice([0.0, 0.2]))
            nursery.start_soon(one, second, 2)

    run_seeded(run, seed)
    first, last = done
    assert first.finish.error is not None
    assert (first.finish.exit_code, first.finish.error[0]) == (1, "superseded")
    assert last.finish.exit_code == 0
    assert sorted(written) == sorted(undisturbed(plan, seed))
    assert sum(isinstance(entry, Entered) for entry in history_of(store)) == len(INPUTS)


@pytest.mark.parametrize("seed", range(10))
def test_a_session_may_be_killed_again_and_again(seed: int):
    """Each life gets as far as it gets."""
    chance = random.Random(seed)
    plan = plan_of(chance.choice(sorted(PROGRAMS)))
    store = MemoryStore()
    written: list[tuple[str, bytes]] = []
    for life in range(30):
        try:
            done = live(plan, deadly(store, 1 + chance.randrange(30)), written, seed + life)
        except BaseException as raised:
            if not is_killed(raised):
                raise
        else:
            break
    else:
        done = live(plan, store, written, seed)
    assert done.finish.exit_code == 0
    assert sorted(written) == sorted(undisturbed(plan, seed))


@pytest.mark.parametrize("seed", range(10))
def test_a_bucket_that_loses_requests_and_answers_loses_nothing(seed: int):
    """Nor is anything done twice; the session takes longer."""
    plan = plan_of("chain")
    store = MemoryStore()
    written: list[tuple[str, bytes]] = []
    faulty = FaultyStore(store, draw_store_faults(random.Random(seed), 0.3))
    bucket = Bucket(store, now=lambda: 1.0)
    bucket.start(session="kept", program="a program")
    log = None
    while log is None:
        try:
            log = Bucket(faulty, now=lambda: 1.0).open("kept")
        except StoreFailed:
            continue
    kept = SimulatedLog(log, [], written)
    runners = {"python": function_runner(FUNCTIONS)}
    done = run_seeded(partial(simulate, plan, INPUTS, runners=runners, seed=seed, kept=kept), seed)
    assert done.finish.exit_code == 0
    assert [json.loads(payload) for _, payload in written] == [20, 30, 40, 50]
    assert sum(isinstance(entry, Entered) for entry in history_of(store)) == len(INPUTS)


def down(from_s: float, to_s: float, *, hangs: bool) -> InThread:
    """Return what does nothing in a bucket between two times: it fails, or gives no answer until then."""

    async def write(function: Callable[[], object]) -> object:
        now_s = trio.current_time()
        if not from_s <= now_s < to_s:
            return await at_once(function)
        if not hangs:
            raise StoreFailed("the bucket is down")
        await trio.sleep_until(to_s)
        return function()

    return write


def opened(store: ObjectStore, written: list[tuple[str, bytes]], in_thread: InThread = at_once) -> SimulatedLog:
    log = Bucket(store, now=lambda: 1.0).start(session="kept", program="a program")
    return SimulatedLog(log, read_history(log), written, in_thread)


IMPATIENT = Settings(ready_timeout_s=10.0, workers={"a": WorkerSettings(idle_timeout_s=5.0)})


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("number", [1, 12])
def test_an_outage_that_is_longer_than_what_is_waited_for_ends_nothing(number: int, hangs: bool):
    """Whether it is there from the first start on, or when the session is brought back: nobody is late by it."""
    plan, store = plan_of("chain"), MemoryStore()
    written: list[tuple[str, bytes]] = []
    with pytest.raises(BaseException) as raised:
        live(plan, deadly(store, number), written, 1)
    assert is_killed(raised.value)

    async def run() -> Any:
        now_s = trio.current_time()
        kept = opened(store, written, down(now_s, now_s + 50, hangs=hangs))
        runners = {"python": function_runner(FUNCTIONS)}
        return await simulate(plan, INPUTS, runners=runners, seed=1, kept=kept, settings=IMPATIENT)

    done = run_seeded(run, 1)
    assert (done.finish.exit_code, done.letters) == (0, ())
    assert sorted(written) == sorted(undisturbed(plan, 1))
    assert sorted((record.worker, record.status) for record in done.processes) == [("a", 0), ("b", 0)]


@pytest.mark.parametrize("again_s", [0.1, 30.0])
def test_who_insists_on_an_end_gets_it_though_the_bucket_says_nothing(again_s: float):
    """What would end the workers waits behind what the bucket does not take."""
    plan, store = plan_of("chain"), MemoryStore()
    written: list[tuple[str, bytes]] = []

    async def run() -> tuple[Any, float]:
        now_s = trio.current_time()
        kept = opened(store, written, down(now_s + 0.1, now_s + 1000, hangs=True))
        times_s = [now_s + 2.0, now_s + 2.0 + again_s]
        runners, faults = {"python": function_runner(FUNCTIONS)}, Faults(input_s=0.5)
        done = await simulate(plan, INPUTS, runners=runners, kept=kept, faults=faults, interrupts_s=times_s)
        return done, trio.current_time() - times_s[-1]

    done, took_s = run_seeded(run, 1)
    assert done.finish.exit_code == 130
    assert len(written) < len(INPUTS)
    assert took_s < 2
