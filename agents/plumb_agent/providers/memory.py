"""A hosted provider without a network: the same bytes in both directions, handed to a function. For simulations.

What a request looks like, what an answer means and which failures may pass is that of the provider's dialect.
"""

from __future__ import annotations

__all__ = ["Exchange", "MemoryProvider", "dialect_of"]

from collections.abc import Callable, Mapping
from typing import TypeAlias

import trio

from plumb_agent.messages import Reply, Request
from plumb_agent.providers.dialect import EVENT_BYTES_MAX, Dialect, refused
from plumb_agent.providers.sse import SseDecoder

Exchange: TypeAlias = Callable[[bytes], tuple[int, Mapping[str, str], bytes]]
"""Takes the body of a request; returns status, headers with names in small letters, and body of the response."""


def dialect_of(name: str) -> Dialect | None:
    """Return the dialect of a hosted provider, ``None`` if it is not hosted."""
    if name == "anthropic":
        from plumb_agent.providers.anthropic import Anthropic

        return Anthropic()
    if name == "openai":
        from plumb_agent.providers.openai import OpenAI

        return OpenAI()
    return None


class MemoryProvider:
    """A provider that asks a function.

    Args:
        dialect: how to ask.
        exchange: is asked. Takes no time.
    """

    def __init__(self, dialect: Dialect, exchange: Exchange) -> None:
        self._dialect = dialect
        self._exchange = exchange

    async def complete(self, request: Request) -> Reply:
        """Answer the last message of the request.

        Raises:
            ProviderFailed: there is no reply.
        """
        await trio.lowlevel.checkpoint()
        status, headers, data = self._exchange(self._dialect.body(request))
        if not 200 <= status < 300:
            raise refused(self._dialect.provider, status, headers, data, 0.0)
        if headers["content-type"] == "application/json":
            return self._dialect.whole(request, data)
        assembler = self._dialect.assembler(request)
        for kind, text in SseDecoder(EVENT_BYTES_MAX).feed(data):
            assembler.feed(kind, text)
        return assembler.reply()
