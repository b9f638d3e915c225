"""The budget: what is granted, what waits, what is refused, and that no limit is ever exceeded."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.session.budget import (
    MAX_TOKENS_LEAST,
    RESERVATIONS_MAX,
    Answer,
    Budget,
    Granted,
    Limits,
    Refused,
    Reserve,
)
from fabric.session.money import Rate, Tokens

RATE = Rate(1_000_000, 5_000_000, 100_000, 1_250_000)
"""1, 5, 0.1 and 1.25 dollars for a million tokens."""


def rate_of(provider: str, model: str, prompt_tokens: int) -> Rate | None:
    return RATE if model == "priced" else None


def budget(usd: float | None = None, tokens: int | None = None, calls: int | None = None) -> Budget:
    return Budget(Limits(usd, tokens, calls), rate_of)


def ask(worker: str = "a", id_: str = "1", prompt: int = 100, reply: int = 1_000, model: str = "priced") -> Reserve:
    return Reserve(worker, id_.encode(), "anthropic", model, prompt, reply)


def granted(worker: str = "a", id_: str = "1", reply: int = 1_000) -> Answer:
    return Granted(worker, id_.encode(), reply)


def refused(answers: list[Answer] | None) -> str:
    """Return why the only answer refuses."""
    assert answers is not None
    (answer,) = answers
    assert isinstance(answer, Refused)
    return answer.error


# --- calls ---


def test_each_attempt_is_a_call_also_one_that_came_to_nothing():
    """Two attempts, the first without any token; a third there is not."""
    found = budget(calls=2)
    assert found.reserve(ask(id_="1")) == [granted()]
    assert found.settle("a", b"1", None) == []
    assert found.reserve(ask(id_="2")) == [granted(id_="2")]
    assert found.settle("a", b"2", Tokens(90, 10)) == []
    assert (
        refused(found.reserve(ask(id_="3")))
        == "the budget of 2 calls is used up: 2 calls used, most of it by 'a' (2 calls)"
    )


def test_a_call_that_is_under_way_does_not_come_back():
    """So nobody waits for one."""
    found = budget(calls=1)
    assert found.reserve(ask()) == [granted()]
    assert refused(found.reserve(ask("b"))) == "the budget of 1 call is used up: 0 calls used, 1 under way"


# --- tokens ---


def test_what_does_not_fit_now_waits_for_those_who_may_give_back():
    """100 + 1,000 tokens are reserved of 2,000; when only 150 were used, the next gets what it wanted."""
    found = budget(tokens=2_000)
    assert found.reserve(ask()) == [granted()]
    assert found.reserve(ask("b")) == []
    assert (found.waits("b"), found.status.waiting) == (True, ("b",))
    assert found.settle("a", b"1", Tokens(100, 50)) == [granted("b")]


def test_a_small_one_does_not_overtake_a_large_one():
    """It came later; the large one might wait for ever."""
    found = budget(tokens=2_000)
    assert found.reserve(ask()) == [granted()]
    assert found.reserve(ask("b")) == []
    assert found.reserve(ask("c", prompt=1, reply=1)) == []
    assert found.settle("a", b"1", None) == [granted("b"), granted("c", reply=1)]


def test_the_last_gets_as_much_as_there_is():
    """When nobody has anything that could come back."""
    found = budget(tokens=1_500)
    assert found.reserve(ask()) == [granted()]
    assert found.reserve(ask("b")) == []
    assert found.settle("a", b"1", Tokens(100, 500)) == [granted("b", reply=800)]
    assert (found.status.reserved_tokens, found.status.tokens) == (900, 600)


def test_a_reply_that_would_be_too_short_is_refused_and_ends_the_budget():
    """Also for those who would fit: a session that goes on in crumbs helps nobody. It says who used it."""
    found = budget(tokens=1_400)
    assert found.reserve(ask()) == [granted()]
    assert found.settle("a", b"1", Tokens(100, 945)) == []
    error = refused(found.reserve(ask("b")))
    assert error == (
        "the budget of 1 400 tokens has no room for the next call: 1 045 tokens used, most of it by 'a' (1 045 tokens);"
        " 'b' asked for 356 tokens"
    )
    assert refused(found.reserve(ask("c", prompt=1, reply=1))) == error == found.exhausted


def test_who_thinks_needs_room_for_the_answer_behind_it():
    """Else it would be granted what it cannot use, message after message, and the budget would never end."""
    found = budget(tokens=2_000)
    thinker = Reserve("a", b"1", "anthropic", "priced", 100, 4_000, thinking_tokens=1_700)
    assert "'a' asked for 2 056 tokens" in refused(found.reserve(thinker))
    assert budget(tokens=2_056).reserve(thinker) == [granted(reply=1_956)]


def test_one_that_wants_little_gets_little():
    """The least reply is not more than was asked for."""
    found = budget(tokens=100)
    assert MAX_TOKENS_LEAST > 10
    assert found.reserve(ask(prompt=90, reply=10)) == [granted(reply=10)]


def test_those_who_wait_already_may_still_be_granted_what_comes_back():
    """They asked before the one that could not be had."""
    found = budget(tokens=2_000)
    assert found.reserve(ask()) == [granted()]
    assert found.reserve(ask("b")) == []
    assert "'c' asked for 2 256 tokens" in refused(found.reserve(ask("c", prompt=2_000)))
    assert found.settle("a", b"1", Tokens(100, 50)) == [granted("b")]
    assert refused(found.reserve(ask("d"))) == found.exhausted


def test_when_it_is_closed_those_who_wait_are_refused():
    """The time is up."""
    found = budget(tokens=2_000)
    assert found.reserve(ask()) == [granted()]
    assert found.reserve(ask("b")) == []
    assert found.close("too late") == [Refused("b", b"1", "too late")]
    assert refused(found.reserve(ask("c"))) == "too late"
    assert found.settle("a", b"1", None) == []


# --- dollars ---


def test_dollars_are_reserved_at_the_dearest_and_settled_as_used():
    """1,000 tokens of prompt may all be written to a cache; 100 tokens of the reply."""
    found = budget(usd=1.0)
    assert found.reserve(ask(prompt=1_000, reply=100)) == [granted(reply=100)]
    assert found.status.reserved_usd == pytest.approx(0.00125 + 0.0005)
    assert found.settle("a", b"1", Tokens(1_000, 10, 1_000)) == []
    assert (found.status.usd, found.status.reserved_usd) == (pytest.approx(0.0001 + 0.00005), 0)


def test_a_reply_is_as_long_as_the_dollars_allow():
    """0.0025 dollars: 0.0005 of the prompt, the rest is 400 tokens."""
    assert budget(usd=0.0025).reserve(ask(prompt=400)) == [granted(reply=400)]


def test_a_model_without_a_price_is_refused_and_nothing_ends():
    """It may have been set later; the others have prices."""
    found = budget(usd=1.0)
    assert "no price for the model 'new' of 'anthropic'" in refused(found.reserve(ask(model="new")))
    assert found.exhausted == ""
    assert found.reserve(ask()) == [granted()]


def test_without_a_limit_in_dollars_no_price_is_needed():
    """Calls and tokens count alike."""
    assert budget(calls=1).reserve(ask(model="new")) == [granted()]


# --- workers ---


def test_who_is_gone_has_used_all_that_it_had_reserved_and_waits_for_nothing():
    """Two reservations of it count in full, the third is forgotten, and the next in the row is looked at."""
    found = budget(tokens=4_000)
    assert found.reserve(ask(id_="1")) == [granted()]
    assert found.reserve(ask(id_="2", reply=2_000)) == [granted(id_="2", reply=2_000)]
    assert found.reserve(ask(id_="3")) == []
    assert found.reserve(ask("b", reply=600)) == []
    assert found.gone("a") == [granted("b", reply=600)]
    assert (found.status.calls, found.status.tokens, found.status.waiting) == (2, 3_200, ())


def test_who_hears_nothing_any_more_waits_for_nothing():
    """And does not keep those behind it from going on."""
    found = budget(tokens=2_000)
    assert found.reserve(ask()) == [granted()]
    assert found.reserve(ask("b")) == []
    assert found.reserve(ask("c", prompt=1, reply=1)) == []
    assert found.deaf("b") == [granted("c", reply=1)]


def test_nobody_knows_what_was_used():
    """Then all of it."""
    found = budget(tokens=4_000)
    assert found.reserve(ask()) == [granted()]
    assert found.settle("a", b"1", "all") == []
    assert found.status.tokens == 1_100


def test_more_than_was_reserved_counts_as_well():
    """An estimate may have been too low."""
    found = budget(tokens=4_000)
    assert found.reserve(ask()) == [granted()]
    assert found.settle("a", b"1", Tokens(3_900, 500)) == []
    assert found.status.tokens == 4_400
    assert "has no room for the next call: 4 400 tokens used" in refused(found.reserve(ask()))


def test_an_id_is_settled_once_and_reserved_once_at_a_time():
    """What was never reserved cannot be settled."""
    found = budget(calls=9)
    assert found.settle("a", b"1", None) is None
    assert found.reserve(ask()) == [granted()]
    assert refused(found.reserve(ask())) == "a reservation 1 is not settled: give each one of its own"
    assert found.settle("b", b"1", None) is None
    assert found.settle("a", b"1", None) == []
    assert found.settle("a", b"1", None) is None
    assert found.reserve(ask()) == [granted()]


def test_one_worker_cannot_reserve_without_end():
    """Nor fill the memory with those that wait."""
    found = budget(tokens=2_000)
    assert found.reserve(ask()) == [granted()]
    for number in range(1, RESERVATIONS_MAX):
        assert found.reserve(ask(id_=f"w{number}")) == []
    assert refused(found.reserve(ask(id_="one more"))).startswith("64 of your reservations are not settled")
    assert found.exhausted == ""


# --- any order ---

WORKERS = [f"w{number}" for number in range(10)]
STEP = st.one_of(
    st.tuples(st.just("reserve"), st.sampled_from(WORKERS), st.integers(0, 1_000), st.integers(1, 2_000)),
    st.tuples(st.just("settle"), st.integers(0, 50), st.floats(0, 1), st.sampled_from(["used", "all", "none"])),
    st.tuples(st.just("gone"), st.sampled_from(WORKERS)),
)
LIMIT = st.one_of(st.none(), st.integers(1, 12_000))


class Model:
    """Workers that keep to what they were granted, and count for themselves."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.budget = Budget(limits, rate_of)
        self.asked: dict[tuple[str, bytes], Reserve] = {}
        self.open: dict[tuple[str, bytes], int] = {}
        self.calls = self.tokens = self.picos = 0
        self.number = 0

    def take(self, answers: list[Answer] | None) -> None:
        for answer in answers or ():
            asked = self.asked.pop((answer.worker, answer.id))
            if isinstance(answer, Granted):
                assert 1 <= answer.max_tokens <= asked.max_tokens
                assert answer.max_tokens >= min(MAX_TOKENS_LEAST, asked.max_tokens)
                self.calls += 1
                self.open[answer.worker, answer.id] = asked.prompt_tokens, answer.max_tokens
        self.check()

    def use(self, prompt: int, reply: int) -> None:
        self.tokens += prompt + reply
        self.picos += prompt * RATE.cache_write + reply * RATE.output

    def check(self) -> None:
        held = sum(prompt + reply for prompt, reply in self.open.values())
        dear = sum(prompt * RATE.cache_write + reply * RATE.output for prompt, reply in self.open.values())
        assert self.limits.calls is None or self.calls <= self.limits.calls
        assert self.limits.tokens is None or self.tokens + held <= self.limits.tokens
        assert self.limits.usd is None or self.picos + dear <= round(self.limits.usd * 10**12)
        status = self.budget.status
        assert (status.calls + status.reserved_calls, status.tokens + status.reserved_tokens) == (
            self.calls,
            self.tokens + held,
        )

    def reserve(self, worker: str, prompt: int, reply: int) -> None:
        self.number += 1
        asked = ask(worker, str(self.number), prompt, reply)
        self.asked[worker, asked.id] = asked
        self.take(self.budget.reserve(asked))

    def settle(self, which: int, share: float, how: str) -> None:
        if not self.open:
            return
        key = sorted(self.open)[which % len(self.open)]
        prompt, reply = self.open.pop(key)
        used: Tokens | Literal["all"] | None = None
        if how == "all":
            used = "all"
            self.use(prompt, reply)
        elif how == "used":
            used = Tokens(int(prompt * share), int(reply * share), 0, int(prompt * share))
            self.use(used.prompt, used.completion)
        self.take(self.budget.settle(*key, used))

    def gone(self, worker: str) -> None:
        for key in [key for key in self.open if key[0] == worker]:
            self.use(*self.open.pop(key))
        self.asked = {key: asked for key, asked in self.asked.items() if key[0] != worker}
        self.take(self.budget.gone(worker))


@settings(max_examples=300)
@given(LIMIT, LIMIT, LIMIT, st.lists(STEP, max_size=60))
def test_no_limit_is_exceeded_and_everybody_is_answered(
    calls: int | None, tokens: int | None, millis: int | None, steps: list[tuple]
):
    """Whatever the order of reservations, settlements and deaths. When all is settled, nobody waits any more."""
    model = Model(Limits(None if millis is None else millis / 10**6, tokens, None if calls is None else calls % 20 + 1))
    for kind, *arguments in steps:
        getattr(model, kind)(*arguments)
    while model.open:
        assert model.budget.status.waiting == tuple(asked.worker for asked in model.asked.values())
        model.settle(0, 0.5, "used")
    assert model.asked == {}
