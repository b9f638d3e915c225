"""What each type of step does: expressions evaluated, templates rendered, work made, what came of it judged."""

from __future__ import annotations

__all__ = ["carry_out"]

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fabric.pipelines.errors import SchemaValidationError, StepExecutionError
from fabric.pipelines.expressions.places import address_of
from fabric.pipelines.results import StepResult
from fabric.pipelines.runs.ensembles import Addition, hear
from fabric.pipelines.runs.outcomes import Outcome, Record, failed, of_member, record_of, skipped, succeeded, verdict_of
from fabric.pipelines.runs.questions import ask
from fabric.pipelines.runs.run import Frame, carry_out_all
from fabric.pipelines.spec import ConditionStep, EnsembleStep, FunctionStep, HttpStep, LlmStep, ParallelStep, Step
from fabric.pipelines.work import Done, FunctionWork, HttpWork

_NOTHING = Done()


async def carry_out(step: Step, frame: Frame) -> Outcome:
    """Carry out a step and return what it leaves. What fails in it is part of that.

    All that raises is the step's own failure: values of the user's classes may raise whatever they like when an
    expression looks at them.
    """
    try:
        if step.condition is not None and not _is_gate(step) and not step.condition.evaluate(frame.scope):
            return skipped(step)
        match step:
            case ParallelStep():
                return await _parallel(step, frame)
            case ConditionStep():
                return await _condition(step, frame)
            case EnsembleStep():
                return await _ensemble(step, frame)
            case LlmStep():
                done = await ask(step, frame)
                return skipped(step) if done is None else _leaf(step, done)
            case FunctionStep():
                return _leaf(step, await _call(step, frame))
            case HttpStep():
                return _leaf(step, await _request(step, frame))
    except Exception as error:  # noqa: BLE001 - see above
        return failed(step, error)


def _leaf(step: Step, done: Done) -> Outcome:
    record = record_of(step, done)
    return Outcome((record,), "go_on" if done.error is None else verdict_of(step))


def _is_gate(step: Step) -> bool:
    """Whether the condition of a step is what it checks, instead of what it is skipped without."""
    return isinstance(step, FunctionStep) and step.kind == "validate" and step.function is None


async def _call(step: FunctionStep, frame: Frame) -> Done:
    if step.function is None:
        if step.condition is None or not step.condition.evaluate(frame.scope):
            text = "" if step.condition is None else f": {step.condition.text}"
            raise SchemaValidationError(f"step {step.name!r}: its condition does not hold{text}")
        return Done(True)
    if frame.run.options.dry_run and step.kind == "io":
        return _NOTHING
    inputs: Mapping[str, Any] = {} if step.inputs is None else step.inputs.resolve(frame.scope)
    done = await frame.run.perform(FunctionWork(step, inputs, alone=frame.alone))
    if step.kind == "validate" and done.error is None and not done.value:
        raise SchemaValidationError(
            f"step {step.name!r}: {step.function.text} gave {done.value!r}, so it does not hold"
        )
    return done


async def _request(step: HttpStep, frame: Frame) -> Done:
    if frame.run.options.dry_run:
        return _NOTHING
    try:
        request = step.request.resolve(frame.scope, {"url": address_of})
    except ValueError as error:
        raise StepExecutionError(f"http step {step.name!r}: {error}") from None
    return await frame.run.perform(HttpWork(step, request))


async def _parallel(step: ParallelStep, frame: Frame) -> Outcome:
    outcomes: list[Outcome] = []
    planned = frame.run.plans.together(step.steps)
    await carry_out_all(step.steps, planned, frame, _child, _kept_in(outcomes))
    records = [record for outcome in outcomes for record in outcome.records]
    for child, outcome in zip(step.steps, outcomes, strict=True):
        error = outcome.own.error
        if error is not None and verdict_of(child) == "stop":
            failure = StepExecutionError(f"step {step.name!r}: {child.name!r} inside of it failed: {error}")
            failure.__cause__ = error
            return failed(step, failure, records)
    return succeeded(step, {outcome.own.result.name: outcome.own.result.value for outcome in outcomes}, records)


async def _child(step: Step, frame: Frame) -> Outcome:
    """Carry out a step beside others: whatever comes of it, they go on."""
    outcome = await carry_out(step, frame)
    return Outcome(outcome.records)


def _kept_in(outcomes: list[Outcome]) -> Callable[[Outcome], Awaitable[None]]:
    async def keep(outcome: Outcome) -> None:
        outcomes.append(outcome)

    return keep


async def _condition(step: ConditionStep, frame: Frame) -> Outcome:
    holds = bool(step.decides.evaluate(frame.scope))
    branch = step.then if holds else step.otherwise
    outcomes: list[Outcome] = []
    if branch:
        await carry_out_all(branch, frame.run.plans.in_order(branch), frame, carry_out, _kept_in(outcomes))
    stopped = outcomes[-1].own if outcomes and outcomes[-1].verdict == "stop" else None
    records = _with_skipped(step, holds, [record for outcome in outcomes for record in outcome.records])
    if stopped is not None:
        assert stopped.error is not None
        return failed(step, stopped.error, records)
    return succeeded(step, outcomes[-1].own.result.value if outcomes else None, records)


def _with_skipped(step: ConditionStep, holds: bool, came: Sequence[Record]) -> list[Record]:
    """Return what the branch that was taken left, as it came, and what was not carried out where the file has it.

    Both branches may have a step of the same name: the one that was carried out counts.
    """
    names = {record.result.name for record in came}

    def others(steps: Sequence[Step]) -> list[Record]:
        records = [each for step in steps for each in skipped(step).records if each.result.name not in names]
        names.update(record.result.name for record in records)
        return records

    rest = others(step.then if holds else step.otherwise)  # behind the one that has ended the branch
    return [*came, *rest, *others(step.otherwise)] if holds else [*others(step.then), *came, *rest]


async def _ensemble(step: EnsembleStep, frame: Frame) -> Outcome:
    said: dict[str, Done | None] = {}
    outcomes: list[Outcome] = []

    async def ask_member(asked: Step, seen: Frame) -> Outcome:
        assert isinstance(asked, LlmStep), "a member asks a model"
        said[asked.name] = done = await ask(asked, seen)
        return Outcome((of_member(asked, done),))

    asks = [member.ask for member in step.members]
    planned = frame.run.plans.asked(step.members)
    await carry_out_all(asks, planned, frame, ask_member, _kept_in(outcomes))
    replies = sum((outcome.replies for outcome in outcomes), Counter(frame.replies))

    def ask_judge(asked: LlmStep, addition: Addition) -> Awaitable[Done | None]:
        return ask(asked, replace(frame, replies=replies), addition)

    came = await hear(step, {asked.name: said[asked.name] for asked in asks}, ask_judge)
    members = [outcome.own for outcome in outcomes]
    judged = came.judged or Done()
    own = Record(
        StepResult(step.name, came.value, "success" if came.error is None else "failed", came.attempts),
        attempts=judged.attempts,
        suggestions=judged.suggestions,
        warnings=came.warnings,
        cache_hits=judged.cache_hits,
        cache_misses=judged.cache_misses,
        replies={} if step.judge is None else {step.judge.ask.model: judged.replies},
        error=came.error,
        on_failure=step.on_failure,
    )
    return Outcome((*members, own), "go_on" if came.error is None else verdict_of(step))
