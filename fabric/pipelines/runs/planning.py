"""What the order of the steps of a sequence depends on: who reads whom, has effects, shares something with a state."""

from __future__ import annotations

__all__ = ["Plans"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from fabric.pipelines.runs.dependencies import is_fence, models_of, needs
from fabric.pipelines.runs.outcomes import verdict_of
from fabric.pipelines.runs.schedule import Planned
from fabric.pipelines.spec import CacheSpec, Member, ModelSpec, Step

_T = TypeVar("_T")

_EFFECTS = "effects"  # shared by steps with effects that stand beside each other in a ``parallel`` step
_BUDGET = "budget"  # shared by all questions if there is one: what is left of it is known when the last is answered


class Plans:
    """Plans of the sequences of a pipeline, each made when it is first asked for.

    Args:
        models: with what the run overrides.
        is_stateful: whether what a model answers depends on the order in which it is asked.
        place_of: of a cache, however its folder is spelled.
        has_budget: whether questions have to wait for the cost of those before.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSpec],
        is_stateful: Callable[[ModelSpec], bool],
        place_of: Callable[[CacheSpec], str],
        *,
        has_budget: bool = False,
    ) -> None:
        self._models = models
        self._is_stateful = is_stateful
        self._place_of = place_of
        self._has_budget = has_budget
        self._plans: dict[int, tuple[Sequence[object], tuple[Planned, ...]]] = {}

    def in_order(self, steps: Sequence[Step]) -> tuple[Planned, ...]:
        """Return the plan of steps of which each sees those in front of it."""
        return self._kept(steps, self._in_order)

    def together(self, steps: Sequence[Step]) -> tuple[Planned, ...]:
        """Return the plan of steps that stand beside each other: they do not see each other, and none stops another.

        Those with effects follow each other all the same, so that their effects have an order.
        """
        return self._kept(steps, self._together)

    def asked(self, members: Sequence[Member]) -> tuple[Planned, ...]:
        """Return the plan of the questions to the members of an ensemble, which stand beside each other."""
        return self._kept(members, lambda each: self._together([member.ask for member in each]))

    def _shares(self, step: Step) -> tuple[str, ...]:
        """Return what a step uses that has a state, each once."""
        models = [self._models[name] for name in models_of(step)]
        return tuple(dict.fromkeys(state for model in models for state in (*self._mock(model), *self._lasting(model))))

    def _kept(self, steps: Sequence[_T], make: Callable[[Sequence[_T]], tuple[Planned, ...]]) -> tuple[Planned, ...]:
        """Return a plan that was made before, or make it. Sequences are known by identity; they are kept, too."""
        if id(steps) not in self._plans:
            self._plans[id(steps)] = (steps, make(steps))
        return self._plans[id(steps)][1]

    def _in_order(self, steps: Sequence[Step]) -> tuple[Planned, ...]:
        return tuple(
            Planned(
                reads=need.reads,
                fence=need.fence,
                shares=self._shares(step),
                may_stop=verdict_of(step) != "go_on",
                certain=any(True for model in models_of(step) for _ in self._lasting(self._models[model])),
            )
            for step, need in zip(steps, needs(steps), strict=True)
        )

    def _together(self, steps: Sequence[Step]) -> tuple[Planned, ...]:
        return tuple(
            Planned(shares=(*self._shares(step), *([_EFFECTS] if is_fence(step) else [])), may_stop=False)
            for step in steps
        )

    def _mock(self, model: ModelSpec) -> Iterator[str]:
        """Yield what has a state behind a model that a step which is discarded leaves as it was: a mock's replies."""
        if model.provider == "mock" and self._is_stateful(model):
            yield f"mock {model.name}"

    def _lasting(self, model: ModelSpec) -> Iterator[str]:
        """Yield what a question changes for good: a provider that may count, answers that are kept, what is left."""
        if model.provider != "mock" and self._is_stateful(model):
            yield f"provider {model.provider}"
        if model.cache.enabled:
            yield f"cache {self._place_of(model.cache)}"
        if self._has_budget:
            yield _BUDGET
