"""Faults do to a simulated worker what was asked for, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from plans import plan_of

from fabric.session.settings import Settings
from fabric.testing import (
    Crash,
    Faults,
    Restart,
    Simulated,
    Slow,
    Stall,
    draw_faults,
    function_runner,
    run_seeded,
    simulate,
)
from fabric.wire.payload import decode_json

PLAN = plan_of('let f : !int -> !int = python { call: "m:f" }\nlet main : !int -> !int = plumb(i, o) { i ; f ; o }\n')


def run(
    faults: Faults,
    values: range = range(1, 2),
    function: Callable[[int], object] = lambda value: value * 10,
    settings: Settings | None = None,
) -> tuple[Simulated, float]:
    """Run one worker that multiplies; return what came of it, and when it had ended."""

    async def one() -> tuple[Simulated, float]:
        inputs = [("i", str(value).encode()) for value in values]
        runners = {"python": function_runner({"m:f": function})}
        done = await simulate(PLAN, inputs, runners=runners, faults=faults, settings=settings)
        return done, trio.current_time()

    return run_seeded(one, 0)


def outputs(done: Simulated) -> list[bytes]:
    return [payload for _, payload in done.outputs]


def test_without_faults_a_process_takes_its_steps_and_ends():
    """No time passes, nothing is cut."""
    done, ended_s = run(Faults())
    (record,) = done.processes
    assert (record.worker, record.incarnation, record.status, record.phase, record.cut) == ("f", 1, 0, None, 0)
    assert (outputs(done), done.settled, ended_s) == ([b"10"], (1,), 0.0)


@pytest.mark.parametrize(
    ("step", "phase"),
    [
        (0, "before_ready"),
        (1, "before_ready"),
        (2, "before_ready"),
        (4, "in_message"),
        (5, "idle"),
        (6, "in_drain"),
        (7, "after_end"),
    ],
)
def test_a_process_dies_behind_the_step_that_was_named(step: int, phase: str):
    """It takes no further one; what it was at is told from its frames."""
    done, _ = run(Faults(crashes=(Crash("f", step),)))
    record = done.processes[0]
    assert (record.steps, record.phase, record.status) == (step, phase, -9)


def test_every_step_of_a_worker_can_be_its_last():
    """From the first message on the session survives each of them; the output comes once."""
    whole, _ = run(Faults(), range(1, 4))
    (lived,) = whole.processes
    phases = set()
    for step in range(lived.trusted, lived.steps + 1):
        for seed in range(3):
            done, _ = run(Faults(seed, (Crash("f", step),)), range(1, 4))
            assert (outputs(done), done.finish.exit_code) == ([b"10", b"20", b"30"], 0), (step, seed)
            phases.add(done.processes[0].phase)
    assert phases == {"in_message", "idle", "in_drain", "after_end"}


def test_what_was_on_its_way_may_be_cut_but_not_reordered():
    """How much arrives is left to the seed: all, nothing, or the first ones."""

    def spread(value: int) -> object:
        yield from range(3)

    cut = set()
    for seed in range(30):
        done, _ = run(Faults(seed, (Crash("f", 8),), delay_s=1.0), function=spread)
        assert outputs(done) == [b"0", b"1", b"2"]
        assert done.processes[0].steps == 8
        cut.add(done.processes[0].cut)
    assert len(cut) > 1


def test_a_dead_process_is_heard_of_when_its_fault_says():
    """Its status and its last lines come late."""
    crash = Crash("f", 4, status=1, stderr=('{"error": "no", "code": "python_error"}',), told_after_s=500.0)
    done, ended_s = run(Faults(crashes=(crash,)))
    assert [(letter.cause, letter.stderr) for letter in done.letters] == [("poison", crash.stderr)]
    assert 500 <= ended_s < 502


def test_a_runner_that_raises_an_error_of_ours_ends_as_a_worker_does():
    """The error object on its stderr, the status that goes with it."""

    def fails(value: int) -> int:
        raise ValueError("boom")

    done, _ = run(Faults(), function=fails)
    assert done.processes[0].status == 1
    ((line,),) = [letter.stderr for letter in done.letters]
    assert decode_json(line) == {"error": "worker 'f': m:f raised ValueError: boom", "code": "python_error"}


def test_a_later_process_can_die_too():
    """Each incarnation has its own fault."""
    done, _ = run(Faults(crashes=(Crash("f", 4), Crash("f", 2, 2), Crash("f", 4, 3))))
    assert [(record.incarnation, record.steps) for record in done.processes][:3] == [(1, 4), (2, 2), (3, 4)]
    assert (outputs(done), len(done.processes)) == ([b"10"], 4)


def test_a_stalled_process_goes_on_later():
    """Nothing is lost by it."""
    done, ended_s = run(Faults(stalls=(Stall("f", 4, 100.0),)), settings=Settings(grace_s=1_000.0))
    assert outputs(done) == [b"10"]
    assert 100 <= ended_s < 101


def test_a_slow_worker_takes_its_time_for_each_frame():
    """Probe, message, end."""
    done, ended_s = run(Faults(slow=(Slow("f", 1.0),)))
    assert (outputs(done), ended_s) == ([b"10"], 3.0)


def test_a_worker_is_started_anew_when_somebody_asks():
    """In order: what it had it has done before."""
    done, _ = run(Faults(restarts=(Restart("f", 5.0),), input_s=10.0), range(1, 4))
    assert outputs(done) == [b"10", b"20", b"30"]
    assert [(record.incarnation, record.status, record.phase) for record in done.processes] == [
        (1, 0, None),
        (2, 0, None),
    ]


def test_drawn_faults_are_the_same_for_one_seed_and_differ_for_others():
    """They begin where the first process is trusted."""
    (lived,) = run(Faults(), range(1, 9))[0].processes
    drawn = {seed: draw_faults(seed, [lived]) for seed in range(50)}
    assert drawn == {seed: draw_faults(seed, [lived]) for seed in range(50)}
    assert len(set(drawn.values())) == 50
    firsts = [crash for faults in drawn.values() for crash in faults.crashes if crash.incarnation == 1]
    assert firsts
    assert all(lived.trusted <= crash.step <= lived.steps for crash in firsts)
