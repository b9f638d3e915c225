"""Who sits at the terminal is asked."""

from __future__ import annotations

import os
import pty

import trio

from fabric.runtime.questions import Questions
from fabric.session.events import Approval

APPROVAL = Approval("1-abc", "clerk", "fs.write", '{"path":"x"}', 12, "digest", 0.0, 300.0)


async def test_a_terminal_that_has_hung_up_says_no():
    """The session goes on without it."""
    decided: list[tuple[str, bool, bool]] = []
    said: list[str] = []
    controller, terminal = pty.openpty()
    os.set_blocking(terminal, False)
    os.close(controller)
    questions = Questions(said.append)
    questions.asked(APPROVAL)
    with trio.CancelScope() as scope:

        class Decides:
            def decide(self, approval: str, *, granted: bool, always: bool = False, reason: str = "") -> None:
                decided.append((approval, granted, always))
                scope.cancel()

        await questions.ask(terminal, Decides())
    os.close(terminal)
    assert decided == [("1-abc", False, False)]
    assert len(said) == 1
