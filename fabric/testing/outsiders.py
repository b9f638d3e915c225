"""Simulated workers that somebody else starts: they stay where they are, whoever comes and goes on the other side."""

from __future__ import annotations

__all__ = ["Outsider"]

import random

import trio

from fabric.plan.endpoints import worker_addresses
from fabric.plan.plan import WorkerPlan
from fabric.testing.faults import Faults, LinkCut
from fabric.testing.processes import Process, Runner
from fabric.transport.memory import MemoryTransport
from fabric.wire.spec import INPUT_PORTS

RESTART_S = 3.0
"""How long it takes at most until a worker that has ended is started again."""


class Outsider:
    """Somebody who starts a worker, again and again, and the network between the two.

    Attributes:
        processes: that there were.

    Args:
        plan: of the worker.
        runner: what it runs.
        network: on which it is.
        faults: what goes wrong; the n-th process that is started here is incarnation n.
    """

    def __init__(self, plan: WorkerPlan, runner: Runner, network: MemoryTransport, faults: Faults) -> None:
        self.processes: list[Process] = []
        self._plan = plan
        self._runner = runner
        self._network = network
        self._faults = faults
        self._rng = random.Random(f"outsider/{faults.seed}/{plan.name}")
        addresses = worker_addresses(plan.endpoints)
        self._inputs = [address for port, address in addresses.items() if port in INPUT_PORTS]
        self._outputs = [address for port, address in addresses.items() if port not in INPUT_PORTS]
        self._links = [network.link(address) for address in (*self._inputs, *self._outputs)]

    async def run(self) -> None:
        """Start processes, one after the other, and cut the links as planned; for ever."""
        async with trio.open_nursery() as nursery:
            for cut in self._faults.cuts:
                if cut.worker == self._plan.name:
                    nursery.start_soon(self._cut, cut)
            while True:
                await self._live(Process(self._plan, len(self.processes) + 1, self._network, self._faults), nursery)
                await trio.sleep(self._rng.uniform(0, RESTART_S))

    async def _live(self, process: Process, nursery: trio.Nursery) -> None:
        self.processes.append(process)
        for link in self._links:
            link.present = True
            link.joined += 1
            link.lost_until_s, link.halves = 0.0, False
        await process.run(self._runner)
        process.leave()
        for link in self._links:
            link.present = False
        for address in self._inputs:  # what lay in its memory, or before it
            self._network.forget(address, lambda frames: 0)
        nursery.start_soon(self._noticed, self._rng.choice((0.0, 0.0, self._rng.uniform(0, 5))))

    async def _noticed(self, after_s: float) -> None:
        await trio.sleep(after_s)
        for address in (*self._outputs, *self._inputs):
            self._network.sever(address)

    async def _cut(self, cut: LinkCut) -> None:
        await trio.sleep_until(cut.at_s)
        for link in self._links:
            link.stands = True
        await trio.sleep(cut.for_s)
        for address in self._outputs:  # of what was on its way something may not have left the worker yet
            self._network.forget(address, lambda frames: self._rng.choice((0, self._rng.randint(0, frames))))
            link = self._network.link(address)
            link.lost_until_s, link.halves = trio.current_time() + cut.deaf_s, cut.halves_s > 0
        for address in self._inputs:
            self._network.cut(address, lambda frames: self._rng.randint(0, frames))
        for link in self._links:
            link.joined += 1
        for address in (*self._outputs, *self._inputs):
            self._network.heal(address)
            self._network.sever(address)
        await trio.sleep(cut.halves_s)
        for link in self._links:
            link.halves = False
