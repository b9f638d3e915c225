"""Models behind servers, by the code that agents ask them with. What a pipeline says more than an agent goes into the
request here: ``top_p``, ``seed``, ``extra_params``, a wish for JSON; and answers come in one piece."""

from __future__ import annotations

__all__ = ["AnthropicMessages", "ChatCompletions", "HostedClient", "Worded"]

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from fabric.errors import ConfigError
from fabric.pipelines.asking.attempts import Category
from fabric.pipelines.asking.clients import Answer, AskFailed, Question
from fabric.pipelines.spec import ModelSpec
from plumb_agent.messages import History, Message, Reply, Request, SystemBlock, Usage, text_of
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.anthropic import HOME as ANTHROPIC_HOME
from plumb_agent.providers.anthropic import Anthropic
from plumb_agent.providers.dialect import Assembler, Timeouts, locate
from plumb_agent.providers.hosted import HostedProvider
from plumb_agent.providers.openai import HOME as OPENAI_HOME
from plumb_agent.providers.openai import OpenAI, dialect_for

Vendor = Literal["openai_compat", "anthropic"]

ANTHROPIC_TOKENS_MAX = 4096
"""Where nobody says: the API wants a number."""

CONNECT_S_MAX = 10.0

NO_KEY = "none"
"""For servers that want no key, as most do that run on one's own machine."""


NO_EXTRA: Mapping[str, Any] = MappingProxyType({})


class Worded(Request, frozen=True):
    """A request with what pipelines say of it and agents do not.

    Attributes:
        limited: whether ``max_tokens`` was said; otherwise it is not sent where that is possible.
        wants_json: whether the answer is to be a JSON object.
        extra: goes into the body as it is.
    """

    limited: bool = False
    wants_json: bool = False
    extra: Mapping[str, Any] = NO_EXTRA


class ChatCompletions(msgspec.Struct, frozen=True):
    """OpenAI's dialect, as pipelines speak it.

    Attributes:
        plain: as agents speak it.
        formatted: whether the server is asked for JSON.
    """

    plain: OpenAI = OpenAI()
    formatted: bool = True

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return self.plain.provider

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers of a request."""
        return self.plain.headers(key)

    def body(self, request: Request) -> bytes:
        """Return the body of a request."""
        body = _whole_body(self.plain.body(request))
        if isinstance(request, Worded):
            if not request.limited:
                del body[self.plain.limit]
            if request.wants_json and self.formatted:
                body["response_format"] = {"type": "json_object"}
            body |= request.extra
        return msgspec.json.encode(body)

    def assembler(self, request: Request) -> Assembler:
        """Return what reads a stream: some servers stream whatever they are asked for."""
        return self.plain.assembler(request)

    def whole(self, request: Request, data: bytes) -> Reply:
        """Read an answer that came in one piece."""
        return self.plain.whole(request, data)

    def without(self, request: Request, words: str) -> ChatCompletions | None:
        """Do without the wish for JSON, or call the limit of tokens by its other name."""
        said = words.lower()
        asked = self.formatted and isinstance(request, Worded) and request.wants_json
        if asked and ("response_format" in said or "json" in said):
            return msgspec.structs.replace(self, formatted=False)
        if isinstance(request, Worded) and not request.limited:
            return None  # the name of a limit that was not sent is not what is wrong
        other = self.plain.without(request, words)
        return None if other is None else msgspec.structs.replace(self, plain=other)


class AnthropicMessages(msgspec.Struct, frozen=True):
    """Anthropic's dialect, as pipelines speak it."""

    plain: Anthropic = Anthropic()

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return self.plain.provider

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers of a request."""
        return self.plain.headers(key)

    def body(self, request: Request) -> bytes:
        """Return the body of a request."""
        body = _whole_body(self.plain.body(request))
        if not body.get("system"):
            body.pop("system", None)
        if isinstance(request, Worded):
            body |= request.extra
        return msgspec.json.encode(body)

    def assembler(self, request: Request) -> Assembler:
        """Return what reads a stream."""
        return self.plain.assembler(request)

    def whole(self, request: Request, data: bytes) -> Reply:
        """Read an answer that came in one piece."""
        return self.plain.whole(request, data)

    def without(self, request: Request, words: str) -> None:
        """Do without nothing: all of it was asked for."""


def _whole_body(streamed: bytes) -> dict[str, Any]:
    """Return the body of a request for an answer in one piece."""
    body: dict[str, Any] = msgspec.json.decode(streamed)
    del body["stream"]
    body.pop("stream_options", None)
    return body


# --- Asking -----------------------------------------------------------------------------------------------------------


class HostedClient:
    """A model behind a server. It may be asked several questions at once, each over a connection of its own.

    Args:
        spec: of the model.
        environment: where its address and key are, if it does not say them.

    Raises:
        ConfigError: its address is none, or there is no key.
    """

    def __init__(self, spec: ModelSpec, environment: Mapping[str, str]) -> None:
        self._spec = spec
        self._vendor: Vendor = "anthropic" if spec.provider == "anthropic" else "openai_compat"
        variable = "ANTHROPIC" if self._vendor == "anthropic" else "OPENAI"
        said = spec.base_url or environment.get(f"{variable}_BASE_URL") or environment.get("PLUMB_ENDPOINT")
        self._url = self._locate(said)
        self._key = spec.api_key or environment.get(f"{variable}_API_KEY") or ""
        self._check_key(f"{variable}_API_KEY", remote=said is None)
        timeout_s = spec.timeout_s
        self._timeouts = Timeouts(min(CONNECT_S_MAX, timeout_s), timeout_s, timeout_s)
        self._idle: list[HostedProvider] = []
        self._open: list[HostedProvider] = []

    async def ask(self, question: Question) -> Answer:
        """Ask once; again at once where the server refuses what can be done without."""
        provider = self._idle.pop() if self._idle else self._connect()
        try:
            return await self._ask(provider, _worded(self._vendor, question))
        finally:
            self._idle.append(provider)

    async def aclose(self) -> None:
        """Close all connections."""
        for provider in self._open:
            await provider.aclose()

    async def _ask(self, provider: HostedProvider, request: Worded) -> Answer:
        while True:
            try:
                return _answer(await provider.complete(request))
            except ProviderFailed as failure:
                if failure.code == "provider_refused_request" and failure.transient:
                    continue  # it does without now, and without each thing only once
                if failure.code == "max_tokens_reached" and isinstance(failure.usage, Usage):
                    return Answer("", _tokens(failure.usage), cut_off=True)
                raise _failed(failure) from None
            except (TypeError, ValueError, OverflowError) as error:
                text = f"the question to model {self._spec.name!r} cannot be written as JSON: {error}"
                raise AskFailed("error", ConfigError(text)) from error

    def _connect(self) -> HostedProvider:
        dialect = AnthropicMessages() if self._vendor == "anthropic" else ChatCompletions(dialect_for(self._url))
        provider = HostedProvider(dialect, self._url, self._key, self._timeouts, self._spec.name)
        self._open.append(provider)
        return provider

    def _locate(self, said: str | None) -> str:
        spec = self._spec
        for name, text in (("base_url", said), ("api_key", spec.api_key), ("model", spec.model)):
            if text and text.startswith("${"):
                raise ConfigError(
                    f"model {spec.name!r}: {name!r} is {text}, which the environment does not have; set it"
                )
        try:
            if self._vendor == "anthropic":
                return locate(said or ANTHROPIC_HOME, "/messages", path_is_base=False)
            return locate(said or OPENAI_HOME, "/chat/completions", path_is_base=True)
        except ConfigError as error:
            raise ConfigError(
                f"model {spec.name!r}: {error}".replace("'endpoint' of a provider", "'base_url'")
            ) from None

    def _check_key(self, variable: str, *, remote: bool) -> None:
        if not self._key and remote:
            text = (
                f"model {self._spec.name!r} has no 'api_key': say it in the file as ${{{variable}}}, and set {variable}"
            )
            raise ConfigError(text)
        self._key = self._key or NO_KEY
        if not self._key.isascii() or not self._key.isprintable() or " " in self._key:
            text = f"model {self._spec.name!r}: its 'api_key' is none: it has a space or a special character in it"
            raise ConfigError(text)


def _worded(vendor: Vendor, question: Question) -> Worded:
    sampling = question.sampling
    extra = dict(question.extra_params)
    for name, value in (("top_p", sampling.top_p), ("seed", sampling.seed)):
        if value is not None and not (name == "seed" and vendor == "anthropic"):  # its API has no seed
            extra = {name: value} | extra
    system = tuple(SystemBlock(one["content"]) for one in question.messages if one["role"] == "system")
    turns = [
        Message("assistant" if one["role"] == "assistant" else "user", one["content"])
        for one in question.messages
        if one["role"] != "system"
    ]
    return Worded(
        system or (SystemBlock(""),),  # without one the end of a conversation is marked for a cache that nobody reads
        History(turns),
        turns[-1].content if turns and isinstance(turns[-1].content, str) else "",
        question.spec.model,
        sampling.temperature,
        sampling.max_tokens or ANTHROPIC_TOKENS_MAX,
        limited=sampling.max_tokens is not None,
        wants_json=question.wants_json,
        extra=extra,
    )


def _answer(reply: Reply) -> Answer:
    usage = reply.usage
    return Answer(
        text_of(reply.blocks),
        _tokens(usage),
        usage.cache_read_tokens,
        usage.cache_creation_tokens,
        cut_off=reply.stop_reason == "max_tokens",
    )


def _tokens(usage: Usage) -> dict[str, int]:
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _failed(failure: ProviderFailed) -> AskFailed:
    category: Category = "error"
    if failure.details.get("status") == "429":
        category = "rate_limit"
    elif failure.code == "provider_timeout" or failure.details.get("status") == "408":
        category = "timeout"
    elif failure.transient:
        category = "http_error"
    return AskFailed(
        category,
        failure,
        transient=failure.transient,
        retry_after_s=failure.retry_after_s,
        answer=Answer("", _tokens(failure.usage)) if isinstance(failure.usage, Usage) else None,
        unknown_cost=failure.usage == "all",
    )
