"""What the official clients of both APIs read in the same bytes."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest
from llm_bytes import playing, stream
from llm_recordings import ANTHROPIC, OPENAI
from llm_requests import assembled

from plumb_agent.messages import (
    Block,
    RedactedThinkingBlock,
    Reply,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
    text_of,
    tool_uses,
)


def anthropic_block(block: anthropic.types.ContentBlock) -> Block:
    match block.type:
        case "text":
            return TextBlock(block.text)
        case "thinking":
            return ThinkingBlock(block.thinking, block.signature)
        case "redacted_thinking":
            return RedactedThinkingBlock(block.data)
        case "tool_use":
            return ToolUseBlock(block.id, block.name, block.input)
    raise AssertionError(block)


@pytest.mark.parametrize("name", ANTHROPIC)
def test_anthropic_s_client_reads_the_same(name: str):
    """Blocks, usage, model, and why it ended."""
    with playing(stream(ANTHROPIC[name])) as server:
        client = anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0)
        asked = {"role": "user", "content": "hi"}
        with client, client.messages.stream(model="m", max_tokens=9, messages=[asked]) as events:
            theirs = events.get_final_message()
    ours = assembled("anthropic", ANTHROPIC[name])
    read, created = theirs.usage.cache_read_input_tokens or 0, theirs.usage.cache_creation_input_tokens or 0
    usage = Usage(theirs.usage.input_tokens + read + created, theirs.usage.output_tokens, read, created)
    assert ours.blocks == tuple(map(anthropic_block, theirs.content))
    assert (ours.usage, ours.model) == (usage, theirs.model)
    assert theirs.stop_reason is not None
    assert ours.stop_reason == {"stop_sequence": "end_turn"}.get(theirs.stop_reason, theirs.stop_reason)


REASONS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}


@pytest.mark.parametrize("name", OPENAI)
def test_openai_s_client_reads_the_same(name: str):
    """Text, calls, usage, model, and why it ended."""
    with playing(stream(OPENAI[name])) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0)
        asked = {"role": "user", "content": "hi"}
        with client, client.chat.completions.stream(model="m", messages=[asked]) as events:
            theirs = events.until_done().current_completion_snapshot  # the final one is for whole answers only
    ours: Reply = assembled("openai", OPENAI[name])
    (choice,) = theirs.choices
    refusal = choice.message.refusal
    assert text_of(ours.blocks) == (refusal or choice.message.content or "")
    assert [(use.id, use.name) for use in tool_uses(ours.blocks)] == [
        (call.id, call.function.name) for call in choice.message.tool_calls or ()
    ]
    assert [use.input for use in tool_uses(ours.blocks)] == [
        json.loads(call.function.arguments) for call in choice.message.tool_calls or ()
    ]
    details = theirs.usage.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    assert ours.usage == Usage(theirs.usage.prompt_tokens, theirs.usage.completion_tokens, cached)
    assert ours.model == theirs.model
    assert ours.stop_reason == ("refusal" if refusal else REASONS[choice.finish_reason])
