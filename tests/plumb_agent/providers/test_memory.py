"""A provider in memory is the hosted one without its network: the same replies, the same failures."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from llm_recordings import ANTHROPIC, OPENAI
from llm_requests import asked

from plumb_agent.messages import Reply
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.memory import MemoryProvider, dialect_of

STREAM = {"content-type": "text/event-stream"}


def complete(name: str, *response: Any) -> Reply:
    dialect = dialect_of(name)
    assert dialect is not None
    return trio.run(MemoryProvider(dialect, lambda body: response).complete, asked())


@pytest.mark.parametrize(("name", "data"), [("anthropic", ANTHROPIC["plain"]), ("openai", OPENAI["plain"])])
def test_streams_are_read(name: str, data: bytes):
    """And one that is cut is no reply."""
    (block,) = complete(name, 200, STREAM, data).blocks
    assert block.text == '{"ok": true}'
    with pytest.raises(ProviderFailed) as raised:
        complete(name, 200, STREAM, data[:-60])
    assert (raised.value.code, raised.value.transient) == ("stream_cut", True)


def test_refusals_are_failures():
    """With the time to wait."""
    with pytest.raises(ProviderFailed, match="anthropic answered 429: slow") as raised:
        complete("anthropic", 429, {"retry-after": "7"}, b'{"error": {"message": "slow"}}')
    assert raised.value.retry_after_s == 7


def test_only_hosted_providers_have_a_dialect():
    """The others need no network."""
    assert [dialect_of(name) for name in ("eliza", "scripted", "")] == [None] * 3
