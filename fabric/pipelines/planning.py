"""What the order of the steps of a sequence depends on: who reads whom, has effects, shares something with a state."""

from __future__ import annotations

__all__ = ["Plans"]

from collections.abc import Callable, Iterator, Mapping, Sequence

from fabric.pipelines.expressions import StepRead
from fabric.pipelines.outcomes import verdict_of
from fabric.pipelines.schedule import Planned
from fabric.pipelines.spec import (
    ConditionStep,
    EnsembleStep,
    FunctionStep,
    HttpStep,
    LlmStep,
    ModelSpec,
    Step,
    substeps,
)

_EFFECTS = "effects"  # shared by steps with effects that stand beside each other in a ``parallel`` step
_BUDGET = "budget"  # shared by all questions if there is one: what is left of it is known when the last is answered


class Plans:
    """Plans of the sequences of a pipeline, each made when it is first asked for.

    Args:
        models: with what the run overrides.
        is_stateful: whether what a model answers depends on the order in which it is asked.
        has_budget: whether questions have to wait for the cost of those before.
    """

    def __init__(
        self, models: Mapping[str, ModelSpec], is_stateful: Callable[[ModelSpec], bool], *, has_budget: bool = False
    ) -> None:
        self._models = models
        self._is_stateful = is_stateful
        self._has_budget = has_budget
        self._plans: dict[int, tuple[Sequence[Step], tuple[Planned, ...]]] = {}

    def in_order(self, steps: Sequence[Step]) -> tuple[Planned, ...]:
        """Return the plan of steps of which each sees those in front of it."""
        return self._kept(steps, self._in_order)

    def together(self, steps: Sequence[Step]) -> tuple[Planned, ...]:
        """Return the plan of steps that stand beside each other: they do not see each other, and none stops another.

        Those with effects follow each other all the same, so that their effects have an order.
        """
        return self._kept(steps, self._together)

    def shares(self, step: Step) -> tuple[str, ...]:
        """Return what a step uses that has a state, each once."""
        names: dict[str, None] = {}
        for each in (step, *substeps(step)):
            for asked in _asked(each):
                names.update(dict.fromkeys(self._states(self._models[asked.model])))
        return tuple(names)

    def queues(self, asked: Sequence[LlmStep]) -> dict[str, str]:
        """Return, by the name of the step, the queue of a question. Those that share something with a state are in one
        queue, in which they follow each other; those that share nothing are in none."""
        queues: dict[str, str] = {}
        by_state: dict[str, str] = {}
        for step in asked:
            shared = self.shares(step)
            if not shared:
                continue
            joined = [by_state[state] for state in shared if state in by_state]
            queues = {name: step.name if queue in joined else queue for name, queue in queues.items()}
            by_state = {state: step.name if queue in joined else queue for state, queue in by_state.items()}
            queues[step.name] = step.name
            by_state.update(dict.fromkeys(shared, step.name))
        return queues

    def _kept(
        self, steps: Sequence[Step], make: Callable[[Sequence[Step]], tuple[Planned, ...]]
    ) -> tuple[Planned, ...]:
        """Return a plan that was made before, or make it. Sequences are known by identity; they are kept, too."""
        if id(steps) not in self._plans:
            self._plans[id(steps)] = (steps, make(steps))
        return self._plans[id(steps)][1]

    def _in_order(self, steps: Sequence[Step]) -> tuple[Planned, ...]:
        owners: dict[str, int] = {}
        planned = []
        for place, step in enumerate(steps):
            planned.append(
                Planned(
                    reads=_places_read(step, owners, place),
                    fence=_has_effects(step),
                    shares=self.shares(step),
                    may_stop=verdict_of(step) != "go_on",
                )
            )
            owners.update((each.name, place) for each in (step, *substeps(step)))
        return tuple(planned)

    def _together(self, steps: Sequence[Step]) -> tuple[Planned, ...]:
        return tuple(
            Planned(shares=(*self.shares(step), *([_EFFECTS] if _has_effects(step) else [])), may_stop=False)
            for step in steps
        )

    def _states(self, model: ModelSpec) -> Iterator[str]:
        """Yield what has a state behind a model: a mock's replies, a provider that may count, answers that are kept."""
        if self._is_stateful(model):
            yield f"mock {model.name}" if model.provider == "mock" else f"provider {model.provider}"
        if model.cache.enabled:
            yield f"cache {model.cache.dir}"
        if self._has_budget:
            yield _BUDGET


def _places_read(step: Step, owners: Mapping[str, int], place: int) -> tuple[int, ...]:
    """Return the places of the steps that a step reads. What is not among them is inside of it, or in front of all."""
    places: dict[int, None] = {}
    for each in (step, *substeps(step)):
        for read in _reads(each):
            if read.step is None:
                return tuple(range(place))
            if read.step in owners:
                places[owners[read.step]] = None
    return tuple(sorted(places))


def _reads(step: Step) -> Iterator[StepRead]:
    """Yield what reads results in a step, without the steps inside of it."""
    if step.condition is not None:
        yield from step.condition.reads
    if isinstance(step, FunctionStep):
        yield from step.inputs.reads if step.inputs is not None else ()
    elif isinstance(step, HttpStep):
        yield from step.request.reads
    elif isinstance(step, ConditionStep):
        yield from step.decides.reads
    for asked in _asked(step):
        for text in (asked.vars, asked.prompt, asked.system, asked.attempts.error_template):
            if text is not None:
                yield from text.reads


def _asked(step: Step) -> Iterator[LlmStep]:
    """Yield the questions of a step, without the steps inside of it."""
    if isinstance(step, LlmStep):
        yield step
    elif isinstance(step, EnsembleStep):
        yield from (member.ask for member in step.members)
        if step.judge is not None:
            yield step.judge.ask


def _has_effects(step: Step) -> bool:
    """Whether a step does something to the world outside, or guards that."""
    return any(
        (isinstance(each, FunctionStep) and each.kind != "transform")
        or (isinstance(each, HttpStep) and each.method.upper() != "GET")
        for each in (step, *substeps(step))
    )
