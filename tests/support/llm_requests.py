"""Requests to models, and reading what a server would answer to them, without one."""

from __future__ import annotations

from typing import Any

from plumb_agent.messages import History, Message, Reply, Request, SystemBlock
from plumb_agent.providers.anthropic import Anthropic
from plumb_agent.providers.dialect import Dialect
from plumb_agent.providers.openai import OpenAI

DIALECTS: dict[str, Dialect] = {"anthropic": Anthropic(), "openai": OpenAI()}


def asked(*messages: Message, **fields: Any) -> Request:
    """Return a request; without messages, one with a single short one."""
    messages = messages or (Message("user", '"hi"'),)
    return Request(**{"system": (), "messages": History(messages), "input": '"hi"', "model": "m"} | fields)


def assembled(provider: str, data: bytes) -> Reply:
    """Return what an assembler makes of a stream, one event after the other."""
    assembler = DIALECTS[provider].assembler(asked())
    for event in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":"))
        if fields:
            assembler.feed(fields.get("event", "message"), fields.get("data", ""))
    return assembler.reply()


SYSTEM = (SystemBlock("Be kind."), SystemBlock("Answer with JSON.", cache_break=True))
