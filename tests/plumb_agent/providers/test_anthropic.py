"""The Messages API, as text in both directions."""

import json

import pytest
from llm_bytes import anthropic_text
from llm_recordings import ANTHROPIC, MODEL, message, text, thinking, tool
from llm_requests import SYSTEM, asked, assembled

from plumb_agent.messages import (
    Message,
    RedactedThinkingBlock,
    Reply,
    SystemBlock,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
    Usage,
)
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.anthropic import Anthropic, AnthropicAssembler

CACHE = {"cache_control": {"type": "ephemeral"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def body(*messages: Message, dialect: Anthropic | None = None, **fields):
    return json.loads((dialect or Anthropic()).body(asked(*messages, **fields)))


def read(data: bytes) -> Reply:
    return assembled("anthropic", data)


# --- Requests -----------------------------------------------------------------------------------------------------


def test_a_request_has_the_least_that_there_is_to_say():
    """Nothing that nobody asked for."""
    assert body() == {
        "model": "m",
        "max_tokens": 8192,
        "stream": True,
        "messages": [{"role": "user", "content": '"hi"'}],
    }


def test_the_system_prompt_is_cached_up_to_its_break():
    """Each part is a block; empty ones are left out, as the API takes none."""
    system = (*SYSTEM, SystemBlock(" "), SystemBlock("Time: now"))
    assert body(system=system)["system"] == [
        {"type": "text", "text": "Be kind."},
        {"type": "text", "text": "Answer with JSON."} | CACHE,
        {"type": "text", "text": "Time: now"},
    ]


def test_the_last_three_breaks_of_a_system_prompt_count():
    """The API takes four, and one is for the conversation."""
    blocks = body(system=tuple(SystemBlock(str(n), cache_break=True) for n in range(5)))["system"]
    assert ["cache_control" in block for block in blocks] == [False, False, True, True, True]


TURNS = (Message("user", "1"), Message("assistant", (TextBlock("2"),)), Message("user", "3"))


def test_a_conversation_that_goes_on_is_cached_to_its_end():
    """Not a first message, which may be the only one."""
    assert body(*TURNS, system=SYSTEM)["messages"][-1] == {
        "role": "user",
        "content": [{"type": "text", "text": "3"} | CACHE],
    }
    assert body(TURNS[0], system=SYSTEM)["messages"] == [{"role": "user", "content": "1"}]


def test_behind_a_system_prompt_that_changes_nothing_is_cached():
    """A cache holds beginnings."""
    changing = (*SYSTEM, SystemBlock("Time: now"))
    assert body(*TURNS, system=changing)["messages"][-1] == {"role": "user", "content": "3"}


def test_what_the_model_thought_goes_back_as_it_came():
    """With its signature; and so do calls and what came of them."""
    said = (
        ThinkingBlock("hm", "c2ln"),
        RedactedThinkingBlock("ZGF0YQ"),
        TextBlock("I look."),
        ToolUseBlock("t1", "look", {"at": 1}),
    )
    results = (ToolResultBlock("t1", "42"), ToolResultBlock("t2", "no such tool", is_error=True))
    _, assistant, user = body(TURNS[0], Message("assistant", said), Message("user", results))["messages"]
    assert assistant["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZGF0YQ"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}},
    ]
    assert user["content"] == [
        {"type": "tool_result", "tool_use_id": "t1", "content": "42", "is_error": False},
        {"type": "tool_result", "tool_use_id": "t2", "content": "no such tool", "is_error": True} | CACHE,
    ]


def test_what_another_provider_thought_stays_here():
    """Nobody signed it; and empty text is refused."""
    said = Message("assistant", (ThinkingBlock("hm"), TextBlock(" \n"), TextBlock("2")))
    assert body(TURNS[0], said, TURNS[2])["messages"][1]["content"] == [{"type": "text", "text": "2"}]


def test_a_model_that_thinks_gets_no_temperature():
    """The API refuses the two together."""
    assert body(temperature=0.5)["temperature"] == 0.5
    thinks = body(temperature=0.5, thinking_budget=2000)
    assert thinks["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert "temperature" not in thinks


def test_tools_have_a_schema():
    """In the words of the API."""
    tools = body(tools=(Tool("look", "Look.", SCHEMA),))["tools"]
    assert tools == [{"name": "look", "description": "Look.", "input_schema": SCHEMA}]


def test_the_output_is_held_to_a_schema_that_qualifies():
    """Until the server said that it does not know how."""
    assert body(output_schema=SCHEMA)["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert "output_config" not in body(output_schema={"type": "string"})
    less = Anthropic().without(asked(output_schema=SCHEMA), "output_config: Extra inputs are not permitted")
    assert less is not None
    assert "output_config" not in body(output_schema=SCHEMA, dialect=less)


@pytest.mark.parametrize(
    ("schema", "words"), [(SCHEMA, "max_tokens: too large"), ({"type": "string"}, "output_config: no")]
)
def test_what_a_server_refuses_for_another_reason_is_refused(schema, words):
    """Nothing is given up that was not sent, or that is not named."""
    assert Anthropic().without(asked(output_schema=schema), words) is None


# --- Answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("plain", Reply((TextBlock('{"ok": true}'),), Usage(12, 9), "end_turn", MODEL)),
        ("unicode", Reply((TextBlock('héllo wörld — 日本 🎉 "\\'),), Usage(12, 9), "end_turn", MODEL)),
        ("thinking", Reply((ThinkingBlock("Let me see.", "c2ln"), TextBlock("1")), Usage(12, 9), "end_turn", MODEL)),
        ("thinking not shown", Reply((ThinkingBlock("", "c2lnbmVk"), TextBlock("3")), Usage(12, 9), "end_turn", MODEL)),
        (
            "tool",
            Reply(
                (TextBlock("I look."), ToolUseBlock("toolu_1", "look", {"at": {"x": [1, 2.5]}, "s": "é"})),
                Usage(12, 9),
                "tool_use",
                MODEL,
            ),
        ),
        ("cached", Reply((TextBlock("4"),), Usage(1082, 3, 1000, 70), "end_turn", MODEL)),
        ("cut by the limit", Reply((TextBlock("Once upon"),), Usage(12, 9), "max_tokens", MODEL)),
        ("refused", Reply((TextBlock("I cannot help with that."),), Usage(12, 9), "refusal", MODEL)),
        ("stop sequence", Reply((TextBlock("5"),), Usage(12, 9), "end_turn", MODEL)),
    ],
)
def test_a_stream_is_a_reply(name: str, reply: Reply):
    """Blocks in their order, the tokens, why it ended, and who answered."""
    assert read(ANTHROPIC[name]) == reply


def test_redacted_thinking_is_kept():
    """It goes back with the rest."""
    blocks = read(ANTHROPIC["redacted"]).blocks
    assert [type(block) for block in blocks] == [ThinkingBlock, RedactedThinkingBlock, TextBlock]


def test_a_tool_without_arguments_is_called_without():
    """Whether the server sends nothing or an empty object."""
    assert [block.input for block in read(ANTHROPIC["tools"]).blocks] == [{"a": 1}, {}, {}]


def test_counts_are_of_the_whole_message_so_far():
    """The later ones replace the earlier ones; those that are not repeated stay."""
    events = message(text("x"), usage={"input_tokens": 5, "cache_read_input_tokens": 2})
    events[-2]["usage"] = {"input_tokens": 6, "output_tokens": 30, "cache_read_input_tokens": None}
    assert read(anthropic_text(events)).usage == Usage(8, 30, 2, 0)


@pytest.mark.parametrize(
    ("stop", "meaning"),
    [("model_context_window_exceeded", "max_tokens"), ("pause_turn", "end_turn"), ("new", "end_turn")],
)
def test_other_reasons_to_stop(stop, meaning):
    """A window that is full is a limit; a pause is sent back like any answer that does not fit."""
    assert read(anthropic_text(message(text("x"), stop=stop))).stop_reason == meaning


def test_what_is_new_in_the_api_is_passed_over():
    """Events, blocks and pieces of kinds that are not known."""
    events = message(text("x"), [{"type": "hologram", "light": [1]}, {"type": "light_delta", "light": "y"}])
    events.insert(2, {"type": "weather", "index": "sunny"})
    events.insert(4, {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {}}})
    assert read(anthropic_text(events)).blocks == (TextBlock("x"),)


def failure(events) -> ProviderFailed:
    with pytest.raises(ProviderFailed) as caught:
        read(events if isinstance(events, bytes) else anthropic_text(events))
    return caught.value


def test_an_answer_that_the_limit_leaves_nothing_of_says_so():
    """Thinking or a call of a tool used it all up. What it cost is known."""
    cut = failure(message(tool("t", "look", '{"at": '), stop="max_tokens"))
    assert (cut.code, cut.transient, cut.usage) == ("max_tokens_reached", False, Usage(12, 9))
    assert "raise max_tokens" in str(cut)


def test_a_call_that_the_limit_cut_is_no_call():
    """Not even one whose arguments had not begun."""
    events = message(text("I look."), tool("t", "look"), stop="max_tokens")
    assert read(anthropic_text(events)).blocks == (TextBlock("I look."),)


def test_a_refusal_without_words_is_a_refusal():
    """With the provider's explanation, if it gives one."""
    assert failure(message(stop="refusal")).code == "model_refused"
    events = message(stop="refusal")
    events[-2]["delta"]["stop_details"] = {"type": "refusal", "explanation": "Not that."}
    reply = read(anthropic_text(events))
    assert (reply.blocks, reply.stop_reason) == ((TextBlock("Not that."),), "refusal")


def test_an_answer_with_nothing_in_it_is_none():
    """Neither without blocks nor with white space alone; it may be different next time."""
    for events in (message(), message(text(" \n"))):
        empty = failure(events)
        assert (empty.code, empty.transient, empty.usage) == ("stream_empty", True, Usage(12, 9))
    nothing = failure(b": hello\n\n")
    assert (nothing.code, nothing.transient, nothing.usage) == ("stream_empty", True, None)


@pytest.mark.parametrize(
    ("kind", "code", "transient"),
    [
        ("overloaded_error", "provider_unavailable", True),
        ("api_error", "provider_unavailable", True),
        ("rate_limit_error", "provider_unavailable", True),
        ("invalid_request_error", "provider_refused_request", False),
        ("billing_error", "provider_refused_request", False),
    ],
)
def test_an_error_in_a_stream_fails_the_attempt(kind, code, transient):
    """Whether it passes depends on what it is; what came before it has cost something."""
    error = {"type": "error", "error": {"type": kind, "message": "Sorry"}}
    late = failure([*message(text("x"))[:4], error])
    assert (late.code, late.transient, late.usage) == (code, transient, "all")
    assert str(late) == f"anthropic broke off with an error: Sorry (type={kind})"
    assert failure([error]).usage is None


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"data: {\n\n", "Input data was truncated in {"),
        (b"data: 3\n\n", "Expected `object`, got `int`"),
        (b'event: x\ndata: {"type":"content_block_start","index":0}\n\n', "before 'message_start'"),
        (
            b'data: {"type":"message_start","message":{"usage":{"input_tokens":"x"}}}\n\n',
            "$.message.usage.input_tokens",
        ),
        (
            b'data: {"type":"message_start","message":{}}\n\ndata: {"type":"message_stop"}\n\n',
            "without a 'stop_reason'",
        ),
        (
            anthropic_text(
                [*message()[:1], {"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta"}}]
            ),
            "block 3, which has not begun",
        ),
        (anthropic_text(message(tool("t", "look", "[1]"))), "'look' are no JSON object"),
        (anthropic_text(message(tool("t", "look", '{"a":'))), "'look' are no JSON object"),
    ],
)
def test_a_stream_that_cannot_be_read_says_why(data, what):
    """It may be readable the next time."""
    broken = failure(data)
    assert (broken.code, broken.transient) == ("stream_malformed", True)
    assert what in str(broken)


def whole(value) -> Reply:
    return Anthropic().whole(asked(), json.dumps(value).encode())


def test_a_message_in_one_piece_is_a_reply():
    """The same as the stream of it."""
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZA"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}},
    ]
    value = {"type": "message", "model": MODEL, "content": content, "stop_reason": "tool_use"}
    streamed = message(
        thinking("Hm.", signature="c2ln"),
        [{"type": "redacted_thinking", "data": "ZA"}],
        text("I look."),
        tool("t", "look", '{"a":1}'),
        stop="tool_use",
    )
    usage = {"input_tokens": 12, "output_tokens": 9, "cache_read_input_tokens": None}
    assert whole(value | {"usage": usage}) == read(anthropic_text(streamed))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, "provider_unavailable"),
        ({"type": "message", "content": [], "stop_reason": "end_turn"}, "stream_empty"),
        ({"type": "message", "content": [{"type": "text", "text": "x"}]}, "stream_malformed"),
        ([], "stream_malformed"),
    ],
)
def test_a_message_in_one_piece_may_fail(value, code):
    """As a stream may."""
    with pytest.raises(ProviderFailed) as caught:
        whole(value)
    assert caught.value.code == code


def test_what_comes_behind_the_end_is_not_read():
    """Whatever it is."""
    assembler = AnthropicAssembler()
    for event in message(text("x")):
        assembler.feed(event["type"], json.dumps(event))
    assert assembler.done
    assembler.feed("error", "{")
    assert assembler.reply().blocks == (TextBlock("x"),)
