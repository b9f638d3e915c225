"""What a step leaves when it has been carried out, before it counts: all that a commit writes, and nothing is written
before that."""

from __future__ import annotations

__all__ = ["Outcome", "Record", "failed", "of_member", "record_of", "skipped", "succeeded", "verdict_of"]

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fabric.pipelines.results import AttemptLog, StepResult, VocabSuggestion
from fabric.pipelines.runs.schedule import Verdict
from fabric.pipelines.spec import LlmStep, Reference, Step, children_of
from fabric.pipelines.work import Done


@dataclass(frozen=True)
class Record:
    """What one step, or one member of an ensemble, adds to the RunContext.

    Attributes:
        result: goes to ``steps``.
        attempts: questions that no other record has; they go to the log of the run.
        suggestions, warnings, cache_hits, cache_misses: of these.
        replies: how many answers of each mock these played.
        error: why it failed; ``None``: it did not.
        on_failure: is told of that.
        heard: whether hooks are told that it has ended: those of steps that were skipped and of members are not.
    """

    result: StepResult
    attempts: Sequence[AttemptLog] = ()
    suggestions: Sequence[VocabSuggestion] = ()
    warnings: Sequence[str] = ()
    cache_hits: int = 0
    cache_misses: int = 0
    replies: Mapping[str, int] = field(default_factory=dict)
    error: Exception | None = None
    on_failure: Reference | None = None
    heard: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a step of a sequence leaves.

    Attributes:
        records: of the steps inside of it, in the order of the file, and its own, which is the last.
        verdict: what that means for the steps behind it.
    """

    records: tuple[Record, ...]
    verdict: Verdict = "go_on"

    @property
    def own(self) -> Record:
        """The record of the step itself."""
        return self.records[-1]

    @property
    def replies(self) -> Counter[str]:
        """How many answers of each mock were played for it."""
        played: Counter[str] = Counter()
        for record in self.records:
            played.update(record.replies)
        return played


def of_member(step: LlmStep, done: Done | None) -> Record:
    """Return the record of a member of an ensemble, which is no step of its own; ``None``: its model is not there."""
    if done is None:
        return Record(StepResult(step.name, status="skipped"), heard=False)
    return replace(record_of(step, done), heard=False, on_failure=None)


def record_of(step: Step, done: Done) -> Record:
    """Return the record of a step that is one piece of work."""
    return Record(
        StepResult(step.name, done.value, "failed" if done.error else "success", list(done.attempts)),
        attempts=done.attempts,
        suggestions=done.suggestions,
        warnings=done.warnings,
        cache_hits=done.cache_hits,
        cache_misses=done.cache_misses,
        replies={step.model: done.replies} if isinstance(step, LlmStep) else {},
        error=done.error,
        on_failure=step.on_failure,
    )


def succeeded(step: Step, value: Any, inner: Sequence[Record] = ()) -> Outcome:
    """Return the outcome of a step that has a value."""
    return Outcome((*inner, Record(StepResult(step.name, value))))


def skipped(step: Step) -> Outcome:
    """Return the outcome of a step that is not carried out, nor are those inside of it."""
    inner = [record for child in children_of(step) for record in skipped(child).records]
    return Outcome((*inner, Record(StepResult(step.name, status="skipped"), heard=False)))


def failed(step: Step, error: Exception, inner: Sequence[Record] = ()) -> Outcome:
    """Return the outcome of a step that failed; ``on_error`` says what follows."""
    own = Record(StepResult(step.name, status="failed"), error=error, on_failure=step.on_failure)
    return Outcome((*inner, own), verdict_of(step))


def verdict_of(step: Step) -> Verdict:
    """Return what it means for the steps behind a step that it failed."""
    if step.on_error == "skip_remaining":
        return "skip_rest"
    return "go_on" if step.on_error == "continue" or not step.required else "stop"
