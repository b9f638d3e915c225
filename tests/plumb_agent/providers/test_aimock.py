"""Both APIs, as a mock server of somebody else's speaks them."""

from __future__ import annotations

import pytest
from llm_requests import asked
from peers import aimock

from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec
from plumb_agent.messages import Message, TextBlock, ThinkingBlock, Tool, ToolResultBlock, ToolUseBlock, tool_uses
from plumb_agent.providers import ProviderFailed, open_provider
from plumb_agent.providers.dialect import Timeouts
from plumb_agent.providers.hosted import HostedProvider, open_hosted

LONG = "The quick brown fox jumps over the lazy dog, again and again. " * 10
USED = {"input_tokens": 21, "output_tokens": 5, "prompt_tokens": 21, "completion_tokens": 5}


def error(status: int, kind: str) -> dict:
    return {"error": {"message": "Not now", "type": kind}, "status": status}


FIXTURES = [
    {"match": {"userMessage": "plain"}, "response": {"content": '{"ok": true}', "usage": USED}},
    {"match": {"userMessage": "long"}, "response": {"content": LONG}, "chunkSize": 7},
    {"match": {"userMessage": "think"}, "response": {"content": "1", "reasoning": "Let me see.", "usage": USED}},
    {
        "match": {"userMessage": "tool", "hasToolResult": False},
        "response": {"toolCalls": [{"id": "call_7", "name": "look", "arguments": {"at": [1, "é"]}}]},
    },
    {"match": {"userMessage": "tool", "hasToolResult": True}, "response": {"content": '"seen"'}},
    {
        "match": {"userMessage": "busy", "sequenceIndex": 0},
        "response": error(429, "rate_limit_error") | {"retryAfter": 2},
    },
    {"match": {"userMessage": "busy"}, "response": {"content": '"free"'}},
    {"match": {"userMessage": "overloaded"}, "response": error(529, "overloaded_error")},
    {"match": {"userMessage": "wrong"}, "response": error(404, "not_found_error")},
    {"match": {"userMessage": "cut"}, "response": {"content": LONG}, "truncateAfterChunks": 4, "latency": 20},
    {"match": {"userMessage": "slow"}, "response": {"content": LONG}, "latency": 60_000},
    {"match": {"userMessage": "drip"}, "response": {"content": LONG}, "latency": 80, "chunkSize": 60},
    {"match": {"userMessage": "malformed"}, "response": {"content": "x"}, "chaos": {"malformedRate": 1.0}},
    {"match": {"userMessage": "disconnect"}, "response": {"content": "x"}, "chaos": {"disconnectRate": 1.0}},
]

ENVIRONMENT = {"ANTHROPIC_API_KEY": "key-of-anthropic", "OPENAI_API_KEY": "key-of-openai"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    """One aimock for all; what depends on how often it was asked is asked by both APIs in turn."""
    with aimock(FIXTURES, tmp_path_factory.mktemp("aimock")) as running:
        yield running


@pytest.fixture(params=["anthropic", "openai"])
async def provider(request, server):
    """A provider that asks it."""
    name = request.param
    spec = WorkerSpec("bot", "agent", STRING, STRING, {"provider": name, "model": "m", "endpoint": server.url})
    opened = open_provider(spec, ENVIRONMENT)
    assert isinstance(opened, HostedProvider)
    yield opened
    await opened.aclose()


@pytest.fixture(params=["anthropic", "openai"])
async def hasty(request, server):
    """One that does not wait for long."""
    name = request.param
    spec = WorkerSpec("bot", "agent", STRING, STRING, {"provider": name, "model": "m", "endpoint": server.url})
    opened = open_hosted(name, spec, ENVIRONMENT, Timeouts(connect_s=5.0, idle_s=0.6, total_s=5.0))
    yield opened
    await opened.aclose()


def says(text: str, *messages: Message, **fields):
    return asked(Message("user", f'"{text}"'), *messages, **fields)


async def test_a_short_answer_and_a_long_one(provider):
    """In one event and in many; with the tokens that the server tells."""
    reply = await provider.complete(says("plain"))
    assert reply.blocks == (TextBlock('{"ok": true}'),)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.model) == (21, 5, "m")
    assert (await provider.complete(says("long"))).blocks == (TextBlock(LONG),)


async def test_thinking_is_a_block_of_its_own(provider):
    """Before the text."""
    reply = await provider.complete(says("think", thinking_budget=2000))
    thought, said = reply.blocks
    assert isinstance(thought, ThinkingBlock)
    assert (thought.thinking, said) == ("Let me see.", TextBlock("1"))


async def test_a_tool_turn(provider, server):
    """A call comes, its result goes back, and an answer comes."""
    tools = (Tool("look", "Look.", {"type": "object", "properties": {}}),)
    first = await provider.complete(says("tool", tools=tools))
    assert (first.stop_reason, tool_uses(first.blocks)) == (
        "tool_use",
        (ToolUseBlock("call_7", "look", {"at": [1, "é"]}),),
    )
    told = Message("user", (ToolResultBlock("call_7", "a cat"),))
    second = await provider.complete(says("tool", Message("assistant", first.blocks), told, tools=tools))
    assert second.blocks == (TextBlock('"seen"'),)
    body = server.bodies()[-1]
    assert body["messages"][-1] == {"role": "tool", "content": "a cat", "tool_call_id": "call_7"}
    assert body["tools"][0]["function"]["name"] == "look"


async def test_who_is_busy_says_for_how_long(server, provider):
    """And is not busy for ever."""
    with pytest.raises(ProviderFailed, match="answered 529: Not now") as caught:
        await provider.complete(says("overloaded"))
    assert (caught.value.code, caught.value.transient) == ("provider_unavailable", True)


async def test_429_then_an_answer(server):
    """The next attempt, which the caller makes, succeeds."""
    spec = WorkerSpec("bot", "agent", STRING, STRING, {"provider": "anthropic", "model": "m", "endpoint": server.url})
    provider = open_hosted("anthropic", spec, ENVIRONMENT)
    with pytest.raises(ProviderFailed, match="answered 429: Not now") as caught:
        await provider.complete(says("busy"))
    assert (caught.value.transient, caught.value.retry_after_s) == (True, 2.0)
    assert (await provider.complete(says("busy"))).blocks == (TextBlock('"free"'),)
    await provider.aclose()


async def test_a_request_that_is_wrong_stays_wrong(provider):
    """With the server's words."""
    with pytest.raises(ProviderFailed, match="answered 404: Not now") as caught:
        await provider.complete(says("wrong"))
    assert (caught.value.code, caught.value.transient) == ("provider_refused_request", False)


async def test_a_stream_that_is_cut_is_no_reply(provider):
    """Nor one whose server disconnects."""
    with pytest.raises(ProviderFailed) as caught:
        await provider.complete(says("cut"))
    assert (caught.value.code, caught.value.transient, caught.value.usage) == ("stream_cut", True, "all")
    with pytest.raises(ProviderFailed) as caught:
        await provider.complete(says("disconnect"))
    assert caught.value.transient


async def test_an_answer_that_cannot_be_read_is_no_reply(provider):
    """It is not JSON."""
    with pytest.raises(ProviderFailed) as caught:
        await provider.complete(says("malformed"))
    assert (caught.value.code, caught.value.transient) == ("stream_malformed", True)


async def test_a_slow_server_is_waited_for_while_it_says_something(hasty):
    """And given up when it says nothing."""
    assert (await hasty.complete(says("drip"))).blocks == (TextBlock(LONG),)
    with pytest.raises(ProviderFailed) as caught:
        await hasty.complete(says("slow"))
    assert (caught.value.code, caught.value.transient, caught.value.usage) == ("provider_timeout", True, "all")
