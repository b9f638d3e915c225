"""YAML pipelines for structured extraction: steps that ask models, checked before the first question.

    from fabric.pipelines import PipelineRunner

    result = PipelineRunner("pipeline.yaml").run({"paper": text})
    result.steps["extract"].value       # an instance of the schema's model

What users import lies here; below it, in the order in which a file goes through them:

``spec``, ``results``, ``work``     a pipeline, what a run leaves, and the leaves of the work, as data
``loading``                         files to ``spec``, with all that is wrong with them
``expressions``, ``prompts``        what stands in braces, and templates
``schemas``, ``vocabularies``       what answers have to be
``runs``                            when each step begins and counts, and who carries it out
``asking``                          the conversation of one step with its model
``remote``                          the same work in workers over ZeroMQ
``batches``, ``commands``           many inputs; ``fabric pipeline``

``GUIDE.md`` says all that a file may say.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False

if TYPE_CHECKING:
    from fabric.pipelines.asking.clients import register_provider
    from fabric.pipelines.batch import BatchResult, BatchRunner, BatchSummary
    from fabric.pipelines.errors import PipelineLoadError, YamlPipelineError
    from fabric.pipelines.graph import generate_mermaid
    from fabric.pipelines.results import (
        AttemptLog,
        FailureState,
        RunContext,
        RunSummary,
        StepResult,
        TokenCount,
        VocabSuggestion,
    )
    from fabric.pipelines.runner import PipelineRunner

_HOMES = {
    "AttemptLog": "results",
    "BatchResult": "batch",
    "BatchRunner": "batch",
    "BatchSummary": "batch",
    "FailureState": "results",
    "PipelineLoadError": "errors",
    "PipelineRunner": "runner",
    "RunContext": "results",
    "RunSummary": "results",
    "StepResult": "results",
    "TokenCount": "results",
    "VocabSuggestion": "results",
    "YamlPipelineError": "errors",
    "generate_mermaid": "graph",
    "register_provider": "asking.clients",
}

__all__ = [
    "AttemptLog",
    "BatchResult",
    "BatchRunner",
    "BatchSummary",
    "FailureState",
    "PipelineLoadError",
    "PipelineRunner",
    "RunContext",
    "RunSummary",
    "StepResult",
    "TokenCount",
    "VocabSuggestion",
    "YamlPipelineError",
    "generate_mermaid",
    "register_provider",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a public name when it is used (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'fabric.pipelines' has no attribute {name!r}")
        value = getattr(import_module(f"fabric.pipelines.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
