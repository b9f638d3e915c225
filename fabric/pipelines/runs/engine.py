"""The runs of a pipeline: from an input to a RunContext, with the hooks around it and what comes after the steps."""

from __future__ import annotations

__all__ = ["Engine", "Prepared"]

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import trio
from pydantic import BaseModel

from fabric.pipelines.asking.clients import Clients, stateful_identity
from fabric.pipelines.expressions.expression import Scope
from fabric.pipelines.loading.models import override
from fabric.pipelines.results import RunContext, VocabSuggestion
from fabric.pipelines.runs.accounting import Account, account_of
from fabric.pipelines.runs.calling import Caller
from fabric.pipelines.runs.committing import Book
from fabric.pipelines.runs.hiding import hiding_of
from fabric.pipelines.runs.hooks import Hooks
from fabric.pipelines.runs.local import open_local
from fabric.pipelines.runs.outcomes import Outcome
from fabric.pipelines.runs.outputs import write_outputs
from fabric.pipelines.runs.planning import Plans
from fabric.pipelines.runs.run import Frame, Options, Run, carry_out_all
from fabric.pipelines.runs.steps import carry_out
from fabric.pipelines.spec import LlmStep, Mark, ModelSpec, Pipeline, Place, Step, substeps
from fabric.pipelines.vocabularies.growing import grow_after_run
from fabric.pipelines.vocabularies.growth import GrowthQuestion
from fabric.pipelines.work import LlmWork, Performer

_log = logging.getLogger("fabric.pipelines")


@dataclass(frozen=True)
class Prepared:
    """A run that can begin.

    Attributes:
        input: ``ctx``.
        models: with what the run overrides.
        plans: with these.
        options: of the run.
    """

    input: Mapping[str, Any]
    models: Mapping[str, ModelSpec]
    plans: Plans
    options: Options


@dataclass
class _Kept:
    """What is kept open.

    Attributes:
        engine: of what.
        loop: that it belongs to.
        closed: whether it was.
    """

    engine: Engine
    loop: trio.lowlevel.TrioToken
    performers: Mapping[Place, Performer]
    closed: bool = False


_KEPT: ContextVar[tuple[_Kept, ...]] = ContextVar("fabric_pipelines_kept", default=())


class Engine:
    """Carries out the runs of a pipeline. What a run leaves for the next one: vocabularies that have grown, and clients
    of registered providers.

    Args:
        pipeline: is run.
        hooks: are told.
        schemas: classes that the caller has put in place of schemas of the file.
        account: counts what its runs take; ``None``: one of its own does.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        hooks: Hooks,
        schemas: Mapping[str, type[BaseModel]] | None = None,
        account: Account | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.account = account or account_of(pipeline)
        self._hooks = hooks
        self._schemas = schemas
        self._clients = Clients()
        self._plans = self._planned(pipeline.models)

    def prepared(
        self, given: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]], options: Options
    ) -> Prepared:
        """Return a run that can begin.

        Raises:
            PipelineLoadError: an override has a wrong value.
            TypeError: the input is no map.
        """
        if not isinstance(given, Mapping):
            raise TypeError(
                f"the input of a pipeline is a map: it is 'ctx' in its file; this is {type(given).__name__}"
            )
        if not overrides:
            return Prepared(given, self.pipeline.models, self._plans, options)
        models = override(self.pipeline.models, overrides, self.pipeline.environment)
        return Prepared(given, models, self._planned(models), options)

    async def run_once(self, prepared: Prepared, caller: Caller, *, inline: bool = True) -> RunContext:
        """Carry out a run.

        Args:
            prepared: the run.
            caller: calls hooks.
            inline: whether it calls functions, too, that have the run for themselves.
        """
        kept = self._kept()
        if kept is not None:
            return await self._run(prepared, kept, caller)
        async with self._open(caller if inline else None) as performers:
            return await self._run(prepared, performers, caller)

    @asynccontextmanager
    async def kept_open(self) -> AsyncIterator[None]:
        """Keep connections and workers for all runs in here: of this task, and of those that are started in here.

        It may be entered more than once, also by several tasks at once: each has its own.
        """
        async with self._open(None) as performers:
            kept = _Kept(self, trio.lowlevel.current_trio_token(), performers)
            _KEPT.set((*_KEPT.get(), kept))
            try:
                yield
            finally:
                kept.closed = True  # for tasks that outlive this
                _KEPT.set(tuple(each for each in _KEPT.get() if each is not kept))

    def _kept(self) -> Mapping[Place, Performer] | None:
        # A thread has the variables of the task that called for it, but connections belong to a loop.
        loop = trio.lowlevel.current_trio_token()
        mine = [each for each in _KEPT.get() if each.engine is self and each.loop is loop and not each.closed]
        return mine[-1].performers if mine else None

    async def _run(self, prepared: Prepared, performers: Mapping[Place, Performer], caller: Caller) -> RunContext:
        began_s = trio.current_time()
        account = self.account.begin()
        context = RunContext(prepared.input)
        run = self._begun(prepared, {place: account.watch(each) for place, each in performers.items()})
        book = Book(context, self._hooks, run.hidden)
        await caller.call(partial(self._hooks.fire, "on_run_start", prepared.input))

        async def commit(outcome: Outcome) -> None:
            run.replies.update(outcome.replies)
            if self._hooks.any or any(record.on_failure for record in outcome.records):
                await caller.call(partial(book.commit, outcome))
            else:
                book.commit(outcome)  # it calls nothing that is the caller's

        steps = self.pipeline.steps
        await carry_out_all(steps, prepared.plans.in_order(steps), Frame(run, {}, alone=True), carry_out, commit)
        await self._grow(run, context)
        if not prepared.options.dry_run:
            scope = Scope(prepared.input, context.steps, self.pipeline.env)
            await caller.call(partial(write_outputs, self.pipeline, context, scope))
        book.close(run.spent, trio.current_time() - began_s)
        account.end(context)
        await caller.call(partial(self._hooks.fire, "on_run_end", context))
        return context

    def _begun(self, prepared: Prepared, performers: Mapping[Place, Performer]) -> Run:
        return Run(
            pipeline=self.pipeline,
            models=prepared.models,
            input=prepared.input,
            environment=self.pipeline.env,
            vocabularies={name: vocabulary.snapshot() for name, vocabulary in self.pipeline.vocabularies.items()},
            plans=prepared.plans,
            performers=performers,
            options=prepared.options,
            hidden=hiding_of(self.pipeline, prepared.models),
        )

    async def grow(self, prepared: Prepared, suggestions: Sequence[VocabSuggestion]) -> RunContext:
        """Let vocabularies grow by what several runs suggested that did not do so; only while it is kept open.

        Returns:
            what that left: the questions to models.
        """
        kept = self._kept()
        assert kept is not None, "it is kept open"
        context = RunContext(prepared.input, _vocab_suggestions=list(suggestions))
        options = replace(prepared.options, grow=True)
        account = self.account.begin()
        watched = {place: account.watch(each) for place, each in kept.items()}
        await self._grow(self._begun(replace(prepared, options=options), watched), context)
        account.end_of_questions()
        return context

    async def _grow(self, run: Run, context: RunContext) -> None:
        """Let vocabularies grow by what counts. Models that are asked for that are asked last, and in the log."""
        suggestions = context.summary().vocab_suggestions
        if run.options.dry_run or not run.options.grow or not suggestions:
            return

        async def ask(question: GrowthQuestion) -> str:
            model = run.models[question.model or next(iter(run.models))]
            step = LlmStep(name=f"{question.vocabulary}._growth", mark=Mark(str(self.pipeline.path)), model=model.name)
            messages = [{"role": "user", "content": question.prompt}]
            budget = self.pipeline.execution.budget_usd
            left = None if budget is None else budget - run.spent_usd
            number = run.replies[model.name]
            done = await run.perform(
                LlmWork(step, model, messages, reply_number=number, use_cache=False, budget_usd=left)
            )
            run.replies[model.name] += done.replies
            context.metadata["attempt_logs"].extend(done.attempts)
            if not done.attempts or done.attempts[-1].raw_output is None:
                raise done.error or ValueError("it said nothing")
            return done.attempts[-1].raw_output

        growth = await grow_after_run(suggestions, self.pipeline.vocabularies, self.pipeline.path.parent, ask)
        for problem in growth.problems:
            _log.warning("%s", run.hidden(problem))

    @asynccontextmanager
    async def _open(self, functions: Caller | None) -> AsyncIterator[Mapping[Place, Performer]]:
        async with AsyncExitStack() as stack:
            local = await stack.enter_async_context(open_local(self.pipeline, self._clients, functions))
            performers: dict[Place, Performer] = {"local": local}
            if self._is_elsewhere():
                from fabric.pipelines.remote.performer import open_remote  # what it needs takes its time to be imported

                remote = open_remote(self.pipeline, schemas=self._schemas)
                performers["fabric"] = await stack.enter_async_context(remote)
            yield performers

    def _is_elsewhere(self) -> bool:
        every: list[Step] = [each for step in self.pipeline.steps for each in (step, *substeps(step))]
        return self.pipeline.execution.place == "fabric" or any(step.place == "fabric" for step in every)

    def _planned(self, models: Mapping[str, ModelSpec]) -> Plans:
        return Plans(
            models,
            lambda model: stateful_identity(model) is not None,
            lambda cache: str(Path(cache.dir).resolve()),
            has_budget=self.pipeline.execution.budget_usd is not None,
        )
