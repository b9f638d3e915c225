"""Small versions of the trials in tests/trials, each of which says there what it does. CI has more of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import control
import cycles
import hosts
import hundred
import kills
import pytest
import strangers

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_when_workers_are_killed(seed: int):
    """A thousand messages through a loop, and three to eight kills, of which some may come when all is done."""
    run = kills.try_once("kill", seed, messages=1_000)
    assert run.blows.total() > 0


def test_nothing_is_lost_when_workers_stop_for_a_while():
    """And nobody takes it for a crash."""
    run = kills.try_once("stop", 1, messages=100)
    assert (run.blows.total() > 0, run.starts) == (True, 0)


def test_a_coordinator_that_is_killed_takes_its_workers_along():
    """Within two seconds; `ps` says so, and `down` clears away."""
    kills.try_once("coordinator", 1, messages=1_000)


def test_sessions_in_one_process_leave_nothing():
    """No open file, no thread, no child, no file."""
    cycles.try_once("process", 4)


def test_services_that_come_and_go_leave_nothing():
    """But their record and logs."""
    cycles.try_once("commands", 2)


def test_forty_workers_start_work_and_stop():
    """Each message is at all of them."""
    assert hundred.try_real(40, messages=100).processes > 40


def test_five_hundred_workers_work_in_memory():
    """Without a process."""
    hundred.try_simulated(500, messages=3)


def test_agents_under_control_lose_nothing():
    """Each message is answered in its order, and whatever they are told has its reply."""
    assert control.try_once(agents=4, messages=400, seed=1).told.total() > 0


def test_three_hosts_lose_nothing_with_a_link_and_a_container():
    """With a Docker Engine on each; the files are those of `fabric compose`."""
    run = hosts.try_once(1_000)
    assert (run.messages, run.restarts) == (1_000, 1)


def test_calls_and_pipelines_leave_nothing():
    """Under asyncio and trio; in a process of its own, whose descriptors are counted."""
    trial = Path(__file__).parent.parent / "trials" / "calls.py"
    command = [sys.executable, str(trial), "--calls", "16", "--pipelines", "10"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert result.stdout.count("nothing is left") == 4


def test_strangers_at_the_endpoints_of_a_service_get_nothing_and_give_nothing():
    """Forty at each of nine endpoints, in eight ways; legitimate messages arrive all the time."""
    result = strangers.try_once(knocks=40, messages=500)
    assert (set(result.knocks), result.answers) == (set(strangers.WAYS), 500)
