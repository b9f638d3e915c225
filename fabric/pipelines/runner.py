"""Run a pipeline: what users call, in front of all that carries it out."""

from __future__ import annotations

__all__ = [
    "AttemptLog",
    "FailureState",
    "PipelineRunner",
    "RunContext",
    "RunSummary",
    "StepResult",
    "TokenCount",
]

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel

from fabric.pipelines.loading.pipeline import load_pipeline
from fabric.pipelines.results import AttemptLog, FailureState, RunContext, RunSummary, StepResult, TokenCount
from fabric.pipelines.runs.accounting import Account
from fabric.pipelines.runs.calling import Inline, loop_here, run_beside_asyncio, run_here
from fabric.pipelines.runs.engine import Engine
from fabric.pipelines.runs.hooks import Hooks
from fabric.pipelines.runs.run import Options
from fabric.pipelines.spec import Pipeline, Place

F = TypeVar("F", bound=Callable[..., Any])


class PipelineRunner:
    """Runs a pipeline, as often as it is asked to; each run begins anew.

    A run takes its steps in the order of the file: what it leaves, and what hooks are told, is as if each had begun
    when the one in front of it had ended. Steps that do not need each other are under way at once all the same.

    Args:
        path: of the pipeline's file.
        schemas: models of pydantic by the name of a step, over what the file says.
        place: where steps are carried out that do not say it; ``None``: where the file says.

    Raises:
        PipelineLoadError: something is wrong with the files; ``problems`` has all of it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        schemas: Mapping[str, type[BaseModel]] | None = None,
        *,
        place: Place | None = None,
    ) -> None:
        self._hooks = Hooks()
        self._engine = Engine(load_pipeline(path, schemas).at(place), self._hooks, schemas)

    @property
    def pipeline(self) -> Pipeline:
        """What was read."""
        return self._engine.pipeline

    @property
    def account(self) -> Account:
        """What its runs took so far: ``fabric.metrics.Page(runner.account.samples)`` writes it for Prometheus."""
        return self._engine.account

    # --- Hooks --------------------------------------------------------------------------------------------------------

    def on_run_start(self, hook: F) -> F:
        """Call a function with the input before the first step. This and those below decorate, too."""
        return self._hooks.add("on_run_start", hook)

    def on_run_end(self, hook: F) -> F:
        """Call a function with the RunContext when a run has ended, also if it failed."""
        return self._hooks.add("on_run_end", hook)

    def on_step_end(self, hook: F) -> F:
        """Call a function with the name, the value and the RunContext when a step counts, also if it failed."""
        return self._hooks.add("on_step_end", hook)

    def on_llm_call(self, hook: F) -> F:
        """Call a function with the step, the id of the model and what it said: each question, when its step counts."""
        return self._hooks.add("on_llm_call", hook)

    # --- Runs ---------------------------------------------------------------------------------------------------------

    def run(
        self,
        input: Mapping[str, Any],  # noqa: A002 - users know it by this name
        model_overrides: Mapping[str, Mapping[str, Any]] | None = None,
        use_cache: bool = True,
        refresh_cache: bool = False,
        dry_run: bool = False,
    ) -> RunContext:
        """Run it, and return what it leaves. No step that fails raises anything here.

        Hooks, ``on_failure`` and functions that have the run for themselves (no other step can be under way together
        with theirs, however long each takes) are called in this thread; so it is also if trio or asyncio runs in it
        already, which waits meanwhile (``arun`` does not keep it waiting). All else is done in threads of ours.

        Args:
            input: ``ctx`` of expressions and templates.
            model_overrides: keys of models, by their names, over those of the file; for this run.
            use_cache: whether answers that were kept are taken.
            refresh_cache: whether models are asked again, and the answers that were kept replaced.
            dry_run: whether models, requests and ``io`` steps are left out; nothing is written then.

        Raises:
            PipelineLoadError: an override has a wrong value.
        """
        options = Options(use_cache=use_cache, refresh_cache=refresh_cache, dry_run=dry_run)
        run = self._engine.prepared(input, model_overrides or {}, options)
        return run_here(partial(self._engine.run_once, run))

    async def arun(
        self,
        input: Mapping[str, Any],  # noqa: A002 - users know it by this name
        model_overrides: Mapping[str, Mapping[str, Any]] | None = None,
        use_cache: bool = True,
        refresh_cache: bool = False,
        dry_run: bool = False,
    ) -> RunContext:
        """Do the same in a task of trio or asyncio, which goes on meanwhile: all functions are called in threads.

        Hooks and ``on_failure`` are called in the thread of the loop, which waits for them: they should be short. A
        task that is cancelled waits for functions with effects that are under way.
        """
        options = Options(use_cache=use_cache, refresh_cache=refresh_cache, dry_run=dry_run)
        run = self._engine.prepared(input, model_overrides or {}, options)
        if loop_here() == "asyncio":
            return await run_beside_asyncio(partial(self._engine.run_once, run, inline=False))
        return await self._engine.run_once(run, Inline(), inline=False)

    @asynccontextmanager
    async def kept_open(self) -> AsyncIterator[None]:
        """Keep connections and workers for all that ``arun`` runs in here, in trio: in this task, and in those that
        are started in here. Several tasks may do so, and each has its own."""
        async with self._engine.kept_open():
            yield
