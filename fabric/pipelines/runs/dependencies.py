"""What has to be before a step: the steps that it reads. What has to be after it: fences.

For steps in a row: those of a file, of a branch, or of a ``parallel`` step. A step that has steps in it reads what they
read, and is a fence if one of them is. ``schedule`` says what becomes of that.

*Reads* are found in every expression and template of a step. Where only the input says which step is read, it is every
earlier one. A *fence* has effects, or stops the run on purpose: everything before it is done when it begins, and
nothing behind it begins before it is done.
"""

from __future__ import annotations

__all__ = ["Needs", "is_fence", "models_of", "names_of", "needs", "reads_of"]

from collections.abc import Iterator, Sequence

import msgspec

from fabric.pipelines.expressions.expression import StepRead
from fabric.pipelines.spec import (
    ConditionStep,
    EnsembleStep,
    FunctionStep,
    HttpStep,
    LlmStep,
    ParallelStep,
    Step,
    has_effects,
    substeps,
)


class Needs(msgspec.Struct, frozen=True):
    """What a step needs of the steps in the same row. Steps are counted from 0, in the order of the file.

    Attributes:
        reads: those whose results it reads, each once, in order.
        fence: whether all before it must be done, and nothing behind it may have begun.
    """

    reads: tuple[int, ...] = ()
    fence: bool = False


def needs(steps: Sequence[Step]) -> tuple[Needs, ...]:
    """Return what each step of a row needs; they are in the order of the file."""
    owners: dict[str, int] = {}
    found: list[Needs] = []
    for number, step in enumerate(steps):
        found.append(Needs(reads=_read_numbers(step, number, owners), fence=is_fence(step)))
        owners |= dict.fromkeys(names_of(step), number)
    return tuple(found)


def _read_numbers(step: Step, number: int, owners: dict[str, int]) -> tuple[int, ...]:
    reads = list(reads_of(step))
    if any(read.step is None for read in reads):
        return tuple(range(number))
    return tuple(sorted({owners[read.step] for read in reads if read.step in owners}))


def names_of(step: Step) -> Iterator[str]:
    """Return all names under which results of a step, and of the steps in it, are kept."""
    for each in (step, *substeps(step)):
        yield each.name
        if isinstance(each, EnsembleStep):
            yield from (f"{each.name}.{member.name}" for member in each.members)


def is_fence(step: Step) -> bool:
    """Whether a step, or one in it, has effects or stops the run on purpose."""
    return any(has_effects(each) or _guards(each) for each in (step, *substeps(step)))


def _guards(step: Step) -> bool:
    return isinstance(step, FunctionStep) and step.kind == "validate"


def models_of(step: Step) -> Iterator[str]:
    """Return the models that a step, and those in it, may ask, in the order of the file; one may come twice."""
    for each in (step, *substeps(step)):
        if isinstance(each, LlmStep):
            yield each.model
        elif isinstance(each, EnsembleStep):
            yield from (member.ask.model for member in each.members)
            if each.judge is not None:
                yield each.judge.ask.model


def reads_of(step: Step) -> Iterator[StepRead]:
    """Return every place of a step, and of those in it, that reads results of steps: theirs among them."""
    for each in (step, *substeps(step)):
        yield from _reads_itself(each)


def _reads_itself(step: Step) -> Iterator[StepRead]:
    if step.condition is not None:
        yield from step.condition.reads
    if isinstance(step, LlmStep):
        yield from _llm_reads(step)
    elif isinstance(step, FunctionStep):
        yield from step.inputs.reads if step.inputs is not None else ()
    elif isinstance(step, HttpStep):
        yield from step.request.reads
    elif isinstance(step, ConditionStep):
        yield from step.decides.reads
    elif isinstance(step, EnsembleStep):
        for member in step.members:
            yield from _reads_itself(member.ask)
        if step.judge is not None:
            yield from _reads_itself(step.judge.ask)
    else:
        assert isinstance(step, ParallelStep)


def _llm_reads(step: LlmStep) -> Iterator[StepRead]:
    for text in (step.vars, step.prompt, step.system, step.attempts.error_template):
        if text is not None:
            yield from text.reads
