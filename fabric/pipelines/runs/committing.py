"""The one place that writes to a RunContext and calls hooks: step by step, in the order of the file."""

from __future__ import annotations

__all__ = ["Book", "tokens_of"]

import logging
from collections.abc import Callable, Iterable

from fabric.pipelines.results import AttemptLog, FailureState, RunContext
from fabric.pipelines.runs.hooks import Hooks, attempt
from fabric.pipelines.runs.outcomes import Outcome, Record

_log = logging.getLogger("fabric.pipelines")


class Book:
    """Writes a run down.

    Args:
        context: is written to.
        hooks: are told.
        hidden: returns texts for logs, without keys.
    """

    def __init__(self, context: RunContext, hooks: Hooks, hidden: Callable[[object], str] = str) -> None:
        self._context = context
        self._hooks = hooks
        self._hidden = hidden
        context.metadata.update(validation_warnings=[], cache_hits=0, cache_misses=0)

    def commit(self, outcome: Outcome) -> None:
        """Write down what a step at the top left. Called in the caller's thread: hooks run here."""
        for record in outcome.records[:-1]:
            self._write(record)
        if outcome.verdict == "stop":
            assert outcome.own.error is not None
            self._context.failed = True
            self._context.failure_state = FailureState(outcome.own.result.name, outcome.own.error)
        self._write(outcome.own)

    def close(self, spent: int, elapsed_seconds: float) -> None:
        """Write down what only the end of a run knows.

        Args:
            spent: tokens of all questions, also of those whose steps do not count.
            elapsed_seconds: since its start.
        """
        metadata = self._context.metadata
        metadata["discarded_tokens"] = spent - tokens_of(metadata["attempt_logs"])
        metadata["elapsed_seconds"] = elapsed_seconds

    def _write(self, record: Record) -> None:
        context, result = self._context, record.result
        context.steps[result.name] = result
        context.metadata["attempt_logs"].extend(record.attempts)
        context.metadata["validation_warnings"].extend(record.warnings)
        context.metadata["cache_hits"] += record.cache_hits
        context.metadata["cache_misses"] += record.cache_misses
        context._vocab_suggestions.extend(record.suggestions)  # users know it by this name
        for log in record.attempts:
            self._hooks.fire("on_llm_call", log.step, log.model, log.raw_output or "")
        self._log_problems(record)
        if record.error is not None and record.on_failure is not None:
            attempt(
                f"on_failure of step {result.name!r}", record.on_failure.function, result.name, record.error, context
            )
        if record.heard:
            self._hooks.fire("on_step_end", result.name, result.value, context)

    def _log_problems(self, record: Record) -> None:
        """Log what went wrong for a step that counts: one line each, in the order of the file."""
        for log in record.attempts:
            failed = [f"{log.error_type}: {words}" for words in log.errors] if log.status == "error" else []
            for words in (*log.transport_errors, *failed):
                _log.warning("step %r: model %r: %s", log.step, log.model, self._hidden(words))
        for warning in record.warnings:
            _log.warning("%s", self._hidden(warning))
        if record.error is not None:
            name, error = record.result.name, record.error
            _log.warning("step %r failed: %s: %s", name, type(error).__name__, self._hidden(error))


def tokens_of(attempts: Iterable[AttemptLog]) -> int:
    """Return how many tokens questions took; an answer that was kept took none."""
    return sum(log.tokens["total_tokens"] for log in attempts if log.tokens and not log.cached)
