"""Every error of pipelines.

YamlPipelineError           called PyConveyorError, too: files written for that system import it by this name
├── PipelineLoadError           the pipeline's files are wrong; carries all that is wrong with them
│   ├── StepConfigError             a step lacks a key, has a wrong one, or its name is taken
│   ├── ModelRefError               a step names a model that is not there
│   ├── CallableImportError         ``module:function`` cannot be imported or cannot be called
│   ├── SchemaRefError              a schema cannot be found, or is none
│   ├── StepRefError                an expression names a step that is not there, or comes later
│   └── ExpressionSecurityError     an expression does what expressions must not
├── ExpressionEvalError         an expression has no value for this input
├── PromptRenderError           a template has no text for this input
├── PromptTooLargeError         a prompt is longer than its step allows
├── ParseError                  an answer of a model could not be read (a ValueError, too)
├── SchemaValidationError       an answer was read, and is not what the schema wants
├── StepExecutionError          what a step called did not do what it should; for a worker elsewhere: whatever it raised
│                           (a RuntimeError, too)
├── BudgetExceeded              the run has spent what it may
└── PipelineAbortError          a run ended early
"""

from __future__ import annotations

__all__ = [
    "BudgetExceeded",
    "CallableImportError",
    "ExpressionEvalError",
    "ExpressionSecurityError",
    "ModelRefError",
    "ParseError",
    "PipelineAbortError",
    "PipelineLoadError",
    "PromptRenderError",
    "PromptTooLargeError",
    "PyConveyorError",
    "SchemaRefError",
    "SchemaValidationError",
    "StepConfigError",
    "StepExecutionError",
    "StepRefError",
    "YamlPipelineError",
]

from collections.abc import Sequence
from typing import Any

from fabric.errors import FabricError


class YamlPipelineError(FabricError):
    """Something about a pipeline."""


PyConveyorError = YamlPipelineError


class PipelineLoadError(YamlPipelineError):
    """A pipeline's files are wrong. The first thing that is wrong decides the class; ``problems`` has them all.

    Attributes:
        message: what is wrong, in a sentence.
        file: path of the file, as it was given.
        line, column: where, counted from 1; ``None``: of the file as a whole.
        key_path: where, as keys: ``steps[2](extract).inputs.x``.
        suggestion: what was meant, perhaps.
        problems: all that is wrong with these files, in the order of their places; this one among them.
    """

    def __init__(
        self,
        message: str,
        file: str = "",
        line: int | None = None,
        column: int | None = None,
        key_path: str = "",
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.key_path = key_path
        self.suggestion = suggestion
        self.problems: Sequence[PipelineLoadError] = (self,)

    def shown(self) -> str:
        """Return this one problem: its place, what is wrong, and what was meant, perhaps."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        lines = [place, f"  {self.key_path}", f"    {self.message}"]
        if self.suggestion:
            lines.append(f"    Did you mean: {self.suggestion!r}?")
        return "\n".join(line for line in lines if line.strip())

    def __str__(self) -> str:
        """Return all problems, one after the other."""
        return "\n".join(problem.shown() for problem in self.problems)


class StepConfigError(PipelineLoadError):
    """A step lacks a key, has a wrong one, or its name is taken."""


class ModelRefError(PipelineLoadError):
    """A step names a model that is not there."""


class CallableImportError(PipelineLoadError):
    """``module:function`` cannot be imported or cannot be called."""


class SchemaRefError(PipelineLoadError):
    """A schema cannot be found, or is none."""


class StepRefError(PipelineLoadError):
    """An expression names a step that is not there, or comes later."""


class ExpressionSecurityError(PipelineLoadError):
    """An expression does what expressions must not."""


class ExpressionEvalError(YamlPipelineError):
    """An expression has no value for this input."""


class PromptRenderError(YamlPipelineError):
    """A template has no text for this input: a variable is not defined, or it does what templates must not."""


class PromptTooLargeError(YamlPipelineError):
    """A prompt is longer than its step allows; no model was asked.

    Args:
        step_name: of the step.
        token_count: estimated: a quarter of the characters.
        limit: ``max_prompt_tokens`` of the step.
    """

    def __init__(self, step_name: str, token_count: int, limit: int) -> None:
        super().__init__(f"the prompt of step {step_name!r} has about {token_count} tokens; it may have {limit}")
        self.step_name = step_name
        self.token_count = token_count
        self.limit = limit


class ParseError(YamlPipelineError, ValueError):
    """An answer of a model could not be read."""


class SchemaValidationError(YamlPipelineError):
    """An answer was read, and is not what the schema wants; or a ``validate`` step found what must not be.

    Attributes:
        validation_error: what the schema said; ``None`` for a ``validate`` step.
    """

    def __init__(self, message: str, validation_error: Any = None) -> None:
        super().__init__(message)
        self.validation_error = validation_error


class StepExecutionError(YamlPipelineError, RuntimeError):
    """What a step called did not do what it should; of a step with others inside of it: one of these failed."""


class BudgetExceeded(YamlPipelineError):
    """The run has spent what it may; no further model was asked."""


class PipelineAbortError(YamlPipelineError):
    """A run ended early.

    Attributes:
        step_name: of the step that ended it.
        cause: why.
    """

    def __init__(self, step_name: str, cause: BaseException) -> None:
        super().__init__(f"the pipeline ended at step {step_name!r}: {cause}")
        self.step_name = step_name
        self.cause = cause
