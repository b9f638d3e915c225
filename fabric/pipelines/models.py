"""Asks models: carries out what ``attempts`` decides, with clients, the cache and prices. trio lives here."""

from __future__ import annotations

__all__ = ["Models", "open_models"]

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import trio

from fabric.pipelines.attempts import Answered, Ask, Asking, Event, Failed, Finish, Pause
from fabric.pipelines.clients import Answer, AskFailed, BlockingClient, Client, Clients, MockClient, Question
from fabric.pipelines.feedback import feedback_of
from fabric.pipelines.prices import Pricing
from fabric.pipelines.reading import read_answer
from fabric.pipelines.spec import ModelSpec
from fabric.pipelines.work import Done, LlmWork

_log = logging.getLogger("fabric.pipelines")


class Models:
    """Asks models. One for each trio loop; see :func:`open_models`.

    Args:
        clients: of registered providers, which outlive a run.
        pricing: tells what questions cost.
        environment: where keys of servers are, if a model does not say its own.
    """

    def __init__(self, clients: Clients, pricing: Pricing, environment: Mapping[str, str]) -> None:
        self._clients = clients
        self._pricing = pricing
        self._environment = environment

    async def perform(self, work: LlmWork) -> Done:
        """Ask a model, as often as it takes. Raises nothing for what comes of it."""
        return await _Conversation(self, work).run()

    def client_of(self, spec: ModelSpec) -> Client:
        """Return whom questions to a model go to."""
        if spec.provider == "mock":
            return MockClient()
        return BlockingClient(partial(self._clients.get, spec))

    def cost_usd(self, spec: ModelSpec, answer: Answer) -> float | None:
        """Return what a question cost."""
        return self._pricing.cost_usd(spec, answer)


@asynccontextmanager
async def open_models(
    clients: Clients | None = None,
    *,
    pricing: Pricing | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Models]:
    """Return what asks models, for this trio loop. Connections are closed at the end.

    Args:
        clients: of registered providers; a runner keeps its own for all of its runs.
        pricing: tells what questions cost.
        environment: where keys of servers are; that of this process if not given.
    """
    yield Models(clients or Clients(), pricing or Pricing(), os.environ if environment is None else environment)


class _Conversation:
    """One piece of work."""

    def __init__(self, models: Models, work: LlmWork) -> None:
        self._models = models
        self._work = work
        self._replies = 0
        spec, step = work.model, work.step
        self._machine = Asking(
            step=step.name,
            model=spec.model or spec.name,
            messages=work.messages,
            rules=step.attempts,
            max_retries=spec.max_retries,
            retry_delay_s=spec.retry_delay_s,
            feedback=feedback_of(step.attempts, work.variables),
            budget_usd=work.budget_usd,
        )

    async def run(self) -> Done:
        commands = self._machine.start()
        while True:
            event: Event | None = None
            for command in commands:
                if isinstance(command, Finish):
                    return self._done(command)
                if isinstance(command, Pause):
                    await trio.sleep(command.seconds)
                else:
                    event = await self._ask(command)
            assert event is not None, "the machine ends with a question or with the end"
            commands = self._machine.handle(event)

    async def _ask(self, ask: Ask) -> Event:
        work = self._work
        spec = work.model
        question = Question(
            spec,
            ask.messages,
            work.step.sampling.over(spec.sampling),
            {**spec.extra_params, **work.step.extra_params},
            reply_number=work.reply_number + self._replies,
        )
        asked_s = trio.current_time()
        if spec.provider == "mock":
            self._replies += 1
        try:
            answer = await self._models.client_of(spec).ask(question)
        except AskFailed as failure:
            return self._failed(failure, trio.current_time() - asked_s)
        elapsed_s = trio.current_time() - asked_s
        verdict = read_answer(answer.text, work.step, work.vocabularies, cut_off=answer.cut_off)
        return Answered(answer.text, verdict, answer.tokens, self._models.cost_usd(spec, answer), elapsed_s=elapsed_s)

    def _failed(self, failure: AskFailed, elapsed_s: float) -> Failed:
        spec = self._work.model
        _log.warning("step %r: model %r: %s: %s", self._work.step.name, spec.name, failure.category, failure.error)
        cost: float | None = 0.0
        if failure.answer is not None:
            cost = self._models.cost_usd(spec, failure.answer)
        elif failure.unknown_cost:
            cost = None
        return Failed(
            failure.category,
            failure.error,
            failure.transient,
            failure.retry_after_s,
            None if failure.answer is None else failure.answer.tokens,
            cost,
            elapsed_s,
        )

    def _done(self, end: Finish) -> Done:
        return Done(
            value=end.value,
            error=end.error,
            attempts=self._machine.attempts,
            suggestions=end.suggestions,
            warnings=end.warnings,
            replies=self._replies,
        )
