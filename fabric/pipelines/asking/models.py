"""Asks models: carries out what ``attempts`` decides, with clients, kept answers and prices. trio lives here."""

from __future__ import annotations

__all__ = ["Models", "open_models"]

import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from fabric.errors import ConfigError
from fabric.pipelines.asking.attempts import Answered, Ask, Asking, Event, Failed, Fine, Finish, Pause, Verdict
from fabric.pipelines.asking.clients import (
    BUILT_IN,
    Answer,
    AskFailed,
    BlockingClient,
    Client,
    Clients,
    Mock,
    Question,
    identity,
)
from fabric.pipelines.asking.feedback import feedback_of
from fabric.pipelines.asking.prices import Pricing
from fabric.pipelines.asking.reading import read_answer
from fabric.pipelines.cache import ResponseCache, cache_key
from fabric.pipelines.spec import CacheSpec, ModelSpec
from fabric.pipelines.work import Done, LlmWork

if TYPE_CHECKING:
    from fabric.pipelines.asking.hosted import HostedClient

_log = logging.getLogger("fabric.pipelines")


class Models:
    """Asks models. Made by :func:`open_models`, for one trio loop.

    Args:
        clients: of registered providers.
        pricing: tells what questions cost.
        environment: where addresses and keys of servers are, if a model does not say its own.
    """

    def __init__(self, clients: Clients, pricing: Pricing, environment: Mapping[str, str]) -> None:
        self._clients = clients
        self._pricing = pricing
        self._environment = environment
        self._hosted: dict[str, HostedClient] = {}
        self._caches: dict[CacheSpec, ResponseCache] = {}
        self._lock = threading.Lock()

    async def perform(self, work: LlmWork) -> Done:
        """Ask a model, as often as it takes. Raises nothing for what comes of it."""
        return await _Conversation(self, work).run()

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._hosted.values():
            await client.aclose()

    def client_of(self, spec: ModelSpec) -> Client:
        """Return whom questions to a model go to. Nothing is opened yet.

        Raises:
            ConfigError: what the model says of its server cannot be.
        """
        if spec.provider == "mock":
            return Mock()
        if spec.provider not in ("openai_compat", "anthropic"):
            return BlockingClient(partial(self._clients.get, spec))
        key = identity(spec)
        if key not in self._hosted:
            from fabric.pipelines.asking.hosted import HostedClient

            self._hosted[key] = HostedClient(spec, self._environment)
        return self._hosted[key]

    def cache_of(self, spec: CacheSpec) -> ResponseCache:
        """Return where the answers of a model are kept.

        Raises:
            OSError: the directory is not there and cannot be made.
        """
        with self._lock:  # threads of ours call it
            if spec not in self._caches:
                self._caches[spec] = ResponseCache(spec.dir, spec.ttl_days)
            return self._caches[spec]

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
        pricing: tells what questions cost; that of the project of the working directory if not given.
        environment: where addresses and keys of servers are; that of this process if not given.
    """
    models = Models(
        clients or Clients(), pricing or Pricing(Path.cwd()), os.environ if environment is None else environment
    )
    try:
        yield models
    finally:
        with trio.CancelScope(shield=True):  # closing sends nothing that could be waited for long
            await models.aclose()


class _Spelled:
    """Messages as one text for the log, which is made only if it is written."""

    def __init__(self, messages: Sequence[Mapping[str, str]]) -> None:
        self._messages = messages

    def __str__(self) -> str:
        return "\n".join(f"{one['role']}: {one['content']}" for one in self._messages)


class _Conversation:
    """One piece of work."""

    def __init__(self, models: Models, work: LlmWork) -> None:
        spec, step = work.model, work.step
        self._models = models
        self._work = work
        self._asks_for_json = _asks_for_json(work)
        self._replies = 0
        self._machine = Asking(
            step=step.name,
            model=spec.model or spec.name,
            messages=work.messages,
            rules=step.attempts,
            max_retries=spec.max_retries,
            retry_delay_s=spec.retry_delay_s,
            feedback=feedback_of(step.attempts, work.variables),
            budget_usd=work.budget_usd,
            spent_usd=work.spent_usd,
        )

    async def run(self) -> Done:
        """Ask until it ends; before that, look whether the answer was kept."""
        kept = await self._kept()
        if kept is not None:
            (end,) = self._machine.handle(kept)
            assert isinstance(end, Finish), "only an answer that counts is taken"
            return self._done(end, hits=1)
        end, last = await self._converse()
        warnings = [] if end.error is not None or last is None else await self._keep(last)
        caches = self._work.model.cache.enabled and self._work.use_cache
        return self._done(end, warnings, misses=int(caches))

    async def _converse(self) -> tuple[Finish, Answered | None]:
        """Carry out what the machine says. Return the end, and the last answer."""
        commands = self._machine.start()
        last: Answered | None = None
        while True:
            event: Event | None = None
            for command in commands:
                if isinstance(command, Finish):
                    return command, last
                if isinstance(command, Pause):
                    await trio.sleep(command.seconds)
                else:
                    event = await self._ask(command)
            assert event is not None, "what does not end asks"
            last = event if isinstance(event, Answered) else last
            commands = self._machine.handle(event)
            if isinstance(event, Failed) and not any(isinstance(command, Finish) for command in commands):
                # What ends the conversation is told by whoever has its end.
                step, model = self._work.step.name, self._work.model.name
                _log.warning("step %r: model %r: %s: %s; it is asked again", step, model, event.category, event.error)
            self._work.asked[:] = self._machine.attempts

    async def _ask(self, ask: Ask) -> Event:
        work = self._work
        question = self._question(ask.messages)
        asked_s = trio.current_time()
        try:
            client = self._models.client_of(work.model)
            if work.model.provider == "mock":
                self._replies += 1
            _log.debug("step %r: model %r is asked: %s", work.step.name, work.model.name, _Spelled(ask.messages))
            answer = await client.ask(question)
        except ConfigError as error:
            return Failed("error", error)
        except AskFailed as failure:
            return self._failed(failure, trio.current_time() - asked_s)
        elapsed_s = trio.current_time() - asked_s
        cut = " (cut off at max_tokens)" if answer.cut_off else ""
        _log.debug("step %r: model %r answers%s: %s", work.step.name, work.model.name, cut, answer.text)
        verdict = await self._read(answer.text, cut_off=answer.cut_off)
        cost = self._models.cost_usd(work.model, answer)
        return Answered(answer.text, verdict, answer.tokens, cost, elapsed_s)

    async def _read(self, text: str, *, cut_off: bool = False) -> Verdict:
        """Return what an answer is worth. What the user wrote reads it in a thread: the loop has others to serve."""
        step = self._work.step
        read = partial(read_answer, text, step, self._work.vocabularies, cut_off=cut_off)
        if step.parser is None and (step.schema is None or not step.schema.is_users):
            return read()
        return await trio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))

    def _question(self, messages: Sequence[Mapping[str, str]]) -> Question:
        spec, step = self._work.model, self._work.step
        return Question(
            spec,
            messages,
            step.sampling.over(spec.sampling),
            {**spec.extra_params, **step.extra_params},
            self._asks_for_json,
            self._work.reply_number + self._replies,
        )

    def _failed(self, failure: AskFailed, elapsed_s: float) -> Failed:
        work = self._work
        cost: float | None = None if failure.unknown_cost else 0.0
        if failure.answer is not None:
            cost = self._models.cost_usd(work.model, failure.answer)
        return Failed(
            failure.category,
            failure.error,
            failure.transient,
            failure.retry_after_s,
            None if failure.answer is None else failure.answer.tokens,
            cost,
            elapsed_s,
        )

    def _done(self, end: Finish, warnings: Sequence[str] = (), hits: int = 0, misses: int = 0) -> Done:
        return Done(
            value=end.value,
            error=end.error,
            attempts=self._machine.attempts,
            suggestions=end.suggestions,
            warnings=[*end.warnings, *warnings],
            cache_hits=hits,
            cache_misses=misses,
            replies=self._replies,
        )

    # --- Kept answers: of the first question. The answer that counted in the end is kept for it, whichever it was -----

    async def _kept(self) -> Answered | None:
        work = self._work
        if not work.model.cache.enabled or not work.use_cache or work.refresh_cache:
            return None
        try:
            cache = await trio.to_thread.run_sync(self._models.cache_of, work.model.cache)
        except OSError as error:
            _log.warning("step %r: no answers are kept in %s: %s", work.step.name, work.model.cache.dir, error)
            return None
        entry = await trio.to_thread.run_sync(cache.entry, self._key())
        if entry is None:
            return None
        verdict = await self._read(entry["response"])
        if not isinstance(verdict, Fine):
            _log.info("step %r: the kept answer does not fit any more, so the model is asked", work.step.name)
            return None
        return Answered(entry["response"], verdict, entry.get("tokens"), 0.0, cached=True)

    async def _keep(self, answer: Answered) -> list[str]:
        """Keep an answer that counts. Return what to say if that cannot be."""
        spec = self._work.model
        if not spec.cache.enabled or not self._work.use_cache:
            return []
        try:
            cache = await trio.to_thread.run_sync(self._models.cache_of, spec.cache)
            await trio.to_thread.run_sync(cache.keep, self._key(), answer.text, answer.tokens)
        except OSError as error:
            return [f"{self._work.step.name}: the answer could not be kept in {spec.cache.dir}: {error}"]
        return []

    def _key(self) -> str:
        spec = self._work.model
        question = self._question(self._work.messages)
        sampling = {k: v for k, v in msgspec.structs.asdict(question.sampling).items() if v is not None}
        registered = spec.provider not in BUILT_IN
        others: dict[str, Any] = {
            "base_url": spec.base_url,
            "extra_params": dict(question.extra_params),
            "json": question.wants_json,
            "replies": spec.replies if spec.provider == "mock" else (),
            "block": {k: v for k, v in spec.block.items() if k not in _NOT_OF_ANSWERS} if registered else {},
        }
        said = {name: value for name, value in others.items() if value}
        return cache_key(spec.provider, spec.model, question.messages, sampling, said)


_NOT_OF_ANSWERS = ("api_key", "timeout", "max_retries", "retry_delay", "required", "pricing", "cache")
"""What a block says of how a model is asked, and not of what it answers."""


def _asks_for_json(work: LlmWork) -> bool:
    """Whether the server is told to answer with a JSON object.

    With ``json_mode: auto`` it is where that is plain: the answer has to be one, and the prompt says so, without which
    OpenAI refuses it. A server that refuses is asked without it.
    """
    mode = work.model.json_mode
    if isinstance(mode, bool):
        return mode
    plain = work.model.provider == "openai_compat" and work.step.schema is not None and work.step.parser is None
    return plain and any("json" in message["content"].lower() for message in work.messages)
