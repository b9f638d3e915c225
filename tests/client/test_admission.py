"""Who may run now."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fabric.client.admission import DESCRIPTORS_PER_SESSION, Admission
from fabric.errors import RunError
from fabric.runtime.descriptors import DESCRIPTORS_PER_WORKER

ONE = DESCRIPTORS_PER_SESSION + DESCRIPTORS_PER_WORKER


class Calls:
    """Calls that stay until they are told to go."""

    def __init__(self, admission: Admission, nursery: trio.Nursery) -> None:
        self.running: list[str] = []
        self._admission = admission
        self._nursery = nursery
        self._gone: dict[str, trio.Event] = {}
        self._scopes: dict[str, trio.CancelScope] = {}

    async def come(self, name: str, workers: int = 1) -> None:
        self._gone[name], self._scopes[name] = trio.Event(), trio.CancelScope()

        async def call() -> None:
            with self._scopes[name]:
                async with self._admission.call(workers):
                    self.running.append(name)
                    await self._gone[name].wait()
            if name in self.running:
                self.running.remove(name)

        self._nursery.start_soon(call)
        await wait_all_tasks_blocked()

    async def go(self, name: str) -> None:
        self._gone[name].set()
        await wait_all_tasks_blocked()

    async def cancel(self, name: str) -> None:
        self._scopes[name].cancel()
        await wait_all_tasks_blocked()


async def test_calls_wait_in_the_order_in_which_they_came(nursery: trio.Nursery):
    """A small one does not overtake a large one."""
    calls = Calls(Admission(workers_max=3, descriptors_max=1_000_000), nursery)
    for name, workers in (("a", 2), ("b", 3), ("c", 1)):
        await calls.come(name, workers)
    assert calls.running == ["a"]
    await calls.go("a")
    assert calls.running == ["b"]
    await calls.go("b")
    assert calls.running == ["c"]


async def test_one_call_runs_however_large_it_is(nursery: trio.Nursery):
    """Alone."""
    calls = Calls(Admission(workers_max=3, descriptors_max=1_000_000), nursery)
    await calls.come("large", 10)
    await calls.come("small")
    assert calls.running == ["large"]
    await calls.go("large")
    assert calls.running == ["small"]


async def test_who_is_cancelled_gives_up_his_place(nursery: trio.Nursery):
    """While he waits, in the moment when he is let in, and when he runs."""
    calls = Calls(Admission(workers_max=1, descriptors_max=1_000_000), nursery)
    for name in "abcd":
        await calls.come(name)
    await calls.cancel("b")
    await calls.cancel("a")
    assert calls.running == ["c"]
    calls._gone["c"].set()
    calls._scopes["d"].cancel()
    await wait_all_tasks_blocked()
    await calls.come("e")
    assert calls.running == ["e"]


async def test_descriptors_bound_them_as_well(nursery: trio.Nursery):
    """Those of calls and pipelines together; a pipeline is not made to wait."""
    admission = Admission(workers_max=100, descriptors_max=2 * ONE)
    calls = Calls(admission, nursery)
    async with admission.pipeline(1):
        await calls.come("a")
        await calls.come("b")
        assert calls.running == ["a"]
        with pytest.raises(RunError, match=f"1 workers need {ONE} open files"):
            async with admission.pipeline(1):
                raise AssertionError("there was a place")
    await wait_all_tasks_blocked()
    assert sorted(calls.running) == ["a", "b"]
    nursery.cancel_scope.cancel()
