"""Several models are asked the same, and perhaps another one merges what they say.

Members are steps that stand beside each other, and are carried out as those are; here is what comes of what they said.
A judge is asked if two members have said something and its condition holds. Without a judge, and if it fails, the first
member of the file that said something has the word.
"""

from __future__ import annotations

__all__ = ["Addition", "Ask", "Ensembled", "hear"]

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from fabric.pipelines.errors import StepExecutionError
from fabric.pipelines.results import AttemptLog, StepResult
from fabric.pipelines.runs.dumping import dumped_text
from fabric.pipelines.spec import EnsembleStep, Judge, LlmStep, Member
from fabric.pipelines.work import Done


@dataclass(frozen=True)
class Addition:
    """What the prompt of a judge has beside that of a step.

    Attributes:
        results: of the members, by the names of their steps; ``steps`` has them, too.
        variables: ``members``: of each that said something its ``name``, ``model`` and ``output``, which is JSON.
        suffix: is put behind the prompt.
    """

    results: Mapping[str, StepResult] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""


Ask: TypeAlias = Callable[[LlmStep, Addition], Awaitable[Done | None]]
"""Asks a model; ``None``: the step is skipped, for its model is not there. Raises nothing for what it does."""


@dataclass(frozen=True)
class Ensembled:
    """What came of an ensemble.

    Attributes:
        value: of the step; ``None`` if there is an error, or nobody said anything.
        error: of the step.
        members: what came of each, by the name of its step, in the order of the file; ``None``: it was skipped.
        judged: what came of the judge; ``None``: nobody asked it.
        judge: name of its step.
        warnings: what was let pass, a line each.
    """

    value: Any
    error: Exception | None
    members: Mapping[str, Done | None]
    judged: Done | None = None
    judge: str = ""
    warnings: Sequence[str] = ()

    @property
    def attempts(self) -> list[AttemptLog]:
        """All questions, in the order of the file; behind those of a member that failed a line that says why.

        That line is no question: it is not to be counted.
        """
        logs: list[AttemptLog] = []
        for name, done in self.members.items():
            if done is not None:
                logs.extend(done.attempts)
                if done.error is not None:
                    logs.append(_closing(name, done, done.error))
        return logs + list(self.judged.attempts if self.judged else ())


async def hear(step: EnsembleStep, members: Mapping[str, Done | None], ask: Ask) -> Ensembled:
    """Return what comes of what the members said; ask the judge, if that is for it to say.

    Args:
        step: the ensemble.
        members: what came of each, by the name of its step, in the order of the file; ``None``: it was skipped. All
            have been asked to the end, also if one has failed: what is written down depends on no clock.
        ask: renders the prompt of the judge, and asks its model.
    """
    failed = next((member for member in step.members if member.required and _error_of(members, member)), None)
    if failed is not None:
        cause = _error_of(members, failed)
        error = StepExecutionError(f"ensemble {step.name!r}: required member {failed.name!r} failed: {cause}")
        error.__cause__ = cause
        return Ensembled(None, error, members)
    heard = [member for member in step.members if _value_of(members, member) is not None]
    if not heard:
        return Ensembled(None, None, members)
    first = _value_of(members, heard[0])
    if step.judge is None or not _judges(step, step.judge, heard):
        return Ensembled(first, None, members)
    judged = await ask(step.judge.ask, _addition(step, step.judge, heard, members))
    if judged is not None and judged.error is None and judged.value is not None:
        return Ensembled(judged.value, None, members, judged, step.judge.ask.name, judged.warnings)
    warning = _unjudged(step, judged, heard[0])
    # What the judge suggested belongs to a value that does not count.
    kept = None if judged is None else replace(judged, value=None, suggestions=())
    return Ensembled(first, None, members, kept, step.judge.ask.name, [*(judged.warnings if judged else ()), warning])


def _error_of(members: Mapping[str, Done | None], member: Member) -> Exception | None:
    done = members[member.ask.name]
    return None if done is None else done.error


def _value_of(members: Mapping[str, Done | None], member: Member) -> Any:
    done = members[member.ask.name]
    return None if done is None or done.error is not None else done.value


def _judges(step: EnsembleStep, judge: Judge, heard: Sequence[Member]) -> bool:
    if len(heard) < 2:
        return False
    return judge.decides == "any_succeeded" or all(member in heard for member in step.members if member.required)


def _unjudged(step: EnsembleStep, judged: Done | None, first: Member) -> str:
    if judged is None:
        why = "its model is not there"
    elif judged.error is not None:
        why = f"it failed: {judged.error}"
    else:
        why = "it said nothing"
    return f"ensemble {step.name!r}: the judge was not heard ({why}); member {first.name!r} has the word"


def _addition(
    step: EnsembleStep, judge: Judge, heard: Sequence[Member], members: Mapping[str, Done | None]
) -> Addition:
    results = {member.ask.name: _result_of(member, members[member.ask.name]) for member in step.members}
    said = [
        {"name": member.name, "model": member.ask.model, "output": _output(_value_of(members, member))}
        for member in heard
    ]
    suffix = "" if judge.own_prompt else _merging(said, step.schema.hint if step.schema else "")
    return Addition(results, {"members": said}, suffix)


def _result_of(member: Member, done: Done | None) -> StepResult:
    if done is None:
        return StepResult(member.ask.name, status="skipped")
    return StepResult(member.ask.name, done.value, "failed" if done.error else "success", list(done.attempts))


def _output(value: Any) -> str:
    try:
        return dumped_text(value, indent=2)
    except ValueError:  # a parser may give anything
        return str(value)


def _merging(said: Sequence[Mapping[str, str]], hint: str) -> str:
    """Return what a judge without a prompt of its own is told behind the prompt of the members."""
    answers = "\n".join(f"### {each['name']}\n```json\n{each['output']}\n```\n" for each in said)
    schema = f"It has to be of this form:\n{hint}\n" if hint else ""
    return (
        f"\n\n---\nThe prompt above was given to {len(said)} models, independently of each other. Their answers:\n\n"
        f"{answers}\nCompare the answers. Where they contradict each other, leave something out or are wrong, decide "
        "by the prompt. Reply with one JSON value, of the same form as the answers, that merges them into the correct "
        f"one.\n{schema}"
    )


def _closing(name: str, done: Done, error: Exception) -> AttemptLog:
    last = done.attempts[-1] if done.attempts else None
    return AttemptLog(
        step=name,
        attempt_number=last.attempt_number if last else 1,
        status="error",
        errors=[str(error)],
        error_type=last.error_type if last and last.error_type else "error",
        model=last.model if last else "",
        cost_usd=0.0,
    )
