"""Where tasks and threads wait for one another."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import weakref
from collections import deque

import anyio
import called
import pytest
from called import BACKENDS, run

from fabric.client.bell import Bell


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_lost_by_those_who_are_cancelled(backend: str):
    """A thread gives, tasks take and are cancelled at any time: each thing is taken once."""
    bell, things, count = Bell(), deque[int](), 3_000
    found: list[int] = []
    chance = random.Random(1)

    def give() -> None:
        for number in range(count):
            with bell.lock:
                things.append(number)
                bell.ring()

    def take() -> int | None:
        return things.popleft() if things else None

    async def taker() -> None:
        while len(found) < count:
            with anyio.move_on_after(chance.choice([0.0, 0.0001, 0.001])):
                found.append(await bell.wait(take))

    async def work() -> None:
        thread = threading.Thread(target=give)
        thread.start()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(taker)
        await anyio.to_thread.run_sync(thread.join)

    run(backend, work)
    assert sorted(found) == list(range(count))


def test_a_loop_that_was_closed_over_a_task_that_waits_does_not_matter():
    """The collector ends what it was doing at any time, also in a thread that holds the lock."""
    bell = Bell()
    loop = asyncio.new_event_loop()
    task = loop.create_task(bell.wait(lambda: None))
    while not bell.sleepers:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    gone = weakref.ref(task)
    del task, loop

    def collect() -> None:
        with bell.lock:
            bell.ring()
            gc.collect()

    thread = threading.Thread(target=collect, daemon=True)  # a dead lock is not to hang the tests
    thread.start()
    thread.join(called.PATIENCE_S / 4)
    assert not thread.is_alive()
    assert gone() is None
    assert bell.wait_sync(lambda: True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_gives_up_sleeps_no_more(backend: str):
    """Nothing is kept for him."""
    bell = Bell()

    async def wait() -> None:
        with anyio.move_on_after(0.01):
            await bell.wait(lambda: None)

    run(backend, wait)
    assert bell.wait_sync(lambda: None, timeout_s=0.0) is None
    assert bell.sleepers == 0


def test_a_thread_waits_for_as_long_as_it_says():
    """Then there is nothing."""
    assert Bell().wait_sync(lambda: None, timeout_s=0.01) is None


def test_what_looking_raises_is_raised():
    """And nobody is left waiting."""
    bell = Bell()

    def look() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError):
        bell.wait_sync(look)
    assert not bell.lock.locked()
