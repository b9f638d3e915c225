"""Chat Completions, as text in both directions."""

import json

import pytest
from llm_bytes import openai_text
from llm_recordings import OPENAI, call, completion
from llm_requests import SYSTEM, asked, assembled

from plumb_agent.messages import (
    Message,
    RedactedThinkingBlock,
    Reply,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
    Usage,
)
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.openai import OpenAI, dialect_for

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def body(*messages: Message, dialect: OpenAI | None = None, **fields):
    return json.loads((dialect or OpenAI()).body(asked(*messages, **fields)))


def read(data: bytes) -> Reply:
    return assembled("openai", data)


# --- Requests -----------------------------------------------------------------------------------------------------


def test_a_request_has_the_least_that_there_is_to_say():
    """It asks for the usage; a budget for thinking means nothing here."""
    assert body(thinking_budget=5) == {
        "model": "m",
        "max_completion_tokens": 8192,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": '"hi"'}],
    }


def test_the_system_prompt_is_one_message():
    """Templates of many models have room for one."""
    assert body(system=SYSTEM)["messages"][0] == {"role": "system", "content": "Be kind.\n\nAnswer with JSON."}


def test_calls_and_results_go_back_in_the_words_of_the_api():
    """A result is a message of its own, and an error says that it is one. Thinking stays here."""
    said = (
        ThinkingBlock("hm"),
        RedactedThinkingBlock("x"),
        TextBlock("I look."),
        ToolUseBlock("c1", "look", {"at": 1}),
        ToolUseBlock("c2", "go", {}),
    )
    results = (TextBlock("And now?"), ToolResultBlock("c1", "42"), ToolResultBlock("c2", "no", is_error=True))
    messages = body(Message("user", "1"), Message("assistant", said), Message("user", results))["messages"]
    assert messages[1:] == [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}},
                {"id": "c2", "type": "function", "function": {"name": "go", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: no"},
        {"role": "user", "content": "And now?"},
    ]


def test_tools_are_functions():
    """In the words of the API."""
    assert body(tools=(Tool("look", "Look.", SCHEMA),), temperature=0.5)["tools"] == [
        {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": SCHEMA}}
    ]
    assert body(temperature=0.5)["temperature"] == 0.5


def test_the_output_is_held_to_a_schema_that_qualifies():
    """Strictly."""
    format_ = {"type": "json_schema", "json_schema": {"name": "output", "strict": True, "schema": SCHEMA}}
    assert body(output_schema=SCHEMA)["response_format"] == format_
    assert "response_format" not in body(output_schema={"type": "integer"})


@pytest.mark.parametrize(
    ("url", "limit"),
    [
        ("https://api.openai.com/v1/chat/completions", "max_completion_tokens"),
        ("https://api.openai.com.example/v1/chat/completions", "max_tokens"),
        ("http://localhost:11434/v1/chat/completions", "max_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_server_is_likely_to_know(url, limit):
    """The newer one at home, the older one elsewhere."""
    assert dialect_for(url).limit == limit


UNSUPPORTED = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)


@pytest.mark.parametrize(
    ("dialect", "words", "less"),
    [
        (OpenAI(limit="max_tokens"), UNSUPPORTED, OpenAI()),
        (OpenAI(), "unknown field max_completion_tokens", OpenAI(limit="max_tokens")),
        (OpenAI(), "This response_format type is unavailable now", OpenAI(structured=False)),
        (OpenAI(), "Unknown parameter: 'stream_options'", OpenAI(counted=False)),
        (OpenAI(structured=False), "response_format", None),
        (OpenAI(counted=False), "stream_options", None),
        (OpenAI(), "temperature is not supported", None),
    ],
)
def test_what_a_server_refuses_by_name_is_left_out(dialect, words, less):
    """If nobody asked for it, and only once."""
    assert dialect.without(asked(output_schema=SCHEMA), words) == less


# --- Answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("plain", Reply((TextBlock('{"ok": true}'),), Usage(11, 7), "end_turn", "gpt-5")),
        ("unicode", Reply((TextBlock('héllo 日本 🎉 "\\'),), Usage(11, 7), "end_turn", "gpt-5")),
        (
            "tool",
            Reply(
                (ToolUseBlock("call_1", "look", {"at": {"x": [1, 2.5]}, "s": "é"}),), Usage(11, 7), "tool_use", "gpt-5"
            ),
        ),
        (
            "tools",
            Reply(
                (TextBlock("I look."), ToolUseBlock("call_1", "look", {"a": 1}), ToolUseBlock("call_2", "now", {})),
                Usage(11, 7),
                "tool_use",
                "gpt-5",
            ),
        ),
        ("cached", Reply((TextBlock("4"),), Usage(11, 7, 8), "end_turn", "gpt-5")),
        ("cut by the limit", Reply((TextBlock("Once upon"),), Usage(11, 7), "max_tokens", "gpt-5")),
        ("filtered", Reply((TextBlock("Well, "),), Usage(11, 7), "refusal", "gpt-5")),
        ("refused", Reply((TextBlock("I cannot help."),), Usage(11, 7), "refusal", "gpt-5")),
    ],
)
def test_a_stream_is_a_reply(name: str, reply: Reply):
    """Blocks, the tokens, why it ended, and who answered."""
    assert read(OPENAI[name]) == reply


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_is_a_block(key):
    """Under either name that servers have for it."""
    reply = read(openai_text(completion({key: "Let me "}, {key: "see."}, {"content": "1"})))
    assert reply.blocks == (ThinkingBlock("Let me see."), TextBlock("1"))


def test_calls_that_all_have_the_same_index_are_told_apart_by_their_ids():
    """And those that have none by their place."""
    same = completion(call(0, "a", "f", '{"n":1}'), call(0, "b", "g", '{"n":'), call(0, "b", None, "2}"))
    assert [(u.id, u.name, u.input) for u in read(openai_text(same)).blocks] == [
        ("a", "f", {"n": 1}),
        ("b", "g", {"n": 2}),
    ]
    without = {"tool_calls": [{"function": {"name": name, "arguments": "{}"}} for name in ("f", "g")]}
    assert [(u.id, u.name) for u in read(openai_text(completion(without))).blocks] == [("call_0", "f"), ("call_1", "g")]


def test_a_stream_may_end_without_its_last_line_or_without_its_usage():
    """Not without both: it may be cut then. Where nothing was counted, the text is."""
    chunks = completion({"content": "four"})
    assert read(openai_text(chunks, done=False)).usage == Usage(11, 7)
    uncounted = read(openai_text(chunks[:-1]))
    assert (uncounted.blocks, uncounted.usage.completion_tokens) == ((TextBlock("four"),), 3)
    assert uncounted.usage.prompt_tokens == len(OpenAI().body(asked())) // 2 + 1
    assert failure(openai_text(chunks[:-1], done=False)).code == "stream_cut"


def failure(data: bytes) -> ProviderFailed:
    with pytest.raises(ProviderFailed) as caught:
        read(data)
    return caught.value


def test_a_stream_without_a_reason_was_cut():
    """Even if it says that it is done."""
    cut = failure(openai_text(completion({"content": "x"})[:-2]))
    assert (cut.code, cut.transient, cut.usage) == ("stream_cut", True, "all")


@pytest.mark.parametrize("data", [b"", b"data: [DONE]\n\n", b": ping\n\n", b'data: {"choices":[]}\n\n'])
def test_a_stream_with_nothing_in_it_is_empty(data):
    """With or without its last line. It cost nothing."""
    empty = failure(data)
    assert (empty.code, empty.transient, empty.usage) == ("stream_empty", True, None)


def test_an_answer_with_nothing_in_it_is_none():
    """Why depends on how it ended; what it cost is known."""
    for reason, code, transient in (
        ("stop", "stream_empty", True),
        ("length", "max_tokens_reached", False),
        ("content_filter", "model_refused", False),
    ):
        none = failure(openai_text(completion(reason=reason)))
        assert (none.code, none.transient, none.usage) == (code, transient, Usage(11, 7))


@pytest.mark.parametrize("reason", ["error", "insufficient_system_resource"])
def test_a_server_that_gives_up_has_cut_the_stream(reason):
    """Whatever it calls that."""
    assert failure(openai_text(completion({"content": "x"}, reason=reason))).code == "stream_cut"


@pytest.mark.parametrize(
    ("data", "code", "transient", "text"),
    [
        (b'data: {"error":{"message":"Sorry","type":"server_error"}}\n\n', "provider_unavailable", True, "Sorry"),
        (
            b'data: {"error":{"message":"No","type":"invalid_request_error","code":3}}\n\n',
            "provider_refused_request",
            False,
            "No",
        ),
        (b'data: {"error":"Sorry"}\n\n', "provider_unavailable", True, "Sorry"),
        (b"event: error\ndata: oh dear\n\n", "provider_unavailable", True, "oh dear"),
    ],
)
def test_an_error_in_a_stream_fails_the_attempt(data, code, transient, text):
    """In the shapes that servers use."""
    error = failure(data)
    assert (error.code, error.transient) == (code, transient)
    assert text in str(error)
    assert failure(openai_text(completion({"content": "x"})[:2], done=False) + data).usage == "all"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"data: {\n\n", "truncated"),
        (b'data: {"choices":[{"delta":{"content":3}}]}\n\n', "$.choices[0].delta.content"),
        (openai_text(completion(call(0, "a", "look", "{"))), "'look' whose arguments are no JSON object"),
        (openai_text(completion(call(0, "a", None, "{}"))), "a nameless call"),
    ],
)
def test_a_stream_that_cannot_be_read_says_why(data, what):
    """It may be readable the next time."""
    broken = failure(data)
    assert (broken.code, broken.transient) == ("stream_malformed", True)
    assert what in str(broken)


def test_a_call_that_the_limit_cut_is_no_call():
    """What was said before it is left."""
    chunks = completion({"content": "I look."}, call(0, "a", "look", '{"at'), reason="length")
    assert read(openai_text(chunks)).blocks == (TextBlock("I look."),)
    just_begun = completion({"content": "I look."}, call(0, "a", "look"), reason="length")
    assert read(openai_text(just_begun)).blocks == (TextBlock("I look."),)


def test_a_completion_in_one_piece_is_a_reply():
    """The same as the stream of it."""
    message = {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}],
    }
    value = {
        "model": "gpt-5",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
    streamed = completion({"content": "I look."}, call(0, "call_1", "look", '{"a":1}'), reason="tool_calls")
    assert OpenAI().whole(asked(), json.dumps(value).encode()) == read(openai_text(streamed))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"error": {"message": "x"}}, "provider_unavailable"),
        ({"choices": [{"message": {"content": "x"}}]}, "stream_malformed"),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}, "stream_empty"),
        ("x", "stream_malformed"),
    ],
)
def test_a_completion_in_one_piece_may_fail(value, code):
    """As a stream may."""
    with pytest.raises(ProviderFailed) as caught:
        OpenAI().whole(asked(), json.dumps(value).encode())
    assert caught.value.code == code
