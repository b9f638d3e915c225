"""What the order of the steps of a sequence depends on: who reads whom, has effects, shares something with a state."""

from __future__ import annotations

__all__ = ["Plans"]

from collections.abc import Callable, Iterator, Mapping, Sequence

from fabric.pipelines.dependencies import is_fence, models_of, needs
from fabric.pipelines.outcomes import verdict_of
from fabric.pipelines.schedule import Planned
from fabric.pipelines.spec import LlmStep, ModelSpec, Step

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
        for model in models_of(step):
            names.update(dict.fromkeys(self._states(self._models[model])))
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
        return tuple(
            Planned(reads=need.reads, fence=need.fence, shares=self.shares(step), may_stop=verdict_of(step) != "go_on")
            for step, need in zip(steps, needs(steps, lambda model: None), strict=True)
        )

    def _together(self, steps: Sequence[Step]) -> tuple[Planned, ...]:
        return tuple(
            Planned(shares=(*self.shares(step), *([_EFFECTS] if is_fence(step) else [])), may_stop=False)
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
