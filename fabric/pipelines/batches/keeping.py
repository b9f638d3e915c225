"""What a run left, as JSON, and back: for the journal of a batch.

Values come back as they were: models of the pipeline's schemas as models, exceptions as exceptions of their class. A
value that JSON cannot say comes back as what ``dumping`` makes of it, and a warning of the run says so. Classes of
the user's may raise whatever is asked of them: that is such a value, too.

No key of a model is kept: what has one in it has the name of a variable there, or of a model.
"""

from __future__ import annotations

__all__ = ["Keeping"]

import logging
from collections.abc import Mapping
from typing import Any

from fabric.pipelines.errors import StepExecutionError
from fabric.pipelines.remote.envelope import packing_of
from fabric.pipelines.remote.failures import pack_error, unpack_error
from fabric.pipelines.remote.packing import Unpackable
from fabric.pipelines.results import AttemptLog, FailureState, RunContext, StepResult, VocabSuggestion
from fabric.pipelines.runs.dumping import dumped, text_of
from fabric.pipelines.spec import ModelSpec, Pipeline

_log = logging.getLogger("fabric.pipelines.batch")

_LOGS, _WARNINGS = "attempt_logs", "validation_warnings"


class Keeping:
    """Keeps runs of a pipeline.

    Args:
        pipeline: is run.
        models: with what the runs override: they may have other keys than the file.
    """

    def __init__(self, pipeline: Pipeline, models: Mapping[str, ModelSpec]) -> None:
        keys = {f"models.{name}.api_key": model.api_key for name, model in models.items() if model.api_key}
        self._packing = packing_of(pipeline, keys)

    def keep(self, context: RunContext) -> dict[str, Any]:
        """Return a run as plain JSON values; its input is not among them."""
        lost: list[str] = []
        steps = [self._keep_step(result, lost) for result in context.steps.values()]
        metadata = {name: value for name, value in context.metadata.items() if name != _LOGS}
        metadata[_WARNINGS] = [*metadata.get(_WARNINGS, ()), *lost]
        failure = context.failure_state
        return {
            "steps": steps,
            "logs": [self._packing.pack(dict(vars(log))) for log in context.metadata[_LOGS]],
            "metadata": self._packing.pack(dumped(metadata)),
            "suggestions": [self._packing.pack(dict(vars(each))) for each in context.summary().vocab_suggestions],
            "failed": context.failed,
            "failure": failure and [failure.step_name, self._keep_error(failure.exception)],
        }

    def restore(self, kept: Mapping[str, Any], given: Any) -> RunContext:
        """Return the run.

        Raises:
            Unpackable: it names a class or a variable of the environment that is not there now.
        """
        context = RunContext(given)
        for name, status, packed, logs in kept["steps"]:
            attempts = [self._log_of(log) for log in logs]
            context.steps[name] = StepResult(name, self._packing.unpack(packed), status, attempts)
        context.metadata = {_LOGS: [self._log_of(log) for log in kept["logs"]]}
        context.metadata |= self._packing.unpack(kept["metadata"])
        suggested = [VocabSuggestion(**self._packing.unpack(each)) for each in kept["suggestions"]]
        context._vocab_suggestions.extend(suggested)
        context.failed = kept["failed"]
        if kept["failure"] is not None:
            step, packed = kept["failure"]
            context.failure_state = FailureState(step, self._error_of(packed))
        return context

    def _keep_step(self, result: StepResult, lost: list[str]) -> list[Any]:
        logs = [self._packing.pack(dict(vars(log))) for log in result.attempts]
        try:
            value = self._packing.pack(result.value)
        except Exception as error:  # noqa: BLE001 - a value of the user's
            why = text_of(error)
            warning = f"step {result.name!r}: its value comes from the journal, which cannot say all of it: {why}"
            _log.warning("%s", warning)
            lost.append(warning)
            value = self._keep_shown(result.value)
        return [result.name, result.status, value, logs]

    def _keep_shown(self, value: object) -> Any:
        try:
            return self._packing.pack(dumped(value))
        except (ValueError, Unpackable):
            return f"a {self._packing.name_of(type(value))}"

    def _keep_error(self, error: BaseException) -> Any:
        try:
            return pack_error(error, self._packing)
        except Exception as worse:  # noqa: BLE001 - a class of the user's
            name = self._packing.name_of(type(error))
            _log.warning("%s: an exception that the journal cannot say: %s", name, text_of(worse))
            return pack_error(StepExecutionError(f"{name}: {text_of(error)}"), self._packing)

    def _log_of(self, packed: Mapping[str, Any]) -> AttemptLog:
        return AttemptLog(**self._packing.unpack(packed))

    def _error_of(self, packed: Mapping[str, Any]) -> Exception:
        error = unpack_error(packed, self._packing)
        trace = self._packing.unpack(packed["trace"])
        error.__notes__ = [f"when it was run first:\n{trace}"]
        return error
