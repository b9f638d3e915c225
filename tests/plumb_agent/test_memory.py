"""Memory dumps and replacements."""

import pytest

from plumb_agent.memory import MemoryRefused, dump, read_messages
from plumb_agent.messages import Message, TextBlock

EXCHANGE = [Message("user", '"hello"'), Message("assistant", (TextBlock('{"greeting":"hi"}'),))]
TWO_BLOCKS = Message("assistant", (TextBlock("a"), TextBlock("b")))


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


def test_a_dump_can_be_read_again():
    """One text block comes back as its string, which means the same."""
    assert read_messages(dump([*EXCHANGE, TWO_BLOCKS])) == (
        EXCHANGE[0],
        Message("assistant", '{"greeting":"hi"}'),
        TWO_BLOCKS,
    )


def test_a_content_may_be_any_json_value():
    """It stands for its JSON text."""
    assert read_messages([{"role": "user", "content": {"a": [1]}}]) == (Message("user", '{"a":[1]}'),)
    assert read_messages([{"role": "user", "content": None, "more": 1}]) == (Message("user", "null"),)
    assert read_messages([{"role": "user", "content": []}]) == (Message("user", "[]"),)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ({}, "takes an array"),
        ([{"role": "user"}], "message 0 needs a role and a content"),
        ([{"role": "user", "content": ""}, "hello"], "message 1 needs"),
        ([{"role": "tool", "content": ""}], "role must be 'user' or 'assistant', got 'tool'"),
        ([{"role": 7, "content": ""}], "got 7"),
        ([{"role": "user", "content": [{"type": "image"}]}], "type 'image' is not known"),
        ([{"role": "user", "content": [{"type": "text"}]}], "or has no text"),
    ],
)
def test_a_malformed_message_refuses_the_whole(messages, reason):
    """With the number of the first message that is wrong."""
    with pytest.raises(MemoryRefused, match=reason):
        read_messages(messages)
