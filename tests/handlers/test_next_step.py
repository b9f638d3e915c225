"""What a run does next."""

from __future__ import annotations

import pytest

from fabric.handlers.next_step import Invoke, Mode, Quiet, Step, Wait, next_step
from fabric.store.readiness import Failed, Idle, Paused, Readiness, Ready, Sleeping

PLAIN, ONCE, WATCH, RETRY = Mode(), Mode(once=True), Mode(watch=True), Mode(retries=2)


@pytest.mark.parametrize(
    ("readiness", "mode", "decided", "failed", "step"),
    [
        (Ready(1), PLAIN, 0, 0, Invoke()),
        (Ready(1), PLAIN, 5, 0, Invoke()),  # its own output is an event
        (Ready(1), ONCE, 0, 0, Invoke()),
        (Ready(1), ONCE, 1, 0, Quiet()),
        (Idle(), PLAIN, 0, 0, Quiet()),
        (Paused(), PLAIN, 1, 0, Quiet()),
        (Sleeping(9.0), PLAIN, 1, 0, Quiet()),
        (Idle(), WATCH, 0, 0, Wait()),
        (Paused(), WATCH, 0, 0, Wait()),
        (Sleeping(9.0), WATCH, 0, 0, Wait(9.0)),
        (Sleeping(9.0), Mode(watch=True, once=True), 0, 0, Quiet()),
        (Failed(1, 3, 9.0), PLAIN, 0, 0, Invoke()),  # somebody has asked for it
        (Failed(1, 8), PLAIN, 0, 0, Invoke()),
        (Failed(1, 4, 9.0), PLAIN, 0, 1, Quiet()),
        (Ready(1, 4), PLAIN, 0, 1, Quiet()),
        (Failed(1, 1, 9.0), ONCE, 0, 1, Quiet()),
        (Failed(1, 1, 9.0), RETRY, 0, 1, Wait(9.0)),
        (Ready(1, 1), RETRY, 0, 1, Invoke()),
        (Ready(1, 2), RETRY, 0, 2, Invoke()),
        (Failed(1, 3, 9.0), RETRY, 0, 3, Quiet()),
        (Failed(1, 8), RETRY, 0, 1, Quiet()),  # nobody tries any more
        (Failed(1, 1, 9.0), WATCH, 0, 1, Wait(9.0)),
        (Failed(1, 8), WATCH, 0, 8, Wait()),
        (Ready(1, 5), WATCH, 0, 5, Invoke()),
    ],
)
def test_a_step_follows_from_the_log_and_what_was_asked_for(
    readiness: Readiness, mode: Mode, decided: int, failed: int, step: Step
):
    """All combinations that differ."""
    assert next_step(readiness, mode, decided=decided, failed=failed) == step
