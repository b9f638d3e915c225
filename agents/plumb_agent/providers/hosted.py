"""A model behind an HTTP API, whichever it is: one attempt at a time, and no key in what comes out of it."""

from __future__ import annotations

__all__ = ["AGENT_HEADER", "HostedProvider", "is_local", "open_hosted"]

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

import trio

from fabric.errors import ConfigError
from fabric.wire.spec import WorkerSpec
from plumb_agent.messages import Reply, Request
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.dialect import Dialect, Timeouts, locate
from plumb_agent.providers.keys import read_key, redact_failure, redact_reply

if TYPE_CHECKING:
    from plumb_agent.providers.http import Endpoint

_REFUSING = ("400", "422")
"""Statuses with which servers refuse a parameter that they do not know."""

AGENT_HEADER = "x-plumb-agent"
"""Says which agent asks, to a server on this machine: one that is scripted answers each agent in its own way. The names
in a program are nobody else's business."""

_TIMEOUTS = Timeouts()


def open_hosted(
    name: Literal["anthropic", "openai"],
    spec: WorkerSpec,
    environment: Mapping[str, str],
    timeouts: Timeouts = _TIMEOUTS,
) -> HostedProvider:
    """Return a provider, ready to ask: its key is read, its server is not met.

    Args:
        name: of the provider.
        spec: of the worker; ``endpoint`` in its configuration says where the provider is, if not at home.
        environment: where the key is.
        timeouts: of each attempt.

    Raises:
        ConfigError: the key is missing, or the endpoint is none.
    """
    endpoint = spec.config.get("endpoint")
    if endpoint is not None and not isinstance(endpoint, str):
        raise ConfigError(f"agent {spec.name!r}: 'endpoint' must be a string")
    dialect: Dialect
    if name == "anthropic":
        from plumb_agent.providers.anthropic import HOME, Anthropic

        dialect, variable = Anthropic(), "ANTHROPIC_API_KEY"
        url = locate(endpoint or HOME, "/messages", path_is_base=False)
    else:
        from plumb_agent.providers.openai import HOME, dialect_for

        variable = "OPENAI_API_KEY"
        url = locate(endpoint or HOME, "/chat/completions", path_is_base=True)
        dialect = dialect_for(url)
    return HostedProvider(dialect, url, read_key(environment, variable, spec.name), timeouts, spec.name)


def is_local(url: str) -> bool:
    """Whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class HostedProvider:
    """A provider that asks a server.

    Args:
        dialect: how to ask it.
        url: where.
        key: who asks. It goes into the headers of requests to ``url`` and nowhere else.
        timeouts: of each attempt.
        agent: name of the worker that asks.
    """

    def __init__(self, dialect: Dialect, url: str, key: str, timeouts: Timeouts = _TIMEOUTS, agent: str = "") -> None:
        self._dialect = dialect
        self._url = url
        self._key = key
        self._timeouts = timeouts
        self._endpoint: Endpoint | None = None
        self._tried = [dialect]
        self._named = {AGENT_HEADER: quote(agent)} if agent and is_local(url) else {}

    async def complete(self, request: Request) -> Reply:
        """Answer the last message of the request, in one attempt.

        A server that refuses a parameter which nobody asked for is asked without it from then on: the failure may pass.

        Raises:
            ProviderFailed: there is no reply.
        """
        try:
            with trio.fail_after(self._timeouts.total_s):
                reply = await self._open().post(self._dialect, request)
        except trio.TooSlowError:
            text = f"{self._dialect.provider} did not finish its answer in {self._timeouts.total_s:g} s"
            raise ProviderFailed(text, code="provider_timeout", transient=True, usage="all") from None
        except ProviderFailed as failure:
            if failure.details.get("status") in _REFUSING and self._concede(request, str(failure)):
                failure.transient = True
            raise redact_failure(failure, self._key) from None
        return redact_reply(reply, self._key)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        parts = urlsplit(self._url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def first_chunk_s(self) -> float | None:
        """How long the first piece of the last answer took; ``None``: it did not come in pieces."""
        return None if self._endpoint is None else self._endpoint.first_chunk_s

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        if self._endpoint is not None:
            await self._endpoint.aclose()

    def _concede(self, request: Request, refusal: str) -> bool:
        """Do without what a server refuses, if it is something that can be done without and that was not tried yet."""
        other = self._dialect.without(request, refusal)
        if other is None or other in self._tried:
            return False
        self._tried.append(other)
        self._dialect = other
        return True

    def _open(self) -> Endpoint:
        """Return the server. It is met when it is first needed: a loop has to run, and no process forks any more."""
        if self._endpoint is None:
            from plumb_agent.providers.http import Endpoint

            self._endpoint = Endpoint(self._url, self._dialect.headers(self._key) | self._named, self._timeouts)
        return self._endpoint
