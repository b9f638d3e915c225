"""Keys: where they are read, and that they are not shown."""

import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ConfigError
from plumb_agent.messages import Reply, TextBlock, ToolUseBlock, Usage
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.dialect import ERROR_CHARS_MAX
from plumb_agent.providers.keys import read_key, redact, redact_failure, redact_reply

KEY = "sk-ant-api03-Zx9+/=_\"'\\<&>%~Q"


def test_a_key_is_in_a_variable_or_in_a_file_that_another_names(tmp_path):
    """The variable comes first; white space around it is no part of it."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    in_file = {"OPENAI_API_KEY_FILE": str(tmp_path / "key")}
    assert read_key(in_file, "OPENAI_API_KEY", "a") == KEY
    assert read_key({"OPENAI_API_KEY": ""} | in_file, "OPENAI_API_KEY", "a") == KEY
    assert read_key({"OPENAI_API_KEY": " other "} | in_file, "OPENAI_API_KEY", "a") == "other"


def test_without_a_key_both_variables_are_named():
    """It is the configuration that is wrong."""
    for environment in ({}, {"OPENAI_API_KEY": " "}, {"OPENAI_API_KEY_FILE": ""}):
        with pytest.raises(ConfigError, match="set OPENAI_API_KEY, or OPENAI_API_KEY_FILE to the path") as caught:
            read_key(environment, "OPENAI_API_KEY", "bot")
        assert "agent 'bot'" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"\n", "is empty"), (b"\xff", "it is not text"), (b"a\nb", "is no key")],
)
def test_a_file_that_holds_no_key_is_named(tmp_path, content, reason):
    """Not what it holds."""
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        read_key({"X_FILE": str(tmp_path / "key")}, "X", "bot")
    assert str(tmp_path / "key") in str(caught.value)


@pytest.mark.parametrize("key", ["secret key", "secret\nkey", "secrét", "secret\x7f"])
def test_what_no_header_can_carry_is_no_key(key):
    """The text does not repeat it."""
    with pytest.raises(ConfigError, match="what X holds is no key") as caught:
        read_key({"X": key}, "X", "bot")
    assert "secr" not in str(caught.value)


ESCAPES = {
    "plain": lambda text: text,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "JSON with slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, all of it": lambda text: "".join(f"\\u{ord(c):04X}" for c in text),
    "URL": lambda text: quote(text, safe=""),
    "URL, small letters": lambda text: "".join(f"%{ord(c):02x}" for c in text),
    "URL, twice": lambda text: quote_plus(quote_plus(text)),
    "small letters": str.lower,
    "HTML": html.escape,
    "HTML, numbers": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "repr": lambda text: repr(text)[1:-1],
}


@pytest.mark.parametrize("name", ESCAPES)
def test_a_key_is_found_in_any_disguise(name):
    """As a server may send it back."""
    assert redact(f"<{ESCAPES[name](KEY)}> and {KEY}", KEY) == "<[key]> and [key]"


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=40),
    st.text(max_size=20),
    st.sampled_from(sorted(ESCAPES)),
)
def test_no_key_is_left_whatever_it_is_made_of(key, around, escape):
    """Any printable characters, whatever is around it."""
    assert key not in redact(around + ESCAPES[escape](key) + around, key)


def test_a_failure_is_told_without_the_key():
    """In its message and in its details; the rest stays."""
    failure = ProviderFailed(f"no {KEY}!" + "x" * 900, code="c", transient=True, retry_after_s=3, usage="all", a=KEY)
    clean = redact_failure(failure, KEY)
    assert str(clean).startswith("no [key]!xxx")
    assert len(str(clean)) == ERROR_CHARS_MAX
    assert (clean.code, clean.transient, clean.retry_after_s, clean.usage) == ("c", True, 3, "all")
    assert clean.details == {"a": "[key]"}


def test_a_reply_is_told_without_the_key():
    """In every block. One that has no key in it is the same."""
    usage = Usage(1, 2)
    reply = Reply((TextBlock(f'"{KEY}"\n'), ToolUseBlock("i", "n", {KEY: [KEY]})), usage, "tool_use", KEY)
    clean = Reply((TextBlock('"[key]"\n'), ToolUseBlock("i", "n", {"[key]": ["[key]"]})), usage, "tool_use", "[key]")
    assert redact_reply(reply, KEY) == clean
    assert redact_reply(clean, KEY) is clean


def test_a_placeholder_is_no_secret():
    """It may be a word of an answer."""
    reply = Reply((TextBlock("none of them"),), Usage(1, 1))
    assert redact_reply(reply, "none") is reply
