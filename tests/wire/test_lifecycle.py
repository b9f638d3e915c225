"""One worker's life. That PROTOCOL.md prints the same table is a test of ``test_protocol_md``."""

from __future__ import annotations

from itertools import product

import pytest

from fabric.errors import RemoteProtocolError
from fabric.wire.lifecycle import TABLE, Life, State, Step


def lived(*steps: Step) -> list[str]:
    """Return the names of the states that these steps lead through."""
    life = Life("judge")
    states = [life.state.name]
    for step in steps:
        life.advance(step)
        states.append(life.state.name)
    return states


def at(state: State) -> Life:
    """Return a life in some state."""
    life = Life("judge")
    life.state = state
    return life


def test_a_worker_that_is_drained_goes_through_every_state():
    """Announced, trusted, asked for an end, at its end, gone. Outputs may cross the end of its input."""
    assert lived(Step.ANNOUNCE, Step.PROBE, Step.OUTPUT, Step.EOF_IN, Step.OUTPUT, Step.EOF_OUT, Step.EXIT) == [
        "LAUNCHED",
        "READY",
        "RUNNING",
        "RUNNING",
        "DRAINING",
        "DRAINING",
        "DRAINED",
        "EXITED",
    ]


def test_a_worker_may_leave_early():
    """It ends its output without having been asked to."""
    assert lived(Step.ANNOUNCE, Step.PROBE, Step.EOF_OUT, Step.EXIT)[-2:] == ["DRAINED", "EXITED"]


@pytest.mark.parametrize("state", [state for state in State if state is not State.EXITED])
def test_a_worker_may_exit_at_any_time_once(state: State):
    """Whether that was an end is another question."""
    life = at(state)
    life.advance(Step.EXIT)
    assert life.state is State.EXITED
    with pytest.raises(RemoteProtocolError):
        life.advance(Step.EXIT)


@pytest.mark.parametrize(("state", "step"), sorted(set(product(State, Step)) - set(TABLE), key=str))
def test_what_is_not_in_the_table_is_an_error(state: State, step: Step):
    """It names the worker, the step and the state, which stays."""
    life = at(state)
    with pytest.raises(RemoteProtocolError) as caught:
        life.advance(step)
    assert life.state is state
    assert str(caught.value) == f"worker 'judge': {step.value} is not allowed in {state.name}"
    assert caught.value.reason == "lifecycle"


def test_no_state_is_entered_twice():
    """Life goes one way."""
    assert all(after.value >= before.value for (before, _), after in TABLE.items())
