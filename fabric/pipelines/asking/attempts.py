"""Decides how a model is asked: what is asked again, what it is told then, and when to give up. Waits for nothing.

An *attempt* is a question that a model answered, or that nobody could answer. There are two budgets, apart from each
other. Within an attempt a server that is busy or cannot be reached is asked again up to ``max_retries`` times: the
model has said nothing yet, so that is no attempt of its own; ``transport_errors`` of the attempt says what happened. An
answer that is not what the step wants makes another attempt, up to ``max_attempts``, if ``retry_on`` has its kind. A
question that still has no answer when its retries are spent does so too, if ``retry_on`` names that kind.

The model is shown its latest answer and what is wrong with that, never all of them: what was wrong with earlier ones is
in the way, and makes the conversation longer each time. An attempt without an answer leaves the conversation as it is.
"""

from __future__ import annotations

__all__ = [
    "PAUSE_S_MAX",
    "RETRY_AFTER_S_MAX",
    "Answered",
    "Ask",
    "Asking",
    "Category",
    "Command",
    "Event",
    "Failed",
    "Feedback",
    "FieldError",
    "Fine",
    "Finish",
    "Pause",
    "Verdict",
    "Wrong",
    "pause_s",
]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from fabric.pipelines.errors import BudgetExceeded, PromptRenderError
from fabric.pipelines.results import AttemptLog, AttemptStatus, VocabSuggestion
from fabric.pipelines.spec import Attempts

RETRY_AFTER_S_MAX = 60.0
"""Of the pause that a server asks for: the limit of OpenAI's own client. A longer one is no pause but an outage."""

PAUSE_S_MAX = 60.0
"""Of the pauses that become longer each time. A ``retry_delay`` of more is waited as it is."""

_DOUBLINGS_MAX = 64
"""Any pause is at its limit long before. More, and there is no number for it."""

EMPTY_ANSWER = "(an empty answer)"
"""Stands for an answer with nothing in it: there are servers that take no empty message."""

Category: TypeAlias = Literal["timeout", "rate_limit", "http_error", "error"]
"""Why there is no answer. ``error`` is what does not get better by asking again."""

Messages: TypeAlias = Sequence[Mapping[str, str]]


# --- What an answer is worth ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FieldError:
    """Something that a schema does not like.

    Attributes:
        loc_str: where: ``entries[0].n``; empty: the answer as a whole.
        msg: what, in words.
        type: a word for it.
    """

    loc_str: str
    msg: str
    type: str = ""

    def __str__(self) -> str:
        return f"{self.loc_str}: {self.msg}" if self.loc_str else self.msg


@dataclass(frozen=True)
class Fine:
    """An answer that counts.

    Attributes:
        value: of the step.
        errors: what was let pass, a line each.
    """

    value: Any
    suggestions: Sequence[VocabSuggestion] = ()
    warnings: Sequence[str] = ()
    errors: Sequence[str] = ()


@dataclass(frozen=True)
class Wrong:
    """An answer that does not count.

    Attributes:
        kind: ``parse``: it could not be read; ``schema``: it was, and is not what the schema wants.
        error: what the step raises if it stays like this.
        message: what is wrong, in words, for the model.
        fields: the same, place by place, of a ``schema``.
    """

    kind: Literal["parse", "schema"]
    error: Exception
    message: str
    fields: Sequence[FieldError] = ()

    @property
    def lines(self) -> list[str]:
        """What is wrong, a line each."""
        return [str(one) for one in self.fields] or [self.message]


Verdict: TypeAlias = Fine | Wrong

Feedback: TypeAlias = Callable[[Wrong, str, int], str]
"""Writes what a model is told: what is wrong, its answer, the number of the attempt that is about to begin."""


# --- Events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """A model answered.

    Attributes:
        text: what it said, word for word.
        verdict: what that is worth.
        cost_usd: ``None``: nobody knows.
        cached: whether it was kept from an earlier run.
    """

    text: str
    verdict: Verdict
    tokens: Mapping[str, int] | None = None
    cost_usd: float | None = None
    elapsed_s: float = 0.0
    cached: bool = False


@dataclass(frozen=True)
class Failed:
    """A question has no answer.

    Attributes:
        category: why.
        error: what the step raises if it stays like this.
        transient: whether asking again may help.
        retry_after_s: how long the server asks to wait.
        tokens, cost_usd: what it cost all the same; a cost of ``None``: nobody knows.
    """

    category: Category
    error: Exception
    transient: bool = False
    retry_after_s: float | None = None
    tokens: Mapping[str, int] | None = None
    cost_usd: float | None = 0.0
    elapsed_s: float = 0.0


Event: TypeAlias = Answered | Failed


# --- Commands ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pause:
    """Wait, before what follows."""

    seconds: float


@dataclass(frozen=True)
class Ask:
    """Ask the model; an :class:`Answered` or :class:`Failed` follows.

    Attributes:
        attempt: counted from 1.
    """

    messages: Messages
    attempt: int


@dataclass(frozen=True)
class Finish:
    """The step has ended. Nothing follows."""

    value: Any = None
    error: Exception | None = None
    suggestions: Sequence[VocabSuggestion] = ()
    warnings: Sequence[str] = ()


Command: TypeAlias = Pause | Ask | Finish


# --- The machine ------------------------------------------------------------------------------------------------------


@dataclass
class _Current:
    """What is known of the attempt that is under way."""

    number: int = 1
    retries: int = 0
    elapsed_s: float = 0.0
    cost_usd: float | None = 0.0
    tokens: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[Category, str]] = field(default_factory=list)


class Asking:
    """The conversation of one step with one model. Commands are carried out in their order.

    Args:
        step: its name.
        model: id of the model, for the log.
        messages: of the first question.
        rules: when it is asked again, and what it is told then.
        max_retries, retry_delay_s: within an attempt; each pause is twice the one before, up to ``PAUSE_S_MAX``.
        feedback: writes what the model is told.
        budget_usd: no question is asked when so much is spent; ``None``: there is no limit.
        spent_usd: what was spent before.

    Attributes:
        attempts: all that have ended, in order.
    """

    def __init__(
        self,
        *,
        step: str,
        model: str,
        messages: Messages,
        rules: Attempts,
        max_retries: int,
        retry_delay_s: float,
        feedback: Feedback,
        budget_usd: float | None = None,
        spent_usd: float = 0.0,
    ) -> None:
        self._step = step
        self._model = model
        self._first = tuple(messages)
        self._messages = self._first
        self._rules = rules
        self._max_retries = max_retries
        self._retry_delay_s = retry_delay_s
        self._feedback = feedback
        self._budget_usd = budget_usd
        self._spent_usd = spent_usd
        self._uncounted = False
        self._now = _Current()
        self.attempts: list[AttemptLog] = []

    def start(self) -> list[Command]:
        """Return how it begins."""
        return self._ask()

    def handle(self, event: Event) -> list[Command]:
        """Return what follows from an answer, or from there being none."""
        now = self._now
        now.elapsed_s += event.elapsed_s
        now.cost_usd = None if now.cost_usd is None or event.cost_usd is None else now.cost_usd + event.cost_usd
        for name, count in (event.tokens or {}).items():
            now.tokens[name] = now.tokens.get(name, 0) + count
        self._spent_usd += event.cost_usd or 0.0
        self._uncounted |= event.cost_usd is None
        if isinstance(event, Failed):
            return self._handle_failure(event)
        verdict = event.verdict
        if isinstance(verdict, Fine):
            self._log("success", verdict.errors, None, event.text, event.cached)
            return [Finish(verdict.value, None, verdict.suggestions, (*verdict.warnings, *self._warnings()))]
        status: AttemptStatus = "parse_error" if verdict.kind == "parse" else "schema_error"
        self._log(status, verdict.lines, status, event.text, event.cached)
        if verdict.kind not in self._rules.retry_on or now.number >= self._rules.max_attempts:
            return self._give_up(verdict.error)
        if self._rules.error_feedback:
            try:
                told = self._feedback(verdict, event.text, now.number + 1)
            except PromptRenderError as error:
                return self._give_up(error)
            answer = cut(event.text, self._rules.feedback_chars_max) or EMPTY_ANSWER
            self._messages = (
                *self._first,
                {"role": "assistant", "content": answer},
                {"role": "user", "content": told},
            )
        return self._next()

    def _handle_failure(self, event: Failed) -> list[Command]:
        now = self._now
        words = str(event.error) or type(event.error).__name__
        wait_s = pause_s(self._retry_delay_s, now.retries, event.retry_after_s)
        if event.transient and now.retries < self._max_retries:
            now.retries += 1
            now.failures.append((event.category, words))
            return self._ask(wait_s)
        self._log("error", [words], event.category, None, False)
        if event.category not in self._rules.retry_on or now.number >= self._rules.max_attempts:
            return self._give_up(event.error)
        return self._next(wait_s)

    def _next(self, wait_s: float = 0.0) -> list[Command]:
        self._now = _Current(self._now.number + 1)
        return self._ask(wait_s)

    def _ask(self, wait_s: float = 0.0) -> list[Command]:
        if self._budget_usd is not None and self._spent_usd >= self._budget_usd:
            amounts = f"{_dollars(self._spent_usd)} of {_dollars(self._budget_usd)}"
            spent = f"step {self._step!r} asks no further: {amounts} are spent"
            if self._now.failures:  # an attempt that is under way is not forgotten
                category, words = self._now.failures.pop()
                self._log("error", [words], category, None, False)
            return self._give_up(BudgetExceeded(f"{spent}; raise 'budget_usd' of 'execution'"))
        pause: list[Command] = [Pause(wait_s)] if wait_s > 0 else []
        return [*pause, Ask(self._messages, self._now.number)]

    def _give_up(self, error: Exception) -> list[Command]:
        return [Finish(error=error, warnings=self._warnings())]

    def _warnings(self) -> tuple[str, ...]:
        if self._budget_usd is None or not self._uncounted:
            return ()
        return (
            f"{self._step}: the price of model {self._model!r} is not known, so 'budget_usd' does not count all of it;"
            " say it as 'pricing' of the model",
        )

    def _log(
        self, status: AttemptStatus, errors: Sequence[str], error_type: str | None, text: str | None, cached: bool
    ) -> None:
        now = self._now
        self.attempts.append(
            AttemptLog(
                step=self._step,
                attempt_number=now.number,
                status=status,
                elapsed_seconds=now.elapsed_s,
                errors=list(errors),
                error_type=error_type,
                raw_output=text,
                tokens=dict(now.tokens) or None,
                model=self._model,
                cached=cached,
                cost_usd=now.cost_usd,
                transport_errors=[f"{category}: {words}" for category, words in now.failures],
            )
        )


def pause_s(retry_delay_s: float, retries: int, retry_after_s: float | None = None) -> float:
    """Return how long to wait before a question is asked again.

    Args:
        retry_delay_s: before the first time; each pause is twice the one before, up to ``PAUSE_S_MAX``.
        retries: how often it was asked again.
        retry_after_s: how long the server asks to wait; that goes before.
    """
    if retry_after_s is not None:
        return min(retry_after_s, RETRY_AFTER_S_MAX)
    return min(retry_delay_s * 2.0 ** min(retries, _DOUBLINGS_MAX), max(retry_delay_s, PAUSE_S_MAX))


def _dollars(amount: float) -> str:
    """Return an amount with cents, and with what is less than a cent."""
    whole, _, part = f"{amount:.6f}".partition(".")
    return f"${whole}.{part.rstrip('0').ljust(2, '0')}"


TRUNCATED = "[…truncated for length…]"


def cut(text: str, length: int) -> str:
    """Return a text, or the beginning of a longer one with a mark that says so."""
    return text if len(text) <= length else f"{text[:length]}\n{TRUNCATED}"
