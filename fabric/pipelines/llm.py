"""Asking a model without a pipeline: a client, a question, the JSON in the answer. Blocking, for scripts."""

from __future__ import annotations

__all__ = ["MockClient", "OneClient", "call_llm", "extract_json", "make_client", "probe_json_mode", "register_provider"]

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import trio

from fabric.pipelines.asking.attempts import pause_s
from fabric.pipelines.asking.clients import (
    MOCK_REPLY,
    Answer,
    AskFailed,
    Question,
    make_registered,
    play,
    read_response,
    register_provider,
)
from fabric.pipelines.asking.extraction import extract_json
from fabric.pipelines.spec import ModelSpec, Sampling

_log = logging.getLogger("fabric.pipelines")

_OPTIONS = ("timeout", "max_retries", "retry_delay")


def make_client(
    provider: str = "openai_compat", base_url: str | None = None, api_key: str | None = None, **options: Any
) -> Any:
    """Return a client with ``chat.completions.create``, as OpenAI's has it.

    Args:
        provider: ``openai_compat``, ``anthropic``, ``mock`` or one that was registered.
        base_url, api_key: of the server; those of the environment (``OPENAI_BASE_URL``, ``OPENAI_API_KEY``) if not
            given.
        options: ``timeout``, ``max_retries``, ``retry_delay`` of a server; others, that OpenAI's own client has, are
            ignored with a warning. ``responses`` of a mock; whatever a registered provider takes.

    Raises:
        ValueError: there is no such provider.
    """
    if provider == "mock":
        given = options.get("responses") or options.get("mock_responses") or options.get("response") or MOCK_REPLY
        return MockClient([given] if isinstance(given, str) else list(given))
    if provider in ("openai_compat", "anthropic"):
        known = {name: value for name, value in options.items() if name in _OPTIONS}
        for name in [name for name in options if name not in known]:
            _log.warning("%r of a client of %s is ignored: it has %s", name, provider, ", ".join(_OPTIONS))
        return OneClient(provider, base_url, api_key, **known)
    return make_registered(provider, {"base_url": base_url, "api_key": api_key} | options)


def call_llm(
    client: Any,
    messages: Sequence[Mapping[str, str]],
    model: str,
    timeout: float = 120,
    json_mode: bool = False,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    extra_params: Mapping[str, Any] | None = None,
) -> tuple[str, dict[str, int] | None]:
    """Ask a model once.

    Args:
        client: of :func:`make_client`, or any with ``chat.completions.create``.
        messages: ``role`` and ``content``.
        model: as its server calls it.
        timeout: seconds.
        json_mode: whether the server is told to answer with a JSON object.
        temperature, top_p, max_tokens, seed: how it draws; not sent if not given.
        extra_params: go into the request as they are.

    Returns:
        What it said, and ``prompt_tokens``, ``completion_tokens``, ``total_tokens``; ``None``: nobody knows.
    """
    sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
    arguments: dict[str, Any] = {name: value for name, value in sampling.items() if value is not None}
    if json_mode:
        arguments["response_format"] = {"type": "json_object"}
    arguments |= extra_params or {}
    sent = [dict(message) for message in messages]
    answer = read_response(client.chat.completions.create(model=model, messages=sent, timeout=timeout, **arguments))
    return answer.text, None if answer.tokens is None else dict(answer.tokens)


def probe_json_mode(client: Any, model: str, timeout: float = 30) -> bool:
    """Whether a model can be told to answer with a JSON object. Asks it once; whatever goes wrong is a no."""
    messages = [{"role": "user", "content": 'Return this JSON object: {"ok": true}'}]
    try:
        text, _ = call_llm(client, messages, model, timeout, json_mode=True, max_tokens=50)
        return isinstance(extract_json(text), dict)
    except Exception as error:  # noqa: BLE001 - whatever a client raises: what is asked is whether it works
        _log.info("model %r is not told to answer with JSON: %s", model, error)
        return False


# --- Clients ----------------------------------------------------------------------------------------------------------


class MockClient:
    """A mock in OpenAI's shape: plays replies in order; the last one is repeated.

    Attributes:
        calls: what it was called with, in order.
    """

    def __init__(self, replies: Sequence[str] = (MOCK_REPLY,)) -> None:
        self._replies = list(replies)
        self.calls: list[dict[str, Any]] = []
        self.chat = _chat(self._create)

    def _create(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        return _response(play(self._replies, len(self.calls) - 1))


_MockClient = MockClient


@dataclass
class OneClient:
    """A server, asked in a loop of its own that lasts for one question.

    Attributes:
        timeout: seconds, of a question that does not say its own.
        max_retries, retry_delay: of a server that is busy or cannot be reached; each pause is twice the one before.
    """

    provider: str
    base_url: str | None = None
    api_key: str | None = None
    timeout: float = 120.0
    max_retries: int = 2
    retry_delay: float = 1.0

    def __post_init__(self) -> None:
        self.chat = _chat(self._create)

    def _create(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, str]],
        timeout: float | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        **extra: Any,
    ) -> Any:
        spec = ModelSpec(
            name=model,
            provider=self.provider,
            model=model,
            base_url=self.base_url,
            api_key=self.api_key,
            timeout_s=self.timeout if timeout is None else timeout,
            max_retries=self.max_retries,
            retry_delay_s=self.retry_delay,
        )
        question = Question(spec, messages, Sampling(temperature, top_p, max_tokens, seed), extra)
        return _response(_run(question))


def _run(question: Question) -> Answer:
    """Ask, in a loop: in this thread, unless one of trio runs in it already."""
    run = partial(trio.run, _ask, question)
    try:
        trio.lowlevel.current_trio_token()
    except RuntimeError:
        return run()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


async def _ask(question: Question) -> Answer:
    from fabric.pipelines.asking.hosted import HostedClient

    spec = question.spec
    client = HostedClient(spec, os.environ)
    try:
        for number in range(spec.max_retries + 1):
            try:
                return await client.ask(question)
            except AskFailed as failure:
                if not failure.transient or number == spec.max_retries:
                    raise failure.error from None
                wait_s = pause_s(spec.retry_delay_s, number, failure.retry_after_s)
                _log.warning("model %r: %s; asking again in %g s", spec.model, failure.error, wait_s)
                await trio.sleep(wait_s)
    finally:
        await client.aclose()
    raise AssertionError("the last question has an answer or an error")


def _chat(create: Any) -> Any:
    return SimpleNamespace(completions=SimpleNamespace(create=create))


def _response(answer: Answer) -> Any:
    """Return an answer in OpenAI's shape."""
    choice = SimpleNamespace(
        index=0,
        message=SimpleNamespace(role="assistant", content=answer.text),
        finish_reason="length" if answer.cut_off else "stop",
    )
    usage = None if answer.tokens is None else SimpleNamespace(**answer.tokens)
    return SimpleNamespace(choices=[choice], usage=usage)
