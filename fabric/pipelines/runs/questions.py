"""From a step that asks a model to the question: variables, prompt, hints of vocabularies; and who answers it."""

from __future__ import annotations

__all__ = ["ask"]

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fabric.pipelines.errors import PromptRenderError, PromptTooLargeError
from fabric.pipelines.expressions.expression import Scope
from fabric.pipelines.results import AttemptLog
from fabric.pipelines.runs.ensembles import Addition
from fabric.pipelines.runs.run import Frame
from fabric.pipelines.spec import LlmStep, ModelSpec
from fabric.pipelines.vocab import Vocabulary
from fabric.pipelines.work import Done, LlmWork

DRY_RUN = "[dry-run]"
"""What a model says that was not asked."""

_CHARS_PER_TOKEN = 4  # an estimate
_NOTHING = Addition()


async def ask(step: LlmStep, frame: Frame, addition: Addition = _NOTHING) -> Done | None:
    """Ask the model of a step; ``None``: the model may be missing, and is. What fails is part of what is returned.

    Args:
        step: asks.
        frame: of the step.
        addition: what a judge is told beside that.
    """
    run = frame.run
    model = run.models[step.model]
    if model.missing and not model.required:
        return None
    if run.options.dry_run:
        return Done(attempts=[AttemptLog(step.name, 1, "success", raw_output=DRY_RUN, model=model.model, cost_usd=0.0)])
    try:
        work = _question(step, replace(frame, results={**frame.results, **addition.results}), model, addition)
    except Exception as error:  # noqa: BLE001 - whatever values of the user's classes raise when a template looks at them
        return Done(error=error)
    return await run.perform(work)


def _question(step: LlmStep, frame: Frame, model: ModelSpec, addition: Addition) -> LlmWork:
    run, scope = frame.run, frame.scope
    if step.absent_prompt is not None:
        raise PromptRenderError(f"step {step.name!r}: the file of its prompt is not there: {step.absent_prompt}")
    variables = _variables(step, scope, run.vocabularies, addition)
    prompt = ("" if step.prompt is None else step.prompt.render(variables, scope)) + addition.suffix
    hints = "" if step.schema is None else step.schema.vocab_hints(run.vocabularies)
    if step.inject_vocab_prompt and hints and hints not in prompt:
        prompt = f"{prompt}\n\n{hints}"
    tokens = len(prompt) // _CHARS_PER_TOKEN
    if step.max_prompt_tokens is not None and tokens > step.max_prompt_tokens:
        raise PromptTooLargeError(step.name, tokens, step.max_prompt_tokens)
    messages = [{"role": "user", "content": prompt}]
    if step.system is not None:
        messages.insert(0, {"role": "system", "content": step.system.render(variables, scope)})
    return LlmWork(
        step=step,
        model=model,
        messages=messages,
        variables=variables,
        vocabularies=run.vocabularies,
        reply_number=frame.replies.get(step.model, 0),
        use_cache=run.options.use_cache,
        refresh_cache=run.options.refresh_cache,
        budget_usd=run.pipeline.execution.budget_usd,
        spent_usd=run.spent_usd,
    )


def _variables(
    step: LlmStep, scope: Scope, vocabularies: Mapping[str, Vocabulary], addition: Addition
) -> Mapping[str, Any]:
    """Return what templates of a step may use beside ``ctx``, ``steps`` and ``env``. What ``vars`` says wins."""
    own = {} if step.vars is None else step.vars.resolve(scope)
    if step.schema is None:
        return {"schema_hint": "", "vocab_hints": "", "vocab": {}, **addition.variables, **own}
    known = {**step.schema.own, **vocabularies}
    return {
        "schema_hint": step.schema.hint,
        "vocab_hints": step.schema.vocab_hints(vocabularies),
        "vocab": {name: known[name].to_dict() for name in step.schema.vocabularies if name in known},
        **addition.variables,
        **own,
    }
