"""What becomes of a worker over TCP whose links go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

import msgspec
import pytest
import trio
import trio.testing
from plans import plan_of

from fabric.launch.external import ExternalWorker
from fabric.launch.launcher import Worker
from fabric.plan.plan import Runner, WorkerPlan
from fabric.runtime.relay import SocketRelay
from fabric.transport.memory import MemoryTransport
from fabric.wire.codec import encode
from fabric.wire.frame import Data, Eof
from fabric.wire.lifecycle import BROKE_OFF

TEXT = 'let f : !int -> !int = python { call: "m:f" }\nlet main : !int -> !int = plumb(i, o) { i ; f ; o }\n'
KILLED = -9


class Engined:
    """A worker whose exit somebody sees: it ends when it is killed, or told to."""

    pid: int | None = None

    def __init__(self) -> None:
        self.over = trio.Event()
        self.status = 0

    async def wait(self) -> int:
        await self.over.wait()
        return self.status

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        self.status = KILLED
        self.over.set()

    def left(self) -> None:
        pass

    async def stderr_lines(self) -> AsyncIterator[str]:
        await trio.lowlevel.checkpoint()
        lines: tuple[str, ...] = ()
        for line in lines:
            yield line

    def stdout_lines(self) -> AsyncIterator[bytes]:
        raise AssertionError

    async def write_stdin(self, data: bytes) -> None:
        raise AssertionError

    async def close_stdin(self) -> None:
        raise AssertionError


class Served:
    """A relay that serves a worker whose links may go."""

    def __init__(self, runner: Runner, nursery: trio.Nursery, worker: Worker) -> None:
        (plan,) = plan_of(TEXT).workers
        self.plan: WorkerPlan = msgspec.structs.replace(plan, runner=runner)
        self.transport = MemoryTransport()
        self.links = {port: self.transport.link(self.of(port)) for port in self.plan.endpoints}
        self.arrived: list[tuple[str, bytes]] = []
        self.relay = SocketRelay(self.plan, self.transport, self._arrive, nursery)
        self.worker = worker
        self.status: int | None = None
        self._output = self.transport.sender(self.plan.endpoints["output"].bind, bind=True)
        for link in self.links.values():
            link.joined = 1
        nursery.start_soon(self._serve)

    def of(self, port: str) -> str:
        return self.plan.endpoints[port].bind

    def says(self, *frames: bytes) -> None:
        for frame in frames:
            self._output.send_nowait(frame)

    def _arrive(self, port: str, frames: list[bytes]) -> None:
        self.arrived += [(port, frame) for frame in frames]

    async def _serve(self) -> None:
        self.status = await self.relay.serve(self.worker)
        self.relay.close()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


def run(runner: Runner, kind: type[Engined | ExternalWorker], what: str) -> Served:
    """Serve a worker, let one thing happen, and return how it went."""

    async def main() -> Served:
        with trio.fail_after(3_600.0):
            return await meet()

    async def meet() -> Served:
        async with trio.open_nursery() as nursery:
            served = Served(runner, nursery, kind())
            await settle()
            if what == "cut":
                served.transport.sever(served.of("input"))
            elif what == "renewed":
                served.links["input"].joined = 2
                served.says(encode(Data("f", b"1")))
            elif what == "silent":
                served.transport.sever(served.of("output"))
            elif what == "exits":
                served.transport.sever(served.of("input"))
                await settle()
                assert isinstance(served.worker, Engined)
                served.worker.over.set()
            elif what == "ends":
                served.relay.send("input", encode(Eof("fabric")))
                served.says(encode(Eof("f")))
                await settle()
                served.transport.sever(served.of("output"))
                served.transport.sever(served.of("input"))
                await settle()
                if isinstance(served.worker, Engined):
                    await trio.sleep(60.0)
                    served.worker.over.set()
        return served

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("what", ["cut", "renewed", "silent"])
def test_a_container_whose_link_goes_is_ended(what: str):
    """What it was sent may be lost: the next one gets it."""
    served = run("container", Engined, what)
    assert served.status == KILLED
    assert served.relay.complaint is not None
    assert "link" in served.relay.complaint
    assert served.arrived == []


@pytest.mark.parametrize("what", ["cut", "renewed", "silent"])
def test_so_is_the_connection_of_one_that_somebody_else_starts(what: str):
    """Its process is his to end."""
    served = run("external", ExternalWorker, what)
    assert served.status == BROKE_OFF
    assert served.arrived == []


def test_a_container_that_exits_by_itself_has_nothing_said_of_its_links():
    """They go with it, and its engine tells of its exit a little later."""
    served = run("container", Engined, "exits")
    assert (served.status, served.relay.complaint) == (0, None)


@pytest.mark.parametrize(("runner", "kind"), [("container", Engined), ("external", ExternalWorker)])
def test_links_that_go_behind_the_end_of_the_output_are_in_order(runner: Runner, kind: type[Engined | ExternalWorker]):
    """However long a container's exit takes."""
    served = run(runner, kind, "ends")
    assert (served.status, served.relay.complaint) == (0, None)
