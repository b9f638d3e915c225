"""Functions that are asked whether a tool may be called, without a program."""

from __future__ import annotations

import threading
from functools import partial

import anyio
import msgspec
import pytest
import trio
from called import BACKENDS, PATIENCE_S, run

from fabric.client.approving import Approve, Approver, Asking
from fabric.session.events import Approval

APPROVAL = Approval("1", "worker", "Fs.write", "{}", 2, "", 0.0, 60.0)


def ask(approve: Approve) -> tuple[bool, str]:
    """Return the answer for a caller who has no event loop."""
    return trio.run(Approver(approve, in_loop=False).ask, APPROVAL)


def test_those_who_think_about_it_hold_up_nobody():
    """Plain functions wait in threads, as many as there are calls; threads for other things are there all the same."""
    thinking, go = [], threading.Event()

    def approve(approval: Approval) -> bool:
        thinking.append(approval)
        return go.wait(PATIENCE_S)

    async def work() -> int:
        approver = Approver(approve, in_loop=False)
        usual = int(trio.to_thread.current_default_thread_limiter().total_tokens)
        with trio.fail_after(PATIENCE_S / 4):
            async with trio.open_nursery() as nursery:
                for _ in range(usual + 5):
                    nursery.start_soon(approver.ask, APPROVAL)
                while len(thinking) < usual + 5:
                    await trio.sleep(0.001)  # threads tell nobody
                await trio.to_thread.run_sync(go.set)
        return len(thinking) - usual

    try:
        assert trio.run(work) == 5
    finally:
        go.set()


async def agree(approval: Approval) -> bool:
    await anyio.sleep(0)
    return True


class Agreeing:
    async def __call__(self, approval: Approval) -> bool:
        return await agree(approval)


@pytest.mark.parametrize("approve", [agree, lambda approval: agree(approval), Agreeing()])
@pytest.mark.parametrize("backend", [None, *BACKENDS])
def test_whatever_gives_something_to_await_may_be_asked(backend: str | None, approve: Approve):
    """An async function, a plain one around it, an object; with and without an event loop."""
    assert (ask(approve) if backend is None else ask_from(backend, approve)) == (True, "")


def ask_from(backend: str, approve: Approve) -> tuple[bool, str]:
    """Return the answer for a caller in an event loop."""

    async def call() -> tuple[bool, str]:
        asking = partial(trio.run, Approver(approve, in_loop=True).ask, APPROVAL)
        return await anyio.to_thread.run_sync(asking)

    answer: tuple[bool, str] = run(backend, call)
    return answer


async def leave(approval: Approval) -> bool:
    raise SystemExit(3)


def leave_plainly(approval: Approval) -> bool:
    raise SystemExit(3)


@pytest.mark.parametrize("approve", [leave, leave_plainly, lambda approval: leave(approval)])
@pytest.mark.parametrize("backend", [None, *BACKENDS])
def test_who_wants_to_leave_instead_has_not_approved(backend: str | None, approve: Approve):
    """Neither the caller's loop nor the engine's ends of that."""
    answer = ask(approve) if backend is None else ask_from(backend, approve)
    assert answer == (False, "nobody could be asked: SystemExit: 3")


@pytest.mark.parametrize("approve", [agree, lambda approval: True])
def test_a_call_that_is_taken_back_at_once_is_not_asked_for(approve: Approve):
    """In the same step, before anybody could begin to think. Others are."""
    decided: list[tuple[str, bool, str]] = []

    async def work() -> None:
        approver = Approver(approve, in_loop=False)
        async with trio.open_nursery() as nursery:
            asking = Asking(approver, nursery, lambda *answer: decided.append(answer))
            asking.begin(APPROVAL)
            asking.begin(msgspec.structs.replace(APPROVAL, id="2"))
            asking.end(APPROVAL.id)
            asking.end("never heard of")

    trio.run(work)
    assert decided == [("2", True, "")]
