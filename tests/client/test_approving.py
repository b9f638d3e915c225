"""Functions that are asked whether a tool may be called, without a program."""

from __future__ import annotations

import threading

import trio
from called import PATIENCE_S

from fabric.client.approving import Approve, Approver
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
