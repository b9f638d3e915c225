"""One run: what its steps share, what each of them sees, and sequences of them carried out as ``schedule`` says."""

from __future__ import annotations

__all__ = ["CarryOut", "Frame", "Options", "Run", "carry_out_all"]

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import trio

from fabric.pipelines.asking.clients import BUILT_IN
from fabric.pipelines.expressions.expression import Scope
from fabric.pipelines.results import AttemptLog, StepResult
from fabric.pipelines.runs.committing import tokens_of
from fabric.pipelines.runs.outcomes import Outcome, skipped
from fabric.pipelines.runs.planning import Plans
from fabric.pipelines.runs.schedule import Begin, Cancel, Commit, Discard, Ended, Over, Planned, Schedule, Skip, Start
from fabric.pipelines.spec import ModelSpec, Pipeline, Place, Step, has_effects
from fabric.pipelines.vocab import Vocabulary
from fabric.pipelines.work import Done, LlmWork, Performer, Work


@dataclass(frozen=True)
class Options:
    """What a run is told beside its input.

    Attributes:
        use_cache: whether answers that were kept are taken.
        refresh_cache: whether they are replaced.
        dry_run: whether steps with effects, requests and questions are left out.
        grow: whether vocabularies grow at its end; those of a batch grow at the end of the batch.
        before_effects: is called before anything that must not be done twice; ``None``: nobody asks.
    """

    use_cache: bool = True
    refresh_cache: bool = False
    dry_run: bool = False
    grow: bool = True
    before_effects: Callable[[], object] | None = None


@dataclass
class Run:
    """What all steps of a run share.

    Attributes:
        models: with what the run overrides.
        vocabularies: as they were when the run began.
        plans: of its sequences of steps.
        hidden: returns texts for logs, without keys.
        performers: who performs what steps ask for, by place.
        replies: how many answers of each mock were played for steps that count.
        spent: tokens of all questions; ``spent_usd``: what is known of their cost.
    """

    pipeline: Pipeline
    models: Mapping[str, ModelSpec]
    input: Mapping[str, Any]
    environment: Mapping[str, str]
    vocabularies: Mapping[str, Vocabulary]
    plans: Plans
    performers: Mapping[Place, Performer]
    options: Options = Options()
    hidden: Callable[[object], str] = str
    replies: Counter[str] = field(default_factory=Counter)
    spent: int = 0
    spent_usd: float = 0.0

    def __post_init__(self) -> None:
        self._limit = trio.CapacityLimiter(self.pipeline.execution.max_concurrency)

    def _place_of(self, work: Work) -> Place:
        """Return where a piece of work is performed: a provider that was registered is asked where it was."""
        if isinstance(work, LlmWork) and work.model.provider not in BUILT_IN:
            return "local"
        return work.step.place or self.pipeline.execution.place

    async def perform(self, work: Work) -> Done:
        """Perform a piece of work where its step says, when there is room for it; count what it took."""
        performer = self.performers[self._place_of(work)]
        async with self._limit:
            if self.options.before_effects is not None and has_effects(work.step):
                self.options.before_effects()
            try:
                done = await performer.perform(work)
            except trio.Cancelled:
                if isinstance(work, LlmWork):
                    self._spend(work.asked)
                raise
        if isinstance(work, LlmWork):
            self._spend(done.attempts)
        return done

    def _spend(self, attempts: Sequence[AttemptLog]) -> None:
        self.spent += tokens_of(attempts)
        self.spent_usd += sum(log.cost_usd or 0.0 for log in attempts)


@dataclass(frozen=True)
class Frame:
    """Where a step is carried out.

    Attributes:
        run: that it is part of.
        results: of earlier steps, those that it may see.
        alone: whether nothing else of the run is ever under way together with it. Its place says so, not the clock.
        replies: how many answers of each mock that the step asks were played before it, if it counts. Those that ask
            the same one follow each other, so it stands still while the step is under way.
    """

    run: Run
    results: Mapping[str, StepResult]
    alone: bool
    replies: Mapping[str, int] = field(default_factory=dict)

    @property
    def scope(self) -> Scope:
        """What expressions and templates of the step see."""
        return Scope(self.run.input, self.results, self.run.environment)


CarryOut: TypeAlias = Callable[[Step, Frame], Awaitable[Outcome]]


async def carry_out_all(
    steps: Sequence[Step],
    planned: Sequence[Planned],
    frame: Frame,
    carry_out: CarryOut,
    commit: Callable[[Outcome], Awaitable[None]],
) -> None:
    """Carry out a sequence of steps.

    Args:
        steps: of the sequence.
        planned: what their order depends on.
        frame: of the sequence.
        carry_out: carries out one.
        commit: is called with outcomes in the order of the file, as long as they count.
    """
    execution = frame.run.pipeline.execution
    schedule = Schedule(planned, mode=execution.mode, speculate=execution.speculate)
    outcomes: dict[int, Outcome] = {}
    scopes: dict[int, trio.CancelScope] = {}
    replies = Counter(frame.replies)
    send, receive = trio.open_memory_channel[int](len(steps))

    async def one(place: int) -> None:
        with scopes[place]:
            seen = dict(frame.results)
            for earlier in planned[place].reads:
                seen.update((record.result.name, record.result) for record in outcomes[earlier].records)
            alone = frame.alone and schedule.is_alone(place)
            outcomes[place] = await carry_out(steps[place], Frame(frame.run, seen, alone, replies))
            replies.update(outcomes[place].replies)
            send.send_nowait(place)

    async with trio.open_nursery() as nursery:
        commands = schedule.handle(Start())
        while True:
            for command in commands:
                match command:
                    case Begin(place):
                        scopes[place] = trio.CancelScope()
                        nursery.start_soon(one, place)
                    case Commit(place):
                        await commit(outcomes[place])
                    case Skip(place):
                        await commit(skipped(steps[place]))
                    case Cancel(place):
                        scopes[place].cancel()
                    case Discard() | Over():
                        pass
            if schedule.over:
                return
            place = await receive.receive()
            commands = schedule.handle(Ended(place, outcomes[place].verdict))
