"""The conversation of one step, as literal events and commands."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.pipelines.asking.attempts import (
    EMPTY_ANSWER,
    PAUSE_S_MAX,
    RETRY_AFTER_S_MAX,
    TRUNCATED,
    Answered,
    Ask,
    Asking,
    Event,
    Failed,
    FieldError,
    Fine,
    Finish,
    Pause,
    Wrong,
    pause_s,
)
from fabric.pipelines.errors import BudgetExceeded, ParseError, PromptRenderError, SchemaValidationError
from fabric.pipelines.spec import Attempts

USER = {"role": "user", "content": "Extract."}
UNREAD = Wrong("parse", ParseError("no JSON"), "no JSON")
INVALID = Wrong(
    "schema", SchemaValidationError("a: missing"), "a: missing", (FieldError("a", "Field required", "missing"),)
)
BUSY = Failed("rate_limit", OSError("429"), transient=True)
SLOW = Failed("timeout", TimeoutError("slow"), transient=True)
DOWN = Failed("http_error", OSError("503"), transient=True)
REFUSED = Failed("error", OSError("401"))


def tell(wrong: Wrong, text: str, attempt: int) -> str:
    return f"{wrong.kind} {text!r} {attempt}"


def asking(**changes: Any) -> Asking:
    rules = {name: changes.pop(name) for name in tuple(changes) if name in Attempts.__struct_fields__}
    return Asking(
        **{
            "step": "x",
            "model": "mm",
            "messages": [USER],
            "rules": Attempts(**{"max_attempts": 3, "error_feedback": True} | rules),
            "max_retries": 2,
            "retry_delay_s": 1.0,
            "feedback": tell,
        }
        | changes
    )


def told(text: str, kind: str, attempt: int) -> Ask:
    answer = {"role": "assistant", "content": text}
    return Ask((USER, answer, {"role": "user", "content": f"{kind} {text!r} {attempt}"}), attempt)


def test_an_answer_that_counts_ends_it() -> None:
    """One question, one answer, one attempt."""
    machine = asking()
    assert machine.start() == [Ask((USER,), 1)]
    assert machine.handle(Answered("{}", Fine(7))) == [Finish(7)]
    (log,) = machine.attempts
    assert (log.attempt_number, log.attempt, log.status, log.error_type, log.errors) == (1, 1, "success", None, [])
    assert (log.step, log.model, log.raw_output) == ("x", "mm", "{}")


def test_only_the_latest_answer_is_shown() -> None:
    """Each retry has the first messages, the latest answer and what is wrong with it; never those before."""
    machine = asking()
    machine.start()
    assert machine.handle(Answered("one", UNREAD)) == [told("one", "parse", 2)]
    assert machine.handle(Answered("two", INVALID)) == [told("two", "schema", 3)]
    assert machine.handle(Answered("three", INVALID)) == [Finish(error=INVALID.error)]
    assert [log.status for log in machine.attempts] == ["parse_error", "schema_error", "schema_error"]
    assert [log.error_type for log in machine.attempts] == ["parse_error", "schema_error", "schema_error"]
    assert machine.attempts[1].errors == ["a: Field required"]


def test_without_feedback_the_plain_question_is_asked_again() -> None:
    """``error_feedback: false`` resends the prompt."""
    machine = asking(error_feedback=False)
    machine.start()
    assert machine.handle(Answered("one", UNREAD)) == [Ask((USER,), 2)]


@pytest.mark.parametrize(("retry_on", "verdict"), [(("schema",), UNREAD), (("parse",), INVALID), ((), UNREAD)])
def test_a_kind_that_is_not_named_is_not_asked_again(retry_on: tuple[str, ...], verdict: Wrong) -> None:
    """``retry_on`` decides between answers that cannot be read and those that the schema does not like."""
    machine = asking(retry_on=retry_on)
    machine.start()
    assert machine.handle(Answered("one", verdict)) == [Finish(error=verdict.error)]
    assert len(machine.attempts) == 1


def test_a_long_answer_is_cut_where_it_goes_back() -> None:
    """The cap holds for the model's own turn, too: that is what makes conversations long."""
    machine = asking(feedback_chars_max=4)
    machine.start()
    (again,) = machine.handle(Answered("zzzzzzzz", UNREAD))
    assert isinstance(again, Ask)
    assert again.messages[1] == {"role": "assistant", "content": f"zzzz\n{TRUNCATED}"}
    assert machine.attempts[0].raw_output == "zzzzzzzz"


def test_an_empty_answer_goes_back_as_words() -> None:
    """There are servers that take no empty message."""
    machine = asking()
    machine.start()
    (again,) = machine.handle(Answered("", UNREAD))
    assert isinstance(again, Ask)
    assert again.messages[1]["content"] == EMPTY_ANSWER


def test_a_template_without_a_text_ends_the_step() -> None:
    """An ``error_template`` that fails is the step's failure; the attempt before it stays."""
    error = PromptRenderError("'nobody' is undefined")

    def fail(wrong: Wrong, text: str, attempt: int) -> str:
        raise error

    machine = asking(feedback=fail)
    machine.start()
    assert machine.handle(Answered("one", UNREAD)) == [Finish(error=error)]
    assert len(machine.attempts) == 1


def test_a_busy_server_is_asked_again_within_the_attempt() -> None:
    """Retries of the transport are no attempts: each pause is twice the one before, and the log says what happened."""
    machine = asking()
    machine.start()
    assert machine.handle(DOWN) == [Pause(1.0), Ask((USER,), 1)]
    assert machine.handle(BUSY) == [Pause(2.0), Ask((USER,), 1)]
    assert machine.handle(Answered("{}", Fine(7))) == [Finish(7)]
    (log,) = machine.attempts
    assert log.transport_errors == ["http_error: 503", "rate_limit: 429"]
    assert (log.attempt_number, log.status, log.errors) == (1, "success", [])


def test_transport_is_given_up_when_its_retries_are_spent() -> None:
    """The budget of the transport is not that of answers: with three attempts left the step still fails."""
    machine = asking()
    machine.start()
    machine.handle(DOWN)
    machine.handle(DOWN)
    assert machine.handle(DOWN) == [Finish(error=DOWN.error)]
    (log,) = machine.attempts
    assert (log.status, log.error_type, log.raw_output) == ("error", "http_error", None)
    assert (log.errors, log.transport_errors) == (["503"], ["http_error: 503"] * 2)


@pytest.mark.parametrize("event", [SLOW, BUSY, DOWN], ids=lambda event: event.category)
def test_categories_of_the_transport_make_attempts_if_they_are_named(event: Failed) -> None:
    """``retry_on: [timeout]`` and so on make another attempt when the retries are spent."""
    machine = asking(max_retries=0, retry_on=("parse", event.category))
    machine.start()
    assert machine.handle(event) == [Pause(1.0), Ask((USER,), 2)]
    assert machine.handle(Answered("{}", Fine(7))) == [Finish(7)]
    assert [(log.attempt_number, log.status, log.error_type) for log in machine.attempts] == [
        (1, "error", event.category),
        (2, "success", None),
    ]


def test_a_category_that_is_not_named_makes_no_attempt() -> None:
    """``retry_on: [timeout]`` says nothing of busy servers."""
    machine = asking(max_retries=0, retry_on=("timeout",))
    machine.start()
    assert machine.handle(BUSY) == [Finish(error=BUSY.error)]


def test_what_does_not_get_better_is_not_asked_again() -> None:
    """A refusal is the end, whatever budget there is."""
    machine = asking(retry_on=("parse", "schema", "timeout", "http_error", "rate_limit"))
    machine.start()
    assert machine.handle(REFUSED) == [Finish(error=REFUSED.error)]


def test_a_failed_question_leaves_the_conversation_as_it_is() -> None:
    """The model is told what was wrong with its latest answer, also after a timeout in between."""
    machine = asking(retry_on=("parse", "timeout"), max_retries=0, retry_delay_s=0.0)
    machine.start()
    machine.handle(Answered("one", UNREAD))
    (again,) = machine.handle(SLOW)
    assert again == Ask(told("one", "parse", 2).messages, 3)


@pytest.mark.parametrize(("asked_s", "waits_s"), [(7.0, 7.0), (3600.0, RETRY_AFTER_S_MAX)])
def test_a_server_says_how_long_to_wait(asked_s: float, waits_s: float) -> None:
    """``Retry-After`` goes before our own pause, up to a minute."""
    machine = asking()
    machine.start()
    assert machine.handle(Failed("rate_limit", OSError("429"), True, asked_s))[0] == Pause(waits_s)


@pytest.mark.parametrize(
    ("delay_s", "pauses_s"), [(1.0, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]), (90.0, [90.0] * 3), (0.0, [0.0] * 3)]
)
def test_pauses_have_a_limit(delay_s: float, pauses_s: list[float]) -> None:
    """Each is twice the one before, up to a minute; a longer one that was said is waited as it is."""
    assert [pause_s(delay_s, number) for number in range(len(pauses_s))] == pauses_s
    assert pause_s(delay_s, 10**6) == pauses_s[-1]


def test_a_server_may_be_asked_again_very_often() -> None:
    """More often than there are doublings in a number."""
    machine = asking(max_retries=1100, max_attempts=1)
    commands = [machine.start(), *(machine.handle(DOWN) for _ in range(1101))]
    assert isinstance(commands[-1][0], Finish)
    assert commands[-2][0] == Pause(PAUSE_S_MAX)


def test_retry_after_nothing_is_at_once() -> None:
    """A server that asks for no pause gets none."""
    machine = asking()
    machine.start()
    assert machine.handle(Failed("rate_limit", OSError("429"), True, 0.0)) == [Ask((USER,), 1)]


def test_tokens_and_costs_of_an_attempt_are_all_of_its_questions() -> None:
    """What a question cost that failed after all is part of its attempt."""
    machine = asking()
    machine.start()
    machine.handle(Failed("http_error", OSError("cut"), True, None, {"prompt_tokens": 5}, 0.25, 1.0))
    machine.handle(Answered("{}", Fine(7), {"prompt_tokens": 2}, 0.5, 2.0))
    (log,) = machine.attempts
    assert (log.tokens, log.cost_usd, log.elapsed_seconds) == ({"prompt_tokens": 7}, 0.75, 3.0)


def test_a_budget_that_is_spent_ends_it() -> None:
    """No question is asked when the budget is spent; the attempts until then stay."""
    machine = asking(budget_usd=1.0)
    assert machine.start() == [Ask((USER,), 1)]
    (end,) = machine.handle(Answered("one", UNREAD, cost_usd=1.0))
    assert isinstance(end, Finish)
    assert isinstance(end.error, BudgetExceeded)
    assert len(machine.attempts) == 1


def test_a_budget_that_is_spent_between_retries_ends_the_attempt() -> None:
    """The failure that spent it is what is wrong with the attempt, and is told once."""
    machine = asking(budget_usd=1.0)
    machine.start()
    (end,) = machine.handle(Failed("http_error", OSError("cut"), transient=True, cost_usd=1.0))
    assert isinstance(end, Finish)
    assert isinstance(end.error, BudgetExceeded)
    (log,) = machine.attempts
    assert (log.error_type, log.errors, log.transport_errors) == ("http_error", ["cut"], [])


def test_no_budget_is_no_question() -> None:
    """With nothing left the first question is not asked either."""
    (end,) = asking(budget_usd=0.0).start()
    assert isinstance(end, Finish)
    assert isinstance(end.error, BudgetExceeded)


def test_a_budget_that_cannot_be_counted_is_said() -> None:
    """A model without a price is asked all the same, and the step says that nobody counts."""
    machine = asking(budget_usd=1.0)
    machine.start()
    (end,) = machine.handle(Answered("{}", Fine(7)))
    assert isinstance(end, Finish)
    assert "price of model 'mm' is not known" in end.warnings[0]


def test_what_was_let_pass_is_in_the_log() -> None:
    """A schema that is not strict lets errors pass, and they are kept."""
    machine = asking()
    machine.start()
    end = machine.handle(Answered("{}", Fine({}, warnings=("x: a",), errors=("a: missing",))))
    assert end == [Finish({}, warnings=("x: a",))]
    assert (machine.attempts[0].status, machine.attempts[0].errors) == ("success", ["a: missing"])


def test_each_attempt_has_retries_of_its_own() -> None:
    """A server that is busy twice in each attempt is asked three times in each."""
    machine = asking(max_retries=1)
    machine.start()
    events: list[Event] = [BUSY, Answered("one", UNREAD), BUSY, Answered("{}", Fine(7))]
    for event in events:
        commands = machine.handle(event)
    assert commands == [Finish(7)]
    assert [log.transport_errors for log in machine.attempts] == [["rate_limit: 429"]] * 2


CUT = Failed("http_error", OSError("cut"), transient=True, cost_usd=0.25)
EVENTS = st.sampled_from(
    [
        BUSY,
        SLOW,
        DOWN,
        REFUSED,
        CUT,
        Answered("one", UNREAD, cost_usd=0.25),
        Answered("two", INVALID),
        Answered("{}", Fine(7)),
    ]
)
KINDS = st.frozensets(st.sampled_from(["parse", "schema", "timeout", "http_error", "rate_limit"])).map(tuple)


@given(
    events=st.lists(EVENTS, min_size=40, max_size=40),
    retry_on=KINDS,
    max_attempts=st.integers(1, 4),
    max_retries=st.integers(0, 3),
    budget_usd=st.none() | st.sampled_from([0.0, 0.5]),
)
def test_whatever_happens_it_ends_within_its_budgets(
    events: list[Event], retry_on: tuple[str, ...], max_attempts: int, max_retries: int, budget_usd: float | None
) -> None:
    """Attempts are numbered from 1 without a gap, questions are at most what the two budgets allow, nothing follows the
    end, an answer that counts is the last one, and the value and the error are never both there."""
    machine = asking(retry_on=retry_on, max_attempts=max_attempts, max_retries=max_retries, budget_usd=budget_usd)
    commands, asked = machine.start(), []
    for event in events:
        if isinstance(commands[-1], Finish):
            break
        *pauses, ask = commands
        assert isinstance(ask, Ask)
        assert all(isinstance(pause, Pause) for pause in pauses)
        asked.append(ask)
        commands = machine.handle(event)
    (end,) = commands
    assert isinstance(end, Finish)
    assert len(asked) <= max_attempts * (max_retries + 1)
    assert [log.attempt_number for log in machine.attempts] == list(range(1, len(machine.attempts) + 1))
    assert len(machine.attempts) <= max_attempts
    assert all(log.status != "success" for log in machine.attempts[:-1])
    assert (end.error is None) == (bool(machine.attempts) and machine.attempts[-1].status == "success")
    assert all(ask.messages[0] == USER and len(ask.messages) in (1, 3) for ask in asked)
    assert sum(1 + len(log.transport_errors) for log in machine.attempts) == len(asked)
