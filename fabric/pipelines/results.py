"""What a run leaves: a value and the history of each step, in the order in which the steps are declared."""

from __future__ import annotations

__all__ = ["AttemptLog", "FailureState", "RunContext", "RunSummary", "StepResult", "TokenCount", "VocabSuggestion"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Status: TypeAlias = Literal["success", "failed", "skipped"]
AttemptStatus: TypeAlias = Literal["success", "parse_error", "schema_error", "error"]
MatchType: TypeAlias = Literal["exact", "fuzzy", "novel"]


@dataclass(frozen=True)
class AttemptLog:
    """One question to a model, and what came back.

    Attributes:
        step: name of the step; ``ens.member`` and ``ens._judge`` in an ensemble.
        attempt_number: counted from 1 in its step.
        status: how it went.
        elapsed_seconds: from the question to the answer, by the wall clock.
        errors: what was wrong, a line each; without a schema that is strict also of an attempt that counts.
        error_type: ``parse_error``, ``schema_error``, ``timeout``, ``rate_limit``, ``http_error`` or ``error``.
        raw_output: what the model said, word for word; ``None``: it said nothing.
        tokens: ``prompt_tokens``, ``completion_tokens`` and ``total_tokens``; ``None``: nobody knows.
        model: id of the model that was asked.
        cached: whether the answer was kept from an earlier run: it cost nothing.
        cost_usd: by ``pricing`` of the model, else by the table of prices; ``None``: no price is known.
        transport_errors: why the question was asked again before this came of it, a line each: a server was busy, or
            did not answer in time.
    """

    step: str
    attempt_number: int
    status: AttemptStatus
    elapsed_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)
    error_type: str | None = None
    raw_output: str | None = None
    tokens: dict[str, int] | None = None
    model: str = ""
    cached: bool = False
    cost_usd: float | None = None
    transport_errors: list[str] = field(default_factory=list)

    @property
    def attempt(self) -> int:
        """The same as ``attempt_number``."""
        return self.attempt_number


@dataclass
class StepResult:
    """What came of a step. What it does not have itself is looked for in its value; what is nowhere is ``None``.

    Attributes:
        name: of the step.
        value: a model, a dict, a text, whatever the step gave; ``None`` if it failed or was skipped.
        status: how it ended.
        attempts: all questions to models, also those of a step that failed.
        cost_usd: of all attempts; ``None``: of one of them it is not known.
    """

    name: str
    value: Any = None
    status: Status = "success"
    attempts: list[AttemptLog] = field(default_factory=list)

    @property
    def last_attempt(self) -> AttemptLog | None:
        """The last question; ``None`` if there was none."""
        return self.attempts[-1] if self.attempts else None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python asks for on its own: copying, pickling
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: Any) -> Any:
        value = self.__dict__.get("value")
        if isinstance(value, Mapping):
            return value.get(key)
        if isinstance(key, str):
            return None if key.startswith("_") else getattr(value, key, None)
        try:
            return value[key]  # type: ignore[index]
        except (TypeError, LookupError):
            return None

    def __bool__(self) -> bool:
        return self.value is not None


@dataclass(frozen=True)
class FailureState:
    """Why a run failed: the first failure in the order of the steps.

    Attributes:
        step_name: of the step.
        exception: what it raised, itself.
    """

    step_name: str
    exception: BaseException


@dataclass(frozen=True)
class VocabSuggestion:
    """A value that is no term of its vocabulary.

    Attributes:
        field_name: of the schema: a path for a field of a record inside of it.
        raw_value: what the model said.
        matched_to: the term that it was taken for; ``None`` if it is novel.
        match_type: ``fuzzy`` or ``novel``.
        ideal_value: what the model would rather have said, if it was asked for that.
        vocab_label: of the vocabulary.
        vocabulary: its name in the pipeline: labels need not differ.
    """

    field_name: str
    raw_value: str
    matched_to: str | None
    match_type: MatchType
    ideal_value: str | None = None
    vocab_label: str | None = None
    vocabulary: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class TokenCount:
    """Tokens of a run."""

    input: int = 0
    output: int = 0
    total: int = 0


@dataclass(frozen=True)
class RunSummary:
    """A run in numbers. The same whenever it is asked for.

    Attributes:
        steps_run: names of steps that succeeded or failed, in order.
        steps_failed, steps_skipped: names.
        llm_calls: questions to models, those that the cache answered too.
        total_tokens: of all attempts.
        discarded_tokens: of questions that were under way when the run failed at an earlier step: counted nowhere else.
        elapsed_seconds: of the whole run.
        attempt_logs: of all steps, in order.
        validation_warnings: what was let pass, a line each.
        vocab_suggestions: of all steps, in order.
        cache_hits, cache_misses: of models that have a cache.
        cost_usd: of all attempts; ``None``: there was an attempt whose price is not known.
    """

    steps_run: list[str]
    steps_failed: list[str]
    steps_skipped: list[str]
    llm_calls: int
    total_tokens: TokenCount
    elapsed_seconds: float
    attempt_logs: list[AttemptLog]
    validation_warnings: list[str]
    vocab_suggestions: list[VocabSuggestion]
    cache_hits: int
    cache_misses: int
    discarded_tokens: int = 0
    cost_usd: float | None = None


@dataclass
class RunContext:
    """What a run was given, and what it leaves. Made by the runner, which alone writes to it.

    Attributes:
        input: what the run was given; ``ctx`` in expressions.
        steps: results by name, in the order in which the steps are declared; nested steps before the step they are in.
        metadata: ``attempt_logs`` of all steps, in order; ``validation_warnings``; and numbers that ``summary`` reads.
        failed: whether a step that is required failed.
        failure_state: which, and why.
    """

    input: Mapping[str, Any] = field(default_factory=dict)
    steps: dict[str, StepResult] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=lambda: {"attempt_logs": []})
    failed: bool = False
    failure_state: FailureState | None = None
    _vocab_suggestions: list[VocabSuggestion] = field(default_factory=list)

    @property
    def ctx(self) -> Mapping[str, Any]:
        """The same as ``input``."""
        return self.input

    def summary(self) -> RunSummary:
        """Return the run in numbers."""
        logs: list[AttemptLog] = self.metadata["attempt_logs"]
        tokens = [log.tokens for log in logs if log.tokens and not log.cached]
        known = [log.cost_usd for log in logs]
        return RunSummary(
            steps_run=[name for name, step in self.steps.items() if step.status != "skipped"],
            steps_failed=[name for name, step in self.steps.items() if step.status == "failed"],
            steps_skipped=[name for name, step in self.steps.items() if step.status == "skipped"],
            llm_calls=len(logs),
            total_tokens=TokenCount(
                *(
                    sum(count[name] for count in tokens)
                    for name in ("prompt_tokens", "completion_tokens", "total_tokens")
                )
            ),
            elapsed_seconds=self.metadata.get("elapsed_seconds", 0.0),
            attempt_logs=list(logs),
            validation_warnings=list(self.metadata.get("validation_warnings", ())),
            vocab_suggestions=list(self._vocab_suggestions),
            cache_hits=self.metadata.get("cache_hits", 0),
            cache_misses=self.metadata.get("cache_misses", 0),
            discarded_tokens=self.metadata.get("discarded_tokens", 0),
            cost_usd=None if None in known else sum(cost for cost in known if cost is not None),
        )
