"""Ten agents that call at once, some of which are killed: the budget holds, and every message has one end."""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import partial

import counted_script
import pytest
from plans import plan_of
from three_ways import RUNNERS

from fabric.session.budget import Limits
from fabric.session.settings import Settings
from fabric.testing import Simulated, simulate
from fabric.testing.faults import Crash, Faults
from fabric.testing.seeded import run_seeded

NAMES = [f"a{number}" for number in range(10)]
AGENT = (
    'let {} : !string -> !string = agent {{ provider: "scripted", script: "counted_script:answer", max_tokens: 300 }}\n'
)
TEXT = (
    "".join(map(AGENT.format, NAMES))
    + "let main : !string -> !string = plumb(i, o) {\n"
    + "".join(f"i ; {name} ; o\n" for name in NAMES)
    + "}\n"
)
PLAN = plan_of(TEXT, metered=True)
INPUTS = ["one", "two", "three"]


def simulated(seed: int, limits: Limits, faults: Faults) -> tuple[Simulated, int]:
    """Run it; return also how many attempts were made."""
    settings = Settings(limits=limits, restarts_max=100, redeliveries_max=100)
    inputs = [("i", json.dumps(text).encode()) for text in INPUTS]
    counted_script.ATTEMPTS.clear()
    run = partial(simulate, PLAN, inputs, runners=RUNNERS, settings=settings, seed=seed, faults=faults)
    return run_seeded(run, seed), len(counted_script.ATTEMPTS)


def crashes(seed: int) -> Faults:
    rng = random.Random(seed)
    drawn = [Crash(rng.choice(NAMES), rng.randint(1, 30), told_after_s=rng.choice([0.0, 1.0])) for _ in range(seed % 4)]
    return Faults(seed=seed, crashes=tuple(drawn), delay_s=0.01)


@pytest.mark.parametrize("seed", range(25))
def test_no_more_calls_are_made_than_the_budget_has(seed: int):
    """Each message of each agent is answered once or a dead letter once, whoever dies; and then the exit code is 3."""
    limit = 1 + random.Random(seed).randrange(36)
    done, attempts = simulated(seed, Limits(calls=limit), crashes(seed))
    assert attempts <= limit
    assert done.finish.budget is not None
    assert done.finish.budget.calls <= limit
    assert done.finish.budget.reserved_calls == 0
    ends = Counter(json.loads(payload).removeprefix("said ") for _, payload in done.outputs)
    ends.update(json.loads(letter.payload) for letter in done.letters)
    closed = {refusal.tickets[0] for refusal in done.refusals if refusal.code == "input_closed"}
    assert ends <= Counter(dict.fromkeys(INPUTS, 10))
    assert {text for text, count in ends.items() if count == 10} >= {
        text for number, text in enumerate(INPUTS, 1) if number in done.settled and number not in closed
    }
    assert {letter.cause for letter in done.letters} <= {"budget"}
    assert done.finish.losses.lost == 0
    assert done.finish.exit_code == (3 if done.finish.budget.exhausted else 0), done.finish.error


@pytest.mark.parametrize("seed", range(10))
def test_tokens_are_never_more_than_the_budget_has(seed: int):
    """Who waits is answered: the session ends by itself."""
    limit = 600 + 400 * seed
    done, attempts = simulated(seed, Limits(tokens=limit), crashes(seed))
    budget = done.finish.budget
    assert budget is not None
    assert (budget.tokens <= limit, budget.reserved_tokens, budget.waiting) == (True, 0, ())
    assert done.finish.exit_code == (3 if budget.exhausted else 0), done.finish.error
    assert attempts == len(done.outputs) or crashes(seed).crashes


def test_without_a_kill_each_grant_is_an_answer():
    """Seven calls, seven answers; they are counted here as well as there."""
    done, attempts = simulated(1, Limits(calls=7), Faults())
    assert (attempts, len(done.outputs)) == (7, 7)
    assert done.finish.exit_code == 3
    assert sum(row.calls for row in done.finish.usage) == 7
