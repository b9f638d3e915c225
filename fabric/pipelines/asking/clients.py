"""Whom a question goes to, whichever provider it is: mocks, providers that were registered, servers.

A client is *stateful* if its answer depends on the questions before: a mock plays its replies in order, and of a
provider that was registered nobody knows. Their questions are asked one after the other, in the order of the steps.
"""

from __future__ import annotations

__all__ = [
    "CLIENTS_MAX",
    "MOCK_REPLY",
    "Answer",
    "AskFailed",
    "Client",
    "Clients",
    "Mock",
    "Question",
    "identity",
    "is_known",
    "play",
    "providers",
    "register_provider",
    "stateful_identity",
]

import inspect
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import trio

from fabric.pipelines.asking.attempts import Category
from fabric.pipelines.cache import canonical
from fabric.pipelines.spec import ModelSpec, Sampling

BUILT_IN = ("openai_compat", "anthropic", "mock")

CLIENTS_MAX = 64
"""Clients of registered providers that are kept."""

Factory = Callable[..., Any]
_F = TypeVar("_F", bound=Factory)

_PLAIN = Sampling()


# --- Questions and answers --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """What a model is asked.

    Attributes:
        messages: ``role`` and ``content``.
        sampling, extra_params: of the step, over those of its model.
        wants_json: whether a server that can is told to answer with a JSON object.
        reply_number: for a mock: how many of its replies were played before.
    """

    spec: ModelSpec
    messages: Sequence[Mapping[str, str]]
    sampling: Sampling = _PLAIN
    extra_params: Mapping[str, Any] = field(default_factory=dict)
    wants_json: bool = False
    reply_number: int = 0


@dataclass(frozen=True)
class Answer:
    """What it said.

    Attributes:
        tokens: ``prompt_tokens``, ``completion_tokens``, ``total_tokens``; ``None``: nobody knows.
        cache_read_tokens, cache_creation_tokens: part of those of the prompt.
        cut_off: whether the limit of tokens ended it.
    """

    text: str
    tokens: Mapping[str, int] | None = None
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    cut_off: bool = False


class AskFailed(Exception):
    """There is no answer.

    Attributes:
        category: why.
        error: what the step raises if it stays like this: the provider's own exception.
        transient: whether asking again may help.
        retry_after_s: how long the server asks to wait.
        answer: what it cost all the same, with no text; ``None``: nothing.
        unknown_cost: whether it may have cost something, and nobody knows how much.
    """

    def __init__(
        self,
        category: Category,
        error: Exception,
        *,
        transient: bool = False,
        retry_after_s: float | None = None,
        answer: Answer | None = None,
        unknown_cost: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.category = category
        self.error = error
        self.transient = transient
        self.retry_after_s = retry_after_s
        self.answer = answer
        self.unknown_cost = unknown_cost


class Client(Protocol):
    """Whom a question goes to."""

    async def ask(self, question: Question) -> Answer:
        """Ask once.

        Raises:
            AskFailed: there is no answer.
        """
        ...


# --- Providers that were registered -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Registered:
    factory: Factory
    concurrent: bool


_registry: dict[str, _Registered] = {}


def register_provider(name: str, *, concurrent: bool = False) -> Callable[[_F], _F]:
    """Register a provider: the function below is called with the keys of a model's block, and returns a client with
    ``chat.completions.create(model=…, messages=…, **sampling)`` as OpenAI's has it.

    Args:
        name: what ``provider`` says.
        concurrent: whether its clients may be asked several questions at once, and each answer depends on its question
            alone. Otherwise they are asked in the order of the steps.
    """

    def register(factory: _F) -> _F:
        if name in BUILT_IN:
            raise ValueError(f"provider {name!r} is built in; register yours by another name")
        _registry[name] = _Registered(factory, concurrent)
        return factory

    return register


def providers() -> list[str]:
    """Return the names of all providers."""
    return [*BUILT_IN, *_registry]


def is_known(name: str) -> bool:
    """Whether there is such a provider."""
    return name in BUILT_IN or name in _registry


def identity(spec: ModelSpec) -> str:
    """Return what makes a model's client this one and no other: a name, and how it is reached. The key is in it."""
    said = (spec.name, spec.provider, spec.model, spec.base_url, spec.api_key, spec.timeout_s, spec.replies)
    return canonical([*said, dict(spec.block)])


def stateful_identity(spec: ModelSpec) -> str | None:
    """Return the same for a client that is stateful; ``None``: its questions do not depend on each other."""
    registered = _registry.get(spec.provider)
    stateful = spec.provider == "mock" if registered is None else not registered.concurrent
    return identity(spec) if stateful else None


def make_registered(provider: str, given: Mapping[str, Any]) -> Any:
    """Return a client that a registered provider makes of these keys; of those that it takes.

    Raises:
        ValueError: there is no such provider.
    """
    registered = _registry.get(provider)
    if registered is None:
        raise ValueError(f"Unknown provider {provider!r}: there are {', '.join(providers())}; see register_provider")
    return registered.factory(**_taken(registered.factory, given))


def _taken(factory: Factory, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that a factory takes: one without ``**kwargs`` was written for fewer of them."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return dict(given)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return dict(given)
    names = [parameter.name for parameter in parameters]
    return {name: value for name, value in given.items() if name in names}


class Clients:
    """The clients that registered providers made, one for each way in which a model is reached. For any thread.

    Runs that override how a model is reached, each in its own way, have a client each. Only so many are kept: the one
    that was not asked for longest goes. Whoever asks it just now goes on; it is closed by nobody but itself.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, spec: ModelSpec) -> Any:
        """Return the client of a model; it is made when it is first needed.

        Raises:
            ValueError: there is no such provider.
        """
        registered = _registry.get(spec.provider)
        key = identity(spec), id(registered)
        with self._lock:
            if key not in self._made:
                said = {"base_url": spec.base_url, "api_key": spec.api_key, "model": spec.model} | dict(spec.block)
                self._made[key] = make_registered(
                    spec.provider, {name: value for name, value in said.items() if name != "provider"}
                )
            self._made.move_to_end(key)
            client = self._made[key]
            if len(self._made) > CLIENTS_MAX:
                self._made.popitem(last=False)
            return client


class BlockingClient:
    """A client that a registered provider made. It blocks, so it is asked in a thread."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        # A run knows how many questions it has under way. One that was left alone is none of them, and its thread must
        # not keep others waiting, as it would with trio's own limit.
        self._threads = trio.CapacityLimiter(math.inf)

    async def ask(self, question: Question) -> Answer:
        """Ask once. A question that takes too long is left alone: nobody can end a thread."""
        try:
            with trio.fail_after(question.spec.timeout_s):
                ask = partial(self._ask, question)
                return await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=self._threads)
        except trio.TooSlowError:
            text = f"model {question.spec.name!r} did not answer in {question.spec.timeout_s:g} s"
            raise AskFailed("timeout", TimeoutError(text), transient=True, unknown_cost=True) from None

    def _ask(self, question: Question) -> Answer:
        try:
            response = self._make().chat.completions.create(**call_arguments(question))
            return read_response(response)
        except Exception as error:
            raise classified(error) from error


def call_arguments(question: Question) -> dict[str, Any]:
    """Return what ``chat.completions.create`` is called with."""
    arguments: dict[str, Any] = {
        "model": question.spec.model,
        "messages": [dict(message) for message in question.messages],
        "timeout": question.spec.timeout_s,
    }
    sampling = msgspec.structs.asdict(question.sampling)
    arguments |= {name: value for name, value in sampling.items() if value is not None}
    if question.wants_json:
        arguments["response_format"] = {"type": "json_object"}
    return arguments | dict(question.extra_params)


def read_response(response: Any) -> Answer:
    """Return the answer in a response of OpenAI's shape.

    Raises:
        TypeError: it has another one.
    """
    if inspect.isawaitable(response):
        if isinstance(response, Awaitable) and inspect.iscoroutine(response):
            response.close()
        raise TypeError("the client of a registered provider must answer at once, and returned something to be awaited")
    try:
        choice = response.choices[0]
        text = choice.message.content
    except (AttributeError, LookupError, TypeError):
        what = f"of type {type(response).__name__} without choices[0].message.content"
        raise TypeError(f"the client of a registered provider returned something {what}") from None
    cut_off = getattr(choice, "finish_reason", None) == "length"
    return Answer("" if text is None else str(text), read_usage(getattr(response, "usage", None)), cut_off=cut_off)


_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def read_usage(usage: Any) -> dict[str, int] | None:
    """Return the tokens of a response; ``None``: it does not say."""
    counts = usage if isinstance(usage, Mapping) else {name: getattr(usage, name, None) for name in _COUNTS}
    prompt, completion, total = (counts.get(name) for name in _COUNTS)
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    known = total if isinstance(total, int) else prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": known}


# --- What an exception of somebody else's client means ----------------------------------------------------------------

_TRANSIENT = (408, 409, 429)


def classified(error: Exception) -> AskFailed:
    """Return why there is no answer, of an exception of a client that we know nothing of: by its status, else by what
    kind of exception it is."""
    status = _status(error)
    if status is not None:
        transient = status in _TRANSIENT or status >= 500
        category: Category = "error"
        if status == 429:
            category = "rate_limit"
        elif status == 408:
            category = "timeout"
        elif transient:
            category = "http_error"
        return AskFailed(category, error, transient=transient, retry_after_s=_retry_after(error) if transient else None)
    if isinstance(error, TimeoutError) or _named(error, "Timeout"):
        return AskFailed("timeout", error, transient=True, unknown_cost=True)
    if isinstance(error, ConnectionError) or _named(error, "ConnectionError", "ConnectError", "TransportError"):
        return AskFailed("http_error", error, transient=True)
    return AskFailed("error", error)


def _status(error: Exception) -> int | None:
    """Return the status of HTTP that an exception has, or its response: libraries call it by several names."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int) and 400 <= status < 600:
                return status
    return None


def _named(error: Exception, *words: str) -> bool:
    """Whether a class of the exception is named so: the clients of this world share no base class."""
    return any(word in kind.__name__ for kind in type(error).__mro__ for word in words)


def _retry_after(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or getattr(error, "headers", None)
    if not isinstance(headers, Mapping):
        return None
    from plumb_agent.providers.dialect import retry_after_s

    return retry_after_s({str(name).lower(): str(value) for name, value in headers.items()}, time.time())


# --- Mocks ------------------------------------------------------------------------------------------------------------


MOCK_REPLY = '{"result": "mock"}'
"""Of a mock that was given none."""


class Mock:
    """Plays the replies of its model."""

    async def ask(self, question: Question) -> Answer:
        """Return the reply whose number the question has."""
        await trio.lowlevel.checkpoint()
        return play(question.spec.replies, question.reply_number)


def play(replies: Sequence[str], number: int) -> Answer:
    """Return the answer of a mock that played so many replies before: the next one, or the last one again."""
    texts = replies or (MOCK_REPLY,)
    return Answer(texts[min(number, len(texts) - 1)], dict.fromkeys(_COUNTS, 0))
