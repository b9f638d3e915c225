"""Memory dumps and replacements."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.wire.payload import to_plain
from plumb_agent.memory import MemoryRefused, dump, read_messages
from plumb_agent.messages import (
    Message,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

EXCHANGE = [Message("user", '"hello"'), Message("assistant", (TextBlock('{"greeting":"hi"}'),))]
TWO_BLOCKS = Message("assistant", (TextBlock("a"), TextBlock("b")))
THOUGHT = (ThinkingBlock("Hm.", "abc123"), RedactedThinkingBlock("EncR"))
ROUND = [
    Message("assistant", (*THOUGHT, TextBlock("Let me see."), ToolUseBlock("t1", "read", {"path": "a.md"}))),
    Message("user", (ToolResultBlock("t1", "no such file", is_error=True),)),
]


def test_a_dump_shows_plain_text_as_a_string():
    """In both formats."""
    expected = [{"role": "user", "content": '"hello"'}, {"role": "assistant", "content": '{"greeting":"hi"}'}]
    assert dump(EXCHANGE) == expected
    assert dump(EXCHANGE, "openai") == expected


def test_the_formats_differ_in_messages_of_several_blocks():
    """A list of blocks, or all their text."""
    assert dump([TWO_BLOCKS]) == [
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    ]
    assert dump([TWO_BLOCKS], "openai") == [{"role": "assistant", "content": "ab"}]


def test_a_dump_shows_every_block():
    """Thoughts with their signature, calls with their arguments."""
    assert dump(ROUND) == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "abc123"},
                {"type": "redacted_thinking", "data": "EncR"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a.md"}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "no such file", "is_error": True}],
        },
    ]


def test_the_other_format_has_calls_and_results_in_its_own_way():
    """A message for each result; thoughts have no place in it."""
    function = {"name": "read", "arguments": '{"path":"a.md"}'}
    assert dump(ROUND, "openai") == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "no such file"},
    ]
    silent = [Message("assistant", (ToolUseBlock("t1", "read", {}),)), *ROUND[1:]]
    assert dump(silent, "openai")[0]["content"] is None


def test_a_dump_can_be_read_again():
    """One text block comes back as its string, which means the same."""
    assert read_messages(dump([*EXCHANGE, *ROUND, TWO_BLOCKS])) == (
        EXCHANGE[0],
        Message("assistant", '{"greeting":"hi"}'),
        *ROUND,
        TWO_BLOCKS,
    )


def test_a_dump_in_the_other_format_can_be_read_again():
    """Without what that has no place for."""
    assert read_messages(dump([*EXCHANGE, *ROUND], "openai")) == (
        EXCHANGE[0],
        Message("assistant", '{"greeting":"hi"}'),
        Message("assistant", (TextBlock("Let me see."), ToolUseBlock("t1", "read", {"path": "a.md"}))),
        Message("user", (ToolResultBlock("t1", "no such file"),)),
    )


def test_results_of_one_round_are_one_message():
    """However many messages of the role tool they were."""
    calls = tuple(ToolUseBlock(f"t{n}", "read", {"n": n}) for n in range(3))
    history = (Message("assistant", calls), Message("user", tuple(ToolResultBlock(c.id, "x") for c in calls)))
    assert len(dump(history, "openai")) == 4
    assert read_messages(dump(history, "openai")) == history


text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
results = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text, lambda v: st.lists(v, max_size=3)
)
said = st.one_of(
    text.map(TextBlock),
    st.builds(ThinkingBlock, results, results),
    st.builds(RedactedThinkingBlock, results),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    """Draw a history as an agent may have it."""
    history: list[Message] = []
    for number in range(draw(st.integers(0, 4))):
        history.append(Message("user", draw(text)))
        for _ in range(draw(st.integers(0, 2))):
            names = st.sampled_from(["read", "write"])
            inputs = draw(st.lists(st.tuples(names, st.dictionaries(text, values, max_size=2)), min_size=1, max_size=3))
            calls = [ToolUseBlock(f"t{number}.{n}", name, given) for n, (name, given) in enumerate(inputs)]
            history.append(Message("assistant", (*draw(st.lists(said, max_size=2)), *calls)))
            answers = [ToolResultBlock(call.id, draw(results), draw(st.booleans())) for call in calls]
            history.append(Message("user", tuple(answers)))
        history.append(Message("assistant", (*draw(st.lists(said, max_size=2)), TextBlock(draw(text)))))
    return history


def normal(message: Message) -> Message:
    """Return the message with one block of text as that text."""
    content = message.content
    if not isinstance(content, str) and len(content) == 1 and isinstance(content[0], TextBlock):
        return Message(message.role, content[0].text)
    return message


@given(histories())
def test_any_history_survives_a_dump(history: list[Message]):
    """Block for block in one format; in the other at least every text, call and result."""
    assert list(read_messages(to_plain(dump(history)))) == [normal(message) for message in history]
    shown = dump(history, "openai")
    again = read_messages(to_plain(shown))
    assert dump(again, "openai") == shown
    assert dump(read_messages(to_plain(dump(again))), "openai") == shown


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["", "a", "user", "assistant", "tool", "text", "tool_use", "tool_result", "thinking", "{}"]),
    lambda v: st.lists(v, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "id", "name", "input", "tool_use_id", "tool_calls",
                         "tool_call_id", "function", "arguments", "thinking", "data"]), v, max_size=5),
    max_leaves=12,
)  # fmt: skip
messages_like = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"]), "content": json_like},
    optional={"tool_calls": json_like, "tool_call_id": json_like},
)


@given(json_like | st.lists(messages_like, max_size=4))
def test_anything_is_read_or_refused(plain: Any):
    """And what was read can be shown and read again."""
    try:
        read = read_messages(plain)
    except MemoryRefused:
        return
    assert [normal(message) for message in read] == list(read_messages(to_plain(dump(read))))
    read_messages(to_plain(dump(read, "openai")))


def test_a_content_may_be_any_json_value():
    """It stands for its JSON text."""
    assert read_messages([{"role": "user", "content": {"a": [1]}}]) == (Message("user", '{"a":[1]}'),)
    assert read_messages([{"role": "user", "content": None, "more": 1}]) == (Message("user", "null"),)
    assert read_messages([{"role": "user", "content": []}]) == (Message("user", "[]"),)


def test_a_result_may_be_a_list_of_text():
    """As the Messages API takes it."""
    plain = dump(ROUND)
    plain[1]["content"][0]["content"] = [{"type": "text", "text": "no such "}, {"type": "text", "text": "file"}]
    assert read_messages(plain) == tuple(ROUND)


USE = {"type": "tool_use", "id": "t1", "name": "read", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
CALLS = [{"id": "t1", "type": "function", "function": {"name": "read", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ({}, "takes an array"),
        ([{"role": "user"}], "message 0 needs a role and a content"),
        ([{"role": "user", "content": "x"}, "hello"], "message 1 needs"),
        ([{"role": "user", "content": ""}], "message 0 is empty"),
        ([{"role": "user", "content": " "}], "message 0 is empty"),
        ([{"role": "system", "content": "x"}], "role must be 'user' or 'assistant', got 'system'"),
        ([{"role": "tool", "content": "x"}], "of the role 'tool': .*tool_call_id"),
        ([{"role": "tool", "tool_call_id": "t1", "content": "x"}], "no tool_use in the message before"),
        ([{"role": 7, "content": "x"}], "got 7"),
        ([{"role": "user", "content": [{"type": "image"}]}], "type 'image' is not known"),
        ([{"role": "user", "content": [{"type": ["text"]}]}], "is not known"),
        ([{"role": "user", "content": [{"type": "text"}]}], "malformed: .*`text`"),
        ([{"role": "user", "content": [{"type": "text", "text": ""}]}], "an empty text"),
        ([{"role": "user", "content": [{"type": "thinking", "thinking": "x"}]}], "is no user's"),
        ([{"role": "user", "content": [USE]}], "is no user's"),
        ([{"role": "assistant", "content": [RESULT]}], "is no assistant's"),
        ([{"role": "user", "content": [RESULT]}], "no tool_use in the message before"),
        ([{"role": "assistant", "content": [USE]}], "no tool_result behind it"),
        ([{"role": "assistant", "content": [USE]}, {"role": "user", "content": "x"}], "no tool_result in the message"),
        ([{"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT, RESULT]}], "no tool_use"),
        ([{"role": "assistant", "content": [USE, USE]}, {"role": "user", "content": [RESULT]}], "have one id"),
        ([{"role": "assistant", "content": None, "tool_calls": CALLS}], "no tool_result behind it"),
        ([{"role": "assistant", "content": 3, "tool_calls": CALLS}], "is a string or null"),
        ([{"role": "assistant", "content": None, "tool_calls": [{"id": "t1"}]}], "tool_calls are malformed"),
        (
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "["}}],
                }
            ],
            "tool_calls are malformed",
        ),
    ],
)
def test_a_malformed_message_refuses_the_whole(messages, reason):
    """With the number of the first message that is wrong."""
    with pytest.raises(MemoryRefused, match=reason):
        read_messages(messages)
