"""Words as tokens."""

from llm_requests import SYSTEM, asked

from plumb_agent.messages import Message, Reply, TextBlock, ToolUseBlock, Usage
from plumb_agent.providers.words import count_words, say


def test_what_a_model_is_told_has_words():
    """In the system prompt and in the messages."""
    assert count_words(asked(Message("user", "a b"), Message("assistant", (TextBlock("c"),)), system=SYSTEM)) == 8


def test_a_reply_of_too_many_words_is_cut_off():
    """What is between the others stays as it is; a call behind the end is never made."""
    call = ToolUseBlock("i", "n", {})
    assert say(" a  b\nc d", 5, 3, call) == Reply((TextBlock(" a  b\nc"),), Usage(5, 3), "max_tokens")
    assert say("a b c", 5, 3, call) == Reply((TextBlock("a b c"), call), Usage(5, 3), "tool_use")
    assert say("a b c", 5, 4) == Reply((TextBlock("a b c"),), Usage(5, 3), "end_turn")


def test_a_call_has_no_words():
    """And there is no empty text before it."""
    call = ToolUseBlock("i", "n", {"a": "b c"})
    assert say("", 5, 1, call) == Reply((call,), Usage(5, 0), "tool_use")
